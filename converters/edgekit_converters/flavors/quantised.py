"""Tell whether a model computes in integers already, and with which weights. Pure."""

from collections.abc import Iterator

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from edgekit.table import Array
from edgekit_converters.passes.walk import nodes

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
_WEIGHT_INPUTS = {
    "ConvInteger": 1,
    "DynamicQuantizeMatMul": 1,
    "MatMulInteger": 1,
    "MatMulIntegerToFloat": 1,
    "QAttention": 1,
    "QGemm": 3,
    "QLinearConv": 3,
    "QLinearMatMul": 3,
}
_LAYERS = {"Conv", "Gemm", "MatMul"}
_UNSIGNED = 255
_SIXTEEN_BITS = 2**15 - 1


def integer_operators(model: ModelProto) -> dict[str, int]:
    """Return how often each operator that computes in integers occurs."""
    counts: dict[str, int] = {}
    for node in nodes(model.graph):
        if node.op_type in _INTEGER_OPERATORS:
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return dict(sorted(counts.items()))


def may_saturate(model: ModelProto) -> bool:
    """Whether int8 weights occur of which two, times 255, add up to more than 16 bits.

    x86-64 processors without VNNI add the products of two uint8 and two int8 in 16 bits.
    """
    return any(_large_pair(values) for values in _signed_weights(model))


def _signed_weights(model: ModelProto) -> Iterator[Array]:
    stored = {
        entry.name: entry
        for entry in model.graph.initializer
        if entry.data_type == TensorProto.INT8
    }
    unfolded = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in stored
    }
    for node in nodes(model.graph):
        for name in _weights_of(node):
            origin = unfolded.get(name, name)
            if origin in stored:
                yield numpy_helper.to_array(stored[origin])


def _weights_of(node: NodeProto) -> list[str]:
    number = 1 if node.op_type in _LAYERS else _WEIGHT_INPUTS.get(node.op_type, -1)
    return list(node.input[number : number + 1]) if number >= 0 else []


def _large_pair(values: Array) -> bool:
    """Whether any two weights of one sign are too large; which are added is not known."""
    whole = values.astype(np.int64).ravel()
    if whole.size < 2:  # noqa: PLR2004 - it takes a pair
        return False
    ordered = np.sort(whole)
    largest = max(int(ordered[-2:].sum()), int(-ordered[:2].sum()))
    return largest * _UNSIGNED > _SIXTEEN_BITS
