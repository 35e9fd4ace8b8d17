"""Say whether what a device saw differs from the reference, and by how much. Pure.

The measure is the population stability index, PSI = sum (p - q) ln(p / q) over the bins
of a profile's column. It is never zero on finite samples: where nothing has changed, PSI
is distributed as (1/n + 1/m) times chi-square with bins - 1 degrees of freedom, so about
(bins - 1)(1/n + 1/m) is expected of n and m rows (Yurdakul and Naranjo, "Statistical
properties of the population stability index", Journal of Risk Model Validation 14 (4),
2020). A difference is therefore called one only where PSI exceeds the customary limits
.1 and .25 (Siddiqi, "Credit Risk Scorecards", 2006) and what chance makes, too.

Rows of one device are seldom independent: a day of a sensor is, in effect, a smaller
sample than its number of rows. The bound is the least that must be exceeded.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from edgekit.telemetry.profile import Column, Histogram, NumberColumn

SHIFT_PSI = 0.1
DRIFT_PSI = 0.25
_PSEUDO_COUNT = 0.5  # of each bin, after Jeffreys: an empty bin's logarithm stays finite
_NOISE_Z = 3.0902  # of the normal distribution, one-sided 1 in 1,000


class Level(StrEnum):
    """What can be said of a column."""

    STABLE = "stable"
    SHIFT = "shift"  # PSI of .1 and more, and more than chance
    DRIFT = "drift"  # PSI of .25 and more, and more than chance
    UNKNOWN = "unknown"  # too few rows to tell a shift from chance


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """PSI of one column over `rows` values, and what chance alone makes of it.

    `expected` is its mean without any drift, `noise` what it then exceeds once in 1,000.
    """

    column: str
    psi: float
    expected: float
    noise: float
    rows: int
    level: Level


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """How far median and 95th percentile moved, upwards positive.

    In bins (one bin is a sixteenth of the reference rows), and in interquartile ranges of
    the reference; None where that range is 0. Read from bins: beyond the outer edges a
    value is not known, so a shift in ranges is the least it can be.
    """

    median_bins: float
    p95_bins: float
    median_iqr: float | None
    p95_iqr: float | None


def compare(column: Column, seen: Histogram) -> Drift:
    """Return how a column's values differ from the reference's.

    ValueError where `seen` has not the column's bins (and the missing).
    """
    reference = column.histogram
    value, bins = psi(reference, seen), _used(reference, seen)
    reference_rows, rows = sum(reference), sum(seen)
    per_row = (1 / reference_rows + 1 / rows) if reference_rows and rows else math.inf
    expected, noise = 0.0, 0.0
    if bins > 1:
        expected = (bins - 1) * per_row
        noise = _chi_square(bins - 1) * per_row
    elif not rows or not reference_rows:
        expected = noise = math.inf
    return Drift(
        column=column.name,
        psi=value,
        expected=expected,
        noise=noise,
        rows=rows,
        level=_level(value, noise),
    )


def psi(reference: Sequence[int], seen: Sequence[int]) -> float:
    """Return the population stability index of two histograms with the same bins.

    Half a count is added to each bin that either of them uses; 0 where one is empty.
    """
    if len(reference) != len(seen):
        raise ValueError(f"{len(seen)} bins cannot be compared with {len(reference)}")
    used = [pair for pair in zip(reference, seen, strict=True) if any(pair)]
    total, seen_total = sum(reference), sum(seen)
    if not total or not seen_total:
        return 0.0
    more = _PSEUDO_COUNT * len(used)
    shares = (
        ((r + _PSEUDO_COUNT) / (total + more), (s + _PSEUDO_COUNT) / (seen_total + more))
        for r, s in used
    )
    return sum((p - q) * math.log(p / q) for p, q in shares)


def shift(column: NumberColumn, seen: Histogram) -> Shift | None:
    """Return how far a column's quantiles moved, None where either has no values."""
    counts = seen[:-1]
    if not sum(column.counts) or not sum(counts):
        return None
    moved = {
        share: _position(counts, share) - _position(column.counts, share)
        for share in (0.5, 0.95)
    }
    ranges: dict[float, float | None] = dict.fromkeys(moved)
    if column.edges:
        iqr = _value(column, column.counts, 0.75) - _value(column, column.counts, 0.25)
        if iqr > 0:
            ranges = {
                share: (
                    _value(column, counts, share) - _value(column, column.counts, share)
                )
                / iqr
                for share in moved
            }
    return Shift(
        median_bins=moved[0.5],
        p95_bins=moved[0.95],
        median_iqr=ranges[0.5],
        p95_iqr=ranges[0.95],
    )


def _level(value: float, noise: float) -> Level:
    if value > noise and value >= DRIFT_PSI:
        return Level.DRIFT
    if value > noise and value >= SHIFT_PSI:
        return Level.SHIFT
    return Level.UNKNOWN if noise > SHIFT_PSI else Level.STABLE


def _used(reference: Sequence[int], seen: Sequence[int]) -> int:
    return sum(1 for pair in zip(reference, seen, strict=True) if any(pair))


def _chi_square(freedom: int) -> float:
    """Return chi-square's 1 in 1,000 quantile (Wilson and Hilferty, 1931; 1 % off)."""
    part = 2 / (9 * freedom)
    return float(freedom * (1 - part + _NOISE_Z * math.sqrt(part)) ** 3)


def _position(counts: Sequence[int], share: float) -> float:
    """Return a quantile as a place among the bins: 2.5 is the middle of the third."""
    wanted, before = share * sum(counts), 0
    for number, count in enumerate(counts):
        if count and before + count >= wanted:
            return number + (wanted - before) / count
        before += count
    return float(len(counts))


def _value(column: NumberColumn, counts: Sequence[int], share: float) -> float:
    """Return a quantile as a value, linear within a bin; an end bin is its edge."""
    edges, position = column.edges, _position(counts, share)
    bin_number = min(int(position), len(edges))
    if bin_number == 0:
        return edges[0]
    if bin_number == len(edges):
        return edges[-1]
    low, high = edges[bin_number - 1], edges[bin_number]
    return low + (high - low) * (position - bin_number)
