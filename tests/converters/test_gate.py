from dataclasses import replace

import numpy as np
import pytest

from edgekit_converters.verdict.compare import ClassLoss, Comparison
from edgekit_converters.verdict.gate import HUNGRIER, HUNGRIER_BYTES, Verdict, judge
from edgekit_converters.verdict.measure import Cost
from edgekit_converters.verdict.metrics import Metric
from edgekit_converters.verdict.statistics import Interval, paired

BASELINE = Cost(
    model_bytes=100_000,
    peak_rss_bytes=60 * 2**20,
    load_us=5_000,
    one_row_p50_us=200,
    one_row_p95_us=250,
    batch_us_per_row=80.0,
)
SMALLER = replace(BASELINE, model_bytes=30_000)


def labels(lost: int, gained: int = 0, rows: int = 2_000, **changes: object) -> Comparison:
    plain = Comparison(
        metric=Metric.ACCURACY,
        rows=rows,
        original=0.95,
        flavor=0.95 - (lost - gained) / rows,
        interval=paired(lost, gained, rows),
        agreement=1.0,
        few=rows,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]  # fields by name


def scores(drop: float, low: float, high: float, few: int = 100) -> Comparison:
    return Comparison(
        metric=Metric.AUC,
        rows=200,
        original=0.9,
        flavor=0.9 - drop,
        interval=Interval(drop=drop, low=low, high=high, units=200, method=""),
        agreement=1.0,
        few=few,
    )


SAME = labels(0)


def verdict(  # noqa: PLR0913 - one for each thing that differs
    cost: Cost = SMALLER,
    comparison: Comparison = SAME,
    *,
    flavor: str = "int8",
    max_drop: float = 0.005,
    proven_only: bool = False,
    unseen: bool = True,
) -> Verdict:
    return judge(
        flavor,
        comparison=comparison,
        cost=cost,
        baseline=BASELINE,
        max_drop=max_drop,
        proven_only=proven_only,
        unseen=unseen,
    )


def test_a_drop_shown_to_be_within_the_limit_is_kept_with_its_numbers() -> None:
    assert verdict() == Verdict(
        accepted=True,
        reason="accuracy 0.9500, then 0.9500; drop 0.0000, 95 % interval -0.0019 to 0.0019"
        " of at most 0.005",
    )


def test_a_drop_shown_to_be_beyond_the_limit_is_refused() -> None:
    refused = verdict(comparison=labels(40))
    assert not refused.accepted
    assert refused.enough
    assert refused.reason.startswith("less accurate: accuracy 0.9500, then 0.9300; drop")


def test_nothing_lost_in_few_rows_is_kept_and_not_called_proven() -> None:
    kept = verdict(comparison=labels(0, rows=72))
    assert kept.accepted
    assert not kept.enough
    assert kept.reason.endswith("; not proven by 72 rows, about 770 are needed")


def test_a_small_loss_that_chance_explains_is_kept_and_not_called_proven() -> None:
    kept = verdict(comparison=labels(2, 1, rows=400))
    assert (kept.accepted, kept.enough) == (True, False)


def test_a_loss_beyond_the_limit_in_few_rows_is_for_want_of_samples() -> None:
    fallen = verdict(comparison=labels(2, rows=72))
    assert (fallen.accepted, fallen.enough) == (False, False)
    assert fallen.reason.startswith("not enough samples: accuracy")
    assert fallen.reason.endswith("are needed")


def test_a_loss_that_chance_does_not_explain_must_be_shown_to_be_within_the_limit() -> None:
    fallen = verdict(comparison=labels(5, rows=2_000))  # 0.25 %, of 0.5 % that are allowed
    assert (fallen.accepted, fallen.enough) == (False, False)
    assert fallen.reason.endswith("; about 5,300 are needed")
    assert verdict(comparison=labels(8, rows=6_000)).accepted


def test_more_rows_never_turn_an_unproven_gain_into_a_loss() -> None:
    for rows in (100, 1_000, 10_000):
        assert verdict(comparison=labels(0, rows // 100, rows=rows)).accepted


@pytest.mark.slow
@pytest.mark.parametrize("rows", [300, 1_000, 4_000])
def test_what_truly_loses_the_limit_is_called_proven_once_in_forty_times(rows: int) -> None:
    rng = np.random.default_rng(4)
    drawn = rng.multinomial(rows, [0.008, 0.003, 0.989], size=1_500)  # a drop of 0.005
    proven = [
        seen.accepted and seen.enough
        for lost, gained, _ in drawn.tolist()
        for seen in [verdict(comparison=labels(lost, gained, rows=rows))]
    ]
    assert np.mean(proven) < 0.035


def test_what_loses_nothing_is_never_refused_and_with_enough_rows_proven() -> None:
    for rows in (20, 200, 700):
        assert verdict(comparison=labels(0, rows=rows)).accepted
    assert verdict(comparison=labels(0, rows=770)).enough


def test_who_wants_proof_gets_only_what_is_proven() -> None:
    unproven = labels(0, rows=72)
    fallen = verdict(comparison=unproven, proven_only=True)
    assert (fallen.accepted, fallen.enough) == (False, False)
    assert verdict(proven_only=True).accepted
    assert verdict(BASELINE, unproven, flavor="fp32", proven_only=True).accepted
    assert verdict(comparison=unproven, flavor="fp32-trees", proven_only=True).accepted


def test_rows_that_a_flavor_was_chosen_on_prove_nothing_but_may_refuse() -> None:
    kept = verdict(unseen=False)
    assert (kept.accepted, kept.enough) == (True, False)
    assert kept.reason.endswith("; not proven, as it was chosen on the same rows")
    assert not verdict(unseen=False, proven_only=True).accepted
    refused = verdict(comparison=labels(40), unseen=False)
    assert (refused.accepted, refused.enough) == (False, True)


def test_a_bootstrap_of_few_rows_proves_nothing_but_may_refuse() -> None:
    kept = verdict(comparison=scores(0.001, 0.0005, 0.0015, few=12))
    assert (kept.accepted, kept.enough) == (True, False)
    assert kept.reason.endswith(
        "not proven by 200 rows, at least 30 of each class are needed"
    )
    assert "interval" not in kept.reason
    refused = verdict(comparison=scores(0.4, 0.3, 0.5, few=12))
    assert (refused.accepted, refused.enough) == (False, True)


def test_a_bootstrapped_drop_is_judged_by_its_interval() -> None:
    assert verdict(comparison=scores(0.001, -0.002, 0.004)).enough
    unproven = verdict(comparison=scores(0.001, -0.004, 0.008))
    assert (unproven.accepted, unproven.enough) == (True, False)
    fallen = verdict(comparison=scores(0.004, 0.001, 0.008))
    assert (fallen.accepted, fallen.enough) == (False, False)
    refused = verdict(comparison=scores(0.02, 0.01, 0.03))
    assert (refused.accepted, refused.enough) == (False, True)


def test_a_drop_of_exactly_the_limit_says_that_no_rows_would_tell() -> None:
    fallen = verdict(comparison=labels(50, rows=10_000))
    assert "no number of rows would do, as the drop is at the limit" in fallen.reason


def test_float32_that_answers_otherwise_than_the_original_is_refused_too() -> None:
    assert not verdict(BASELINE, labels(40), flavor="fp32").accepted


def test_a_gain_is_never_held_against_a_flavor() -> None:
    assert verdict(comparison=labels(0, 60), max_drop=0).accepted


def test_a_class_that_loses_more_than_its_floor_refuses_the_flavor() -> None:
    classes = (
        ClassLoss(label="worn", rows=100, lost=9, gained=0),
        ClassLoss(label="good", rows=1_900, lost=0, gained=9),
    )
    refused = verdict(comparison=labels(9, 9, classes=classes))
    assert not refused.accepted
    assert refused.reason.startswith(
        "less accurate: recall of class worn 0.090 (9 lost, 0 gained of 100), 0.05 is"
        " allowed"
    )


def test_one_lost_row_of_a_small_class_is_not_a_verdict_on_the_class() -> None:
    classes = (
        ClassLoss(label="rare", rows=10, lost=1, gained=0),
        ClassLoss(label="good", rows=1_990, lost=0, gained=0),
    )
    kept = verdict(comparison=labels(1, classes=classes))
    assert kept.accepted
    assert kept.reason.endswith(
        "; not enough samples of class rare to see one lose 0.05, 73 of each are needed"
    )


def test_of_many_classes_one_is_not_refused_by_chance() -> None:
    """Each of 40 classes loses 8 % or gains it, as chance has it: 4 of 50 rows."""
    classes = tuple(
        ClassLoss(label=str(n), rows=50, lost=4 * (n % 2), gained=4 * (1 - n % 2))
        for n in range(40)
    )
    assert verdict(comparison=labels(80, 80, classes=classes), max_drop=0.02).accepted


def test_a_flavor_no_smaller_than_float32_is_refused() -> None:
    refused = verdict(BASELINE)
    assert not refused.accepted
    assert "no smaller: 100,000 bytes, fp32 has 100,000" in refused.reason


def test_float32_is_not_compared_with_its_own_size() -> None:
    assert verdict(BASELINE, flavor="fp32").accepted


def test_a_flavor_that_is_slower_when_both_take_turns_is_refused() -> None:
    refused = verdict(replace(SMALLER, one_row_p50_us=260, times_baseline=1.3))
    assert not refused.accepted
    assert refused.reason.startswith(
        "slower: 1.30 times as long for one row as fp32, which takes 200 us"
    )


def test_times_taken_apart_count_only_where_there_are_no_others() -> None:
    """Measured minutes apart on a shared machine, the same model may seem twice as slow."""
    assert verdict(replace(SMALLER, one_row_p50_us=400, times_baseline=1.02)).accepted
    assert not verdict(replace(SMALLER, one_row_p50_us=400)).accepted


def test_what_nobody_would_notice_is_not_held_against_a_flavor() -> None:
    assert verdict(replace(SMALLER, times_baseline=1.2)).accepted
    quick = replace(BASELINE, one_row_p50_us=10)
    thrice = replace(SMALLER, one_row_p50_us=30, times_baseline=3.0)
    assert judge(
        "int8", comparison=SAME, cost=thrice, baseline=quick, max_drop=0.005
    ).accepted


def test_a_flavor_that_takes_far_more_memory_is_refused() -> None:
    fine = replace(SMALLER, peak_rss_bytes=int(HUNGRIER * BASELINE.peak_rss_bytes))
    assert verdict(fine).accepted
    refused = verdict(replace(fine, peak_rss_bytes=fine.peak_rss_bytes + 2**20))
    assert not refused.accepted
    assert "hungrier: 76.0 MiB at its peak, fp32 takes 60.0" in refused.reason


def test_a_few_megabytes_more_than_a_small_process_takes_are_no_reason() -> None:
    small = replace(BASELINE, peak_rss_bytes=20 * 2**20)
    more = replace(SMALLER, peak_rss_bytes=small.peak_rss_bytes + HUNGRIER_BYTES)
    judged = judge("int8", comparison=SAME, cost=more, baseline=small, max_drop=0.005)
    assert judged.accepted


def test_every_reason_is_named_not_only_the_first() -> None:
    refused = verdict(BASELINE, labels(140))
    assert "less accurate" in refused.reason
    assert "no smaller" in refused.reason


def test_what_falls_for_its_size_is_not_said_to_lack_samples() -> None:
    refused = verdict(BASELINE, labels(0, rows=72))
    assert (refused.accepted, refused.enough) == (False, True)
    assert refused.reason.startswith("no smaller: ")
