"""Divide the sample rows, once: some to search on, the others only to judge on. Pure.

A choice that was made on some rows looks better on them than it is, so the gate looks at
rows that no choice has seen. Knows no model and no metric. The same rows are always
divided alike, on every machine.
"""

import math
from dataclasses import dataclass

import numpy as np

from edgekit.table import Array

SEARCH_SHARE = 1 / 3
FEWEST = 200  # rows (or groups of rows): with fewer, halves of them say nothing
MOST_SEARCH = 4_096  # rows; more make a search slow, not better
MOST_GATE = 20_000  # rows; more cost minutes and narrow an interval by little


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """Which rows are for what: row numbers, ascending, int64.

    `shared` when both are all rows, as there are too few to divide. `sentence` says so.
    """

    search: Array
    gate: Array
    shared: bool
    sentence: str


def divide(
    rows: int, *, labels: Array | None = None, groups: Array | None = None
) -> Division:
    """Divide `rows` rows, each label's in the same proportion.

    `labels` ([rows]: true ones, or the original's answers; numbers are divided evenly
    over their range) and `groups` ([rows]: rows of one group stay together) are optional.
    """
    units, first = _units(rows, groups)
    most = int(units.max()) + 1 if rows else 0
    if most < FEWEST:
        what = "rows" if groups is None else "groups of rows"
        return together(rows, f"{most} {what}, fewer than {FEWEST}")
    order = _ordered(None if labels is None else np.asarray(labels).ravel()[first], most)
    chosen = _spread_out(order, min(most * SEARCH_SHARE, MOST_SEARCH))
    judged = _spread_out(order[~np.isin(order, chosen)], MOST_GATE)
    search = np.flatnonzero(np.isin(units, chosen))
    gate = np.flatnonzero(np.isin(units, judged))
    unused = rows - len(search) - len(gate)
    return Division(
        search=search,
        gate=gate,
        shared=False,
        sentence=f"{len(search):,} rows to search on, {len(gate):,} others to judge on"
        + (f", {unused:,} not needed" if unused else ""),
    )


def together(rows: int, why: str) -> Division:
    """Return all rows for both, as there are too few."""
    every = np.arange(rows, dtype=np.int64)
    return Division(
        search=every,
        gate=every,
        shared=True,
        sentence=f"{why}: the same ones served to search and to judge",
    )


def _units(rows: int, groups: Array | None) -> tuple[Array, Array]:
    """Return the number of each row's unit, and the first row of each unit."""
    if groups is None:
        return np.arange(rows), np.arange(rows)
    texts = np.asarray([str(group) for group in np.asarray(groups).ravel()])
    _, first, numbers = np.unique(texts, return_index=True, return_inverse=True)
    return numbers, first


def _ordered(labels: Array | None, units: int) -> Array:
    """Return the units' numbers by label, and within a label in a mixed order.

    Rows often come sorted by time or by class; taking every third of them as they come
    would follow any rhythm in them.
    """
    mixed = _mixed(np.arange(units, dtype=np.uint64))
    if labels is None:
        return np.argsort(mixed, kind="stable")
    numbers = labels.dtype.kind in "biuf"
    keys = labels if numbers else np.asarray([str(label) for label in labels])
    _, ranks = np.unique(keys, return_inverse=True)
    return np.lexsort((mixed, ranks))


def _mixed(numbers: Array) -> Array:
    """Return splitmix64 of each number (Steele, Lea and Flood 2014).

    A library's random numbers may change with its version; these do not.
    """
    with np.errstate(over="ignore"):
        z = numbers + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed: Array = z ^ (z >> np.uint64(31))
        return mixed


def _spread_out(order: Array, wanted: float) -> Array:
    """Return about `wanted` of them at even steps, or all where there are no more."""
    number = min(math.floor(wanted), len(order))
    steps = np.floor((np.arange(number) + 0.5) * len(order) / max(number, 1))
    return order[steps.astype(np.int64)]
