"""Send the chunks that devices lack, of several bundles in turn.

A thin doer: edgekit.depot.schedule decides what of a bundle is sent next. Knows nothing of
metadata and of other depots.
"""

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edgekit.depot.chronicle import Chronicle
from edgekit.depot.company import Company
from edgekit.depot.schedule import Schedule, ScheduleRules, Sending
from edgekit.depot.shelf import Shelf
from edgekit.depot.throttle import Throttle
from edgekit.statement import BundleEntry
from edgekit.transport import Transport
from edgekit.wire import Repair, Topics, Want

logger = logging.getLogger(__name__)

_BURST_CHUNKS = 8  # sent before wants are read again
_UNREADABLE_S = 5.0  # a bundle that cannot be read is tried again after so long


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast chunks go out, and by which rules."""

    bytes_per_s: float | None = None  # over all bundles; None: no limit
    topic_bytes_per_s: float | None = None  # of each bundle
    rules: ScheduleRules = field(default_factory=ScheduleRules)
    clock: Callable[[], float] = time.monotonic


@dataclass(slots=True, kw_only=True)
class Sent:
    """What went out since the depot started."""

    chunks: int = 0  # mixtures included
    repairs: int = 0  # mixtures
    chunk_bytes: int = 0  # of both, without headers


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """The devices that wait for one bundle."""

    entry: BundleEntry
    schedule: Schedule
    throttle: Throttle
    chronicle: Chronicle


class Sender:
    """The bundles that devices ask for, each with its turn; counts in `sent`."""

    def __init__(
        self, transport: Transport, topics: Topics, shelf: Shelf, pace: Pace, sent: Sent
    ) -> None:
        self.company = Company()  # whom the depot hears, of whatever bundle
        self._sent = sent
        self._transport = transport
        self._topics = topics
        self._shelf = shelf
        self._pace = pace
        self._throttle = Throttle(pace.bytes_per_s)
        self._lines: dict[str, _Line] = {}
        self._chronicles: dict[str, Chronicle] = {}
        self._unreadable: dict[str, float] = {}  # digest -> when to try again
        self._turns: deque[str] = deque()  # digests, whose turn it is first

    def hear(
        self, device: str, want: Want, entry: BundleEntry, title: str, now: float
    ) -> None:
        """Take in what a device lacks of a bundle, which people call `title`."""
        if now < self._unreadable.get(want.sha256, now):
            return
        line = self._lines.get(want.sha256) or self._open(entry, title)
        served = line.schedule.serves(device)
        line.schedule.hear(device, want, now)
        if line.schedule.serves(device) and not served:
            line.chronicle.asks(device, len(want.missing), now)
        elif served and not want.missing:
            line.chronicle.finishes(device, now)
            if not line.schedule.devices:
                line.chronicle.ends(now)

    def burst(self, now: float) -> int:
        """Send a few chunks, one of each bundle in turn; return how many."""
        sent = idle = 0
        while sent < _BURST_CHUNKS and idle < len(self._turns):
            if self._throttle.wait_s(now):
                break
            line = self._lines[self._turns[0]]
            self._turns.rotate(-1)
            limited = line.throttle.wait_s(now) > 0
            sending = None if limited else line.schedule.next(now)
            if sending is None:
                idle += 1
            elif self._send(line, sending):
                sent, idle = sent + 1, 0
        return sent

    def wait_s(self, now: float, most_s: float) -> float:
        """Return for how long nothing is due unless a device is heard."""
        waits = [line.schedule.wait_s(now) for line in self._lines.values()]
        limits = (self._throttle, *(line.throttle for line in self._lines.values()))
        paid_back = [w for limit in limits if (w := limit.wait_s(now))]
        return min([most_s, *paid_back, *(w for w in waits if w is not None)])

    def forget_silent(self, now: float) -> None:
        """Forget the devices that were not heard of for long."""
        for line in self._lines.values():
            silent = line.schedule.forget_silent(now)
            for device in silent:
                line.chronicle.falls_silent(device)
            if silent and not line.schedule.devices:
                line.chronicle.ends(now)

    def forget_stale(self, entries: Mapping[str, BundleEntry]) -> None:
        """Forget the bundles that are not in `entries`, or are cut another way now."""
        for sha256, line in list(self._lines.items()):
            entry = entries.get(sha256)
            if entry is None or entry.chunks != line.schedule.chunks:
                self._drop(sha256)
                del self._chronicles[sha256]

    def keep(self, serves: Callable[[str], bool]) -> None:
        """Serve no bundle any longer whose digest `serves` refuses."""
        for sha256 in [s for s in self._lines if not serves(s)]:
            self._drop(sha256)

    def _open(self, entry: BundleEntry, title: str) -> _Line:
        if entry.sha256 not in self._chronicles:
            self._chronicles[entry.sha256] = Chronicle(title, entry)
        line = _Line(
            entry=entry,
            schedule=Schedule(
                chunks=entry.chunks,
                epoch=draw_epoch(),
                rules=self._pace.rules,
                company=self.company,
            ),
            throttle=Throttle(self._pace.topic_bytes_per_s),
            chronicle=self._chronicles[entry.sha256],
        )
        self._lines[entry.sha256] = line
        self._turns.append(entry.sha256)
        return line

    def _send(self, line: _Line, sending: Sending) -> bool:
        """Read and publish; when it cannot be read, pause the bundle."""
        sha256 = line.entry.sha256
        try:
            message = self._shelf.message(line.entry, line.schedule.epoch, sending)
        except OSError as error:
            chunks = ", ".join(map(str, sending.numbers))
            self._pause(line, f"chunk {chunks}: {error.strerror}")
            return False
        topic = self._topics.blob(sha256)
        if isinstance(message, Repair):
            topic = self._topics.repair(sha256)
            self._sent.repairs += 1
        self._transport.publish(topic, message.encode(), qos=0)
        for limit in (self._throttle, line.throttle):
            limit.spend(len(message.data))
        line.chronicle.sent(len(message.data))
        if self._unreadable.pop(sha256, None) is not None:
            logger.info("%s: it can be read again", line.chronicle.subject)
        self._sent.chunks += 1
        self._sent.chunk_bytes += len(message.data)
        return True

    def _pause(self, line: _Line, reason: str) -> None:
        """Serve nothing of a bundle for a while; devices go on asking."""
        sha256 = line.entry.sha256
        if sha256 not in self._unreadable:
            logger.error(
                "%s: %s; not served until it can be read, devices wait",
                *(self._shelf.path(sha256), reason),
            )
        self._unreadable[sha256] = self._pace.clock() + _UNREADABLE_S
        self._drop(sha256)

    def _drop(self, sha256: str) -> None:
        del self._lines[sha256]
        self._turns.remove(sha256)


def draw_epoch() -> int:
    """Return a number that no earlier depot has likely used, never 0."""
    return 1 + secrets.randbelow(2**32 - 1)
