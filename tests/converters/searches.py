"""A search as the gate lends it to builders: judged against the float model itself."""

import math
from collections.abc import Mapping

import numpy as np
from onnx import ModelProto

from edgekit.errors import ProofError
from edgekit.manifest import RuntimeNeeds
from edgekit.runtime import Session
from edgekit.table import Array
from edgekit_converters.encoding import encode
from edgekit_converters.flavors import Source
from edgekit_converters.flavors.batches import run
from edgekit_converters.passes import clean

NO_NEEDS = RuntimeNeeds(opsets={}, ir_version=8, min_onnxruntime="")


class Shares:
    """Drop: the share of rows whose largest output changed.

    Spent after `patience` drops.
    """

    def __init__(
        self,
        model: ModelProto,
        feeds: Mapping[str, Array],
        *,
        max_drop: float,
        patience: int,
    ) -> None:
        self._feeds = feeds
        self._before = _labels(answers(model, feeds))
        self.max_drop = max_drop
        self._patience = patience
        self.said: list[str] = []
        self.drops: list[float] = []

    def drop(
        self, model: ModelProto, session_options: Mapping[str, str] | None = None
    ) -> float:
        del session_options  # no flavor of these tests needs one
        self.drops.append(self._drop(model))
        return self.drops[-1]

    def _drop(self, model: ModelProto) -> float:
        try:
            after = _labels(answers(model, self._feeds))
        except ProofError:
            return math.inf
        return float(np.mean(after != self._before))

    def progress(self, text: str) -> None:
        self.said.append(text)

    def spent(self) -> bool:
        return len(self.drops) >= self._patience


def searching(
    model: ModelProto,
    feeds: Mapping[str, Array],
    *,
    max_drop: float,
    patience: int = 1_000,
) -> tuple[Source, Shares]:
    """A source with such a search, and the search."""
    small = clean(model)
    search = Shares(small, feeds, max_drop=max_drop, patience=patience)
    return Source(model=small, calibration=feeds, search=search), search


def answers(model: ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """What a graph answers with no session option."""
    return run(Session.load(encode(model), NO_NEEDS), feeds)


def _labels(outputs: Mapping[str, Array]) -> Array:
    first = next(iter(outputs.values()))
    labels: Array = first.reshape(len(first), -1).argmax(axis=1)
    return labels
