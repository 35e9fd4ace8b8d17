"""Choose the codes of a model's weights, layer by layer, so that its answers stay.

With samples, each layer is rounded knowing the inputs that the layers rounded before it
give, and its bias takes up what its mean answer lost. Without, or where a weight is no
plain matrix (recurrent, embedding, shared ones), each weight is rounded for itself. The
same model and samples give the same codes.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, numpy_helper

from edgekit.table import Array, rows, take
from edgekit_converters.flavors.stored.formats import Format
from edgekit_converters.flavors.stored.layers import (
    Layer,
    activations,
    constant_values,
    layers,
)
from edgekit_converters.flavors.stored.rounding import Moments, round_for_inputs, round_rows
from edgekit_converters.flavors.stored.weights import Weight, weights
from edgekit_converters.passes.walk import copied

MAX_ROWS = 512  # of the samples
_MAX_VALUES = 30_000_000  # inner values held at once: rows are fewer for large models
_MAX_SAMPLES = 4_096  # inputs of a layer, in all positions of all rows
_MAX_WORK = 4_000_000_000  # multiplications to carry errors over in one layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """One weight as whole codes, and a scale per channel."""

    format: Format
    numbers: Array  # of the weight's shape, -format.largest to format.largest
    scales: Array  # [channels] float32
    channel_axis: int

    @property
    def values(self) -> Array:
        """Return the weight as a session will unfold it, float32."""
        shape = [-1 if n == self.channel_axis else 1 for n in range(self.numbers.ndim)]
        unfolded: Array = self.numbers.astype(np.float32) * self.scales.reshape(shape)
        return unfolded


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounded:
    """A model's weights as codes, and the biases that changed with them, by name."""

    codes: Mapping[str, Codes]
    biases: Mapping[str, Array]


def round_weights(
    model: ModelProto,
    plan: Mapping[str, Format],
    calibration: Mapping[str, Array],
    *,
    spent: Callable[[], bool] = lambda: False,
) -> Rounded:
    """Return codes for each weight in the plan (name -> format).

    Once `spent`, the weights left are rounded for themselves.
    """
    every = {weight.name: weight for weight in weights(model) if weight.name in plan}
    codes: dict[str, Codes] = {}
    biases: dict[str, Array] = {}
    for layer, before, after in _in_order(model, every, calibration, codes, biases):
        if spent():
            break
        try:
            found, shift = _layer_codes(
                layer, every[layer.weight], plan[layer.weight], before, after
            )
        except np.linalg.LinAlgError:  # inputs of such spread that nothing can be told
            continue
        codes[layer.weight] = found
        if layer.bias is not None:
            own = constant_values(model)[layer.bias]
            biases[layer.bias] = (own + shift.reshape(own.shape)).astype(np.float32)
    for name, weight in every.items():
        if name not in codes:
            codes[name] = round_alone(weight, plan[name])
    return Rounded(codes=codes, biases=biases)


def unfolded(model: ModelProto, found: Rounded) -> ModelProto:
    """Return the float32 model that a session will have once it has unfolded the codes."""
    out = copied(model)
    for name, codes in found.codes.items():
        _set(out, name, codes.values)
    for name, values in found.biases.items():
        _set(out, name, values)
    return out


def round_alone(weight: Weight, form: Format) -> Codes:
    """Round one weight without knowing what it is multiplied with."""
    moved = np.moveaxis(weight.values, weight.channel_axis, 0)
    matrix = moved.reshape(len(moved), -1).astype(np.float64)
    numbers, scales = round_rows(matrix, form.largest, np.ones_like(matrix))
    return Codes(
        format=form,
        numbers=np.moveaxis(numbers.reshape(moved.shape), 0, weight.channel_axis),
        scales=scales,
        channel_axis=weight.channel_axis,
    )


def _in_order(
    model: ModelProto,
    every: Mapping[str, Weight],
    calibration: Mapping[str, Array],
    codes: Mapping[str, Codes],
    biases: Mapping[str, Array],
) -> Iterator[tuple[Layer, Array, Array]]:
    """Yield layers, and [groups, samples, inputs] before and after the codes so far."""
    known = [one for one in layers(model) if one.weight in every and _bearable(one)]
    if not rows(calibration) or not known:
        return
    feeds = _some(model, calibration)
    exact = activations(model, [layer.data for layer in known], feeds)
    current = copied(model)
    for layer in known:
        data = activations(current, [layer.data], feeds)[layer.data]
        before = layer.inputs(exact[layer.data], _MAX_SAMPLES).astype(np.float64)
        after = layer.inputs(data, _MAX_SAMPLES).astype(np.float64)
        if np.isfinite(before).all() and np.isfinite(after).all():
            yield layer, before, after
        if layer.weight in codes:
            _set(current, layer.weight, codes[layer.weight].values)
        if layer.bias is not None and layer.bias in biases:
            _set(current, layer.bias, biases[layer.bias])


def _layer_codes(
    layer: Layer, weight: Weight, form: Format, before: Array, after: Array
) -> tuple[Codes, Array]:
    """Return the layer's codes, and [outputs] what its bias must add for them."""
    grouped = layer.rows(weight.values.astype(np.float64))
    found = [
        round_for_inputs(matrix, form.largest, Moments.of(old, new))
        for matrix, old, new in zip(grouped, before, after, strict=True)
    ]
    numbers = np.stack([numbers for numbers, _ in found])
    scales = np.stack([scales for _, scales in found])
    unfolded = numbers * scales[:, :, None].astype(np.float64)
    wanted = np.einsum("goi,gi->go", grouped, before.mean(axis=1))
    given = np.einsum("goi,gi->go", unfolded, after.mean(axis=1))
    codes = Codes(
        format=form,
        numbers=layer.back(numbers),
        scales=scales.reshape(-1),
        channel_axis=weight.channel_axis,
    )
    return codes, (wanted - given).reshape(-1)


def _some(model: ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return evenly spread rows, fewer where a row makes many inner values."""
    total = rows(feeds)
    names = [layer.data for layer in layers(model)]
    first = activations(model, names, take(feeds, [0])) if names else {}
    values = sum(array.size for array in first.values())
    most = max(16, min(MAX_ROWS, _MAX_VALUES // max(1, values)))
    chosen = np.unique(np.linspace(0, total - 1, min(total, most)).astype(np.int64))
    return take(feeds, chosen.tolist())


def _bearable(layer: Layer) -> bool:
    outputs, inputs = layer.rows(np.empty(layer.shape, np.int8)).shape[1:]
    return int(inputs) ** 2 * max(int(outputs), int(inputs)) <= _MAX_WORK


def _set(model: ModelProto, name: str, values: Array) -> None:
    for entry in model.graph.initializer:
        if entry.name == name:
            entry.CopyFrom(numpy_helper.from_array(np.asarray(values, order="C"), name))
