"""Tell whether a model computes in integers already, and keep its sums from saturating.

x86-64 processors without VNNI add the products of two uint8 and two int8 in 16 bits, which
saturate; no other processor does. Weights stored as uint8 are added exactly everywhere.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from edgekit.table import Array
from edgekit_converters.passes.walk import copied, nodes

EXACT_OPTION: Mapping[str, str] = MappingProxyType({"session.x64quantprecision": "1"})
_INTEGER_OPERATORS = {
    "ConvInteger",
    "DynamicQuantizeLSTM",
    "DynamicQuantizeLinear",
    "DynamicQuantizeMatMul",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "QAttention",
    "QGemm",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
}
_LAYERS = {"Conv", "Gemm", "MatMul"}
_SHIFT = 128
_UNSIGNED = 255
_SIXTEEN_BITS = 2**15 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """Which inputs of an operator are the weights, their zero and the data's zero."""

    weight: int
    zero: int
    data_zero: int


_PLACES = {
    "ConvInteger": _Places(weight=1, zero=3, data_zero=2),
    "MatMulInteger": _Places(weight=1, zero=3, data_zero=2),
    "MatMulIntegerToFloat": _Places(weight=1, zero=5, data_zero=4),
    "QGemm": _Places(weight=3, zero=5, data_zero=2),
    "QLinearConv": _Places(weight=3, zero=5, data_zero=2),
    "QLinearMatMul": _Places(weight=3, zero=5, data_zero=2),
}
_FOLDED = _Places(weight=0, zero=2, data_zero=2)  # DequantizeLinear's own


def integer_operators(model: ModelProto) -> dict[str, int]:
    """Return how often each operator that computes in integers occurs."""
    counts: dict[str, int] = {}
    for node in nodes(model.graph):
        if node.op_type in _INTEGER_OPERATORS:
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return dict(sorted(counts.items()))


def may_saturate(model: ModelProto) -> bool:
    """Whether int8 weights occur of which two, times 255, add up to more than 16 bits."""
    graph = _Graph(model)
    return any(_large_pair(graph.values(name)) for _, _, name in graph.signed())


def exact_options(model: ModelProto) -> Mapping[str, str]:
    """Return the session options under which every processor computes the same."""
    return EXACT_OPTION if may_saturate(model) else {}


def unsigned_weights(model: ModelProto) -> ModelProto:
    """Return the model with int8 weights that could saturate as uint8 around 128.

    The same numbers, so the same answers wherever sums are exact. Weights beside int8 data
    stay, as there are no kernels for such a pair; `exact_options` are for those.
    """
    if not may_saturate(model):
        return model
    out = copied(model)
    graph = _Graph(out)
    for node, places, name in list(graph.signed()):
        if node.input[places.weight] == name and graph.reads_unsigned(node, places):
            _shift(out, graph, node, places)
    return out


class _Graph:
    """Constants and makers of the outermost graph."""

    def __init__(self, model: ModelProto) -> None:
        self._nodes = list(model.graph.node)
        self._constants = {entry.name: entry for entry in model.graph.initializer}
        self._makers = {name: node for node in self._nodes for name in node.output}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in self._nodes:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def signed(self) -> Iterator[tuple[NodeProto, _Places, str]]:
        """Yield the node that reads int8 weights, where it has them, and their name."""
        for node in self._nodes:
            if node.op_type in _LAYERS and len(node.input) > 1:
                unfold = self._makers.get(node.input[1])
                if unfold is not None and self._unfolds_int8(unfold):
                    yield unfold, _FOLDED, unfold.input[0]
            elif node.op_type in _PLACES:
                places = _PLACES[node.op_type]
                if self._is(node.input[places.weight], TensorProto.INT8):
                    yield node, places, node.input[places.weight]

    def _unfolds_int8(self, node: NodeProto) -> bool:
        return (
            node.op_type == "DequantizeLinear"
            and self._is(node.input[0], TensorProto.INT8)
            and node.input[1] in self._constants
        )

    def values(self, name: str) -> Array:
        """Return a constant's numbers."""
        return numpy_helper.to_array(self._constants[name])

    def reads_unsigned(self, node: NodeProto, places: _Places) -> bool:
        """Whether what is multiplied with the weights is uint8."""
        if places is not _FOLDED:
            return self._unsigned_zero(node, places.data_zero)
        return all(
            (maker := self._makers.get(layer.input[0])) is not None
            and maker.op_type == "DequantizeLinear"
            and self._unsigned_zero(maker, _FOLDED.zero)
            for layer in self._readers.get(node.output[0], [])
        )

    def _unsigned_zero(self, node: NodeProto, place: int) -> bool:
        name = node.input[place] if len(node.input) > place else ""
        maker = self._makers.get(name)
        dynamic = maker is not None and maker.op_type == "DynamicQuantizeLinear"
        return dynamic or self._is(name, TensorProto.UINT8)

    def _is(self, name: str, kind: int) -> bool:
        return name in self._constants and self._constants[name].data_type == kind


def _shift(model: ModelProto, graph: _Graph, node: NodeProto, places: _Places) -> None:
    """Let a node read its weights and their zero 128 higher."""
    stored, zero = node.input[places.weight], ""
    if len(node.input) > places.zero:
        zero = node.input[places.zero]
    shape = graph.values(node.input[1]).shape if places is _FOLDED else ()
    before = graph.values(zero) if zero else np.zeros(shape, np.int8)
    for place, name, values in (
        (places.weight, f"{stored}/unsigned", graph.values(stored)),
        (places.zero, f"{zero or stored}/unsigned zero", before),
    ):
        shifted = (values.astype(np.int16) + _SHIFT).astype(np.uint8)
        if all(entry.name != name for entry in model.graph.initializer):
            model.graph.initializer.append(numpy_helper.from_array(shifted, name))
        while len(node.input) <= place:
            node.input.append("")
        node.input[place] = name


def _large_pair(values: Array) -> bool:
    """Whether any two weights of one sign are too large; which are added is not known."""
    whole = values.astype(np.int64).ravel()
    if whole.size < 2:  # noqa: PLR2004 - it takes a pair
        return False
    ordered = np.sort(whole)
    largest = max(int(ordered[-2:].sum()), int(-ordered[:2].sum()))
    return largest * _UNSIGNED > _SIXTEEN_BITS
