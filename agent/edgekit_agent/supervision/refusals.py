"""Sum up what was refused since the agent started, in a file that `status` reads.

It lies in the runtime folder, which ends with the agent, or with a reboot: the fleet's sums
are of telemetry, and lose nothing.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from edgekit import atomic
from edgekit.document import Reader, canonical_json
from edgekit.errors import StoreError
from edgekit.telemetry.refusals import Refusals, added, labelled

log = logging.getLogger(__name__)

NAME = "refusals.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """How often something was refused, by the label of the reason, since a time in UTC."""

    since: str
    counts: Mapping[str, int]

    @classmethod
    def read(cls, folder: Path) -> "Refused | None":
        """Return what the agent of a runtime folder wrote last, None where none did."""
        try:
            data = (folder / NAME).read_bytes()
            reader = Reader.from_json(data, subject=NAME, error=StoreError)
            counts = reader.child("counts")
            known = {label: counts.integer(label) for label in sorted(counts.table)}
            return cls(since=reader.text("since"), counts=known)
        except (OSError, StoreError):
            return None

    def write(self, folder: Path) -> None:
        """Write it to a runtime folder, or raise StoreError."""
        atomic.write_bytes(folder / NAME, canonical_json(asdict(self)))


class RefusalsFile:
    """The sums of one life of the agent. Used by one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._since = ""
        self._sums: Refusals = {}

    def begin(self, utc: str) -> None:
        """Count from now on; what an earlier life left is no more."""
        self._since = utc
        self._write()

    def add(self, refusals: Refusals) -> None:
        """Add what was refused since the last time."""
        if refusals:
            self._sums = added(self._sums, refusals)
            self._write()

    def _write(self) -> None:
        try:
            Refused(since=self._since, counts=labelled(self._sums)).write(self._folder)
        except StoreError as error:
            log.warning("status does not tell what was refused: %s", error)
