"""Decide whether rightly signed metadata may be accepted here and now.

Knows no files, network or clock: what python-tuf has verified comes in, the floor rises.
"""

from datetime import datetime

from edgekit.errors import TrustError
from edgekit.trust.floor import Floor, parse_time
from edgekit.trust.layout import (
    FLEET_FIELD,
    ISSUED_FIELD,
    SNAPSHOT,
    TIMESTAMP,
    TIMESTAMP_FILE,
)
from edgekit.trust.payload import Root, Signed, Snapshot, Timestamp


class Guard:
    """What python-tuf does not check: the fleet, the floor and a clock that runs behind.

    `clock` is the device's time, None when it is not to be believed at all.
    """

    def __init__(self, floor: Floor, clock: datetime | None) -> None:
        self.floor = floor
        self._clock = clock

    @property
    def reference_time(self) -> datetime:
        """The time that expiry is judged by: never before the latest signed time."""
        issued = self.floor.issued
        return issued if self._clock is None else max(self._clock, issued)

    def enter(self, root: Root) -> None:
        """Take over the newest root, or raise TrustError when it is an older one."""
        online = (*root.roles[TIMESTAMP].keyids, *root.roles[SNAPSHOT].keyids)
        self.floor = self.floor.under_root(root.version, frozenset(online))

    def accept(self, role: str, signed: Signed) -> None:
        """Raise the floor to metadata of `role`, or raise TrustError."""
        check_fleet(role, signed, self.floor.fleet)
        if isinstance(signed, Timestamp):
            self.floor = self.floor.with_issued(issued(signed))
        if isinstance(signed, Snapshot):
            self._accept_snapshot(signed)
        if not isinstance(signed, Root):  # the last root of the walk enters by enter()
            self.floor = self.floor.with_versions({role: signed.version})

    def _accept_snapshot(self, snapshot: Snapshot) -> None:
        promised = {
            name.removesuffix(".json"): entry.version
            for name, entry in snapshot.meta.items()
        }
        self.floor = self.floor.with_versions(promised)


def issued(timestamp: Timestamp) -> datetime:
    """Return when a timestamp was signed, or raise TrustError."""
    text = timestamp.unrecognized_fields.get(ISSUED_FIELD)
    return parse_time(text, subject=f"{TIMESTAMP_FILE}: {ISSUED_FIELD}")


def check_fleet(role: str, signed: Signed, fleet: str) -> None:
    """Raise TrustError when metadata was signed for another fleet."""
    named = signed.unrecognized_fields.get(FLEET_FIELD)
    if named != fleet:
        raise TrustError(f"{role}: signed for fleet {named!r}, fleet {fleet!r} is expected")
