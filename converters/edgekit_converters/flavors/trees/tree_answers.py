"""What a version 1 tree ensemble answers, as sums of trees and plain nodes after them.

Follows onnxruntime, which defines more than the specification: of two classes with votes
for one, the label is "score above 0.5" when no vote is negative, else "score above 0"; a
target that a row gets no vote for is 0, whatever its base value.

Where a forest's votes are shares of a tree (all at least 0, each leaf the same total),
they are scaled to a total of 1 a tree and divided at the end: whole votes then add up
exactly, so a tie stays a tie, as in scikit-learn. No sum of float32 1/trees promises it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgekit.errors import ConversionError
from edgekit.table import Array
from edgekit_converters.encoding import encode
from edgekit_converters.flavors.trees.leaf_counts import counts
from edgekit_converters.passes.forest import REGRESSOR, Forest, Votes

SUM = b"SUM"
_NONE, _LOGISTIC, _SOFTMAX = b"NONE", b"LOGISTIC", b"SOFTMAX"
_TWO = 2
_EXACT = 2**24  # float32 counts to here
_ROUNDING = 1e-5  # of votes that were float64 shares, divided, and stored as float32
_Held = Mapping[str, Any]  # onnx's attributes have no types


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Trees to add up: `read`, float32 [rows, features] -> `into`, float32 [rows, targets].

    A leaf votes once.
    """

    forest: Forest
    read: str
    into: str
    targets: int
    by: bytes = SUM


class Writer(Protocol):
    """How such sums become one node. `quick` ones are only for their size."""

    def __call__(self, sums: Sums, *, quick: bool = False) -> NodeProto:
        """Return the node; ConversionError when a leaf does not vote exactly once."""


@dataclass(kw_only=True)
class Replacement:
    """Nodes in order, the one that reads the rows first, and their constants."""

    prefix: str
    write: Writer
    note: str = ""
    nodes: list[NodeProto | Sums] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)
    named: int = 0

    def add(
        self,
        kind: str,
        read: list[str],
        into: str = "",
        **attributes: Any,  # noqa: ANN401 - an attribute is a number, a text, a tensor, ...
    ) -> str:
        """Add a node and return the name of its output."""
        output = into or self._name()
        self.nodes.append(helper.make_node(kind, read, [output], **attributes))
        return output

    def constant(self, values: Array) -> str:
        """Add an initialiser and return its name."""
        name = self._name()
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def floats(self, *values: float) -> str:
        """Add a float32 vector and return its name."""
        return self.constant(np.array(values, dtype=np.float32))

    def sums(
        self, forest: Forest, rows: str, targets: int, *, into: str = "", by: bytes = SUM
    ) -> str:
        """Add the trees and return the name of what they add up to."""
        output = into or self._name()
        self.nodes.append(
            Sums(forest=forest, read=rows, into=output, targets=targets, by=by)
        )
        self.note = (
            f"{len(forest.roots)} trees, {len(forest.splits):,} splits,"
            f" {len(forest.leaves):,} different leaves"
        )
        return output

    def bytes(self) -> int:
        """Return about how many bytes it takes."""
        nodes = [
            self.write(node, quick=True) if isinstance(node, Sums) else node
            for node in self.nodes
        ]
        graph = helper.make_graph(nodes, "g", [], [], self.constants)
        return len(encode(helper.make_model(graph)))

    def _name(self) -> str:
        self.named += 1
        return f"{self.prefix}/{self.named}"


def replacement(
    node: NodeProto, forest: Forest, rows: str, *, prefix: str, write: Writer
) -> Replacement:
    """Return what takes the place of a node; ConversionError says why nothing can.

    `forest` are its trees, `rows` what they read, float32.
    """
    held = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    new = Replacement(prefix=prefix, write=write)
    if node.op_type == REGRESSOR:
        _regress(new, node.output[0], rows, forest, held)
        return new
    classes = _classes(held)
    of = _of_two if len(classes) == _TWO else _of_many
    scores = of(new, rows, forest, held)
    label, answer = node.output
    if classes.dtype != object and (classes == np.arange(len(classes))).all():
        new.add("ArgMax", [scores.name], label, axis=1, keepdims=0)
    else:
        place = new.add("ArgMax", [scores.name], axis=1, keepdims=0)
        new.add("Gather", [new.constant(classes), place], label)
    read_too = [scores.divisor] if scores.divisor else []
    new.add(scores.ending, [scores.name, *read_too], answer, **scores.attributes)
    return new


@dataclass(frozen=True, kw_only=True)
class _Scores:
    """Which of them is largest decides; `ending` is the node that makes the answer."""

    name: str
    ending: str
    divisor: str = ""
    attributes: Mapping[str, int] = field(default_factory=dict)


def _transformed(name: str, held: _Held) -> _Scores:
    transform = held.get("post_transform", _NONE)
    if transform == _SOFTMAX:
        return _Scores(name=name, ending="Softmax", attributes={"axis": 1})
    return _Scores(name=name, ending="Identity" if transform == _NONE else "Sigmoid")


def _regress(new: Replacement, answer: str, rows: str, forest: Forest, held: _Held) -> None:
    _expect_transform(held, (_NONE,))
    by = held.get("aggregate_function", SUM)
    base = held.get("base_values", [])
    into = "" if base else answer
    targets = int(held.get("n_targets", 1))
    if base and targets > 1 and not _all_answered(forest, targets):
        raise ConversionError("a target that some rows get no vote for, and base values")
    if all(len(votes) == 1 for votes in forest.leaves):
        sums = new.sums(forest, rows, targets, into=into, by=by)
    elif by == SUM:
        sums = _cheapest(new, rows, forest, targets, into)
    else:
        raise ConversionError(f"{by.decode()} of leaves with several votes or none")
    if base:
        new.add("Add", [sums, new.floats(*base)], answer)


def _of_two(new: Replacement, rows: str, forest: Forest, held: _Held) -> _Scores:
    """Add the scores of two classes of which one is voted for."""
    voted = {target for votes in forest.leaves for target, _ in votes}
    base = list(held.get("base_values", []))
    if len(voted) != 1 or len(base) > 1 or any(len(v) != 1 for v in forest.leaves):
        raise ConversionError("two classes that both have votes or base values")
    weights = [votes[0][1] for votes in forest.leaves]
    if min(weights) < 0:
        _expect_transform(held, (_NONE, _LOGISTIC))
        score = new.sums(forest.with_leaves(_for_target_0), rows, 1)
        if base:
            score = new.add("Add", [score, new.floats(*base)])
        both = new.add("Mul", [score, new.floats(-1.0, 1.0)])
        return _transformed(both, held)
    _expect_transform(held, (_NONE,))
    if base:
        raise ConversionError("two classes, no vote below 0, and a base value")
    trees = len(forest.roots)
    whole = trees if max(weights) <= (1 + _ROUNDING) / trees else 1
    share = float(np.float32(1 / whole))
    shares = forest.with_leaves(lambda _, v: ((0, _float32(v[0][1] / share)),))
    score = new.sums(shares, rows, 1)
    other = new.add("Sub", [new.floats(whole), score])
    both = new.add("Concat", [other, score], axis=1)
    return _Scores(name=both, ending="Div", divisor=new.floats(whole))


def _of_many(new: Replacement, rows: str, forest: Forest, held: _Held) -> _Scores:
    """Add the scores of each class."""
    _expect_transform(held, (_NONE, _SOFTMAX))
    classes = len(_classes(held))
    base = list(held.get("base_values", []))
    if classes < _TWO or len(base) not in {0, classes}:
        raise ConversionError(f"{classes} classes and {len(base)} base values")
    if not base and _are_shares(forest) and held.get("post_transform", _NONE) == _NONE:
        return _shares(new, rows, forest, classes)
    if not _all_answered(forest, classes):
        raise ConversionError("a class that some rows get no vote for")
    scores = _cheapest(new, rows, forest, classes, "")
    if base:
        scores = new.add("Add", [scores, new.floats(*base)])
    return _transformed(scores, held)


def _shares(new: Replacement, rows: str, forest: Forest, classes: int) -> _Scores:
    trees = len(forest.roots)
    found = counts(forest.leaves, classes, parts=trees)
    if found is None or (np.count_nonzero(found, axis=1) == 1).all():
        forest = forest.with_leaves(_as_shares)
        total = new.floats(trees)
        return _Scores(
            name=_cheapest(new, rows, forest, classes, ""), ending="Div", divisor=total
        )
    # What the session folds as it loads, in float64 as scikit-learn has it.
    table = new.add("Cast", [new.constant(found)], to=TensorProto.DOUBLE)
    last = new.constant(np.array([-1], dtype=np.int64))
    shares = new.add("Div", [table, new.add("ReduceSum", [table, last])])
    sums = _looked_up(new, rows, forest, shares, "")
    mean = new.add("Div", [sums, new.constant(np.array([trees], dtype=np.float64))])
    new.note += f", counted in {found.dtype}"
    return _Scores(name=mean, ending="Cast", attributes={"to": TensorProto.FLOAT})


def _cheapest(new: Replacement, rows: str, forest: Forest, targets: int, into: str) -> str:
    """Add up leaves of several votes in the form that takes the fewest bytes."""
    if all(len(votes) == 1 for votes in forest.leaves):
        return new.sums(forest, rows, targets, into=into)
    forms = []
    for form in (_by_table, _by_copies):
        tried = Replacement(prefix=new.prefix, write=new.write, named=new.named)
        forms.append((tried, form(tried, rows, forest, targets, into)))
    best, output = min(forms, key=lambda form: form[0].bytes())
    new.nodes += best.nodes
    new.constants += best.constants
    new.note, new.named = best.note, best.named
    return output


def _by_table(new: Replacement, rows: str, forest: Forest, targets: int, into: str) -> str:
    """Let each tree answer the number of its leaf, and add up their rows in a table."""
    table = np.zeros((len(forest.leaves), targets), dtype=np.float32)
    for number, votes in enumerate(forest.leaves):
        for target, weight in votes:
            table[number, target] += np.float32(weight)
    return _looked_up(new, rows, forest, new.constant(table), into)


def _looked_up(new: Replacement, rows: str, forest: Forest, table: str, into: str) -> str:
    """Add up, for each row, what a table [leaves, targets] says of its leaves."""
    if len(forest.leaves) > _EXACT:
        raise ConversionError(
            f"{len(forest.leaves):,} different leaves, {_EXACT:,} can be told apart"
        )
    numbers = {votes: number for number, votes in enumerate(forest.leaves)}
    numbered = forest.with_leaves(lambda tree, votes: ((tree, float(numbers[votes])),))
    places = new.sums(numbered, rows, len(forest.roots))
    whole = new.add("Cast", [places], to=TensorProto.INT32)
    found = new.add("Gather", [table, whole])
    new.note += " in a table"
    axis = new.constant(np.array([1], dtype=np.int64))
    return new.add("ReduceSum", [found, axis], into, keepdims=0)


def _by_copies(new: Replacement, rows: str, forest: Forest, targets: int, into: str) -> str:
    """Give each target its own copy of the trees, without what does not concern it."""
    trees = len(forest.roots)
    repeated = Forest(
        splits=forest.splits, leaves=forest.leaves, roots=forest.roots * targets
    )

    def only(number: int, votes: Votes) -> Votes:
        target = number // trees
        weights = [weight for voted, weight in votes if voted == target]
        return ((target, _float32(sum(weights))),)

    return new.sums(repeated.with_leaves(only), rows, targets, into=into)


def _are_shares(forest: Forest) -> bool:
    share = 1 / len(forest.roots)
    return all(
        min((weight for _, weight in votes), default=-1.0) >= 0
        and abs(sum(weight for _, weight in votes) - share) <= _ROUNDING * share
        for votes in forest.leaves
    )


def _as_shares(_: int, votes: Votes) -> Votes:
    total = sum(weight for _, weight in votes)
    return tuple((target, _float32(weight / total)) for target, weight in votes if weight)


def _for_target_0(_: int, votes: Votes) -> Votes:
    return tuple((0, weight) for _, weight in votes)


def _all_answered(forest: Forest, classes: int) -> bool:
    """Whether every row gets a vote for every class: some tree votes for it everywhere."""
    answered: set[int] = set()
    for root in forest.roots:
        leaves = [forest.leaves[-1 - leaf] for leaf in forest.below(root) if leaf < 0]
        answered.update(
            set.intersection(*({target for target, _ in votes} for votes in leaves))
        )
    return len(answered) == classes


def _classes(held: _Held) -> Array:
    texts = held.get("classlabels_strings")
    if texts:
        return np.array([text.decode() for text in texts], dtype=object)
    return np.array(held.get("classlabels_int64s", []), dtype=np.int64)


def _expect_transform(held: _Held, expected: tuple[bytes, ...]) -> None:
    transform = held.get("post_transform", _NONE)
    if transform not in expected:
        raise ConversionError(f"post-transform {transform.decode()} on such votes")


def _float32(number: float) -> float:
    return float(np.float32(number))
