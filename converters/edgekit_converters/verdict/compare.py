"""Say how far a flavor's answers lie from the original's, and how sure that is. Pure.

One number, the *drop*, is how much worse the metric is, in its own unit; negative where a
flavor is better. Knows no limit. `resamples` of 0 leaves the interval out, where a
bootstrap would make it: enough for a search.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.conversion import UNITS
from edgekit.table import Array
from edgekit_converters.verdict import metrics
from edgekit_converters.verdict.metrics import Metric, Ranking
from edgekit_converters.verdict.statistics import (
    LEVEL,
    RESAMPLES,
    Interval,
    bootstrap,
    paired,
)

CLOSE = 0.01  # numbers agree within this share of the original answers' spread
BROKEN_DROP = 1.0  # of a flavor that answers what is no number


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassLoss:
    """What one class loses: of its `rows` rows, those right before or after only."""

    label: str
    rows: int
    lost: int
    gained: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What the rows show.

    `original` and `flavor` are the metric's values, `interval` is of the drop; `scale` is
    what they are shares of, 1 where they are none. `agreement` is the share of rows with
    the original's answer (numbers: within CLOSE), `few` the rows of the smallest class
    that counts. `classes` is there where true labels are, `detail` is one clause more.
    """

    metric: Metric
    rows: int
    original: float
    flavor: float
    interval: Interval
    agreement: float
    few: int
    scale: float = 1.0
    classes: tuple[ClassLoss, ...] = ()
    detail: str = ""

    @property
    def drop(self) -> float:
        """How much worse, in the metric's unit."""
        return self.interval.drop

    @property
    def sentence(self) -> str:
        """The numbers in words."""
        unit = f" {UNITS[self.metric]}" if self.metric in UNITS else ""
        values = f"{self.metric} {self.original:.4f}, then {self.flavor:.4f}{unit}"
        if self.metric in {Metric.FLIPS, Metric.RELATIVE_ERROR}:
            values = f"{self.metric} {self.flavor:.4f}{unit}"
        return ": ".join(part for part in (values, self.detail) if part)


def compare_labels(
    metric: Metric,
    before: Array,
    after: Array,
    truth: Array | None,
    *,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare labels as texts, [rows]; without `truth` only as flips."""
    changed = int(np.sum(before != after))
    rows = len(before)
    changes = f"{changed} of {rows} labels change" if changed else f"all {rows} labels stay"
    if metric is Metric.FLIPS or truth is None:
        return Comparison(
            metric=Metric.FLIPS,
            rows=rows,
            original=0.0,
            flavor=changed / rows,
            interval=paired(changed, 0, rows),
            agreement=1 - changed / rows,
            few=rows,
            classes=() if truth is None else class_losses(before, after, truth),
            detail=changes,
        )
    lost = int(np.sum((before == truth) & (after != truth)))
    classes = class_losses(before, after, truth)
    interval, values = _of_labels(metric, before, after, truth, resamples)
    return Comparison(
        metric=metric,
        rows=rows,
        original=values[0],
        flavor=values[1],
        interval=interval,
        agreement=1 - changed / rows,
        few=rows,
        classes=classes,
        detail=_told(metric, changes, lost, worst=classes[0].label),
    )


def _told(metric: Metric, changes: str, lost: int, *, worst: str) -> str:
    said = f"{changes}, {lost} of them from right to wrong" if lost else changes
    return (
        f"of class {worst}, which loses most; {said}" if metric is Metric.RECALL else said
    )


def compare_scores(  # noqa: PLR0913 - one for each thing that is compared
    metric: Metric,
    before: Array,
    after: Array,
    positive: Array,
    *,
    rows: int,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare [units, scores] for [units, scores] of true or not, from `rows` rows."""
    if not np.isfinite(after).all():
        return broken(metric, after, rows)
    counted = [n for n in range(before.shape[1]) if 0 < positive[:, n].sum() < len(before)]
    rankings = [
        [Ranking.of(values[:, n], positive[:, n]) for n in counted]
        for values in (before, after)
    ]
    measure = metrics.auc if metric is Metric.AUC else metrics.average_precision

    def value(ranked: Sequence[Ranking], weights: Array) -> Array:
        return np.asarray(np.mean([measure(one, weights) for one in ranked], axis=0))

    classes = positive[:, counted].argmax(axis=1) if len(counted) > 1 else positive[:, 0]
    ones = np.ones(len(before), np.int64)
    interval = bootstrap(
        lambda weights: value(rankings[0], weights) - value(rankings[1], weights),
        counts=ones,
        strata=classes,
        resamples=resamples,
    )
    close = np.abs(after - before) <= CLOSE * spread(before)
    return Comparison(
        metric=metric,
        rows=rows,
        original=float(value(rankings[0], ones)),
        flavor=float(value(rankings[1], ones)),
        interval=interval,
        agreement=float(np.mean(close.all(axis=1))),
        few=int(np.unique(classes, return_counts=True)[1].min()),
        detail=""
        if rows == len(before)
        else f"{len(before):,} groups of rows, {rows:,} in all",
    )


def compare_numbers(
    metric: Metric,
    before: Array,
    after: Array,
    truth: Array | None,
    *,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare numbers, [rows, columns]; `truth` ([rows]) for Metric.RMSE."""
    rows = len(before)
    known = np.isfinite(before)
    if (known & ~np.isfinite(after)).any():
        return broken(metric, np.where(known, after, 0.0), rows)
    apart = np.where(known, after - before, 0.0)
    wide = spread(before)
    close = (np.abs(apart) <= CLOSE * wide).all(axis=1)
    relative = float(np.median(np.abs(apart) / np.maximum(np.abs(before), 1e-9 * wide)))
    unit = 1.0
    if metric is Metric.RMSE and truth is not None:
        wanted = truth.reshape(-1, 1)
        unit = float(spread(wanted)[0])
        squares = [((got - wanted)[:, 0] / unit) ** 2 for got in (before, after)]
    else:
        squares = [np.zeros(rows), np.mean((apart / wide) ** 2, axis=1)]
    ones = np.ones(rows, np.int64)
    values = [float(metrics.root_mean_square(each, ones)) for each in squares]
    interval = bootstrap(
        lambda weights: (
            metrics.root_mean_square(squares[1], weights)
            - metrics.root_mean_square(squares[0], weights)
        ),
        counts=ones,
        resamples=resamples,
    )
    return Comparison(
        metric=metric,
        rows=rows,
        original=values[0],
        flavor=values[1],
        interval=interval,
        agreement=float(np.mean(close)),
        few=rows,
        scale=unit,
        detail="; ".join(
            [
                *_in_own_unit(metric, values, unit),
                f"median relative error {relative:.1e}",
            ]
        ),
    )


def _in_own_unit(metric: Metric, shares: Sequence[float], unit: float) -> Iterator[str]:
    """Say an error that is shown as a share in the unit of what is predicted too."""
    if metric is Metric.RMSE:
        before, after = (f"{share * unit:.6g}" for share in shares)
        yield f"{before}, then {after} in the target's own unit"


def broken(metric: Metric, after: Array, rows: int) -> Comparison:
    """Return what is said of a flavor that answers what is not a finite number."""
    number = int((~np.isfinite(after)).any(axis=1).sum())
    drop = Interval(
        drop=BROKEN_DROP,
        low=BROKEN_DROP,
        high=BROKEN_DROP,
        units=rows,
        method="none",
    )
    return Comparison(
        metric=metric,
        rows=rows,
        original=0.0,
        flavor=0.0,
        interval=drop,
        agreement=1 - number / len(after),
        few=rows,
        detail=f"{number} of {len(after)} answers are no longer finite numbers",
    )


def class_losses(before: Array, after: Array, truth: Array) -> tuple[ClassLoss, ...]:
    """Return what each true class loses and gains, the greatest loss first."""
    losses = [
        ClassLoss(
            label=str(label),
            rows=int(of.sum()),
            lost=int((of & (before == truth) & (after != truth)).sum()),
            gained=int((of & (before != truth) & (after == truth)).sum()),
        )
        for label in np.unique(truth)
        for of in [truth == label]
    ]
    return tuple(sorted(losses, key=lambda one: (one.gained - one.lost) / one.rows))


def spread(values: Array) -> Array:
    """Return each column's standard deviation; a constant column takes its magnitude."""
    finite = np.where(np.isfinite(values), values, np.nan)
    known = np.isfinite(values).any(axis=0)
    finite[:, ~known] = 0.0
    middle, wide = np.nanmean(finite, axis=0), np.nanstd(finite, axis=0)
    overall = float(np.sqrt(np.mean(wide**2)))
    floor = np.maximum(1e-6 * overall, 1e-6 * np.abs(middle))
    widest: Array = np.where(wide > floor, wide, np.maximum(floor, 1e-12))
    return widest


def _of_labels(
    metric: Metric, before: Array, after: Array, truth: Array, resamples: int
) -> tuple[Interval, list[float]]:
    """Return the interval of the drop, and the metric before and after."""
    right = [got == truth for got in (before, after)]
    lost, gained = (int(np.sum(right[n] & ~right[1 - n])) for n in (0, 1))
    if metric is Metric.ACCURACY:
        return paired(lost, gained, len(truth)), [float(each.mean()) for each in right]
    if metric is Metric.RECALL:
        losses = class_losses(before, after, truth)
        of = truth == losses[0].label
        return _worst(losses), [float(each[of].mean()) for each in right]
    return _macro_f1(before, after, truth, resamples)


def _worst(losses: Sequence[ClassLoss]) -> Interval:
    """Return the loss of the first class, wide enough for having been picked."""
    worst = losses[0]
    level = 1 - (1 - LEVEL) / len(losses)
    return paired(worst.lost, worst.gained, worst.rows, level=level)


def _macro_f1(
    before: Array, after: Array, truth: Array, resamples: int
) -> tuple[Interval, list[float]]:
    """Resample the cells of equal (true, before, after), of which there are few."""
    names, numbers = np.unique(np.stack([truth, before, after]), return_inverse=True)
    cells, counts = np.unique(numbers.reshape(3, -1).T, axis=0, return_counts=True)
    true, *said = cells.T

    def value(which: int, weights: Array) -> Array:
        return metrics.macro_f1(true, said[which], weights, len(names))

    interval = bootstrap(
        lambda weights: value(0, weights) - value(1, weights),
        counts=counts,
        strata=true,
        resamples=resamples,
    )
    # Where no label changed, resampling the rows cannot show what unseen rows might do.
    unseen = paired(0, 0, len(truth)).high
    drop = interval.drop
    wider = Interval(
        drop=drop,
        low=min(interval.low, drop - unseen),
        high=max(interval.high, drop + unseen),
        units=interval.units,
        method=interval.method,
    )
    return wider, [float(value(n, counts)) for n in (0, 1)]
