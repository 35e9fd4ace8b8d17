"""Decide what to do with an arriving chunk, and when to ask for what is missing.

Knows no sockets, files or clock: payloads go in, verdicts and wants come out, time is an
argument. Nothing of a chunk counts before its data match the chunk index, which signed
metadata vouch for: a hostile publisher costs the chunks it spoils, and no more. A repair
counts when the chunk that it yields matches; after one that does not, or does not fit,
only plain chunks are asked for.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from edgekit.bundle import chunk_digest
from edgekit.errors import TransportError, TrustError
from edgekit.statement import DIGEST_BYTES, MAX_CHUNK_BYTES, BundleEntry
from edgekit.wire import MAX_CHUNKS, Chunk, Repair, Want, mix


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverRules:
    """How much a device bears in flight, and when it asks again."""

    window: int = 64  # chunks; 4 MB by default, the broker queues as much for us
    report_s: float = 0.5  # progress is reported at least so often
    quiet_s: float = 1.0  # nothing came for so long: ask again, then twice as long …
    most_quiet_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A chunk that was missing; its data match the index."""

    number: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """Genuine, and of chunks that are here already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsolved:
    """A repair of several missing chunks: nothing can be said of it, nothing is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Not a chunk of this bundle, whoever sent it.

    `number` is the chunk it claims to be, None when this bundle has no such chunk.
    """

    reason: str
    number: int | None = None


Verdict = Accepted | Ignored | Refused | Unsolved


class Receiver:
    """The chunks of one bundle that are here, and the state of asking for the others."""

    def __init__(
        self,
        *,
        entry: BundleEntry,
        index: bytes,
        have: Iterable[int] = (),
        rules: ReceiverRules | None = None,
        repairs: bool = True,
    ) -> None:
        check_index(entry, index)
        self._entry = entry
        self._index = index
        self._rules = rules or ReceiverRules()
        self._missing = set(range(entry.chunks)) - set(have)
        self._coded = repairs
        self._epoch = 0
        self._last_sequence = 0
        self._online = True
        self._processed = 0  # genuine chunks since the last want
        self._accepted = 0  # of them, such as were missing
        self._lacked = len(self._missing)  # when it last asked
        self._asked_at: float | None = None
        self._patience_s = self._rules.quiet_s
        self._said_goodbye = False

    @property
    def complete(self) -> bool:
        """Whether every chunk is here."""
        return not self._missing

    @property
    def missing(self) -> frozenset[int]:
        """The numbers of the chunks that are not here."""
        return frozenset(self._missing)

    @property
    def takes_repairs(self) -> bool:
        """Whether repairs are of use; not any more after one that was spoiled."""
        return self._coded

    def chunk(self, payload: bytes) -> Verdict:
        """Judge what arrived on the blob's topic."""
        try:
            chunk = Chunk.decode(payload)
        except TransportError as error:
            return Refused(reason=str(error))
        number = chunk.number
        if number >= self._entry.chunks:
            return Refused(reason=f"chunk {number} of {self._entry.chunks}")
        if hashlib.sha256(chunk.data).digest() != chunk_digest(self._index, number):
            reason = f"chunk {number}: its digest does not match the index"
            return Refused(reason=reason, number=number)
        return self._genuine(chunk, number, chunk.data)

    def repair(self, payload: bytes, held: Callable[[int], bytes]) -> Verdict:
        """Judge what arrived on the repairs' topic; `held` reads a chunk that is here."""
        if not self._coded:
            return Unsolved()
        try:
            repair = self._fitting(Repair.decode(payload))
        except TransportError as error:
            return self._spoiled(str(error))
        lacking = self._missing.intersection(repair.numbers)
        if len(lacking) > 1:
            return Unsolved()
        here = (held(n) for n in repair.numbers if n not in lacking)
        rest = mix((repair.data, *here), len(repair.data))
        return self._solved(repair, rest, *lacking)

    def _fitting(self, repair: Repair) -> Repair:
        lengths = self._entry.chunk_length(repair.numbers[0]), len(repair.data)
        if repair.numbers[-1] >= self._entry.chunks or lengths[0] != lengths[1]:
            raise TransportError("repair: not of this bundle's chunks")
        return repair

    def _solved(self, repair: Repair, rest: bytes, number: int | None = None) -> Verdict:
        """Judge what the chunks that are here leave of a repair."""
        if number is None:
            genuine = not any(rest)
            return self._genuine(repair) if genuine else self._spoiled("repair: spoiled")
        data = rest[: self._entry.chunk_length(number)]
        if hashlib.sha256(data).digest() != chunk_digest(self._index, number):
            reason = f"repair of chunk {number}: its digest does not match the index"
            return self._spoiled(reason, number)
        return self._genuine(repair, number, data)

    def _spoiled(self, reason: str, number: int | None = None) -> Refused:
        self._coded = False
        return Refused(reason=reason, number=number)

    def _genuine(
        self, sent: Chunk | Repair, number: int | None = None, data: bytes = b""
    ) -> Verdict:
        # The last, not the greatest: one forged sequence number must not stick.
        self._epoch, self._last_sequence = sent.epoch, sent.sequence
        self._processed += 1
        if number is None or number not in self._missing:
            return Ignored()
        self._missing.discard(number)
        self._accepted += 1
        return Accepted(number=number, data=data)

    def lost(self, numbers: Iterable[int]) -> None:
        """Take note that chunks were damaged after they had been accepted."""
        self._missing.update(numbers)
        self._said_goodbye = False
        self._asked_at = None

    def session_ended(self) -> None:
        """Ask for nothing until the session is back."""
        self._online = False

    def session_began(self) -> None:
        """Ask at once: what was in flight when the session ended is gone."""
        if self._online:
            return
        self._online = True
        self._epoch = self._last_sequence = 0
        self._asked_at = None

    def want(self, now: float) -> Want | None:
        """Return the want that is due, taking it as sent, or None."""
        if not self._online or self._said_goodbye or self.wait_s(now) > 0:
            return None
        if self._processed or self._asked_at is None:
            self._patience_s = self._rules.quiet_s
        else:
            self._patience_s = min(2 * self._patience_s, self._rules.most_quiet_s)
        self._said_goodbye = self.complete
        self._processed = self._accepted = 0
        self._lacked = len(self._missing)
        self._asked_at = now
        return Want(
            sha256=self._entry.sha256,
            epoch=self._epoch,
            last_sequence=self._last_sequence,
            window=self._rules.window,
            chunks=self._entry.chunks,
            missing=frozenset(self._missing),
            coded=self._coded,
        )

    def wait_s(self, now: float) -> float:
        """Return for how long no want is due unless chunks come."""
        if not self._online or self._said_goodbye:
            return self._rules.most_quiet_s
        if self._asked_at is None or self.complete:
            return 0.0
        if self._has_news():
            return 0.0
        pause_s = self._rules.report_s if self._processed else self._patience_s
        return max(0.0, self._asked_at + pause_s - now)

    def _has_news(self) -> bool:
        """Whether to report at once: half a window came, or half of what was missing.

        The latter at the end, where no half window is left: what was lost of the last
        chunks is heard of soon, and a device reports no oftener for what others lack.
        """
        if 2 * self._processed >= self._rules.window:
            return True
        return 0 < self._lacked <= 2 * self._accepted


def check_index(entry: BundleEntry, index: bytes) -> None:
    """Raise TrustError unless `index` is the chunk index that `entry` vouches for."""
    if not 0 < entry.chunk_bytes <= MAX_CHUNK_BYTES:
        raise TrustError(
            f"{entry.flavor}: chunks of {entry.chunk_bytes} bytes, up to"
            f" {MAX_CHUNK_BYTES} are expected"
        )
    if not 0 < entry.chunks <= MAX_CHUNKS:
        raise TrustError(f"{entry.flavor}: {entry.chunks} chunks, up to {MAX_CHUNKS}")
    if len(index) != entry.chunks * DIGEST_BYTES:
        raise TrustError(
            f"{entry.flavor}: chunk index of {len(index)} bytes,"
            f" {entry.chunks * DIGEST_BYTES} are expected"
        )
    if hashlib.sha256(index).hexdigest() != entry.index_sha256:
        raise TrustError(f"{entry.flavor}: the chunk index is not the signed one")
