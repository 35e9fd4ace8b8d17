"""How sure a drop is: its 95 % interval, and how many rows would decide. Pure.

Two methods. Rows that are right or wrong: the score interval for a difference of paired
proportions, which belongs to McNemar's test (Tango, Statistics in Medicine 17, 1998,
891-908); it is honest where no row changed at all. Everything else: a paired bootstrap of
the rows (Efron and Tibshirani 1993, chapter 13), seeded, within each class where the
metric needs all of them.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from edgekit.table import Array

RESAMPLES = 2_000
SEED = 0
LEVEL = 0.95
FEWEST = 30  # rows (of each class): a bootstrap of fewer says nothing
MOST_ROWS = 10_000_000
_POWER = 0.8  # of the rows that `rows_needed` asks for
_CELLS = 4_000_000  # of one block of resamples, to bound memory
_STEPS = 60  # of a bisection: far below one row in MOST_ROWS


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A drop and where it lies with 95 % confidence; what is negative is a gain.

    `units` rows (or groups of rows) were compared; `lost` and `gained` count those that
    were right before or after only, where the metric counts such.
    """

    drop: float
    low: float
    high: float
    units: int
    method: str
    lost: int | None = None
    gained: int | None = None

    def __str__(self) -> str:
        """Return the numbers in the metric's unit."""
        drop, low, high = (f"{x:z.4f}" for x in (self.drop, self.low, self.high))
        return f"{drop}, 95 % interval {low} to {high}"


def paired(lost: int, gained: int, rows: int, *, level: float = LEVEL) -> Interval:
    """Return the drop of a share of right rows, `lost` and `gained` among `rows`."""
    z = _z(level)
    return Interval(
        drop=(lost - gained) / rows,
        low=_limit(lost, gained, rows, -z),
        high=_limit(lost, gained, rows, z),
        units=rows,
        method="McNemar's score interval (Tango)",
        lost=lost,
        gained=gained,
    )


def bootstrap(
    drop_of: Callable[[Array], Array],
    *,
    counts: Array,
    strata: Array | None = None,
    resamples: int = RESAMPLES,
) -> Interval:
    """Return the drop and its interval from resamples of the same rows before and after.

    Without `resamples` the interval is all numbers.
    `drop_of` takes weights [resamples, units] and returns [resamples] drops. `counts`
    ([units], whole numbers) says how many rows each unit stands for, `strata` ([units])
    which units are exchanged only for each other.
    """
    low, high = -math.inf, math.inf
    if resamples:
        drawn = [drop_of(weights) for weights in _weights(counts, strata, resamples)]
        tail = (1 - LEVEL) / 2
        low, high = np.nanquantile(np.concatenate(drawn), [tail, 1 - tail])
    stratified = "" if strata is None else "stratified "
    return Interval(
        drop=float(drop_of(counts[None, :].astype(float))[0]),
        low=float(low),
        high=float(high),
        units=int(counts.sum()),
        method=f"{stratified}paired bootstrap, {resamples:,} resamples, seed {SEED}",
    )


def rows_needed(interval: Interval, max_drop: float) -> int | None:
    """Return about how many rows would tell, with a chance of 80 %, if they go as these.

    Tell means: show that the drop is at most `max_drop`, or that it is more, whichever
    these rows suggest. None where the drop is so near that MOST_ROWS would not do.
    """
    if interval.drop == max_drop:
        return None
    if interval.lost is not None and interval.gained is not None:
        return _enough_pairs(interval, max_drop)
    within = interval.drop < max_drop
    width = (interval.high - interval.drop) if within else (interval.drop - interval.low)
    luck = 1 + NormalDist().inv_cdf(_POWER) / _z(LEVEL)
    rows = interval.units * (luck * width / (max_drop - interval.drop)) ** 2
    return max(math.ceil(rows), interval.units + 1) if rows <= MOST_ROWS else None


def _enough_pairs(seen: Interval, max_drop: float) -> int | None:
    if max_drop == 0 and seen.drop <= 0:
        return None  # nothing shows that not a single row will ever be lost
    fewest, most = 1, seen.units
    while not _tells(seen, max_drop, most):
        fewest, most = most, 2 * most
        if most > MOST_ROWS:
            return None
    while most - fewest > 1:
        middle = (fewest + most) // 2
        if _tells(seen, max_drop, middle):
            most = middle
        else:
            fewest = middle
    return most


def _tells(seen: Interval, max_drop: float, rows: int) -> bool:
    """Whether `rows` rows with the same rates, and a little bad luck, would decide."""
    lost, gained = seen.lost or 0, seen.gained or 0
    scale = rows / seen.units
    luck = NormalDist().inv_cdf(_POWER) * math.sqrt((lost + gained) * scale)
    if seen.drop < max_drop:
        return _limit(lost * scale + luck, gained * scale, rows, _z(LEVEL)) <= max_drop
    return _limit(lost * scale, gained * scale + luck, rows, -_z(LEVEL)) > max_drop


def _limit(lost: float, gained: float, rows: float, z: float) -> float:
    """Return the drop at which Tango's score statistic is -z: the limit on z's side."""
    estimate = (lost - gained) / rows
    inner, outer = estimate, math.copysign(1.0, z)
    for _ in range(_STEPS):
        middle = (inner + outer) / 2
        if abs(_score(lost, gained, rows, middle)) < abs(z):
            inner = middle
        else:
            outer = middle
    return inner


def _score(lost: float, gained: float, rows: float, drop: float) -> float:
    """Return how many standard errors the rows lie from a true drop (Tango 1998, eq. 3)."""
    a = 2 * rows
    b = (2 * rows - lost + gained) * drop - lost - gained
    c = -gained * drop * (1 - drop)
    rare = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = rows * (2 * rare + drop * (1 - drop))
    apart = lost - gained - rows * drop
    if variance <= 0:
        return math.copysign(math.inf, apart) if apart else 0.0
    return apart / math.sqrt(variance)


def _z(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)


def _weights(counts: Array, strata: Array | None, resamples: int) -> Iterator[Array]:
    """Return resamples in blocks, [some, units] each."""
    random = np.random.default_rng(SEED)
    layers = np.zeros(len(counts), np.int64) if strata is None else strata
    groups = [np.flatnonzero(layers == layer) for layer in np.unique(layers)]
    block = max(1, min(resamples, _CELLS // max(len(counts), 1)))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        weights = np.zeros((size, len(counts)))
        for group in groups:
            weights[:, group] = _drawn(random, counts[group], size)
        yield weights


def _drawn(random: np.random.Generator, counts: Array, size: int) -> Array:
    total = int(counts.sum())
    if len(counts) < total:
        return random.multinomial(total, counts / total, size=size).astype(float)
    picked = random.integers(0, total, size=(size, total))
    picked += np.arange(size)[:, None] * total
    return np.bincount(picked.ravel(), minlength=size * total).reshape(size, total) * 1.0
