"""Observe how the values of inner tensors are spread on samples.

Knows no quantisation. Rows are run a few at a time and only extremes and counts are kept,
so the memory needed does not grow with the samples. Two runs: one for the extremes, one
for the counts between them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TensorProto, helper

from edgekit.manifest import RuntimeNeeds
from edgekit.runtime import Session
from edgekit.table import Array, rows, take
from edgekit_converters.encoding import encode
from edgekit_converters.flavors.batches import batches
from edgekit_converters.passes.walk import copied

MAX_ROWS = 128
BINS = 2048
_BATCH_ROWS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How the finite values of a tensor lie; zero always lies within [least, most].

    `counts` are of BINS equal steps from `least` to `most`.
    """

    least: float
    most: float
    counts: Array


def observed(
    model: ModelProto, tensors: Sequence[str], feeds: Mapping[str, Array]
) -> dict[str, Spread]:
    """Return the spread of each named tensor over at most MAX_ROWS rows.

    The rows are spread evenly over all that are given.
    """
    needs = RuntimeNeeds(
        opsets={}, ir_version=model.ir_version, min_onnxruntime="", session_options={}
    )
    session = Session.load(encode(exposing(model, tensors)), needs)
    few = few_rows(feeds)
    extremes = dict.fromkeys(tensors, (0.0, 0.0))
    for name, values in _values(session, few, tensors):
        least, most = extremes[name]
        extremes[name] = (min(least, float(values.min())), max(most, float(values.max())))
    counts = {name: np.zeros(BINS, np.int64) for name in tensors}
    for name, values in _values(session, few, tensors):
        if extremes[name][0] < extremes[name][1]:
            counts[name] += np.histogram(values, bins=BINS, range=extremes[name])[0]
    return {
        name: Spread(least=least, most=most, counts=counts[name])
        for name, (least, most) in extremes.items()
    }


def exposing(model: ModelProto, tensors: Sequence[str]) -> ModelProto:
    """Return the model with inner float tensors as outputs too."""
    out = copied(model)
    named = {value.name for value in (*out.graph.input, *out.graph.output)}
    for name in tensors:
        if name not in named:
            value = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            out.graph.output.append(value)
    return out


def few_rows(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return at most MAX_ROWS rows, evenly spread over all."""
    total = rows(feeds)
    chosen = np.unique(np.linspace(0, total - 1, min(total, MAX_ROWS)).astype(int))
    return take(feeds, chosen.tolist())


def _values(
    session: Session, feeds: Mapping[str, Array], tensors: Sequence[str]
) -> Iterator[tuple[str, Array]]:
    """Yield the finite values of each tensor, batch by batch."""
    for batch in batches(session, feeds, _BATCH_ROWS):
        found = {**batch, **session.run(batch)}
        for name in tensors:
            values = np.asarray(found[name], np.float64).ravel()
            finite = values[np.isfinite(values)]
            if finite.size:
                yield name, finite
