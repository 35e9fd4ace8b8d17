"""Hand out the columns that splits read: of the rows, or derived from them.

A tree of ONNX compares numbers. A split on a set of categories becomes a column of its
own that is looked up before the trees, so no subtree has to be there twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgekit.table import Array
from edgekit_converters.frameworks.boosting.boosted import Derived, Members, Tree, Zeros

MEMBER_THRESHOLD = 0.5  # what a split compares a column of Members with
_LEFT, _RIGHT = 0, 1


@dataclass(frozen=True, slots=True)
class _Set:
    """A split on categories: members go to one side, all the others to the other."""

    feature: int
    members: frozenset[int]
    members_left: bool
    missing_left: bool


class Columns:
    """The columns of one model; equal wishes get the same column."""

    def __init__(self, features: int, *, truncated: bool) -> None:
        self._features = features
        self._truncated = truncated  # how a fraction becomes a category
        self._wishes: dict[_Set | Zeros, int] = {}

    def without_zeros(self, feature: int, reach: float) -> int:
        """Return the column of a feature whose zeros count as missing."""
        return self._wish(Zeros(feature=feature, reach=reach))

    def sides(
        self,
        feature: int,
        members: frozenset[int],
        *,
        members_left: bool,
        missing_left: bool,
    ) -> int:
        """Return the column that tells where a split on categories sends a row.

        Categories that are not members, negative numbers among them, go the other way.
        """
        return self._wish(_Set(feature, members, members_left, missing_left))

    def placed(self, trees: Sequence[Tree]) -> tuple[tuple[Tree, ...], tuple[Derived, ...]]:
        """Return the trees with their columns' final numbers, and what derives them."""
        derived: list[Derived] = []
        final = np.zeros(len(self._wishes) + 1, dtype=np.int64)
        end = self._features
        for feature in sorted({wish.feature for wish in self._wishes}):
            wished = [wish for wish in self._wishes if wish.feature == feature]
            zeros = [wish for wish in wished if isinstance(wish, Zeros)]
            sets = [wish for wish in wished if isinstance(wish, _Set)]
            ordered: list[_Set | Zeros] = [*zeros, *sets]
            for wish in ordered:
                final[self._wishes[wish] - self._features] = end
                end += 1
            derived += zeros
            if sets:
                derived.append(self._looked_up(feature, sets))
        placed = (replace(tree, column=self._final(tree.column, final)) for tree in trees)
        return tuple(placed), tuple(derived)

    def _final(self, columns: Array, final: Array) -> Array:
        derived = columns - self._features
        moved: Array = np.where(derived < 0, columns, final[np.maximum(derived, 0)])
        return moved

    def _wish(self, wish: _Set | Zeros) -> int:
        return self._wishes.setdefault(wish, self._features + len(self._wishes))

    def _looked_up(self, feature: int, sets: Sequence[_Set]) -> Members:
        categories = 1 + max((max(s.members) for s in sets if s.members), default=-1)
        sides = np.empty((categories + 3, len(sets)), dtype=np.uint8)
        for number, split in enumerate(sets):
            sides[:, number] = _RIGHT if split.members_left else _LEFT
            sides[sorted(split.members), number] = _LEFT if split.members_left else _RIGHT
            sides[categories + 1, number] = _LEFT if split.missing_left else _RIGHT
        return Members(feature=feature, sides=sides, truncated=self._truncated)
