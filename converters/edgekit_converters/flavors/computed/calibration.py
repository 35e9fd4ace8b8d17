"""Choose the range that 8 bits stand for, from how values are spread. Pure.

A wide range clips nothing and has coarse steps, a narrow one the reverse; which is better
depends on the model, so each method is tried.
"""

from enum import StrEnum

import numpy as np

from edgekit.table import Array
from edgekit_converters.flavors.computed.ranges import BINS, Spread

_CLIPPED_SHARES = {"percentile 99.99": 1e-4, "percentile 99.9": 1e-3}
_LEVELS = 255
_STRIDE = 16  # bins between two ranges that entropy tries
_NOTHING = 1e-9  # instead of a probability of zero


class Method(StrEnum):
    """How a range is chosen."""

    MIN_MAX = "min-max"  # everything that was observed
    ENTROPY = "entropy"  # loses least information (Kullback-Leibler divergence)
    PERCENTILE_9999 = "percentile 99.99"  # clips one value in 10,000
    PERCENTILE_999 = "percentile 99.9"


def range_of(spread: Spread, method: Method) -> tuple[float, float]:
    """Return (least, most) to represent; zero lies within."""
    if not spread.counts.any() or method is Method.MIN_MAX:
        return spread.least, spread.most
    if method is Method.ENTROPY:
        return _entropy(spread)
    return _percentile(spread, _CLIPPED_SHARES[method])


def _percentile(spread: Spread, clipped: float) -> tuple[float, float]:
    edges = np.linspace(spread.least, spread.most, BINS + 1)
    below = np.cumsum(spread.counts) / spread.counts.sum()
    tail = clipped / 2 if spread.least < 0 else clipped
    low = int(np.searchsorted(below, tail, side="right")) if spread.least < 0 else 0
    high = int(np.searchsorted(below, 1 - tail)) + 1
    return min(float(edges[low]), 0.0), max(float(edges[min(high, BINS)]), 0.0)


def _entropy(spread: Spread) -> tuple[float, float]:
    """Clip both sides at the magnitude whose 8-bit histogram tells most of the true one."""
    widest = max(-spread.least, spread.most)
    counts = _magnitudes(spread, widest)
    levels = _LEVELS if spread.least >= 0 else _LEVELS // 2
    tried = [*range(levels, BINS, _STRIDE), BINS]
    losses = [_divergence(counts, size, levels) for size in tried]
    limit = widest * tried[int(np.argmin(losses))] / BINS
    return max(spread.least, -limit), min(spread.most, limit)


def _magnitudes(spread: Spread, widest: float) -> Array:
    """Return the counts of |value| in BINS steps from 0 to the widest."""
    step = (spread.most - spread.least) / BINS
    middles = np.abs(spread.least + step * (np.arange(BINS) + 0.5))
    numbers = np.minimum((middles / widest * BINS).astype(int), BINS - 1)
    counts = np.bincount(numbers, weights=spread.counts, minlength=BINS)
    counts[0] = counts[1]  # zeros, many after a Relu, are told exactly in any case
    return counts


def _divergence(counts: Array, size: int, levels: int) -> float:
    """Return how much is lost when the first `size` bins are told by `levels` steps."""
    kept = counts[:size]
    clipped = kept.copy()
    clipped[-1] += counts[size:].sum()
    starts = (np.arange(levels) * size) // levels
    present = (kept > 0).astype(float)
    sums, filled = np.add.reduceat(kept, starts), np.add.reduceat(present, starts)
    lengths = np.diff([*starts, size])
    told = np.repeat(sums / np.maximum(filled, 1), lengths) * present
    if not told.any():
        return float("inf")
    true, said = clipped / clipped.sum(), told / told.sum()
    there = true > 0
    return float(np.sum(true[there] * np.log(true[there] / (said[there] + _NOTHING))))
