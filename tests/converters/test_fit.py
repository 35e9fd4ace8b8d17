from dataclasses import replace

import pytest

from edgekit import board
from edgekit.board import Board
from edgekit.errors import BoardError
from edgekit_converters.verdict.fit import Need, choose, fitting, misfits

_MB = 2**20
PI = replace(
    board.load("raspberry-pi-4"),
    name="pi",
    model_ram_mb=100,
    model_flash_mb=10,
    onnxruntime="1.20",
)
SMALL = Need(
    flavor="int8",
    bundle_bytes=1 * _MB,
    model_bytes=2 * _MB,
    peak_rss_bytes=60 * _MB,
    min_onnxruntime="1.16",
)
LARGE = replace(SMALL, flavor="fp32", bundle_bytes=3 * _MB, model_bytes=6 * _MB)


def test_the_smallest_flavor_that_fits_is_chosen() -> None:
    assert choose([PI], [LARGE, SMALL]) == {"pi": "int8"}
    assert [need.flavor for need in fitting(PI, [LARGE, SMALL])] == ["int8", "fp32"]


def test_what_is_not_proven_is_chosen_only_where_nothing_else_fits() -> None:
    lucky = replace(SMALL, flavor="int4", bundle_bytes=_MB // 2, sure=False)
    assert choose([PI], [LARGE, SMALL, lucky]) == {"pi": "int8"}
    assert [one.flavor for one in fitting(PI, [LARGE, lucky])] == ["fp32", "int4"]
    hungry = replace(LARGE, peak_rss_bytes=200 * _MB)
    assert choose([PI], [hungry, lucky]) == {"pi": "int4"}


def test_a_larger_flavor_is_chosen_where_the_smallest_does_not_fit() -> None:
    hungry = replace(SMALL, peak_rss_bytes=200 * _MB)
    assert choose([PI], [LARGE, hungry]) == {"pi": "fp32"}


def test_a_processor_without_the_arithmetic_that_was_judged_is_a_misfit() -> None:
    exact = replace(SMALL, isas=("neon", "vnni"))
    assert misfits(PI, exact) == ()
    (told,) = misfits(replace(PI, isa=("avx2",)), exact)
    assert told == "neon or vnni for the arithmetic that was judged, it has avx2"


def test_exactly_full_still_fits() -> None:
    full = replace(
        SMALL, peak_rss_bytes=100 * _MB, bundle_bytes=4 * _MB, model_bytes=6 * _MB
    )
    assert misfits(PI, full) == ()


def test_flash_must_hold_the_bundle_and_the_model_unpacked_from_it() -> None:
    wide = replace(SMALL, bundle_bytes=5 * _MB, model_bytes=6 * _MB)
    assert misfits(PI, wide) == ("flash 11.0 MB, 10.0 MB are there (1.0 MB too much)",)


def test_an_older_runtime_is_refused_and_versions_are_not_compared_as_text() -> None:
    newer = replace(SMALL, min_onnxruntime="1.21")
    assert misfits(PI, newer) == ("onnxruntime 1.21, the board runs 1.20",)
    assert misfits(PI, replace(SMALL, min_onnxruntime="1.9")) == ()
    assert misfits(replace(PI, onnxruntime="1.20.1"), newer) != ()


def test_a_board_that_nothing_fits_is_told_by_how_much() -> None:
    hungry = replace(SMALL, peak_rss_bytes=132 * _MB)
    hungrier = replace(LARGE, peak_rss_bytes=190 * _MB)
    with pytest.raises(BoardError) as caught:
        choose([PI], [hungrier, hungry])
    assert str(caught.value) == (
        "board pi: no flavor fits; the nearest, int8, needs memory 132.0 MB,"
        " 100.0 MB are there (32.0 MB too much)"
    )


def test_every_board_that_nothing_fits_is_named() -> None:
    tiny = replace(PI, name="tiny", model_ram_mb=50)
    with pytest.raises(BoardError, match=r"board tiny: .*; board older: "):
        choose([PI, tiny, replace(PI, name="older", onnxruntime="1.14")], [SMALL])


def test_without_boards_there_is_nothing_to_choose() -> None:
    assert choose([], [SMALL]) == {}


def test_contributed_operators_fit_only_where_the_board_allows_them() -> None:
    beyond = replace(SMALL, contributed=("com.microsoft.Gelu",))
    (reason,) = misfits(PI, beyond)
    assert reason == (
        'com.microsoft.Gelu, which ONNX does not have; allow_domains = ["com.microsoft"] in'
        " the board's profile allows such operators, if its onnxruntime has them"
    )
    assert misfits(replace(PI, allow_domains=("com.microsoft",)), beyond) == ()


def test_a_flavor_that_is_not_proven_makes_way_for_the_next_larger() -> None:
    asked: list[str] = []

    def refusal(board: Board, need: Need) -> str:
        asked.append(f"{board.name} {need.flavor}")
        return "it crashed" if need is SMALL else ""

    huge = replace(LARGE, flavor="huge", bundle_bytes=4 * _MB)
    assert choose([PI], [huge, LARGE, SMALL], refusal=refusal) == {"pi": "fp32"}
    assert asked == ["pi int8", "pi fp32"]


def test_where_nothing_is_proven_every_reason_is_told() -> None:
    with pytest.raises(BoardError) as caught:
        choose([PI], [LARGE, SMALL], refusal=lambda _, need: f"{need.flavor} crashed")
    assert str(caught.value) == (
        "board pi: no flavor runs there; int8: int8 crashed, fp32: fp32 crashed"
    )
