"""The int8 flavor: weights stored as int8 with a scale per channel, computed in float32.

Symmetric: weight = int8 * scale. Cast and Mul unfold it when the session loads, so the
graph that runs is the float one and needs no integer kernels, no calibration and no
session option. DequantizeLinear would need `session.disable_quant_qdq=1` to be folded, or
runs 2 to 12 times slower; it is at most 2 percent smaller.
"""

import numpy as np
from onnx import helper

from edgekit.table import Array
from edgekit_converters.flavors.flavor import Built, DoesNotApply, Source
from edgekit_converters.flavors.weights import (
    Weight,
    cast_to_float,
    store,
    tensor,
    weights,
)
from edgekit_converters.passes.walk import copied

LEVELS = 127
_NODES_BYTES = 64  # what the Cast, the Mul and the second initialiser add, about
_SAVED_BYTES = 3  # an int8 instead of a float32
_SCALE_BYTES = 4
_SMALLEST_SCALE = np.finfo(np.float32).tiny  # nothing is divided by zero


def build(source: Source) -> Built | DoesNotApply:
    """Return the model with each weight that gets smaller by it stored as int8."""
    model = copied(source.model)
    chosen = [weight for weight in weights(source.model) if _smaller(weight)]
    if not chosen:
        return DoesNotApply(
            reason="no Conv, Gemm, MatMul, recurrent or embedding weights that would get"
            " smaller: trees and linear operators keep theirs in attributes"
        )
    for weight in chosen:
        stored, scale = quantise(weight.values, weight.channel_axis)
        small, scales = f"{weight.name}/int8", f"{weight.name}/scale"
        unscaled = f"{weight.name}/unscaled"
        store(
            model,
            weight.name,
            [tensor(small, stored), tensor(scales, scale)],
            [
                cast_to_float(small, unscaled),
                helper.make_node("Mul", [unscaled, scales], [weight.name]),
            ],
        )
    numbers = sum(weight.values.size for weight in chosen)
    return Built(model=model, note=f"{numbers:,} weights in {len(chosen)} tensors as int8")


def quantise(values: Array, channel_axis: int) -> tuple[Array, Array]:
    """Return int8 values and the float32 scale that broadcasts over them."""
    others = tuple(axis for axis in range(values.ndim) if axis != channel_axis)
    largest = np.abs(values).max(axis=others, keepdims=True)
    scale = np.where(largest > 0, largest / LEVELS, 1.0)
    scale = np.maximum(scale, _SMALLEST_SCALE).astype(np.float32)
    stored = np.clip(np.rint(values / scale), -LEVELS, LEVELS).astype(np.int8)
    trimmed = scale.reshape(scale.shape[channel_axis:])  # leading ones broadcast unsaid
    return stored, trimmed


def _smaller(weight: Weight) -> bool:
    channels = weight.values.shape[weight.channel_axis]
    added = _SCALE_BYTES * channels + _NODES_BYTES
    return _SAVED_BYTES * weight.values.size > added and bool(
        np.isfinite(weight.values).all()
    )
