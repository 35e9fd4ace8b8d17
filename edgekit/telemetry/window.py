"""A telemetry window: what one device counted, and how it was, between two moments.

Pure; docs/formats/telemetry.md is its page. A window covers the sequence numbers first to
last of one life of the agent (its boot id). Neighbours merge into one window that says
what both said: counts add up, maxima and minima are kept, nothing is estimated. So it does
not matter to any sum how a device cut its time, or how often it put windows together.
"""

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn, TypeVar

from edgekit.errors import TransportError
from edgekit.telemetry import refusals
from edgekit.telemetry.counts import BundleCounts
from edgekit.telemetry.positional import Row, pairs
from edgekit.telemetry.refusals import Refusals

FORMAT = 2
MAX_BYTES = 64 * 1024  # as it travels
MAX_PLAIN_BYTES = 2**20  # of its JSON
MAX_BUNDLES = 256  # a merged window may speak of many versions of each model
_MAX_CHARS = 1_000
_LEAST_PLACES = 10  # the eleventh stands only where something was refused
_ALWAYS_TOLD = 2  # kinds of loss; the third stands only where there is one
_COMPRESSED = b"\x78"  # how zlib begins (RFC 1950); JSON begins with "["
_LEVEL = 9

N = TypeVar("N", bound=int | float | bool)


class NewerFormatError(TransportError):
    """A window of a `format` that a newer edgekit reads, whole as far as can be told."""

    def __init__(self, found: int) -> None:
        known = f"formats up to {FORMAT} are read; a newer edgekit is expected"
        super().__init__(f"telemetry: format {found}, {known}")
        self.format = found


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How the device was; None where it cannot tell.

    Resident sizes, temperature and load (mean of a minute) are the most of the window,
    the free disk space below the agent's folder is the least. `throttled`: the processor
    was slowed down for heat or for want of voltage.
    """

    supervisor_rss_bytes: int = 0
    worker_rss_bytes: int = 0
    cpu_c: float | None = None
    throttled: bool | None = None
    disk_free_bytes: int | None = None
    load: float | None = None

    def merged(self, other: "Health") -> "Health":
        """Return what both say."""
        return Health(
            supervisor_rss_bytes=max(self.supervisor_rss_bytes, other.supervisor_rss_bytes),
            worker_rss_bytes=max(self.worker_rss_bytes, other.worker_rss_bytes),
            cpu_c=_known(max, self.cpu_c, other.cpu_c),
            throttled=_known(max, self.throttled, other.throttled),
            disk_free_bytes=_known(min, self.disk_free_bytes, other.disk_free_bytes),
            load=_known(max, self.load, other.load),
        )

    def to_row(self) -> list[object]:
        """Return the positional JSON."""
        return [
            self.supervisor_rss_bytes,
            self.worker_rss_bytes,
            self.cpu_c,
            self.throttled,
            self.disk_free_bytes,
            self.load,
        ]

    @classmethod
    def from_row(cls, row: Row) -> "Health":
        """Parse, or raise TransportError."""
        return cls(
            supervisor_rss_bytes=row.integer(0),
            worker_rss_bytes=row.integer(1),
            cpu_c=None if row.absent(2) else row.number(2),
            throttled=None if row.absent(3) else row.flag(3),
            disk_free_bytes=None if row.absent(4) else row.integer(4),
            load=None if row.absent(5) else row.number(5),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One device from `start` to `end` (UTC); (boot_id, first, last) names it for ever.

    `dropped` windows of this device were thrown away for want of space, `corrupt` ones
    found unreadable on its disk, and `refused` ones given up because the fleet said that it
    can never count them, since the window before. `bundles` are in order of model and
    digest, each once. `refusals` are of what came to this device and reached no model.
    """

    device: str
    boot_id: str
    first: int
    last: int
    start: str
    end: str
    health: Health = Health()
    dropped: int = 0
    corrupt: int = 0
    refused: int = 0
    bundles: tuple[BundleCounts, ...] = ()
    refusals: Refusals = field(default_factory=dict)

    def merged(self, later: "Window") -> "Window":
        """Return the window that covers this one and the one that follows it.

        ValueError where `later` does not follow it; TransportError where two histograms of
        one bundle have different bins.
        """
        mine = (self.device, self.boot_id, self.last + 1)
        if mine != (later.device, later.boot_id, later.first):
            raise ValueError(f"window {later.first} does not follow {self.last}")
        return replace(
            self,
            last=later.last,
            end=later.end,
            health=self.health.merged(later.health),
            dropped=self.dropped + later.dropped,
            corrupt=self.corrupt + later.corrupt,
            refused=self.refused + later.refused,
            bundles=added((*self.bundles, *later.bundles)),
            refusals=refusals.added(self.refusals, later.refusals),
        )

    @property
    def is_loss(self) -> bool:
        """Whether all that it says is that it was lost."""
        silent = not self.bundles and not self.refusals and self.health == Health()
        return silent and self.refused > self.last - self.first

    def lost(self, device: str) -> "Window":
        """Return the word that this window never counts: of the same numbers and time.

        As it takes the window's place, whichever of the two comes first is taken, and once.
        `device` is the name that the fleet knows.
        """
        return replace(
            self,
            device=device,
            health=Health(),
            refused=self.refused + self.last - self.first + 1,
            bundles=(),
            refusals={},
        )

    def reduced(self) -> "Window":
        """Return it shorter: all counts, nothing of how values were distributed.

        What was refused is counted for requests as a whole.
        """
        bare = (replace(one, inputs=(), outputs=()) for one in self.bundles)
        whole = (
            replace(one, violations={"": one.schema_violations} if one.violations else {})
            for one in bare
        )
        return replace(self, bundles=tuple(whole))

    def encode(self) -> bytes:
        """Return the payload, compressed where that is shorter.

        ValueError where it would be longer than windows are.
        """
        row = [
            FORMAT,
            self.device,
            self.boot_id,
            self.first,
            self.last,
            self.start,
            self.end,
            self.health.to_row(),
            [self.dropped, self.corrupt, *([self.refused] if self.refused else [])],
            [bundle.to_row() for bundle in self.bundles],
            *([pairs(self.refusals)] if self.refusals else []),
        ]
        plain = json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode()
        shorter = min(plain, zlib.compress(plain, _LEVEL), key=len)
        if len(plain) > MAX_PLAIN_BYTES or len(shorter) > MAX_BYTES:
            raise ValueError(f"window of {len(plain)} bytes, {len(shorter)} compressed")
        if len(self.bundles) > MAX_BUNDLES:
            raise ValueError(f"window of {len(self.bundles)} bundles")
        return shorter

    @classmethod
    def decode(cls, payload: bytes) -> "Window":
        """Parse, or raise TransportError: NewerFormatError where an update helps."""
        row = Row.from_json(_plain(payload), subject="telemetry")
        found = row.integer(0)
        if found > FORMAT:
            raise NewerFormatError(found)
        if found != FORMAT:
            row.fail(0, f"format {FORMAT}")
        lost = row.row(8)
        first, last = row.integer(3, least=1), row.integer(4)
        if last < first:
            row.fail(4, f"a number from {first}")
        rows = row.rows(9)
        if len(rows) > MAX_BUNDLES:
            row.fail(9, f"a list of up to {MAX_BUNDLES} bundles")
        bundles = tuple(map(BundleCounts.from_row, rows))
        if added(bundles) != bundles:
            row.fail(9, "each bundle once, in order,")
        return cls(
            device=row.text(1, most=_MAX_CHARS),
            boot_id=row.text(2, most=_MAX_CHARS),
            first=first,
            last=last,
            start=row.text(5, most=_MAX_CHARS),
            end=row.text(6, most=_MAX_CHARS),
            health=Health.from_row(row.row(7)),
            dropped=lost.integer(0),
            corrupt=lost.integer(1),
            refused=lost.integer(2) if len(lost.items) > _ALWAYS_TOLD else 0,
            bundles=bundles,
            refusals=refusals.parse(row.row(10)) if len(row.items) > _LEAST_PLACES else {},
        )


def added(bundles: Sequence[BundleCounts]) -> tuple[BundleCounts, ...]:
    """Return the sum for each bundle, in order; TransportError for bins that differ."""
    found: dict[tuple[str, str], BundleCounts] = {}
    for one in bundles:
        key = (one.model, one.sha256)
        found[key] = found[key].plus(one) if key in found else one
    return tuple(found[key] for key in sorted(found))


def _plain(payload: bytes) -> bytes:
    if len(payload) > MAX_BYTES:
        _refuse(f"{len(payload)} bytes, up to {MAX_BYTES} are expected")
    if not payload.startswith(_COMPRESSED):
        return payload
    reader = zlib.decompressobj()
    try:
        plain = reader.decompress(payload, MAX_PLAIN_BYTES + 1)
    except zlib.error as error:
        raise TransportError(f"telemetry: not what zlib compressed: {error}") from error
    if len(plain) > MAX_PLAIN_BYTES:
        _refuse(f"more than {MAX_PLAIN_BYTES} bytes, compressed")
    if not reader.eof or reader.unused_data:
        _refuse("compressed, and cut off or too long")
    return plain


def _refuse(what: str) -> NoReturn:
    raise TransportError(f"telemetry: {what}")


def _known(choose: Callable[[N, N], N], one: N | None, other: N | None) -> N | None:
    if one is None or other is None:
        return other if one is None else one
    return choose(one, other)
