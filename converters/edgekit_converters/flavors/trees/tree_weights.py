"""Weigh the parts of a tree by the rows that reach them. Knows no ONNX and no search.

A part that no row reached weighs a little, by Laplace's rule of succession at each split,
so that rows not seen here are not left without an answer of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.table import Array
from edgekit_converters.passes.forest import Forest, Split, Votes

_COMPARE = {
    b"BRANCH_LEQ": np.less_equal,
    b"BRANCH_LT": np.less,
    b"BRANCH_GTE": np.greater_equal,
    b"BRANCH_GT": np.greater,
    b"BRANCH_EQ": np.equal,
    b"BRANCH_NEQ": np.not_equal,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WeighedTree:
    """A tree, its parts listed parents first, the true side before the false.

    Each column has one entry a part. `true` and `false` are places in the list, -1 at
    leaves. `share` is the share of rows that reach a part, `mean` what they are answered
    on average, `spread` how far their answers lie from it: share times variance.
    """

    places: tuple[int, ...]  # in the forest
    true: Array  # int64
    false: Array  # int64
    share: Array  # float64
    mean: Array  # float64 [parts, targets]
    spread: Array  # float64


def weighed(forest: Forest, rows: Array, targets: int) -> list[WeighedTree]:
    """Return a forest's trees; `rows` is float32 [rows, features]."""
    values = np.zeros((len(forest.leaves), targets))
    for number, votes in enumerate(forest.leaves):
        for target, weight in votes:
            values[number, target] += weight
    return [_weighed(forest, root, rows, values) for root in forest.roots]


def answers(tree: WeighedTree, part: int, votes: Votes) -> Votes:
    """Return the leaf that answers for a whole part; `votes` name what it votes for."""
    return tuple((target, float(tree.mean[part, target])) for target, _ in votes)


def _weighed(forest: Forest, root: int, rows: Array, values: Array) -> WeighedTree:
    places = tuple(forest.in_order(root))
    true, false = _children(places)
    visits = _visits(forest.splits, places, (true, false), rows)
    share = np.zeros(len(places))
    share[0] = 1.0
    for part in np.flatnonzero(true >= 0).tolist():
        both = visits[true[part]] + visits[false[part]] + 2.0
        share[true[part]] = share[part] * (visits[true[part]] + 1.0) / both
        share[false[part]] = share[part] * (visits[false[part]] + 1.0) / both
    total = np.zeros((len(places), values.shape[1]))
    squares = np.zeros(len(places))
    for part in range(len(places) - 1, -1, -1):
        if places[part] < 0:
            value = values[-1 - places[part]]
            total[part] = share[part] * value
            squares[part] = share[part] * float(value @ value)
        else:
            total[part] = total[true[part]] + total[false[part]]
            squares[part] = squares[true[part]] + squares[false[part]]
    spread = squares - (total**2).sum(axis=1) / share
    return WeighedTree(
        places=places,
        true=true,
        false=false,
        share=share,
        mean=total / share[:, None],
        spread=np.maximum(spread, 0.0),
    )


def _children(places: Sequence[int]) -> tuple[Array, Array]:
    true = np.full(len(places), -1, dtype=np.int64)
    false = np.full(len(places), -1, dtype=np.int64)
    waiting: list[int] = []  # splits whose false side has not begun
    for part, place in enumerate(places):
        if part and places[part - 1] < 0:  # a leaf ended a true side
            false[waiting.pop()] = part
        if place >= 0:
            true[part] = part + 1
            waiting.append(part)
    return true, false


def _visits(
    splits: Sequence[Split],
    places: Sequence[int],
    children: tuple[Array, Array],
    rows: Array,
) -> Array:
    """Count the rows that reach each part."""
    true, false = children
    tests = [splits[place] if place >= 0 else None for place in places]
    feature = np.array([test.feature if test else 0 for test in tests])
    threshold = np.array([test.threshold if test else 0.0 for test in tests], np.float32)
    missing = np.array([test.missing_is_true if test else 0 for test in tests], bool)
    mode = np.array([test.mode if test else b"" for test in tests])
    at = np.zeros(len(rows), dtype=np.int64)
    visits = np.zeros(len(places))
    walking = np.arange(len(rows))
    while len(walking):
        here = at[walking]
        visits += np.bincount(here, minlength=len(places))
        walking = walking[true[here] >= 0]
        here = at[walking]
        value = rows[walking, feature[here]]
        holds = np.isnan(value) & missing[here]
        for name, compare in _COMPARE.items():
            asked = mode[here] == name
            holds[asked] |= compare(value[asked], threshold[here[asked]])
        at[walking] = np.where(holds, true[here], false[here])
    return visits
