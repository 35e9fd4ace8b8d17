"""Whether this device still knows what is newest: read from the trust client's floor.

Knows the file, no TUF: the resident process stays light.
"""

from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

from edgekit.errors import TrustError
from edgekit.trust.floor import Floor, parse_time
from edgekit.trust.layout import TIME_FORMAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """Until when the newest is known, None before the first refresh; and whether it is."""

    until: str | None = None
    stale: bool = False


class FreshnessFile:
    """floor.json of a trust folder; read() after each update, judge() at any time."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "floor.json"
        self._floor: Floor | None = None
        self.read()

    def read(self) -> None:
        """Take in what the last refresh accepted; a damaged file tells nothing."""
        try:
            self._floor = Floor.from_json(self._path.read_bytes())
        except (OSError, TrustError):
            self._floor = None

    def judge(self, utc: str) -> Freshness:
        """Return how fresh it is at a time of this device's clock."""
        floor = self._floor
        if floor is None or floor.fresh_until is None:
            return Freshness()
        now = parse_time(utc, subject="clock")
        until = floor.fresh_until.astimezone(UTC).strftime(TIME_FORMAT)
        return Freshness(until=until, stale=floor.is_stale(now))
