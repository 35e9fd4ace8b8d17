"""Write a boosted model as ONNX nodes: one tree ensemble, and its link after it.

Nothing newer than opset 13 and ai.onnx.ml 1, so every board runs it. Knows no library
that trains trees.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import TensorProto

from edgekit.table import Array
from edgekit_converters.frameworks.boosting.boosted import (
    Boosted,
    Derived,
    Linear,
    Link,
    Tree,
    Trees,
    Zeros,
)
from edgekit_converters.frameworks.nodes import ML, Nodes

_EVEN_ODDS = 0.5
_LINKS: Mapping[Link, tuple[str, Mapping[str, int]]] = {  # those of one operator
    Link.EXP: ("Exp", {}),
    Link.IDENTITY: ("Identity", {}),
    Link.LOGISTIC: ("Sigmoid", {}),
    Link.SOFTMAX: ("Softmax", {"axis": 1}),
    Link.SOFTPLUS: ("Softplus", {}),
}
_LEAF = "LEAF"
_WORTH_PACKING = 2_048  # bytes of a table; the nodes that unpack it take 400


def add_margins(nodes: Nodes, rows: str, model: Boosted) -> str:
    """Add what turns float32 [rows, features] into margins [rows, targets]."""
    if not np.isnan(model.missing):
        gap = nodes.add("Equal", [rows, _number(nodes, model.missing)])
        rows = nodes.add("Where", [gap, _number(nodes, np.nan), rows])
    if isinstance(model.margins, Linear):
        margins = _linear(nodes, rows, model.margins)
    else:
        margins = _trees(nodes, rows, model.margins)
    if model.scale == 1:
        return margins
    return nodes.add("Mul", [margins, _number(nodes, model.scale)])


def add_answer(nodes: Nodes, margins: str, link: Link, *, into: str | None = None) -> str:
    """Add the link: margins [rows, targets] become answers of the same shape.

    Link.LARGEST gives int64 [rows].
    """
    if link is Link.LARGEST:
        return _largest(nodes, margins, into=into)
    if link is Link.SIGN:
        above = nodes.add("Greater", [margins, _number(nodes, 0)])
        return nodes.add("Cast", [above], into=into, attributes={"to": TensorProto.FLOAT})
    if link is Link.SQUARE:
        return nodes.add("Mul", [margins, nodes.add("Abs", [margins])], into=into)
    kind, attributes = _LINKS[link]
    return nodes.add(kind, [margins], into=into, attributes=attributes)


def add_classes(
    nodes: Nodes,
    margins: str,
    model: Boosted,
    *,
    classes: Array,
    into: tuple[str, str],
) -> None:
    """Add a label [rows] of `classes` (int64 or texts), and a probability for each class.

    `into` names these two outputs. Of two classes, the second is the label if its
    probability is above a half; of more, the likeliest, and of equals the first.
    """
    label, probabilities = into
    if model.targets > 1:
        link = Link.SOFTMAX if model.link is Link.LARGEST else model.link
        add_answer(nodes, margins, link, into=probabilities)
        place = _largest(nodes, margins)
    else:
        second = add_answer(nodes, margins, model.link)
        first = nodes.add("Sub", [_number(nodes, 1), second])
        nodes.add("Concat", [first, second], into=probabilities, attributes={"axis": 1})
        place = nodes.add(
            "Reshape", [above_half(nodes, margins, second, model), _flat(nodes)]
        )
    if classes.dtype.kind in "iu" and classes.tolist() == list(range(len(classes))):
        nodes.add("Identity", [place], into=label)
    else:
        nodes.add("Gather", [nodes.constant(classes), place], into=label)


def above_half(
    nodes: Nodes, margins: str, answers: str, model: Boosted, *, into: str | None = None
) -> str:
    """Add int64 [rows, targets]: 1 where the answer is above a half, else 0.

    A logistic answer is judged by its margin, which no rounding of the link can move.
    """
    if model.link is Link.LOGISTIC:
        above = nodes.add("Greater", [margins, _number(nodes, 0)])
    else:
        above = nodes.add("Greater", [answers, _number(nodes, _EVEN_ODDS)])
    return nodes.add("Cast", [above], into=into, attributes={"to": TensorProto.INT64})


def _largest(nodes: Nodes, margins: str, *, into: str | None = None) -> str:
    return nodes.add("ArgMax", [margins], into=into, attributes={"axis": 1, "keepdims": 0})


def _linear(nodes: Nodes, rows: str, linear: Linear) -> str:
    gap = nodes.add("IsNaN", [rows])
    filled = nodes.add("Where", [gap, _number(nodes, 0), rows])
    sums = nodes.add("MatMul", [filled, nodes.constant(linear.weights)])
    return nodes.add("Add", [sums, nodes.constant(linear.base)])


def _trees(nodes: Nodes, rows: str, trees: Trees) -> str:
    parts = [rows, *(_derived(nodes, rows, each) for each in trees.derived)]
    read = rows
    if len(parts) > 1:
        read = nodes.add("Concat", parts, attributes={"axis": 1})
    sums = nodes.add(
        "TreeEnsembleRegressor", [read], opset=ML, attributes=_attributes(trees)
    )
    return _multiplied(nodes, rows, sums, trees) if trees.slopes else sums


def _multiplied(nodes: Nodes, rows: str, sums: str, trees: Trees) -> str:
    """Add each target's constant, and its slopes times the row: [rows, targets].

    A missing number has no slope where it matters, and must not spoil a slope of 0.
    """
    gap = nodes.add("IsNaN", [rows])
    filled = nodes.add("Where", [gap, _number(nodes, 0), rows])
    largest = float(np.finfo(np.float32).max)
    ends = [nodes.constant(np.array(end, dtype=np.float32)) for end in (-largest, largest)]
    finite = nodes.add("Clip", [filled, *ends])
    wanted = nodes.constant(np.array(trees.slopes, dtype=np.int64))
    picked = nodes.add("Gather", [finite, wanted], attributes={"axis": 1})
    before = nodes.constant(np.array([0, 1, 0, 0], dtype=np.int64))  # a column of ones
    one = nodes.constant(np.array(1, dtype=np.float32))
    factors = nodes.add("Pad", [picked, before, one])
    width = 1 + len(trees.slopes)
    shape = nodes.constant(np.array([-1, len(trees.base), width], dtype=np.int64))
    parts = nodes.add("Reshape", [sums, shape])
    middle = nodes.constant(np.array([1], dtype=np.int64))
    each = nodes.add("Unsqueeze", [factors, middle])
    product = nodes.add("Mul", [parts, each])
    last = nodes.constant(np.array([2], dtype=np.int64))
    return nodes.add("ReduceSum", [product, last], attributes={"keepdims": 0})


def _derived(nodes: Nodes, rows: str, wanted: Derived) -> str:
    """Add the columns that `wanted` describes: [rows, its columns]."""
    feature = nodes.constant(np.array([wanted.feature], dtype=np.int64))
    column = nodes.add("Gather", [rows, feature], attributes={"axis": 1})
    if isinstance(wanted, Zeros):
        size = nodes.add("Abs", [column])
        zero = nodes.add("Greater", [size, _number(nodes, wanted.reach)])
        return nodes.add("Where", [zero, column, _number(nodes, np.nan)])
    flat = nodes.add("Reshape", [column, _flat(nodes)])
    whole = flat if wanted.truncated else nodes.add("Floor", [flat])
    least, most = _number(nodes, -1), _number(nodes, wanted.categories)
    known = nodes.add("Min", [nodes.add("Max", [whole, least]), most])
    gap = nodes.add("IsNaN", [flat])
    named = nodes.add("Where", [gap, _number(nodes, wanted.categories + 1), known])
    place = nodes.add("Cast", [named], attributes={"to": TensorProto.INT64})
    sides = _sides(nodes, wanted.sides, place)
    return nodes.add("Cast", [sides], attributes={"to": TensorProto.FLOAT})


def _sides(nodes: Nodes, table: Array, place: str) -> str:
    """Add the look-up of rows of a table of 0 and 1; place -1 is the last row.

    Large tables are kept as bits and taken apart after the look-up.
    """
    if table.size < _WORTH_PACKING:
        return nodes.add("Gather", [nodes.constant(table), place])
    bits = nodes.constant(np.packbits(table, axis=1, bitorder="little"))
    found = nodes.add("Gather", [bits, place])
    last = nodes.constant(np.array([2], dtype=np.int64))
    byte = nodes.add("Unsqueeze", [found, last])
    shifts = nodes.constant(np.arange(8, dtype=np.uint8))
    shifted = nodes.add("BitShift", [byte, shifts], attributes={"direction": "RIGHT"})
    single = nodes.add("Mod", [shifted, nodes.constant(np.array([2], dtype=np.uint8))])
    width = table.shape[1]
    whole = nodes.constant(np.array([-1, -(-width // 8) * 8], dtype=np.int64))
    ends = [nodes.constant(np.array([n], dtype=np.int64)) for n in (0, width, 1)]
    return nodes.add("Slice", [nodes.add("Reshape", [single, whole]), *ends])


def _attributes(trees: Trees) -> dict[str, Any]:
    written = trees.trees
    reached = [tree.reached() for tree in written]
    columns = {
        "nodes_treeids": [np.full(len(n), t) for t, n in enumerate(reached)],
        "nodes_nodeids": reached,
        "nodes_featureids": _of_splits(written, reached, "column", np.int64),
        "nodes_values": _of_splits(written, reached, "threshold", np.float32),
        "nodes_truenodeids": _of_splits(written, reached, "left", np.int64),
        "nodes_falsenodeids": _of_splits(written, reached, "right", np.int64),
        "nodes_missing_value_tracks_true": _of_splits(
            written, reached, "missing_left", np.int64
        ),
        **_votes(trees, reached),
    }
    joined = {name: np.concatenate(parts).tolist() for name, parts in columns.items()}
    leaf = np.concatenate([t.left[n] < 0 for t, n in zip(written, reached, strict=True)])
    joined["nodes_modes"] = [_LEAF if end else trees.test.value for end in leaf]
    if not any(joined["nodes_missing_value_tracks_true"]):
        del joined["nodes_missing_value_tracks_true"]
    if trees.base.any():
        joined["base_values"] = trees.base.tolist()
    targets = len(trees.base) * (1 + len(trees.slopes))
    return {**joined, "n_targets": targets, "post_transform": "NONE"}


def _of_splits(
    trees: tuple[Tree, ...], reached: list[Array], name: str, dtype: type
) -> list[Array]:
    """Return a column of each tree, 0 at its leaves."""
    return [
        np.where(tree.left[nodes] < 0, 0, getattr(tree, name)[nodes]).astype(dtype)
        for tree, nodes in zip(trees, reached, strict=True)
    ]


def _votes(trees: Trees, reached: list[Array]) -> dict[str, list[Array]]:
    columns: dict[str, list[Array]] = {
        f"target_{name}": [] for name in ("treeids", "nodeids", "ids", "weights")
    }
    for number, (tree, nodes) in enumerate(zip(trees.trees, reached, strict=True)):
        leaves = nodes[tree.left[nodes] < 0]
        width = tree.votes.shape[1]
        first = tree.target * width if trees.slopes or width == 1 else 0
        votes = tree.votes[leaves]
        counts = np.ones(votes.shape, dtype=bool)
        if trees.slopes:  # most features have none in a leaf
            counts[:, 1:] = votes[:, 1:] != 0
        leaf, target = np.nonzero(counts)
        columns["target_treeids"].append(np.full(len(leaf), number))
        columns["target_nodeids"].append(leaves[leaf])
        columns["target_ids"].append(first + target)
        columns["target_weights"].append(votes[counts])
    return columns


def _number(nodes: Nodes, value: float) -> str:
    return nodes.constant(np.array([value], dtype=np.float32))


def _flat(nodes: Nodes) -> str:
    return nodes.constant(np.array([-1], dtype=np.int64))
