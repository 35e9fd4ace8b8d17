"""Which telemetry windows wait, what is sent next, and what gives way. Pure.

A window that was handed to the network once may have arrived: it is sent again as it was,
until the fleet says that it has it. One that never was may still become part of a
neighbour. So the fleet never hears of the same minute in two different windows.
"""

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

BLOCK_BYTES = 4096  # what a file takes of the disk at least, and in steps of which
MOST_IN_FLIGHT = 8  # windows that wait for an answer; the others can still be merged
_FIRST_RETRY_S = 60.0
_LAST_RETRY_S = 3600.0
_DOUBLINGS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A window on the disk. `number` orders them; `sent`: it may have arrived."""

    number: int
    boot_id: str
    first: int
    last: int
    payload_bytes: int
    sent: bool

    @property
    def disk_bytes(self) -> int:
        """What its file takes."""
        return -(-(self.payload_bytes + 4) // BLOCK_BYTES) * BLOCK_BYTES

    @property
    def span(self) -> int:
        """How many windows were merged into it."""
        return self.last - self.first + 1

    def precedes(self, boot_id: str, first: int) -> bool:
        """Whether a window that begins there follows it at once."""
        return self.boot_id == boot_id and self.last + 1 == first


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Two neighbours are to become one window."""

    earlier: Entry
    later: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """A window is to be given up: there is no room for it, however coarse."""

    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How often a window was sent in this life, and when it is due again, in seconds."""

    attempts: int
    due_s: float

    def again(self, now_s: float) -> "Delivery":
        """Return it with one more attempt: due in a minute, then in twice as long."""
        wait_s = min(_LAST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(self.attempts, _DOUBLINGS))
        return Delivery(attempts=self.attempts + 1, due_s=now_s + wait_s)


UNSENT = Delivery(attempts=0, due_s=0.0)


def relief(
    entries: Sequence[Entry], most_bytes: int, unmergeable: Collection[int] = ()
) -> Merge | Drop | None:
    """Return what makes room, None where there is enough of it.

    Merged is the pair that is shortest for its age, the length being held against the root
    of the age: of 14 days offline in 256 windows, the newest are of minutes, the oldest of
    two hours. `unmergeable` are numbers of entries that cannot take more in.
    """
    if sum(entry.disk_bytes for entry in entries) <= most_bytes:
        return None
    best, best_length, age = None, math.inf, 0
    for later, earlier in itertools.pairwise(reversed(entries)):
        age += later.span
        mergeable = (
            not (earlier.sent or later.sent)
            and earlier.precedes(later.boot_id, later.first)
            and earlier.number not in unmergeable
        )
        length = (earlier.span + later.span) / math.sqrt(age + earlier.span)
        if mergeable and length <= best_length:
            best, best_length = Merge(earlier=earlier, later=later), length
    return best or Drop(entry=entries[0])


def next_to_send(
    entries: Sequence[Entry], deliveries: Mapping[int, Delivery], now_s: float
) -> Entry | None:
    """Return the window to send now, the oldest first, None where none is due."""
    in_flight = 0
    for entry in entries:
        if entry.sent:
            in_flight += 1
            if deliveries.get(entry.number, UNSENT).due_s <= now_s:
                return entry
    if in_flight >= MOST_IN_FLIGHT:
        return None
    return next((entry for entry in entries if not entry.sent), None)
