"""Which telemetry windows were taken: the fleet's acknowledgement, and what it knows.

Pure. A device keeps a window until the fleet says that it has it, so a window may come
twice, late, and in any order. It is taken once: what is known of a device's life is a
handful of ranges of sequence numbers, however many windows there were.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from edgekit.document import Reader, canonical_json
from edgekit.errors import TransportError
from edgekit.telemetry.positional import Row

MAX_BYTES = 16 * 1024
MAX_WINDOWS = 256  # in one acknowledgement
_MAX_BOOT_CHARS = 1_000

Range: TypeAlias = tuple[int, int]
"""First and last sequence number, both included."""


class Arrival(Enum):
    """What a window is to who knows some already."""

    NEW = "new"
    KNOWN = "known"
    PARTLY_KNOWN = (
        "partly known"  # no orderly device sends it: nothing of it can be counted
    )


def admit(known: tuple[Range, ...], one: Range) -> tuple[Arrival, tuple[Range, ...]]:
    """Return what a window is, and what is known with it.

    `known` are disjoint ranges in order, never adjacent, of one boot id of one device; so
    is the result. A window that is known, or partly, changes nothing.
    """
    first, last = one
    at = bisect_right(known, first, key=lambda known_one: known_one[0])
    if at and known[at - 1][1] >= first:
        inside = known[at - 1][1] >= last
        return (Arrival.KNOWN if inside else Arrival.PARTLY_KNOWN), known
    if at < len(known) and known[at][0] <= last:
        return Arrival.PARTLY_KNOWN, known
    low, high = at, at
    if at and known[at - 1][1] == first - 1:
        low, first = at - 1, known[at - 1][0]
    if at < len(known) and known[at][0] == last + 1:
        high, last = at + 1, known[at][1]
    return Arrival.NEW, (*known[:low], (first, last), *known[high:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The fleet has these windows of one life of a device: it need not keep them."""

    boot_id: str
    windows: frozenset[Range]

    def encode(self) -> bytes:
        """Return the payload."""
        return canonical_json({"boot_id": self.boot_id, "windows": sorted(self.windows)})

    @classmethod
    def decode(cls, payload: bytes) -> "Taken":
        """Parse, or raise TransportError."""
        if len(payload) > MAX_BYTES:
            raise TransportError(
                f"taken: {len(payload)} bytes, up to {MAX_BYTES} are expected"
            )
        reader = Reader.from_json(payload, subject="taken", error=TransportError)
        boot_id = reader.text("boot_id")
        if len(boot_id) > _MAX_BOOT_CHARS:
            reader.fail("boot_id", f"a text of up to {_MAX_BOOT_CHARS} characters")
        listed = Row.of(reader.table.get("windows"), subject="taken: windows")
        if len(listed.items) > MAX_WINDOWS:
            reader.fail("windows", f"a list of up to {MAX_WINDOWS} windows")
        rows = (listed.row(at) for at in range(len(listed.items)))
        windows = frozenset((row.integer(0), row.integer(1)) for row in rows)
        return cls(boot_id=boot_id, windows=windows)


def messages(boot_id: str, windows: Iterable[Range]) -> Iterable[Taken]:
    """Yield acknowledgements of any number of windows, as many as one message holds."""
    ordered = sorted(set(windows))
    for at in range(0, len(ordered), MAX_WINDOWS):
        yield Taken(boot_id=boot_id, windows=frozenset(ordered[at : at + MAX_WINDOWS]))
