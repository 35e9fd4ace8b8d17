"""Fold what scales and shifts a channel into the weights of the linear operator beside it.

BatchNormalization, and the Mul, Add, Sub and Div by a constant per channel that exporters
write for it, after Conv, ConvTranspose, Gemm and MatMul; BatchNormalization before Gemm
and MatMul too. onnxruntime folds only the first, into Conv. Products are taken in
float64 and rounded once: answers are equal up to float32's rounding, not to the bit.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgekit.table import Array
from edgekit_converters.passes.walk import (
    copied,
    interface,
    nodes,
    ranks,
    replace_nodes,
    standard,
    unused_name,
)

_OUT_AXIS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}
_DENSE = {"Gemm", "MatMul"}
_ARITHMETIC = {"Mul", "Div", "Add", "Sub"}
_EPSILON = 1e-5  # BatchNormalization's default
_FAR = 8.0  # means so many deviations off zero cancel badly once they are in a bias
_FEW_INPUTS = 3  # data, weight, bias


@dataclass(frozen=True, slots=True, kw_only=True)
class _Affine:
    """y = x * scale + shift, both float64, [channels] or of one number."""

    scale: Array
    shift: Array

    def then(self, after: "_Affine") -> "_Affine":
        return _Affine(
            scale=self.scale * after.scale, shift=self.shift * after.scale + after.shift
        )


_SAME = _Affine(scale=np.ones(1), shift=np.zeros(1))


def fold_after_linear(model: ModelProto) -> ModelProto:
    """Return the model with scales and shifts after linear operators in their weights."""
    out = copied(model)
    graph = _Graph(out)
    for node in graph.nodes:
        if graph.is_linear(node):
            followers = list(_followers(graph, node))
            if followers and _fold_followers(graph, node, followers):
                graph.gone.update(id(follower) for follower, _ in followers)
    graph.rebuild()
    return out


def fold_before_dense(model: ModelProto) -> ModelProto:
    """Return the model with BatchNormalization before Gemm and MatMul in their weights."""
    out = copied(model)
    graph = _Graph(out)
    for node in graph.nodes:
        before = graph.made_by(node.input[0]) if graph.is_linear(node) else None
        if before is None or node.op_type not in _DENSE:
            continue
        if graph.rank(before.input[0]) != 2 or not graph.only_read_once(before.output[0]):  # noqa: PLR2004 - rows and columns
            continue
        affine = _normalisation(graph, before, far=_FAR)
        if affine is not None and _fold_before(graph, node, before, affine):
            graph.gone.add(id(before))
    graph.rebuild()
    return out


class _Graph:
    """The outermost graph, by name. Constants may be added, nodes changed in place.

    `gone` are ids of nodes that were folded into others, `added` (by id) the nodes to be
    placed after one. The ids hold as long as `nodes` does.
    """

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.gone: set[int] = set()
        self.added: dict[int, NodeProto] = {}
        self.kept = interface(model.graph)
        self.constants = {
            entry.name: entry
            for entry in model.graph.initializer
            if entry.name not in self.kept
        }
        self._reads = Counter(
            name for node in nodes(model.graph) for name in node.input if name
        )
        self._readers = {name: node for node in self.nodes for name in node.input if name}
        self._makers = {name: node for node in self.nodes for name in node.output}
        self._ranks = ranks(model)

    def values(self, name: str) -> Array | None:
        """Return a float32 constant in float64."""
        entry = self.constants.get(name)
        if entry is None or entry.data_type != TensorProto.FLOAT:
            return None
        return numpy_helper.to_array(entry).astype(np.float64)

    def is_linear(self, node: NodeProto) -> bool:
        """Whether the node multiplies with a constant that nothing else reads."""
        if not standard(node) or node.op_type not in _OUT_AXIS:
            return False
        weight = self.values(node.input[1])
        flat = weight is not None and (node.op_type not in _DENSE or weight.ndim == 2)  # noqa: PLR2004 - a matrix
        grouped = node.op_type == "ConvTranspose" and _number(node, "group", 1) != 1
        return flat and not grouped and self._reads[node.input[1]] == 1

    def only_read_once(self, name: str) -> bool:
        return self._reads[name] == 1 and name not in self.kept

    def reader(self, name: str) -> NodeProto | None:
        return self._readers.get(name) if self.only_read_once(name) else None

    def made_by(self, name: str) -> NodeProto | None:
        return self._makers.get(name)

    def rank(self, name: str) -> int | None:
        return self._ranks.get(name)

    def add(self, like: str, values: Array) -> str:
        """Store a new constant; return its name."""
        name = unused_name(self.model.graph, f"{like}/folded")
        entry = numpy_helper.from_array(np.asarray(values, np.float32, order="C"), name)
        self.model.graph.initializer.append(entry)
        self.constants[name] = entry
        self._reads[name] = 1
        return name

    def rebuild(self) -> None:
        """Write what is left of the nodes, and what was added."""
        placed: list[NodeProto] = []
        for node in self.nodes:
            if id(node) not in self.gone:
                placed.append(node)
                if id(node) in self.added:
                    placed.append(self.added[id(node)])
        replace_nodes(self.model, placed)


def _followers(graph: _Graph, node: NodeProto) -> Iterator[tuple[NodeProto, _Affine]]:
    """Yield the nodes that scale and shift what the linear node gives, in order."""
    weight = graph.values(node.input[1])
    channels = 0 if weight is None else weight.shape[_out_axis(node)]
    name = node.output[0]
    rank = graph.rank(name)
    axis = -1 if node.op_type in _DENSE else 1
    while (reader := graph.reader(name)) is not None and rank is not None:
        affine = _normalisation(graph, reader) if rank > 1 else None
        if affine is None or (axis < 0 and rank != 2) or reader.input[0] != name:  # noqa: PLR2004 - the channels are axis 1
            affine = _arithmetic(graph, reader, name, axis % rank, rank)
        if affine is None or max(affine.scale.size, affine.shift.size) not in {1, channels}:
            return
        yield reader, affine
        name = reader.output[0]


def _fold_followers(
    graph: _Graph,
    node: NodeProto,
    followers: list[tuple[NodeProto, _Affine]],
) -> bool:
    if (
        node.op_type == "MatMul"
        and len(followers) == 1
        and followers[0][0].op_type == "Add"
    ):
        return False  # its bias, where it belongs
    bias = _bias(graph, node)
    weight = graph.values(node.input[1])
    if bias is None or weight is None:
        return False
    total = _Affine(scale=np.ones(1), shift=bias)
    for _, affine in followers:
        total = total.then(affine)
    axis = _out_axis(node)
    shape = [-1 if n == axis else 1 for n in range(weight.ndim)]
    scaled = weight * total.scale.reshape(shape)
    shift = np.broadcast_to(total.shift, weight.shape[axis : axis + 1])
    if not _storable(scaled, shift):
        return False
    last = followers[-1][0].output[0]
    _rewrite(graph, node, scaled, shift, last)
    return True


def _fold_before(
    graph: _Graph,
    node: NodeProto,
    before: NodeProto,
    affine: _Affine,
) -> bool:
    weight, bias = graph.values(node.input[1]), _bias(graph, node)
    if weight is None or bias is None:
        return False
    flipped = _out_axis(node) == 0
    matrix = weight.T if flipped else weight
    if _number(node, "transA", 0) or matrix.shape[0] != affine.scale.size:
        return False
    alpha = _real(node, "alpha", 1.0)
    shift = alpha * (affine.shift @ matrix) + bias
    scaled = matrix * affine.scale[:, None]
    if not _storable(scaled, shift):
        return False
    node.input[0] = before.input[0]
    _rewrite(graph, node, scaled.T if flipped else scaled, shift, node.output[0])
    return True


def _rewrite(
    graph: _Graph, node: NodeProto, weight: Array, bias: Array, output: str
) -> None:
    """Let the node multiply with `weight`, add `bias` and give `output`."""
    weight_name, bias_name = node.input[1], node.output[0]
    node.input[1] = graph.add(weight_name, weight)
    if node.op_type == "MatMul":
        if output == node.output[0]:
            node.output[0] = unused_name(graph.model.graph, f"{output}/product")
        if bias.any():
            shift = graph.add(bias_name, bias)
            graph.added[id(node)] = helper.make_node(
                "Add", [node.output[0], shift], [output]
            )
        else:
            node.output[0] = output
        return
    del node.input[2:]
    node.input.append(graph.add(bias_name, bias))
    node.output[0] = output
    kept = [entry for entry in node.attribute if entry.name != "beta"]
    del node.attribute[:]
    node.attribute.extend(kept)


def _bias(graph: _Graph, node: NodeProto) -> Array | None:
    """Return [channels] or [1] that the node adds; None where it is no such constant."""
    if len(node.input) < _FEW_INPUTS or not node.input[2]:
        return np.zeros(1)
    values = graph.values(node.input[2])
    if values is None or (values.ndim and values.size != values.shape[-1]):
        return None
    flat: Array = values.reshape(-1) * _real(node, "beta", 1.0)
    return flat


def _normalisation(
    graph: _Graph, node: NodeProto, *, far: float = np.inf
) -> _Affine | None:
    if not standard(node) or node.op_type != "BatchNormalization":
        return None
    if len(node.output) > 1 or _number(node, "training_mode", 0):
        return None
    constants = [graph.values(name) for name in node.input[1:5]]
    scale, shift, mean, variance = (c if c is not None else np.zeros(0) for c in constants)
    deviation = np.sqrt(variance + _real(node, "epsilon", _EPSILON))
    if not scale.size or not (np.abs(mean) <= far * deviation).all():
        return None
    factor = scale / deviation
    return _Affine(scale=factor, shift=shift - mean * factor)


def _arithmetic(
    graph: _Graph, node: NodeProto, name: str, axis: int, rank: int
) -> _Affine | None:
    if not standard(node) or node.op_type not in _ARITHMETIC:
        return None
    first = node.input[0] == name
    constant = graph.values(node.input[1 if first else 0])
    if constant is None or constant.ndim > rank:
        return None
    wide = constant.reshape((1,) * (rank - constant.ndim) + constant.shape)
    if wide.size != wide.shape[axis]:
        return None
    flat = wide.reshape(-1)
    return _as_affine(node.op_type, flat, first=first)


def _as_affine(operator: str, flat: Array, *, first: bool) -> _Affine | None:
    zeros, ones = np.zeros_like(flat), np.ones_like(flat)
    if operator == "Mul":
        return _Affine(scale=flat, shift=zeros)
    if operator == "Add":
        return _Affine(scale=ones, shift=flat)
    if operator == "Sub":
        sign = 1 if first else -1
        return _Affine(scale=sign * ones, shift=-sign * flat)
    return _Affine(scale=1 / flat, shift=zeros) if first and flat.all() else None


def _out_axis(node: NodeProto) -> int:
    flipped = node.op_type == "Gemm" and _number(node, "transB", 0)
    return 0 if flipped else _OUT_AXIS[node.op_type]


def _storable(*arrays: Array) -> bool:
    largest = float(np.finfo(np.float32).max)
    return all(bool((np.abs(values) <= largest).all()) for values in arrays)


def _number(node: NodeProto, name: str, default: int) -> int:
    return next((int(entry.i) for entry in node.attribute if entry.name == name), default)


def _real(node: NodeProto, name: str, default: float) -> float:
    return next((float(entry.f) for entry in node.attribute if entry.name == name), default)
