"""Observe the smallest and largest value that inner tensors take on samples.

Knows no quantisation. Rows are run a few at a time and only the extremes are kept, so
the memory needed does not grow with the samples.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import ModelProto, TensorProto, helper

from edgekit.manifest import RuntimeNeeds
from edgekit.runtime import Session
from edgekit.table import Array, rows, take
from edgekit_converters.encoding import encode
from edgekit_converters.flavors.batches import batches
from edgekit_converters.passes.walk import copied

MAX_ROWS = 128
_BATCH_ROWS = 8


def observed(
    model: ModelProto, tensors: Sequence[str], feeds: Mapping[str, Array]
) -> dict[str, tuple[float, float]]:
    """Return (smallest, largest) of each named tensor over at most MAX_ROWS rows.

    The rows are spread evenly over all that are given. Zero always lies within.
    """
    ranges = dict.fromkeys(tensors, (0.0, 0.0))
    needs = RuntimeNeeds(
        opsets={}, ir_version=model.ir_version, min_onnxruntime="", session_options={}
    )
    session = Session.load(encode(_exposing(model, tensors)), needs)
    for batch in batches(session, _spread(feeds), _BATCH_ROWS):
        values = {**batch, **session.run(batch)}
        for name in tensors:
            least, most = ranges[name]
            found = np.asarray(values[name])
            ranges[name] = (min(least, float(found.min())), max(most, float(found.max())))
    return ranges


def _exposing(model: ModelProto, tensors: Sequence[str]) -> ModelProto:
    out = copied(model)
    named = {value.name for value in (*out.graph.input, *out.graph.output)}
    for name in tensors:
        if name not in named:
            value = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            out.graph.output.append(value)
    return out


def _spread(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return at most MAX_ROWS rows, evenly spread over all."""
    total = rows(feeds)
    chosen = np.unique(np.linspace(0, total - 1, min(total, MAX_ROWS)).astype(int))
    return take(feeds, chosen.tolist())
