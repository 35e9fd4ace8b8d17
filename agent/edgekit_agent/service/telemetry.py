"""Count what becomes of the requests to one bundle, and where their values fall.

Knows the bundle's profile and signature, no clock and no wire. Any thread may count; what
is counted is taken, and begins anew.
"""

import logging
import threading
from collections.abc import Iterable

from edgekit.binding import Predictions
from edgekit.durations import Durations
from edgekit.table import Table
from edgekit.telemetry.counts import BundleCounts, column_name
from edgekit.telemetry.profile import MAX_COLUMNS, Profile
from edgekit.telemetry.tally import Tally, answer_table

log = logging.getLogger(__name__)

_NO_PROFILE = Profile(rows=0, source="", inputs=(), outputs=())


class Counter:
    """The counts of one bundle since they were last taken.

    `columns` are the names of the signature's inputs: a refusal is counted by the one it
    is about. Where there are more than 256 of them, or it is about none, it is counted as
    of the whole request. Without a profile no histograms are kept.
    """

    def __init__(self, profile: Profile | None = None, columns: Iterable[str] = ()) -> None:
        known = profile or _NO_PROFILE
        named = tuple(columns)
        self._columns = {
            name: column_name(name) for name in named if len(named) <= MAX_COLUMNS
        }
        self._inputs = Tally(known.inputs)
        self._outputs = Tally(known.outputs)
        self._lock = threading.Lock()
        self._defect_told = False
        self._begin()

    def answered(self, *, rows: int, us: int, inputs: Table, answers: Predictions) -> None:
        """Count a request that got predictions, and its values."""
        with self._lock:
            self._requests += 1
            self._rows += rows
            self._durations.add(us)
            try:
                self._inputs.add(inputs)
                self._outputs.add(answer_table(answers))
            except (ArithmeticError, TypeError, ValueError) as error:
                if not self._defect_told:  # it is worth no request, and no log full of it
                    log.warning("values of other kinds than the profile's: %s", error)
                self._defect_told = True

    def refused(self, column: str) -> None:
        """Count a request whose rows the signature refused."""
        with self._lock:
            self._requests += 1
            name = self._columns.get(column, "")
            self._violations[name] = self._violations.get(name, 0) + 1

    def failed(self) -> None:
        """Count a request on which the model failed."""
        with self._lock:
            self._requests += 1
            self._errors += 1

    def take(
        self, *, model: str, version: str, flavor: str, sha256: str
    ) -> BundleCounts | None:
        """Return the counts of the bundle that this is, None where nothing was asked."""
        with self._lock:
            inputs, outputs = self._inputs.take(), self._outputs.take()
            if not self._requests:
                return None
            taken = BundleCounts(
                model=column_name(model),
                version=column_name(version),
                flavor=column_name(flavor),
                sha256=sha256,
                requests=self._requests,
                rows=self._rows,
                errors=self._errors,
                violations=self._violations,
                durations=self._durations.buckets,
                most_us=self._durations.most_us,
                inputs=inputs,
                outputs=outputs,
            )
            self._begin()
        return taken

    def _begin(self) -> None:
        self._requests = self._rows = self._errors = 0
        self._violations: dict[str, int] = {}
        self._durations = Durations()
