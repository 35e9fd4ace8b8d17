"""The intervals, by simulation: do they hold the truth as often as they say?"""

import math

import numpy as np
import pytest

from edgekit_converters.verdict import metrics
from edgekit_converters.verdict.metrics import Ranking
from edgekit_converters.verdict.statistics import (
    Interval,
    bootstrap,
    paired,
    rows_needed,
)

RNG_SEED = 11


@pytest.mark.parametrize(
    ("lost", "gained"), [(0.01, 0.0), (0.01, 0.01), (0.03, 0.02), (0.002, 0.0)]
)
@pytest.mark.parametrize("rows", [200, 1_000])
def test_nineteen_of_twenty_paired_intervals_hold_the_true_drop(
    lost: float, gained: float, rows: int
) -> None:
    rng = np.random.default_rng(RNG_SEED)
    drawn = rng.multinomial(rows, [lost, gained, 1 - lost - gained], size=2_000)
    cases, counts = np.unique(drawn[:, :2], axis=0, return_counts=True)
    held = sum(
        count
        for (b, c), count in zip(cases.tolist(), counts.tolist(), strict=True)
        if (seen := paired(b, c, rows)).low <= lost - gained <= seen.high
    )
    assert held / 2_000 > 0.93


def test_without_gains_the_interval_is_wilsons() -> None:
    # (p + z2/2n +- sqrt(z2 p(1-p)/n + z2^2/4n^2)) / (1 + z2/n), Wilson 1927
    z2 = 1.959963984540054**2
    for lost, rows in ((0, 500), (3, 500), (40, 90)):
        p = lost / rows
        middle, width = (
            p + z2 / 2 / rows,
            math.sqrt(z2 * p * (1 - p) / rows + z2**2 / 4 / rows**2),
        )
        seen = paired(lost, 0, rows)
        assert seen.high == pytest.approx((middle + width) / (1 + z2 / rows), abs=1e-9)
        if lost == 40:
            assert seen.low == pytest.approx((middle - width) / (1 + z2 / rows), abs=1e-9)


def test_loss_and_gain_mirror_each_other() -> None:
    one, other = paired(7, 2, 300), paired(2, 7, 300)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


def test_no_change_in_few_rows_proves_little() -> None:
    assert paired(0, 0, 72).high == pytest.approx(0.0507, abs=1e-4)
    assert paired(0, 0, 765).high <= 0.005 < paired(0, 0, 764).high


def test_nineteen_of_twenty_bootstrap_intervals_of_auc_hold_the_true_drop() -> None:
    rng = np.random.default_rng(RNG_SEED)
    true = [_true_auc(noise) for noise in (0.0, 0.8)]
    held, trials = 0, 120
    for _ in range(trials):
        positive = np.arange(160) % 2 == 0
        score = rng.normal(size=160) + positive
        noisy = score + 0.8 * rng.normal(size=160)
        seen = _auc_drop(score, noisy, positive, resamples=400)
        held += seen.low <= true[0] - true[1] <= seen.high
    assert held / trials > 0.88


def _true_auc(noise: float) -> float:
    """Two normals a distance of 1 apart: the chance that one exceeds the other."""
    return 0.5 * (1 + math.erf(1 / math.sqrt(2 + 2 * noise**2) / math.sqrt(2)))


def _auc_drop(
    before: np.ndarray, after: np.ndarray, positive: np.ndarray, resamples: int
) -> Interval:
    rankings = [Ranking.of(score, positive) for score in (before, after)]
    return bootstrap(
        lambda weights: (
            metrics.auc(rankings[0], weights) - metrics.auc(rankings[1], weights)
        ),
        counts=np.ones(len(positive), int),
        strata=positive,
        resamples=resamples,
    )


def test_the_same_rows_give_the_same_interval() -> None:
    rng = np.random.default_rng(5)
    positive = rng.random(80) < 0.5
    before, after = rng.normal(size=(2, 80))
    assert _auc_drop(before, after, positive, 300) == _auc_drop(
        before, after, positive, 300
    )


def test_a_stratum_keeps_its_number_of_rows() -> None:
    strata = np.array([0] * 5 + [1] * 15)
    sums: list[np.ndarray] = []

    def look(weights: np.ndarray) -> np.ndarray:
        sums.append(weights[:, strata == 0].sum(axis=1))
        return weights[:, 0]

    bootstrap(look, counts=np.ones(20, int), strata=strata, resamples=50)
    assert set(np.concatenate(sums).tolist()) == {5.0}


def test_units_that_stand_for_several_rows_are_drawn_as_often() -> None:
    rows = bootstrap(lambda w: w[:, 1], counts=np.array([2, 6]), resamples=4_000)
    assert rows.drop == 6
    assert (rows.low, rows.high) == (3, 8)  # binomial(8, 3/4): 2.7 % and 10 % are there


def test_without_resamples_there_is_a_drop_and_no_interval() -> None:
    seen = bootstrap(lambda w: w[:, 0], counts=np.ones(4, int), resamples=0)
    assert (seen.drop, seen.low, seen.high) == (1.0, -math.inf, math.inf)


@pytest.mark.parametrize(
    ("lost", "gained", "rows", "max_drop"),
    [(1, 0, 500, 0.005), (3, 1, 400, 0.015), (12, 4, 300, 0.01), (2, 2, 300, 0.005)],
)
def test_as_many_rows_as_are_said_to_be_needed_decide(
    lost: int, gained: int, rows: int, max_drop: float
) -> None:
    seen = paired(lost, gained, rows)
    assert seen.low <= max_drop < seen.high  # undecided
    needed = rows_needed(seen, max_drop)
    assert needed is not None
    assert _decided(seen, needed, max_drop) > 0.72
    assert _decided(seen, needed // 4, max_drop) < 0.55
    assert _decided(seen, 2 * needed, max_drop) > 0.9


def _decided(seen: Interval, rows: int, max_drop: float) -> float:
    """Return how often rows with the same rates decide as the drop says."""
    rates = [(seen.lost or 0) / seen.units, (seen.gained or 0) / seen.units]
    rng = np.random.default_rng(RNG_SEED)
    drawn = rng.multinomial(rows, [*rates, 1 - sum(rates)], size=300)
    found = [paired(int(b), int(c), rows) for b, c, _ in drawn]
    within = seen.drop < max_drop
    return float(
        np.mean([one.high <= max_drop if within else one.low > max_drop for one in found])
    )


def test_rows_for_a_bootstrapped_metric_grow_with_the_square_of_its_width() -> None:
    seen = Interval(drop=0.002, low=-0.006, high=0.010, units=100, method="")
    needed = rows_needed(seen, 0.005)
    # (width 0.008 / room 0.003) squared, and 2.04 times that for a chance of 80 %
    assert needed == pytest.approx(100 * (8 / 3) ** 2 * 2.043, rel=0.01)
    assert (
        rows_needed(Interval(drop=0.0, low=-1.0, high=1.0, units=9, method=""), 0.5) == 74
    )


def test_no_number_of_rows_tells_a_drop_that_is_the_limit() -> None:
    assert rows_needed(paired(5, 0, 1_000), 0.005) is None
    assert rows_needed(paired(0, 0, 100), 0.0) is None
