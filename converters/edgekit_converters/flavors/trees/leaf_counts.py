"""Find the counts of training rows behind a forest's votes. Knows no ONNX.

A leaf's share of a class is rows of that class / rows. From the float32 share both
numbers can be found again, which takes fewer bytes than the share and gives scikit-learn's
own float64, so that sums of such shares fall on the same side of a tie.
"""

from collections.abc import Sequence

import numpy as np

from edgekit.table import Array
from edgekit_converters.passes.forest import Votes

MOST_ROWS = 1024  # fractions of larger whole numbers come closer than float32 can tell
_WHOLES = np.arange(1, MOST_ROWS + 1, dtype=np.float64)


def counts(leaves: Sequence[Votes], classes: int, *, parts: int) -> Array | None:
    """Return int [leaves, classes], or None where some share is no such fraction.

    The votes of a leaf are its shares / `parts`, as float32. A row's sum is the rows.
    """
    found = np.zeros((len(leaves), classes), dtype=np.int64)
    for number, votes in enumerate(leaves):
        for target, whole in zip(*_fraction(votes, parts), strict=True):
            found[number, target] = whole
        if not found[number].any():
            return None
    kind = np.min_scalar_type(int(found.max(initial=0)))
    return found.astype(kind)


def _fraction(votes: Votes, parts: int) -> tuple[list[int], list[int]]:
    """Return the classes and the fewest rows of each that give exactly these votes."""
    weights = np.array([weight for _, weight in votes], dtype=np.float64)
    rows = np.rint(weights[:, None] * parts * _WHOLES)
    same = (rows / _WHOLES / parts).astype(np.float32) == weights.astype(np.float32)[
        :, None
    ]
    near = same | _divided_twice(rows, parts, weights)
    right = near.all(axis=0) & (rows.sum(axis=0) == _WHOLES)
    if not right.any():
        return [], []
    first = int(right.argmax())
    return [target for target, _ in votes], rows[:, first].astype(np.int64).tolist()


def _divided_twice(rows: Array, parts: int, weights: Array) -> Array:
    """Whether the votes fit when they were rounded before they were divided as well."""
    rounded = (rows / _WHOLES).astype(np.float32) / np.float32(parts)
    same: Array = rounded == weights.astype(np.float32)[:, None]
    return same
