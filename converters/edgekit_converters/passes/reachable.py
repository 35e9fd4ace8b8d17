"""Drop the splits of a forest whose outcome an earlier split has decided.

Promises that every float32 row, missing values and infinities included, ends in the same
leaf. Knows no ONNX operator.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from edgekit_converters.passes.forest import Forest, Split

_INFINITE = 0x7F800000  # the bits of float32 infinity, which is its rank


class _Reach(NamedTuple):
    """What a feature can still be: from least to most, as ranks, or missing."""

    least: int
    most: int
    missing: bool

    def within(self, least: int, most: int, *, missing: bool) -> "_Reach":
        return _Reach(
            max(self.least, least), min(self.most, most), missing and self.missing
        )

    @property
    def empty(self) -> bool:
        return self.least > self.most and not self.missing


_ANYTHING = _Reach(-_INFINITE, _INFINITE, missing=True)
_Reaches = Mapping[int, _Reach]  # of the features that were tested on the way


def drop_decided(forest: Forest) -> Forest:
    """Return the forest without decided splits; the same one when it has none."""
    ranks = _ranks(forest)
    trees = [_decided(forest, root, ranks) for root in forest.roots]
    return forest.rebuilt(tree for tree, _ in trees) if any(d for _, d in trees) else forest


def _decided(forest: Forest, root: int, ranks: list[int]) -> tuple[list[int], bool]:
    """List a tree's places as `in_order` does, and say whether some split was left out."""
    listed: list[int] = []
    left_out = False
    waiting: list[tuple[int, _Reaches]] = [(root, {})]
    while waiting:
        place, known = waiting.pop()
        if place < 0:
            listed.append(place)
            continue
        split = forest.splits[place]
        reach = known.get(split.feature, _ANYTHING)
        true, false = _sides(split, ranks[place], reach)
        if true.empty or false.empty:
            left_out = True
            waiting.append((split.true if false.empty else split.false, known))
            continue
        listed.append(place)
        waiting.append((split.false, {**known, split.feature: false}))
        waiting.append((split.true, {**known, split.feature: true}))
    return listed, left_out


def _sides(split: Split, rank: int, reach: _Reach) -> tuple[_Reach, _Reach]:
    """Return what the feature can be on the true and on the false side."""
    mode = split.mode
    if mode in _MIRRORED:
        missing = 1 if mode == b"BRANCH_NEQ" else split.missing_is_true
        same = split._replace(mode=_MIRRORED[mode], missing_is_true=1 - missing)
        false, true = _sides(same, rank, reach)
        return true, false
    missing = bool(split.missing_is_true)
    if math.isnan(split.threshold) or mode not in _BELOW:
        return reach, reach
    if mode == b"BRANCH_EQ":
        true = reach.within(rank, rank, missing=missing)
        least = reach.least + (reach.least == rank)
        most = reach.most - (reach.most == rank)
        return true, reach.within(least, most, missing=not missing)
    last = rank - (mode == b"BRANCH_LT")
    return (
        reach.within(-_INFINITE, last, missing=missing),
        reach.within(last + 1, _INFINITE, missing=not missing),
    )


_BELOW = {b"BRANCH_LEQ", b"BRANCH_LT", b"BRANCH_EQ"}
_MIRRORED = {
    b"BRANCH_GT": b"BRANCH_LEQ",
    b"BRANCH_GTE": b"BRANCH_LT",
    b"BRANCH_NEQ": b"BRANCH_EQ",
}


def _ranks(forest: Forest) -> list[int]:
    """Number the thresholds as float32 orders them: neighbours differ by 1, zeros by 0."""
    values = np.array([split.threshold for split in forest.splits], dtype=np.float32)
    bits = values.view(np.int32).astype(np.int64)
    found: list[int] = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits).tolist()
    return found
