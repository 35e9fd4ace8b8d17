"""What became of telemetry windows: the fleet's answer to a device, and what it knows.

Pure. A device keeps a window until the fleet answers, so a window may come twice, late, and
in any order. It is taken once: what is known of a device's life is a handful of ranges of
sequence numbers, however many windows there were. What the fleet cannot read has no range
for it: it is answered by the digest of its bytes, so that only the device that holds those
very bytes gives them up, and not one whose window was damaged on its way.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from edgekit.document import Reader, canonical_json
from edgekit.errors import TransportError
from edgekit.telemetry.positional import Row

MAX_BYTES = 16 * 1024
MAX_WINDOWS = 256  # in one acknowledgement
MAX_DIGESTS = 16  # in one acknowledgement: twice what a device has under way
MAX_REASON_CHARS = 150
_MAX_BOOT_CHARS = 1_000
_DIGEST_CHARS = 64

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


def digest(payload: bytes) -> str:
    """Return what names the bytes of a window: their SHA-256."""
    return hashlib.sha256(payload).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The fleet answered for these windows: a device need not keep them.

    It has `windows` of one life of the device, and those whose bytes have the digests
    `unread`, which a newer edgekit will read. It never counts those whose digests are in
    `refused`, each with the reason, one printable line.
    """

    boot_id: str = ""
    windows: frozenset[Range] = frozenset()
    unread: frozenset[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def by_digest(self) -> bool:
        """Whether it answers for any window by the digest of its bytes."""
        return bool(self.unread or self.refused)

    def encode(self) -> bytes:
        """Return the payload."""
        table: dict[str, object] = {
            "boot_id": self.boot_id,
            "windows": sorted(self.windows),
        }
        if self.unread:
            table["unread"] = sorted(self.unread)
        if self.refused:
            table["refused"] = sorted(self.refused.items())
        return canonical_json(table)

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
        listed = _listed(reader, "windows", MAX_WINDOWS)
        rows = (listed.row(at) for at in range(len(listed.items)))
        windows = frozenset((row.integer(0), row.integer(1)) for row in rows)
        unread = _listed(reader, "unread", MAX_DIGESTS, optional=True)
        refused = _listed(reader, "refused", MAX_DIGESTS, optional=True)
        told = [refused.row(at) for at in range(len(refused.items))]
        return cls(
            boot_id=boot_id,
            windows=windows,
            unread=frozenset(_digest(unread, at) for at in range(len(unread.items))),
            refused={_digest(one, 0): one.text(1, most=MAX_REASON_CHARS) for one in told},
        )


def messages(boot_id: str, windows: Iterable[Range]) -> Iterable[Taken]:
    """Yield acknowledgements of any number of windows, as many as one message holds."""
    ordered = sorted(set(windows))
    for at in range(0, len(ordered), MAX_WINDOWS):
        yield Taken(boot_id=boot_id, windows=frozenset(ordered[at : at + MAX_WINDOWS]))


def unreadable(unread: Iterable[str], refused: Mapping[str, str]) -> Iterable[Taken]:
    """Yield answers by digest, as many in each as one message holds."""
    kept = sorted(unread)
    for at in range(0, len(kept), MAX_DIGESTS):
        yield Taken(unread=frozenset(kept[at : at + MAX_DIGESTS]))
    reasons = sorted(refused.items())
    for at in range(0, len(reasons), MAX_DIGESTS):
        few = dict(reasons[at : at + MAX_DIGESTS])
        yield Taken(refused={one: _one_line(reason) for one, reason in few.items()})


def _listed(reader: Reader, key: str, most: int, *, optional: bool = False) -> Row:
    found = reader.table.get(key, [] if optional else None)
    listed = Row.of(found, subject=f"taken: {key}")
    if len(listed.items) > most:
        reader.fail(key, f"a list of up to {most}")
    return listed


def _digest(row: Row, place: int) -> str:
    text = row.text(place, most=_DIGEST_CHARS)
    if len(text) != _DIGEST_CHARS or set(text) - set("0123456789abcdef"):
        row.fail(place, "a SHA-256 digest")
    return text


def _one_line(reason: str) -> str:
    printable = (c if c.isprintable() else " " for c in reason[:MAX_REASON_CHARS])
    return "".join(printable)
