"""The int8-static flavor: weights and activations in int8, ranges observed on samples.

QuantizeLinear and DequantizeLinear around each weighted operator, which onnxruntime fuses
into integer kernels. uint8 activations with a zero point, 8-bit weights per channel, int32
biases. Weights are stored as uint8 around 128, not as int8: products of uint8 and int8
saturate on x86-64 processors without VNNI (a keyword spotter fell from .916 to .089), so
a verdict from there would be false for Arm boards, which saturate neither. Asking
onnxruntime for exact sums instead (`session.x64quantprecision`) fails to load some graphs
that share zero points.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from edgekit.table import Array
from edgekit_converters.flavors.flavor import Built, DoesNotApply, Source
from edgekit_converters.flavors.int8 import quantise
from edgekit_converters.flavors.ranges import MAX_ROWS, observed
from edgekit_converters.flavors.weights import Weight, tensor, weights
from edgekit_converters.passes.walk import copied, interface

MIN_OPSET = 13  # DequantizeLinear per channel
_WEIGHTED = {"Conv", "Gemm", "MatMul"}
_SAME_RANGE = {"MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"}
_ALONG = {"Relu", "Clip", "Add", "AveragePool", "GlobalAveragePool"}
_EPILOGUES = {
    "Conv": {"Relu", "Clip"},
    "Gemm": {"Relu", "Clip"},
    "MatMul": {"Add"},
    "Add": {"Relu", "Clip"},
}
_LEVELS = 255
_MIDDLE = 128  # the uint8 that stands for a weight of zero
_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """How a float tensor maps to uint8."""

    scale: np.float32
    zero: np.uint8


def build(source: Source) -> Built | DoesNotApply:
    """Return the model with its Conv, Gemm and MatMul in int8."""
    opset = max((o.version for o in source.model.opset_import if not o.domain), default=0)
    if opset < MIN_OPSET:
        return DoesNotApply(reason=f"opset {opset}, per-channel scales need {MIN_OPSET}")
    chosen = {weight.name: weight for weight in weights(source.model)}
    weighted = [n for n in source.model.graph.node if _is_weighted(n, chosen)]
    if not weighted:
        return DoesNotApply(reason="no Conv, Gemm or MatMul with constant weights")
    edges = _edges(source.model)
    scales = _scales(
        source.model, observed(source.model, sorted(edges), source.calibration)
    )
    model = copied(source.model)
    _quantise_weights(model, chosen, scales)
    _quantise_edges(model, scales)
    rows = min(MAX_ROWS, len(next(iter(source.calibration.values()))))
    return Built(
        model=model,
        note=f"{len(weighted)} operators in int8, ranges from {rows} of the samples",
    )


def _is_weighted(node: NodeProto, chosen: Mapping[str, Weight]) -> bool:
    return node.op_type in _WEIGHTED and node.input[1] in chosen


def _edges(model: ModelProto) -> set[str]:
    """Name the float tensors that pass between operators that integer kernels exist for."""
    constant = {entry.name for entry in model.graph.initializer}
    float_names = _float_names(model) - constant
    float_names -= {value.name for value in model.graph.output}
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    edges: set[str] = set()
    for node in model.graph.node:
        if node.op_type in _WEIGHTED | _SAME_RANGE | _ALONG:
            edges.update(name for name in (*node.input, *node.output))
    for node in model.graph.node:
        following = [reader.op_type for reader in readers.get(node.output[0], [])]
        if len(following) == 1 and following[0] in _EPILOGUES.get(node.op_type, set()):
            edges.discard(node.output[0])
    return edges & float_names


def _float_names(model: ModelProto) -> set[str]:
    inferred = shape_inference.infer_shapes(model)
    return {
        value.name
        for value in (*inferred.graph.input, *inferred.graph.value_info)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }


def _scales(
    model: ModelProto, ranges: Mapping[str, tuple[float, float]]
) -> dict[str, _Scale]:
    scales = {name: _scale(*extremes) for name, extremes in ranges.items()}
    for node in model.graph.node:
        if node.op_type in _SAME_RANGE and {node.input[0], node.output[0]} <= scales.keys():
            scales[node.output[0]] = scales[node.input[0]]
    return scales


def _scale(least: float, most: float) -> _Scale:
    scale = np.float32((most - least) / _LEVELS)
    if scale == 0:
        return _Scale(scale=np.float32(1), zero=np.uint8(0))
    return _Scale(scale=scale, zero=np.uint8(np.clip(np.rint(-least / scale), 0, _LEVELS)))


def _quantise_weights(
    model: ModelProto, chosen: Mapping[str, Weight], scales: Mapping[str, _Scale]
) -> None:
    constants = {entry.name: entry for entry in model.graph.initializer}
    unfold: list[NodeProto] = []
    for number, node in enumerate(model.graph.node):
        if not _is_weighted(node, chosen):
            continue
        weight = chosen[node.input[1]]
        stored, scale = quantise(weight.values, weight.channel_axis)
        flat = scale.reshape(-1)
        prefix = f"{number}/weight"
        shifted = (stored.astype(np.int16) + _MIDDLE).astype(np.uint8)
        unfold.append(
            _dequantise(
                model, prefix, shifted, flat, axis=weight.channel_axis, zero=_MIDDLE
            )
        )
        fed = scales.get(node.input[0])
        node.input[1] = prefix
        if len(node.input) > 2 and node.input[2] in constants and fed is not None:  # noqa: PLR2004 - the bias
            bias = numpy_helper.to_array(constants[node.input[2]]).reshape(-1)
            if bias.size == flat.size:
                node.input[2] = f"{number}/bias"
                unfold.append(_whole_bias(model, node.input[2], bias, flat * fed.scale))
    _put_first(model, unfold)


def _whole_bias(model: ModelProto, name: str, bias: Array, scale: Array) -> NodeProto:
    whole = np.clip(np.rint(bias / scale), _INT32.min, _INT32.max).astype(np.int32)
    return _dequantise(model, name, whole, scale.astype(np.float32), axis=0, zero=0)


def _dequantise(  # noqa: PLR0913 - a tensor and the three numbers that unfold it
    model: ModelProto, name: str, stored: Array, scale: Array, *, axis: int, zero: int
) -> NodeProto:
    parts = [f"{name}/{part}" for part in ("stored", "scale", "zero")]
    values = (stored, scale, np.full(scale.shape, zero, stored.dtype))
    for part, value in zip(parts, values, strict=True):
        model.graph.initializer.append(tensor(part, value))
    return helper.make_node("DequantizeLinear", parts, [name], axis=axis)


def _quantise_edges(model: ModelProto, scales: Mapping[str, _Scale]) -> None:
    inputs = interface(model.graph) & scales.keys()
    placed: list[NodeProto] = []
    for name in sorted(inputs):
        placed.extend(_pair(model, name, scales[name]))
    for node in model.graph.node:
        node.input[:] = [f"{n}/back" if n in scales else n for n in node.input]
        placed.append(node)
        for name in node.output:
            if name in scales:
                placed.extend(_pair(model, name, scales[name]))
    copies = [_copy(node) for node in placed]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _pair(model: ModelProto, name: str, scale: _Scale) -> list[NodeProto]:
    parts = [f"{name}/scale", f"{name}/zero"]
    model.graph.initializer.append(tensor(parts[0], np.array(scale.scale)))
    model.graph.initializer.append(tensor(parts[1], np.array(scale.zero)))
    return [
        helper.make_node("QuantizeLinear", [name, *parts], [f"{name}/u8"]),
        helper.make_node("DequantizeLinear", [f"{name}/u8", *parts], [f"{name}/back"]),
    ]


def _put_first(model: ModelProto, first: list[NodeProto]) -> None:
    others = [_copy(node) for node in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend([*first, *others])


def _copy(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy
