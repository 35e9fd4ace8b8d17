"""A boosted model as values, whatever library trained it. Knows no library and no ONNX.

Margins are what the trees (or a linear part) add up to, before the link. A split reads a
column of the rows, or one derived from it (`Derived`): derived columns follow the rows'.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

from edgekit.errors import ConversionError
from edgekit.table import Array


class Link(StrEnum):
    """How margins become answers."""

    IDENTITY = "identity"
    LOGISTIC = "logistic"  # each margin for itself
    SOFTMAX = "softmax"
    LARGEST = "largest"  # the number of the largest margin
    SIGN = "sign"  # 1 above 0, else 0
    EXP = "exp"
    SOFTPLUS = "softplus"  # log(1 + exp(margin))
    SQUARE = "square"  # of the margin, with its sign


class Test(StrEnum):
    """What sends a row to the left, by the names of ONNX."""

    LESS = "BRANCH_LT"
    LESS_OR_EQUAL = "BRANCH_LEQ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Columns with one entry a node, the root first; a leaf has -1 as `left`.

    `votes` is float32 [nodes, 1] for the target `target`, or [nodes, targets]; in a model
    with slopes, [nodes, 1 + slopes] for the target.
    """

    column: Array
    threshold: Array  # float32
    left: Array
    right: Array
    missing_left: Array  # bool: whether NaN goes to the left
    votes: Array
    target: int = 0

    def __post_init__(self) -> None:
        """Refuse columns of different lengths, and ways to nodes that are not there."""
        nodes = len(self.left)
        columns = (self.column, self.threshold, self.right, self.missing_left, self.votes)
        if not nodes or any(len(column) != nodes for column in columns):
            raise ValueError(f"a tree with {nodes} nodes, and not as many of everything")
        inner = self.left >= 0
        if max(self.left.max(), self.right[inner].max(initial=0)) >= nodes:
            raise ValueError(f"a tree with {nodes} nodes leads beyond them")
        if self.right[inner].min(initial=0) < 0:
            raise ValueError("a node of a tree leads nowhere to the right")

    def reached(self) -> Array:
        """Return the nodes that the root leads to, in ascending order.

        ValueError when a node is reached twice.
        """
        found = [np.zeros(1, dtype=np.int64)]
        while len(found[-1]) and sum(map(len, found)) <= len(self.left):
            inner = found[-1][self.left[found[-1]] >= 0]
            found.append(np.concatenate([self.left[inner], self.right[inner]]))
        every = np.concatenate(found)
        if len(np.unique(every)) < len(every):
            raise ValueError("a tree leads to a node twice")
        return np.sort(every)


@dataclass(frozen=True, slots=True, kw_only=True)
class Zeros:
    """A column in which all that is nearer to 0 than `reach` counts as missing."""

    feature: int
    reach: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """Columns that are 0 where a split on categories sends a row left, else 1.

    `sides` is uint8 [categories + 3, splits]: categories 0, 1, ..., then one greater than
    all of them, a missing one, and a negative one. `truncated` tells how a fraction
    becomes a category: towards 0, or downwards.
    """

    feature: int
    sides: Array
    truncated: bool

    @property
    def categories(self) -> int:
        """How many categories the splits tell apart."""
        return len(self.sides) - 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """A feature given as one of these values, which the trees know by its place.

    Any other value, or none, is a missing one to them. All texts, or all numbers.
    """

    feature: int
    known: tuple[str | float, ...]

    @property
    def texts(self) -> bool:
        """Whether they are texts."""
        return bool(self.known) and isinstance(self.known[0], str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What training saw of a feature: its least and largest number, or category.

    `used` is False for one that never differed, so that no split asks for it.
    """

    low: float = 0.0
    high: float = 0.0
    categorical: bool = False
    used: bool = True


Derived = Zeros | Members


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """Margins [rows, targets]: the base, and the votes of the leaf a row ends in.

    With `slopes`, features of the rows, a leaf votes for a constant and a factor for each
    of them.
    """

    trees: tuple[Tree, ...]
    test: Test
    base: Array  # float32 [targets]
    derived: tuple[Derived, ...] = ()
    slopes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a model that was not trained: what it answers is nobody's intention."""
        if not self.trees:
            raise ConversionError("booster: it has no trees, a trained one is expected")


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """Margins [rows, targets]: rows @ weights + base, a missing value counted as 0."""

    weights: Array  # float32 [features, targets]
    base: Array  # float32 [targets]


@dataclass(frozen=True, slots=True, kw_only=True)
class Boosted:
    """One model: its margins and what they mean.

    `scale` multiplies the margins before the link. `missing` is the number that stands
    for a missing value beside NaN. `listed` are the labels of features that come in this
    order, but of which is not told; then `spans` has what training saw of each feature.
    """

    margins: Trees | Linear
    link: Link
    features: int
    names: tuple[str, ...] = ()
    scale: float = 1.0
    missing: float = float("nan")
    objective: str = ""
    labels: tuple[Labels, ...] = ()
    listed: tuple[tuple[object, ...], ...] = ()
    spans: tuple[Span, ...] = ()

    @property
    def targets(self) -> int:
        """How many margins a row has."""
        return len(self.margins.base)

    @property
    def text_features(self) -> tuple[int, ...]:
        """The features that are given as texts, in ascending order."""
        return tuple(sorted(each.feature for each in self.labels if each.texts))


def class_labels(classes: ArrayLike, *, subject: str) -> Array:
    """Return labels as int64, or as texts (objects); ConversionError for fractions."""
    labels = np.asarray(classes)
    if labels.dtype.kind in "OUS":
        return labels.astype(str).astype(object)
    whole = labels.astype(np.int64)
    if not np.array_equal(whole, labels):
        raise ConversionError(
            f"{subject}: labels {labels.tolist()}, texts or whole numbers are expected"
        )
    return whole
