"""Say how far the outputs of a variant lie from the float model's, on a few rows.

Finer than a metric: on a few hundred rows many variants lose equally many labels, and of
those the one that moved the outputs least lost least on other rows too (measured on a
keyword spotter and an autoencoder).
"""

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto

from edgekit.errors import ProofError
from edgekit.manifest import RuntimeNeeds
from edgekit.runtime import Session
from edgekit.table import Array
from edgekit_converters.encoding import encode
from edgekit_converters.flavors.batches import run
from edgekit_converters.flavors.computed.ranges import few_rows

_SMALLEST_SPREAD = 1e-12


class Reference:
    """The answers of a float model to a few rows."""

    def __init__(self, model: ModelProto, feeds: Mapping[str, Array]) -> None:
        self._feeds = few_rows(feeds)
        self._answers = _answers(model, self._feeds)

    def shift(self, model: ModelProto) -> float:
        """Return the root mean square of what float outputs moved, by their spread.

        The largest over the outputs; infinite when the variant does not run.
        """
        try:
            after = _answers(model, self._feeds)
        except ProofError:
            return float("inf")
        shifts = [
            _moved(values, after[name])
            for name, values in self._answers.items()
            if values.dtype.kind == "f"
        ]
        worst = max(shifts, default=0.0)
        return worst if np.isfinite(worst) else float("inf")


def _moved(before: Array, after: Array) -> float:
    apart = np.sqrt(np.mean((after.astype(float) - before) ** 2))
    return float(apart / (np.std(before.astype(float)) + _SMALLEST_SPREAD))


def _answers(model: ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    needs = RuntimeNeeds(
        opsets={}, ir_version=model.ir_version, min_onnxruntime="", session_options={}
    )
    return run(Session.load(encode(model), needs), feeds)
