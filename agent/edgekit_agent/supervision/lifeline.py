"""What the disk says of the last process that served: whether it left in order.

Where models run in the agent's own process, nobody is left to count its death. So it is
written down before anything is loaded that the process lives; the next one finds the note.
Knows no models and no rules.
"""

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path

from edgekit import atomic
from edgekit.document import Reader, canonical_json
from edgekit.errors import StoreError

log = logging.getLogger(__name__)

_KERNEL_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UNTOLD = "it crashed, was killed, or memory ran out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """How the last process that served ended; `deaths` in a row did so, 0: it left.

    `by` is the digest of the bundle that is known to be to blame, "" where none is.
    """

    deaths: int = 0
    why: str = ""
    by: str = ""


class Lifeline:
    """One file; used by one thread. A disk that takes no note is no reason not to serve."""

    def __init__(self, path: Path, boot_id: Path = _KERNEL_BOOT_ID) -> None:
        self._path = path
        self._boot_id = boot_id
        self._deaths = 0

    def begin(self) -> Death:
        """Note that this process lives; return how those before it ended.

        One that the machine's own restart ended counts as one that left.
        """
        last = self._last()
        self._deaths = last.deaths
        self._write(_UNTOLD)
        return last

    def calm(self) -> None:
        """Note that this process has lived for a while: its death would be the first."""
        if self._deaths:
            self._deaths = 0
            self._write(_UNTOLD)

    def note(self, why: str, by: str = "") -> None:
        """Note why this process is about to end without leaving in order."""
        self._write(why, by)

    def leave(self) -> None:
        """Note that this process ends in order, or that none serves in the agent's."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _last(self) -> Death:
        try:
            content = self._path.read_bytes()
            said = Reader.from_json(content, subject=str(self._path), error=StoreError)
            same_boot = said.text("boot") == self._boot()
            deaths, why = said.integer("deaths") + 1, said.text("why")
            by = said.text("by", "")
        except (OSError, StoreError):  # none, or one that the disk damaged: nobody to blame
            return Death()
        return Death(deaths=deaths, why=why, by=by) if same_boot else Death()

    def _write(self, why: str, by: str = "") -> None:
        table = {"boot": self._boot(), "deaths": self._deaths, "why": why, "by": by}
        try:
            atomic.write_bytes(self._path, canonical_json(table))
        except StoreError as error:
            log.warning("%s; a crash of this process would not be counted", error)

    def _boot(self) -> str:
        try:
            return self._boot_id.read_text("ascii").strip()
        except OSError:
            return "unknown"
