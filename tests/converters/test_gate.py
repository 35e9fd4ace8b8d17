from dataclasses import replace

from edgekit_converters.verdict.compare import Comparison
from edgekit_converters.verdict.gate import HUNGRIER_BYTES, Verdict, judge
from edgekit_converters.verdict.measure import Cost

BASELINE = Cost(
    model_bytes=100_000,
    peak_rss_bytes=60 * 2**20,
    load_us=5_000,
    one_row_p50_us=200,
    one_row_p95_us=250,
    batch_us_per_row=80.0,
)
SMALLER = replace(BASELINE, model_bytes=30_000)
SAME = Comparison(
    rows=1_000,
    agreement=1.0,
    drop=0.0,
    judged_on="changed labels",
    sentence="0 of 1000 labels change (0.00%)",
)


def verdict(
    cost: Cost = SMALLER,
    comparison: Comparison = SAME,
    *,
    flavor: str = "int8",
    max_drop: float = 0.005,
) -> Verdict:
    return judge(
        flavor, comparison=comparison, cost=cost, baseline=BASELINE, max_drop=max_drop
    )


def dropped(share: float) -> Comparison:
    return replace(SAME, drop=share, sentence=f"{share:.2%}")


def test_a_smaller_flavor_with_the_same_answers_is_kept_with_its_numbers() -> None:
    assert verdict() == Verdict(accepted=True, reason=SAME.sentence)


def test_a_drop_is_allowed_up_to_the_limit_and_no_further() -> None:
    assert verdict(comparison=dropped(0.005)).accepted
    refused = verdict(comparison=dropped(0.006))
    assert not refused.accepted
    assert refused.reason.startswith(
        "less accurate: 0.60% by changed labels, at most 0.50% is allowed; "
    )


def test_float32_that_answers_otherwise_than_the_original_is_refused_too() -> None:
    assert not verdict(BASELINE, dropped(0.006), flavor="fp32").accepted


def test_a_gain_is_never_held_against_a_flavor() -> None:
    assert verdict(comparison=dropped(-0.03), max_drop=0).accepted


def test_a_flavor_no_smaller_than_float32_is_refused() -> None:
    refused = verdict(BASELINE)
    assert not refused.accepted
    assert "no smaller: 100,000 bytes, fp32 has 100,000" in refused.reason


def test_float32_is_not_compared_with_its_own_size() -> None:
    assert verdict(BASELINE, flavor="fp32").accepted


def test_a_flavor_several_times_slower_is_refused() -> None:
    slow = replace(SMALLER, one_row_p50_us=3_400, batch_us_per_row=2_000.0)
    refused = verdict(slow)
    assert not refused.accepted
    assert "slower: 3,400 us a row, fp32 takes 200" in refused.reason


def test_noise_on_a_shared_machine_is_not_held_against_a_flavor() -> None:
    assert verdict(replace(SMALLER, one_row_p50_us=380)).accepted
    assert verdict(replace(SMALLER, one_row_p50_us=3_400)).accepted  # its batch is as fast
    quick = replace(BASELINE, one_row_p50_us=10, batch_us_per_row=5.0)
    noisy = replace(SMALLER, one_row_p50_us=40, batch_us_per_row=20.0)
    assert judge(
        "int8", comparison=SAME, cost=noisy, baseline=quick, max_drop=0.005
    ).accepted


def test_a_flavor_that_takes_far_more_memory_is_refused() -> None:
    fine = replace(SMALLER, peak_rss_bytes=BASELINE.peak_rss_bytes + HUNGRIER_BYTES)
    assert verdict(fine).accepted
    refused = verdict(replace(fine, peak_rss_bytes=fine.peak_rss_bytes + 2**20))
    assert not refused.accepted
    assert "hungrier: 69.0 MiB at its peak, fp32 takes 60.0" in refused.reason


def test_every_reason_is_named_not_only_the_first() -> None:
    refused = verdict(BASELINE, dropped(0.07))
    assert "less accurate" in refused.reason
    assert "no smaller" in refused.reason


def test_too_few_samples_to_show_the_limit_are_said_plainly() -> None:
    kept = verdict(comparison=replace(SAME, rows=40))
    assert kept.accepted
    assert kept.reason.endswith(
        "; only 40 samples: one row is 2.50%, at least 200 rows can show 0.50%"
    )


def test_few_samples_of_numbers_are_said_too() -> None:
    few = replace(SAME, rows=12, judged_on="RMSE against the original")
    assert verdict(comparison=few).reason.endswith("; only 12 samples: 30 or more say more")
