"""Store a model's weights in the formats of a plan: choose the codes, write them.

The plan names initialisers. Biases of the layers stored follow as float16 where that
moves an answer less than the rounded weights do.
"""

from collections.abc import Callable, Mapping

import numpy as np
from onnx import ModelProto

from edgekit.table import Array
from edgekit_converters.flavors.stored.compensation import Codes, Rounded, round_weights
from edgekit_converters.flavors.stored.formats import Format
from edgekit_converters.flavors.stored.layers import constant_values, layers
from edgekit_converters.flavors.stored.layout import HEAVY, write
from edgekit_converters.flavors.stored.weights import Weight, weights

MIN_OPSET = 11  # BitShift
_FLOAT_BITS = 32
_BYTE_BITS = 8
_SCALE_BYTES = 2
_NODES_BYTES = 64  # what a tensor of its own adds, about
_SMALL = 0.25  # of a weight's step: what rounding a bias may add


def store_weights(
    model: ModelProto,
    plan: Mapping[str, Format],
    calibration: Mapping[str, Array],
    *,
    spent: Callable[[], bool] = lambda: False,
    heavy_from: int = HEAVY,
) -> ModelProto:
    """Return the model with each weight of the plan (name -> format) stored so.

    `calibration` are feeds; without rows, weights are rounded knowing no inputs. Under
    the options of `unfolding_options` it runs at the speed of the model given. From
    `heavy_from` weights on it spares memory while it loads.
    """
    found = round_weights(model, plan, calibration, spent=spent)
    return write(model, found.codes, _biases(model, found), heavy_from=heavy_from)


def storable(model: ModelProto, form: Format) -> list[Weight]:
    """Return the weights that take fewer bytes in a format."""
    return [weight for weight in weights(model) if _saved_bytes(weight, form) > 0]


def _saved_bytes(weight: Weight, form: Format) -> float:
    if not np.isfinite(weight.values).all():
        return 0.0
    channels = int(weight.values.shape[weight.channel_axis])
    saved = int(weight.values.size) * (_FLOAT_BITS - form.bits) / _BYTE_BITS
    return saved - _SCALE_BYTES * channels - _NODES_BYTES


def _biases(model: ModelProto, found: Rounded) -> dict[str, Array]:
    constants = constant_values(model)
    biases = dict(found.biases)
    for layer in layers(model):
        if layer.weight in found.codes and layer.bias is not None:
            values = biases.get(layer.bias, constants[layer.bias])
            with np.errstate(over="ignore"):  # infinite is not small
                small = values.astype(np.float16).astype(np.float32)
            if _is_small(small - values, found.codes[layer.weight]):
                biases[layer.bias] = small
    return biases


def _is_small(error: Array, codes: Codes) -> bool:
    return bool(np.mean(error**2) <= _SMALL**2 * np.mean(codes.scales**2))
