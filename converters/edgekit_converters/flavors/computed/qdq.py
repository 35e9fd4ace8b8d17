"""Write a model whose layers compute in 8-bit integers, as onnxruntime wants to read it.

QuantizeLinear and DequantizeLinear around each layer, which onnxruntime fuses into
integer kernels. uint8 activations with a zero point, 8-bit weights, int32 biases. Weights
are stored as uint8 around 128, not as int8: products of uint8 and int8 saturate on x86-64
processors without VNNI (a keyword spotter fell from .916 to .089), so a verdict from
there would be false for Arm boards, which saturate neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgekit.table import Array
from edgekit_converters.flavors.computed.integers import SAME_RANGE, Layer
from edgekit_converters.flavors.stored.weights import tensor
from edgekit_converters.passes.walk import copied, replace_nodes

MIN_OPSET = 13  # DequantizeLinear per channel
_LEVELS = 255
_WEIGHT_LEVELS = 127
_MIDDLE = 128  # the uint8 that stands for a weight of zero
_LARGEST_BIAS = 2**30  # of an int32, so that sums of products still fit beside it
_BIAS = 2  # its place among a layer's inputs

Range = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """How a float tensor maps to uint8."""

    scale: np.float32
    zero: np.uint8


def quantised(
    model: ModelProto,
    layers: Sequence[Layer],
    ranges: Mapping[str, Range],
    *,
    per_channel: bool,
) -> ModelProto:
    """Return the model with these layers in int8; `ranges` are those of their edges."""
    steps = _steps(model, ranges)
    out = copied(model)
    _quantise_weights(out, layers, steps, per_channel=per_channel)
    _quantise_edges(out, steps)
    return out


def _steps(model: ModelProto, ranges: Mapping[str, Range]) -> dict[str, _Step]:
    steps = {name: _step(*extremes) for name, extremes in ranges.items()}
    for node in model.graph.node:
        if node.op_type in SAME_RANGE and {node.input[0], node.output[0]} <= steps.keys():
            steps[node.output[0]] = steps[node.input[0]]
    return steps


def _step(least: float, most: float) -> _Step:
    scale = np.float32((most - least) / _LEVELS)
    if scale == 0 or not np.isfinite(scale):
        return _Step(scale=np.float32(1), zero=np.uint8(0))
    return _Step(scale=scale, zero=np.uint8(np.clip(np.rint(-least / scale), 0, _LEVELS)))


def _quantise_weights(
    model: ModelProto,
    layers: Sequence[Layer],
    steps: Mapping[str, _Step],
    *,
    per_channel: bool,
) -> None:
    constants = {entry.name: entry for entry in model.graph.initializer}
    unfold: list[NodeProto] = []
    for layer in layers:
        node, prefix = model.graph.node[layer.number], f"{layer.number}/weight"
        fed = steps[node.input[0]].scale
        bias = _bias(node, constants)
        scale = _weight_scale(layer, bias, fed, per_channel=per_channel)
        stored = _stored(layer, scale)
        axis = layer.weight.channel_axis
        node.input[1] = prefix
        unfold.append(_unfold(model, prefix, stored, scale, axis=axis))
        if bias is not None and scale.size in {1, bias.size}:
            edge, node.input[_BIAS] = node.input[0], f"{layer.number}/bias"
            whole = np.rint(bias / (scale * fed)).astype(np.int32)
            unfold += _unfold_bias(model, node.input[_BIAS], whole, edge, prefix)
    _put_first(model, unfold)


def _bias(node: NodeProto, constants: Mapping[str, TensorProto]) -> Array | None:
    if len(node.input) <= _BIAS or node.input[_BIAS] not in constants:
        return None
    return numpy_helper.to_array(constants[node.input[_BIAS]]).reshape(-1)


def _weight_scale(
    layer: Layer, bias: Array | None, fed: np.float32, *, per_channel: bool
) -> Array:
    """Return one scale, or one for each channel, under which the bias fits an int32 too."""
    values, axis = layer.weight.values, layer.weight.channel_axis
    others = tuple(n for n in range(values.ndim) if n != axis)
    largest = np.abs(values).max(axis=others)
    overall = float(largest.max()) or 1.0
    if not per_channel:
        largest = np.array(overall)
    scale = np.where(largest > 0, largest, overall) / _WEIGHT_LEVELS
    if bias is not None and scale.size in {1, bias.size}:
        most = np.abs(bias) if scale.size > 1 else np.abs(bias).max()
        scale = np.maximum(scale, most / (float(fed) * _LARGEST_BIAS))
    return np.maximum(scale, np.finfo(np.float32).tiny).astype(np.float32)


def _stored(layer: Layer, scale: Array) -> Array:
    shape = [1] * layer.weight.values.ndim
    if scale.ndim:
        shape[layer.weight.channel_axis] = scale.size
    whole = np.rint(layer.weight.values / scale.reshape(shape))
    return (np.clip(whole, -_WEIGHT_LEVELS, _WEIGHT_LEVELS) + _MIDDLE).astype(np.uint8)


def _unfold_bias(
    model: ModelProto, name: str, whole: Array, edge: str, weight: str
) -> list[NodeProto]:
    """Store a bias; its steps are the product of two that are stored already."""
    model.graph.initializer.append(tensor(f"{name}/stored", whole))
    step = f"{name}/scale"
    return [
        helper.make_node("Mul", [f"{edge}/scale", f"{weight}/scale"], [step]),
        helper.make_node("DequantizeLinear", [f"{name}/stored", step], [name], axis=0),
    ]


def _unfold(
    model: ModelProto, name: str, stored: Array, scale: Array, *, axis: int
) -> NodeProto:
    """Store a constant and return the node that makes floats of it."""
    parts = {"stored": stored, "scale": scale.astype(np.float32)}
    if stored.dtype == np.uint8:  # an int32's zero is 0, which is left unsaid
        parts["zero"] = np.full(scale.shape, _MIDDLE, np.uint8)
    for part, value in parts.items():
        model.graph.initializer.append(tensor(f"{name}/{part}", value))
    inputs = [f"{name}/{part}" for part in parts]
    if scale.ndim:
        return helper.make_node("DequantizeLinear", inputs, [name], axis=axis)
    return helper.make_node("DequantizeLinear", inputs, [name])


def _quantise_edges(model: ModelProto, steps: Mapping[str, _Step]) -> None:
    fed = {value.name for value in model.graph.input}
    returned = {value.name for value in model.graph.output} & steps.keys()
    for name in steps:
        model.graph.initializer.append(tensor(f"{name}/scale", np.array(steps[name].scale)))
        model.graph.initializer.append(tensor(f"{name}/zero", np.array(steps[name].zero)))
    placed = [made for name in steps if name in fed for made in _pair(name, name)]
    for node in model.graph.node:
        node.input[:] = [f"{name}/back" if name in steps else name for name in node.input]
        outputs = [name for name in node.output if name in steps]
        node.output[:] = [f"{n}/float" if n in returned else n for n in node.output]
        placed.append(node)
        for name in outputs:
            placed += _pair(name, f"{name}/float" if name in returned else name)
            if name in returned:
                placed.append(_back(name, name))
    replace_nodes(model, placed)


def _pair(name: str, source: str) -> list[NodeProto]:
    """Return the nodes that round a tensor to 8 bits and make floats of it again."""
    parts = [f"{name}/scale", f"{name}/zero"]
    return [
        helper.make_node("QuantizeLinear", [source, *parts], [f"{name}/u8"]),
        _back(name, f"{name}/back"),
    ]


def _back(name: str, target: str) -> NodeProto:
    parts = [f"{name}/u8", f"{name}/scale", f"{name}/zero"]
    return helper.make_node("DequantizeLinear", parts, [target])


def _put_first(model: ModelProto, first: list[NodeProto]) -> None:
    replace_nodes(model, [*first, *model.graph.node])
