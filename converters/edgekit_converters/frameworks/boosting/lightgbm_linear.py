"""LightGBM's leaves that hold linear models: a constant and a slope for some features.

A tree then votes for several numbers, which are multiplied by the row's own behind the
trees. A row that lacks one of a leaf's features gets the leaf's plain value instead: that
is asked by splits that only a missing number fails.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgekit_converters.frameworks.boosting.boosted import Tree

_Entry = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Leaf:
    """What a leaf answers: constant + slopes @ features, or `plain` if one is missing."""

    constant: float
    slopes: Mapping[int, float]
    plain: float


def is_linear(entry: _Entry) -> bool:
    """Whether a tree's leaves are linear models."""
    return entry.get("is_linear", "0") == "1"


def slopes(entries: Sequence[_Entry]) -> tuple[int, ...]:
    """Return the features that some leaf of the trees multiplies, in ascending order."""
    used = (entry["leaf_features"].split() for entry in entries if is_linear(entry))
    return tuple(sorted({int(feature) for each in used for feature in each}))


def with_slopes(tree: Tree, entry: _Entry, features: Sequence[int], share: float) -> Tree:
    """Return the tree, voting for a constant and a slope for each of `features`.

    Its leaves come last, and are replaced where they hold linear models.
    """
    grown = _Growing(tree, features)
    first = len(tree.left) - int(entry["num_leaves"])
    for node, leaf in enumerate(_leaves(entry, share) if is_linear(entry) else (), first):
        at = node
        for feature in sorted(leaf.slopes):
            at = grown.ask(at, feature, otherwise=leaf.plain)
        grown.vote(at, leaf.constant, leaf.slopes)
    return grown.done()


class _Growing:
    """A tree whose leaves are being replaced, column by column."""

    def __init__(self, tree: Tree, features: Sequence[int]) -> None:
        self._tree = tree
        self._place = {feature: 1 + number for number, feature in enumerate(features)}
        self._column: list[int] = tree.column.tolist()
        self._threshold: list[float] = tree.threshold.tolist()
        self._left: list[int] = tree.left.tolist()
        self._right: list[int] = tree.right.tolist()
        self._votes = [[vote] + [0.0] * len(features) for vote in tree.votes[:, 0].tolist()]

    def ask(self, at: int, feature: int, *, otherwise: float) -> int:
        """Make a leaf a split; return the leaf of rows that have the feature."""
        self._column[at], self._threshold[at] = feature, np.inf
        self.vote(at, 0.0, {})
        self._left[at], self._right[at] = self._leaf(), self._leaf()
        self.vote(self._right[at], otherwise, {})
        return self._left[at]

    def vote(self, at: int, constant: float, slopes: Mapping[int, float]) -> None:
        votes = [constant] + [0.0] * len(self._place)
        for feature, slope in slopes.items():
            votes[self._place[feature]] = slope
        self._votes[at] = votes

    def done(self) -> Tree:
        more = len(self._left) - len(self._tree.left)
        return replace(
            self._tree,
            column=np.array(self._column, dtype=np.int64),
            threshold=np.array(self._threshold, dtype=np.float32),
            left=np.array(self._left, dtype=np.int64),
            right=np.array(self._right, dtype=np.int64),
            missing_left=np.pad(self._tree.missing_left, (0, more)),
            votes=np.array(self._votes, dtype=np.float32),
        )

    def _leaf(self) -> int:
        self._column.append(0)
        self._threshold.append(0.0)
        self._left.append(-1)
        self._right.append(-1)
        self._votes.append([])
        return len(self._left) - 1


def _leaves(entry: _Entry, share: float) -> Iterator[_Leaf]:
    counts = [int(count) for count in entry["num_features"].split()]
    features = iter(int(feature) for feature in entry["leaf_features"].split())
    factors = iter(float(factor) for factor in entry["leaf_coeff"].split())
    constants = [float(value) for value in entry["leaf_const"].split()]
    plain = [float(value) for value in entry["leaf_value"].split()]
    for count, constant, value in zip(counts, constants, plain, strict=True):
        yield _Leaf(
            constant=constant * share,
            slopes={next(features): next(factors) * share for _ in range(count)},
            plain=value * share,
        )
