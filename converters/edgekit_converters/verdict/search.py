"""Answer a builder's questions while it searches: how bad is this variant, is time left.

Runs variants in this process, on the rows of the search; the gate judges what comes out
in a process of its own, on its own rows.
"""

import math
from collections.abc import Callable, Mapping

from onnx import ModelProto

from edgekit.errors import ProofError
from edgekit.manifest import RuntimeNeeds
from edgekit.runtime import Session
from edgekit.table import Array
from edgekit_converters.encoding import encode
from edgekit_converters.flavors.batches import StoppedError, run
from edgekit_converters.flavors.flavor import NO_OPTIONS
from edgekit_converters.verdict.budget import Share

Outputs = Mapping[str, Array]


class SampleSearch:
    """The search of one flavor; implements edgekit_converters.flavors.Search.

    `drop_of` says in the gate's metric how much worse raw outputs for `feeds` are than
    the original's.
    """

    def __init__(
        self,
        *,
        feeds: Mapping[str, Array],
        drop_of: Callable[[Outputs], float],
        max_drop: float,
        share: Share,
        progress: Callable[[str], None],
    ) -> None:
        self._feeds = feeds
        self._drop_of = drop_of
        self._max_drop = max_drop
        self._share = share
        self._progress = progress
        self.tried = 0

    @property
    def max_drop(self) -> float:
        """How much worse than the original a flavor may be, in the gate's metric."""
        return self._max_drop

    def drop(
        self, model: ModelProto, session_options: Mapping[str, str] = NO_OPTIONS
    ) -> float:
        """Return how much worse a variant is; infinite when it does not run.

        Infinite too when the time is up before it has answered all rows.
        """
        self.tried += 1
        needs = RuntimeNeeds(
            opsets={},
            ir_version=model.ir_version,
            min_onnxruntime="",
            session_options=session_options,
        )
        try:
            session = Session.load(encode(model), needs)
            outputs = run(session, self._feeds, stop=self._share.spent)
        except (ProofError, StoppedError):
            return math.inf
        return float(self._drop_of(outputs))

    def progress(self, text: str) -> None:
        """Tell the user what is being tried."""
        self._progress(text)

    def spent(self) -> bool:
        """Whether to stop and return the best so far."""
        return self._share.spent()
