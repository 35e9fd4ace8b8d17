"""Tree ensembles as values: equal parts are one, splits that decide nothing are none.

Reads and writes the ai.onnx.ml operators TreeEnsembleClassifier and -Regressor (versions
1 to 3). Knows no graph around them, and no TreeEnsemble 5.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from onnx import NodeProto, helper

from edgekit.errors import ConversionError

CLASSIFIER, REGRESSOR = "TreeEnsembleClassifier", "TreeEnsembleRegressor"
ENSEMBLES = (CLASSIFIER, REGRESSOR)
MISSING = "nodes_missing_value_tracks_true"
_LEAF = b"LEAF"
_WAYS = ("truenodeids", "falsenodeids")
_NODE = ("treeids", "nodeids", "featureids", "values", "modes", *_WAYS)
_VOTE = ("treeids", "nodeids", "ids", "weights")
_ORDERED = {b"BRANCH_LEQ", b"BRANCH_LT"}  # true below a threshold

Votes = tuple[tuple[int, float], ...]  # (class or target, weight), in their order
_Held = Mapping[str, Any]  # onnx's attributes have no types


class Split(NamedTuple):
    """A test. `true` and `false` are splits' numbers, or leaves' as -1 - number.

    Forests hold hundreds of thousands of them: a tuple is made and found in a third of
    a dataclass's time.
    """

    feature: int
    threshold: float
    mode: bytes
    missing_is_true: int
    true: int
    false: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """Trees that share their equal parts. Children are numbered below their parents."""

    splits: tuple[Split, ...]
    leaves: tuple[Votes, ...]
    roots: tuple[int, ...]  # as the children of a Split

    def with_leaves(self, change: Callable[[int, Votes], Votes]) -> "Forest":
        """Return the forest with each leaf changed; `change` is told the tree's number.

        Parts that become equal by it become one.
        """
        grown = _Growing()
        roots = [
            grown.tree(self, root, partial(change, number))
            for number, root in enumerate(self.roots)
        ]
        return grown.done(roots)

    def with_features(self, features: Sequence[int]) -> "Forest":
        """Return the forest reading feature `features[n]` where it read feature n."""
        moved = [split._replace(feature=features[split.feature]) for split in self.splits]
        return Forest(splits=tuple(moved), leaves=self.leaves, roots=self.roots)

    def rebuilt(self, trees: Iterable[Sequence[int | Votes]]) -> "Forest":
        """Return the forest of these trees, each listed as `in_order` lists one.

        A list names places of this forest, whose splits lead to the two parts that
        follow, or new leaves.
        """
        grown = _Growing()
        roots = []
        for tree in trees:
            parts: list[int] = []
            for place in reversed(tree):
                if not isinstance(place, int):
                    parts.append(grown.leaf(place))
                elif place < 0:
                    parts.append(grown.leaf(self.leaves[-1 - place]))
                else:
                    true, false = parts.pop(), parts.pop()
                    moved = self.splits[place]._replace(true=true, false=false)
                    parts.append(grown.split(moved, {true: true, false: false}))
            roots.append(parts.pop())
        return grown.done(roots)

    def below(self, root: int) -> Iterator[int]:
        """Yield every place below a root, itself last, children before parents, once."""
        seen: set[int] = set()
        waiting = [root]
        while waiting:
            place = waiting[-1]
            split = self.splits[place] if place >= 0 else None
            inner = [] if split is None else [split.true, split.false]
            new = [child for child in inner if child not in seen]
            if new:
                waiting.append(new[0])
                continue
            waiting.pop()
            if place not in seen:
                seen.add(place)
                yield place

    def in_order(self, root: int) -> Iterator[int]:
        """Yield every place of a tree, parents first, the true side before the false.

        What is shared comes as often as the tree has it.
        """
        waiting = [root]
        while waiting:
            place = waiting.pop()
            yield place
            if place >= 0:
                waiting += [self.splits[place].false, self.splits[place].true]


class _Growing:
    """A forest in the making: every part is kept once."""

    def __init__(self) -> None:
        self._leaves: dict[Votes, int] = {}
        self._splits: dict[Split, int] = {}
        self._listed: list[Split] = []
        self._unused = False  # whether some of them lead nowhere by now

    def leaf(self, votes: Votes) -> int:
        return -1 - self._leaves.setdefault(votes, len(self._leaves))

    def tree(self, forest: Forest, root: int, change: Callable[[Votes], Votes]) -> int:
        """Add a tree of another forest, its leaves changed, and return its place."""
        known: dict[int, int] = {}
        for place in forest.below(root):
            if place < 0:
                known[place] = self.leaf(change(forest.leaves[-1 - place]))
            else:
                known[place] = self.split(forest.splits[place], known)
        return known[root]

    def split(self, split: Split, places: Mapping[int, int]) -> int:
        """Add a split whose children have moved to `places`; a useless one is its child."""
        true, false = places[split.true], places[split.false]
        if true == false:
            return true
        moved = self._deciding(split._replace(true=true, false=false))
        place = self._splits.setdefault(moved, len(self._splits))
        if place == len(self._listed):
            self._listed.append(moved)
        return place

    def _deciding(self, split: Split) -> Split:
        """Return the child that decides what a split does, or the split.

        x <= 1 ? A : (x <= 2 ? A : B) is x <= 2 ? A : B, and so is its mirror image.
        """
        if split.mode not in _ORDERED:
            return split
        if split.false >= 0:
            below = self._listed[split.false]
            if _tests(below) == _tests(split) and below.true == split.true:
                missing = split.missing_is_true | below.missing_is_true
                if split.threshold <= below.threshold:
                    return self._kept(below, missing)
        if split.true >= 0:
            below = self._listed[split.true]
            if _tests(below) == _tests(split) and below.false == split.false:
                missing = split.missing_is_true & below.missing_is_true
                if below.threshold <= split.threshold:
                    return self._kept(below, missing)
        return split

    def _kept(self, below: Split, missing: int) -> Split:
        self._unused |= missing != below.missing_is_true
        return below._replace(missing_is_true=missing)

    def done(self, roots: Sequence[int]) -> Forest:
        forest = Forest(
            splits=tuple(self._listed), leaves=tuple(self._leaves), roots=tuple(roots)
        )
        return forest.with_leaves(lambda _, votes: votes) if self._unused else forest


def _tests(split: Split) -> tuple[int, bytes]:
    return split.feature, split.mode


def joined(forests: Sequence[tuple[Forest, int]]) -> Forest:
    """Return all trees of several forests, each voting for so many targets of its own."""
    grown = _Growing()
    roots = []
    first = 0
    for forest, targets in forests:
        change = partial(_moved, first)
        roots += [grown.tree(forest, root, change) for root in forest.roots]
        first += targets
    return grown.done(roots)


def _moved(first: int, votes: Votes) -> Votes:
    return tuple((first + target, weight) for target, weight in votes)


def read(node: NodeProto) -> Forest:
    """Return a node's trees; ConversionError for what is no forest or holds doubles."""
    held = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    doubles = sorted(name for name in held if name.endswith("_as_tensor"))
    if doubles:
        raise ConversionError(f"{node.op_type}: {doubles[0]} in float64, float32 expected")
    try:
        return _grown(held, _votes(node, held))
    except (KeyError, IndexError, ValueError) as error:
        raise ConversionError(f"{node.op_type}: not a forest: {error!r}") from error


def write(node: NodeProto, forest: Forest) -> NodeProto:
    """Return a copy of a node that holds these trees and no hit rates; the rest stays."""
    columns = _columns(forest, prefix(node))
    copy = NodeProto()
    copy.CopyFrom(node)
    del copy.attribute[:]
    replaced = ("nodes_", f"{prefix(node)}_")
    kept = [entry for entry in node.attribute if not entry.name.startswith(replaced)]
    stored = [helper.make_attribute(name, values) for name, values in columns.items()]
    copy.attribute.extend(sorted([*kept, *stored], key=lambda entry: entry.name))
    return copy


def prefix(node: NodeProto) -> str:
    """Return how the attributes of a node's votes begin."""
    return "class" if node.op_type == CLASSIFIER else "target"


def _votes(node: NodeProto, held: _Held) -> dict[tuple[int, int], Votes]:
    kind = prefix(node)
    votes: dict[tuple[int, int], list[tuple[int, float]]] = {}
    listed = zip(*(held[f"{kind}_{column}"] for column in _VOTE), strict=True)
    for tree, leaf, target, weight in listed:
        votes.setdefault((tree, leaf), []).append((target, weight))
    return {leaf: tuple(given) for leaf, given in votes.items()}


def _grown(held: _Held, votes: Mapping[tuple[int, int], Votes]) -> Forest:
    names = list(zip(held["nodes_treeids"], held["nodes_nodeids"], strict=True))
    row_of = {name: row for row, name in enumerate(names)}
    if len(row_of) != len(names):
        raise ValueError("a node is there twice")
    tests = ("featureids", "values", "modes", "truenodeids", "falsenodeids")
    columns = [held[f"nodes_{column}"] for column in tests]
    missing = held.get(MISSING) or [0] * len(names)
    rows: list[Split | Votes] = []
    for name, feature, threshold, mode, true, false, tracks in zip(
        names, *columns, missing, strict=True
    ):
        if mode == _LEAF:
            rows.append(votes.get(name, ()))
        else:
            ways = row_of[name[0], true], row_of[name[0], false]
            rows.append(Split(feature, threshold, mode, tracks, *ways))
    roots: dict[int, int] = {}
    for row, (tree, _) in enumerate(names):
        roots.setdefault(tree, row)
    return _shared(rows, list(roots.values()))


def _shared(rows: Sequence[Split | Votes], roots: Sequence[int]) -> Forest:
    grown = _Growing()
    places: dict[int, int] = {}
    entered: set[int] = set()
    waiting = list(reversed(roots))
    while waiting:
        row = waiting[-1]
        here = rows[row]
        new: list[int] = []
        if isinstance(here, Split):
            new = [child for child in (here.true, here.false) if child not in places]
            entered.add(row)
        if new:
            if new[0] in entered:
                raise ValueError("a tree leads back into itself")
            waiting.append(new[0])
            continue
        places[row] = (
            grown.split(here, places) if isinstance(here, Split) else grown.leaf(here)
        )
        waiting.pop()
    return grown.done([places[root] for root in roots])


def _columns(forest: Forest, kind: str) -> dict[str, Sequence[Any]]:
    nodes: list[tuple[Any, ...]] = []
    votes: list[tuple[Any, ...]] = []
    for tree, root in enumerate(forest.roots):
        listed = list(forest.in_order(root))
        after = _false_children(listed)
        for number, place in enumerate(listed):
            if place < 0:
                nodes.append((tree, number, 0, 0.0, _LEAF, 0, 0, 0))
                for target, weight in forest.leaves[-1 - place]:
                    votes.append((tree, number, target, weight))
            else:
                feature, threshold, mode, missing, _, _ = forest.splits[place]
                ways = number + 1, after[number], missing
                nodes.append((tree, number, feature, threshold, mode, *ways))
    columns = {
        **_turned([*(f"nodes_{name}" for name in _NODE), MISSING], nodes),
        **_turned([f"{kind}_{name}" for name in _VOTE], votes),
    }
    if not any(columns[MISSING]):
        del columns[MISSING]
    return columns


def _turned(names: list[str], rows: list[tuple[Any, ...]]) -> dict[str, Sequence[Any]]:
    columns = zip(*rows, strict=True) if rows else [() for _ in names]
    return dict(zip(names, columns, strict=True))


def _false_children(listed: Sequence[int]) -> dict[int, int]:
    """Return where the false child is of each split, in a tree listed parents first."""
    open_splits: list[int] = []
    after: dict[int, int] = {}
    for number, place in enumerate(listed):
        if number and listed[number - 1] < 0:  # a leaf ended a true side
            after[open_splits.pop()] = number
        if place >= 0:
            open_splits.append(number)
    return after
