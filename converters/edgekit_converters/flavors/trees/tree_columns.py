"""A forest as columns of numbers, ready to be an operator's attributes. Knows no ONNX.

Equal leaves are stored once; equal subtrees are written out, for onnxruntime refuses a
split that two others lead to. The order of splits changes no answer, only how well the
columns compress.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from edgekit.errors import ConversionError
from edgekit.table import Array
from edgekit_converters.passes.forest import Forest

MODES = (
    b"BRANCH_LEQ",
    b"BRANCH_LT",
    b"BRANCH_GTE",
    b"BRANCH_GT",
    b"BRANCH_EQ",
    b"BRANCH_NEQ",
)
_OPPOSITE = np.array([3, 2, 1, 0, 5, 4], dtype=np.uint8)  # of each mode, as its number
_EQ = 4  # it and what follows ask for equality
MANY_SPLITS = 32_768  # from here on one comparison saves less than a tenth of the time


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """One entry a split. `true` and `false` are splits' numbers, or leaves' as -1 - number.

    `missing` says which way a missing value goes where the comparison alone does not send
    it there: NaN is unequal to everything, and neither above nor below anything.
    """

    feature: Array  # int64
    threshold: Array  # float32
    mode: Array  # uint8, numbers in MODES
    missing: Array  # bool
    true: Array  # int64
    false: Array  # int64
    roots: Array  # int64, one a tree
    targets: Array  # int64, one a leaf
    weights: Array  # float32, one a leaf

    def ordered(self, order: Array) -> "Columns":
        """Return the same trees, their splits stored in another order."""
        moved = np.empty(len(order), dtype=np.int64)
        moved[order] = np.arange(len(order))
        return replace(
            self,
            feature=self.feature[order],
            threshold=self.threshold[order],
            mode=self.mode[order],
            missing=self.missing[order],
            true=_renumbered(self.true[order], moved),
            false=_renumbered(self.false[order], moved),
            roots=moved[self.roots],
        )

    def leaves_as_met(self) -> "Columns":
        """Return the same trees, leaves numbered as true, then false sides meet them.

        Numbers of leaves that one split each leads to then rise like those of splits, so
        that a compressor finds the same bytes twice.
        """
        met = np.concatenate([self.true, self.false])
        found, first = np.unique(-1 - met[met < 0], return_index=True)
        moved = np.empty(len(self.weights), dtype=np.int64)
        order = found[np.argsort(first, kind="stable")]
        moved[order] = np.arange(len(order))
        return replace(
            self,
            true=_releafed(self.true, moved),
            false=_releafed(self.false, moved),
            targets=self.targets[order],
            weights=self.weights[order],
        )


def columns(forest: Forest, *, smallest: bool = False) -> Columns:
    """Return a forest's columns, depth first; leaves that most splits lead to first.

    With `smallest`, missing values take no flags, even where those would save time.
    ConversionError when a leaf does not vote exactly once, or a split's test is unknown.
    """
    leaves = _leaves(forest)
    votes = [_only_vote(forest, leaf) for leaf in leaves]
    number = {leaf: -1 - place for place, leaf in enumerate(leaves)}
    tests, roots = _written_out(forest, number)
    feature, threshold, mode, missing, true, false = zip(*tests, strict=True)
    listed = Columns(
        feature=np.array(feature, dtype=np.int64),
        threshold=np.array(threshold, dtype=np.float32),
        mode=np.array(mode, dtype=np.uint8),
        missing=np.array(missing, dtype=bool),
        true=np.array(true, dtype=np.int64),
        false=np.array(false, dtype=np.int64),
        roots=np.array(roots, dtype=np.int64),
        targets=np.array([target for target, _ in votes], dtype=np.int64),
        weights=np.array([weight for _, weight in votes], dtype=np.float32),
    )
    return _missing_by_mode(_without_lone_leaves(listed), smallest=smallest)


def _written_out(
    forest: Forest, number: Mapping[int, int]
) -> tuple[list[tuple[int, float, int, int, int, int]], list[int]]:
    """Return the splits, parents first, each led to once, and where the trees begin."""
    modes = {mode: place for place, mode in enumerate(MODES)}
    unknown = {split.mode for split in forest.splits} - set(MODES)
    if unknown:
        raise ConversionError(f"splits of mode {min(unknown).decode(errors='replace')}")
    tests: list[tuple[int, float, int, int, int, int]] = []
    false_of: dict[int, int] = {}
    roots: list[int] = []
    for root in forest.roots:
        roots.append(len(tests))
        if root < 0:  # a lone leaf is a split with it on both sides
            tests.append((0, 0.0, 0, 0, number[root], number[root]))
            continue
        waiting: list[tuple[int, int]] = [(root, -1)]
        while waiting:
            place, parent = waiting.pop()
            feature, threshold, mode, missing, true, false = forest.splits[place]
            here = len(tests)
            if parent >= 0:  # whose false side this is
                false_of[parent] = here
            if false >= 0:
                waiting.append((false, here))
            if true >= 0:
                waiting.append((true, -1))
            sides = here + 1 if true >= 0 else number[true], number.get(false, 0)
            tests.append((feature, threshold, modes[mode], missing, *sides))
    for place, false in false_of.items():
        tests[place] = (*tests[place][:5], false)
    return tests, roots


def _without_lone_leaves(listed: Columns) -> Columns:
    """Give a tree of one leaf two equal ones.

    onnxruntime 1.21 to 1.30 take a root whose sides are one leaf for a leaf of the root's
    own number (tried on 1.21.1 and 1.22.1; 1.31.1 does not).
    """
    lone = listed.roots[
        (listed.true[listed.roots] == listed.false[listed.roots])
        & (listed.true[listed.roots] < 0)
    ]
    if not len(lone):
        return listed
    old, again = np.unique(-1 - listed.true[lone], return_inverse=True)
    false = listed.false.copy()
    false[lone] = -1 - (len(listed.weights) + again)
    return replace(
        listed,
        false=false,
        targets=np.concatenate([listed.targets, listed.targets[old]]),
        weights=np.concatenate([listed.weights, listed.weights[old]]),
    )


def _missing_by_mode(listed: Columns, *, smallest: bool) -> Columns:
    """Turn tests around so that NaN takes its way without being asked about.

    x <= t, or missing, goes left: x > t goes right. No such turn for equality, and none
    where only some would be turned: a flag for each split takes a byte in the file, but
    onnxruntime walks a forest of one comparison in up to a quarter less time. Large
    forests wait for memory, whatever they compare.
    """
    turnable = listed.mode < _EQ
    together = listed.missing[turnable].all() or not listed.missing.any()
    if not (together or smallest or len(listed.mode) >= MANY_SPLITS):
        return listed
    turned = listed.missing & turnable
    return replace(
        listed,
        mode=np.where(turned, _OPPOSITE[listed.mode], listed.mode),
        missing=listed.missing & ~turned,
        true=np.where(turned, listed.false, listed.true),
        false=np.where(turned, listed.true, listed.false),
    )


def by_level(listed: Columns) -> Array:
    """Return the order by level, true children before false.

    The numbers of true children then rise by one within a level, and those of false ones:
    what a bundle stores of them is next to nothing.
    """
    order: list[Array] = []
    level = listed.roots
    while len(level):
        order.append(level)
        below = np.concatenate([listed.true[level], listed.false[level]])
        level = below[below >= 0]
    return np.concatenate(order)


def _renumbered(sides: Array, moved: Array) -> Array:
    return np.where(sides < 0, sides, moved[np.maximum(sides, 0)])


def _releafed(sides: Array, moved: Array) -> Array:
    return np.where(sides < 0, -1 - moved[np.maximum(-1 - sides, 0)], sides)


def _leaves(forest: Forest) -> list[int]:
    ways = [place for split in forest.splits for place in (split.true, split.false)]
    counts = Counter(place for place in (*ways, *forest.roots) if place < 0)
    return sorted(counts, key=lambda place: (-counts[place], -place))


def _only_vote(forest: Forest, place: int) -> tuple[int, float]:
    votes = forest.leaves[-1 - place]
    if len(votes) != 1:
        raise ConversionError(f"a leaf votes {len(votes)} times, once is expected")
    return votes[0]
