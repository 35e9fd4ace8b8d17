"""Find the weights among a model's float32 constants. Knows not how a weight is stored."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, numpy_helper

from edgekit.table import Array
from edgekit_converters.passes.walk import interface, nodes

_TRANSPOSABLE = {"Gemm": "transB"}
_CHANNEL_AXIS = {
    "Conv": 0,
    "ConvTranspose": 1,
    "MatMul": -1,
    "LSTM": -2,
    "GRU": -2,
    "RNN": -2,
    "Gather": 0,
}
_WEIGHT_INPUTS = {"LSTM": (1, 2), "GRU": (1, 2), "RNN": (1, 2), "Gather": (0,)}
_SECOND = (1,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """A float32 initialiser that a weighted operator multiplies with.

    `channel_axis` is the axis along which each slice may have a scale of its own.
    """

    name: str
    values: Array
    channel_axis: int


def floats(model: ModelProto) -> Iterator[tuple[str, Array]]:
    """Yield the name and values of every float32 initialiser that is no input."""
    kept = interface(model.graph)
    for entry in model.graph.initializer:
        if entry.data_type == TensorProto.FLOAT and entry.name not in kept:
            yield entry.name, numpy_helper.to_array(entry)


def weights(model: ModelProto) -> Iterator[Weight]:
    """Yield the weights of Conv, Gemm, MatMul, recurrent and embedding operators."""
    axes: dict[str, int] = {}
    for node in nodes(model.graph):
        for name, axis in _weighted_inputs(node):
            axes.setdefault(name, axis)
    for name, values in floats(model):
        if name in axes and values.ndim > 1:
            yield Weight(name=name, values=values, channel_axis=axes[name] % values.ndim)


def counted(number: int, noun: str) -> str:
    """Return "1 weight", "1,200 weights"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def tensor(name: str, values: Array) -> TensorProto:
    """Return an initialiser, its data raw and little-endian."""
    return numpy_helper.from_array(np.asarray(values, order="C"), name)


def _weighted_inputs(node: NodeProto) -> Iterator[tuple[str, int]]:
    if node.domain not in {"", "ai.onnx"}:
        return
    if node.op_type in _TRANSPOSABLE:
        axis = 0 if _flag(node, _TRANSPOSABLE[node.op_type]) else 1
        yield node.input[1], axis
    elif node.op_type in _CHANNEL_AXIS:
        for number in _WEIGHT_INPUTS.get(node.op_type, _SECOND):
            yield node.input[number], _CHANNEL_AXIS[node.op_type]


def _flag(node: NodeProto, name: str) -> bool:
    return any(
        entry.name == name and entry.type == AttributeProto.INT and bool(entry.i)
        for entry in node.attribute
    )
