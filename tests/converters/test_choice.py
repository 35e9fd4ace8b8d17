"""Why a board gets the flavor that it gets."""

from dataclasses import replace

from edgekit.conversion import Candidate
from edgekit_converters.verdict.choice import explained

FP32 = Candidate(
    flavor="fp32",
    accepted=True,
    reason="",
    model_bytes=100_000,
    bundle_bytes=90_000,
    peak_rss_bytes=58 * 2**20,
    one_row_p50_us=120,
    one_row_p95_us=150,
    batch_us_per_row=33.3,
    agreement=1.0,
    drop=0.0,
    enough=False,
    lossless=True,
    boards=("pi",),
)
PROVEN = replace(FP32, flavor="int8", model_bytes=30_000, enough=True, lossless=False)
LUCKY = replace(PROVEN, flavor="int4", model_bytes=9_000, bundle_bytes=8_000, enough=False)
WORSE = replace(LUCKY, flavor="fp16", accepted=False, enough=True)


def why(chosen: Candidate, *tried: Candidate) -> str:
    return explained({"pi": chosen.flavor}, tried).get("pi", "")


def test_the_smallest_that_is_proven_needs_no_words() -> None:
    assert why(PROVEN, FP32, PROVEN, WORSE) == ""
    assert why(FP32, FP32) == ""


def test_smaller_ones_that_are_not_proven_are_named_with_the_way_to_them() -> None:
    assert why(FP32, FP32, LUCKY, WORSE) == (
        "int4 would be smaller (8,000 bytes), not proven by so few samples: bring more, or"
        " allow more with --max-drop"
    )
    others = [replace(LUCKY, flavor=f"int4-{n}", bundle_bytes=9_000 + n) for n in range(3)]
    assert why(PROVEN, FP32, PROVEN, LUCKY, *others).startswith(
        "int4, int4-0, int4-1 and 1 more would be smaller (8,000 bytes)"
    )


def test_a_choice_for_want_of_another_says_that_it_is_not_proven() -> None:
    assert why(LUCKY, replace(FP32, boards=()), LUCKY) == (
        "not proven, and nothing lossless or proven fits the board"
    )


def test_float32_stays_when_nothing_smaller_is_as_good_or_fits() -> None:
    assert why(FP32, FP32, WORSE) == "fp32 stays: nothing smaller is as good"
    assert why(FP32, FP32, replace(PROVEN, boards=())) == (
        "int8 would not fit the board, or not run there"
    )
