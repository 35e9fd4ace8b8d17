"""Serve a repository folder to a fleet: metadata retained, bundles in chunks.

A thin doer: edgekit.depot.schedule decides what is sent next, edgekit.depot.publication
what is retained. It reads a bundle chunk by chunk and never holds one.
"""

import logging
import secrets
import threading
import time
from collections import ChainMap, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

from edgekit.depot.chronicle import Chronicle
from edgekit.depot.complaints import Complaints
from edgekit.depot.patches import FOLDER as PATCHES
from edgekit.depot.patches import Patches
from edgekit.depot.peers import Peers
from edgekit.depot.publication import Publication
from edgekit.depot.schedule import Schedule, ScheduleRules, Sending
from edgekit.depot.shelf import Shelf
from edgekit.depot.throttle import Throttle
from edgekit.errors import TransportError
from edgekit.statement import BundleEntry
from edgekit.transport import Arrival, Connected, Disconnected, Message, Transport
from edgekit.wire import Repair, Topics, Want

logger = logging.getLogger(__name__)

FILES = "files"
BLOBS = "blobs"
_BURST_CHUNKS = 8  # sent before wants are read again
_ARRIVALS_A_TURN = 256
_SHORT = 12  # hexadecimal digits of a digest that people compare
_UNREADABLE_S = 5.0  # a bundle that cannot be read is tried again after so long


def draw_epoch() -> int:
    """Return a number that no earlier depot has likely used, never 0."""
    return 1 + secrets.randbelow(2**32 - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DepotOptions:
    """How a depot paces itself."""

    bytes_per_s: float | None = None  # of chunks, over all bundles; None: no limit
    topic_bytes_per_s: float | None = None  # of chunks, of each bundle
    name: str = field(default_factory=lambda: secrets.token_hex(4))  # among the depots
    poll_s: float = 1.0  # how often it looks for a new timestamp
    rules: ScheduleRules = field(default_factory=ScheduleRules)
    clock: Callable[[], float] = time.monotonic


@dataclass(slots=True, kw_only=True)
class Served:
    """What a depot did since it started."""

    wants: int = 0
    malformed_wants: int = 0
    chunks: int = 0  # sent, mixtures included
    repairs: int = 0  # mixtures
    chunk_bytes: int = 0  # of both, without headers


class Depot:
    """Serves the repository folder `repository` of the fleet that `topics` name."""

    def __init__(
        self,
        transport: Transport,
        topics: Topics,
        repository: Path,
        options: DepotOptions | None = None,
    ) -> None:
        self.served = Served()
        self._transport = transport
        self._topics = topics
        self._options = options or DepotOptions()
        self._files = repository / FILES
        self._shelf = Shelf(repository / BLOBS, repository / PATCHES)
        self._patches = Patches(repository, repository / BLOBS)
        self._offered: dict[str, bytes] = {}  # bundle -> what was said of its patches
        self._peers = Peers(self._options.name)
        self._publication = Publication(transport, topics, self._files)
        self._throttle = Throttle(self._options.bytes_per_s)
        self._throttles: dict[str, Throttle] = {}
        self._schedules: dict[str, Schedule] = {}
        self._chronicles: dict[str, Chronicle] = {}
        self._unreadable: dict[str, float] = {}  # digest -> when to try again
        self._refusals = Complaints()
        self._folder_trouble = ""
        self._turns: deque[str] = deque()  # digests, whose turn it is first
        self._online = False
        self._poll_at = 0.0
        transport.subscribe(topics.every("want"), topics.index, topics.depot("+"), qos=1)

    def serve(self, stop: threading.Event) -> None:
        """Serve until told to stop."""
        threading.Thread(target=self._patches.work, args=(stop,), daemon=True).start()
        while not stop.is_set():
            try:
                self.step(0.5)
            except TransportError as error:
                logger.warning("%s; going on in %.0f s", error, self._options.poll_s)
                stop.wait(self._options.poll_s)

    def make_patches(self) -> None:
        """Make the patches that are due, here and now."""
        self._patches.make_due()

    def step(self, most_wait_s: float) -> None:
        """Do what is due, then wait for arrivals, if nothing is, up to `most_wait_s`."""
        now = self._options.clock()
        if self._online and now >= self._poll_at:
            self._poll_at = now + self._options.poll_s
            self._poll(now)
        sent = self._send_burst(now)
        arrival = self._transport.receive(0 if sent else self._wait_s(now, most_wait_s))
        for _ in range(_ARRIVALS_A_TURN):
            if arrival is None:
                return
            self._take(arrival)
            arrival = self._transport.receive(0)
        if arrival is not None:
            self._take(arrival)

    def _wait_s(self, now: float, most_wait_s: float) -> float:
        waits = [
            most_wait_s,
            max(0.0, self._poll_at - now) if self._online else most_wait_s,
        ]
        waits += [w for s in self._schedules.values() if (w := s.wait_s(now)) is not None]
        limits = (self._throttle, *self._throttles.values())
        return min(waits + [w for limit in limits if (w := limit.wait_s(now))])

    def _poll(self, now: float) -> None:
        if self._refresh():
            self._patches.follow(self._publication.catalogue)
            self._drop_stale_schedules()
            logger.info(
                "serving %d files and %d bundles",
                *(len(self._publication.names), len(self._publication.catalogue.entries)),
            )
        self._offer_patches()
        self._peers.forget_silent(now)
        for sha256, schedule in self._schedules.items():
            silent = schedule.forget_silent(now)
            for device in silent:
                self._chronicles[sha256].falls_silent(device)
            if silent and not schedule.devices:
                self._chronicles[sha256].ends(now)

    @property
    def _entries(self) -> Mapping[str, BundleEntry]:
        patches = {sha256: patch.entry for sha256, patch in self._patches.all.items()}
        return ChainMap(patches, dict(self._publication.catalogue.entries))

    def _offer_patches(self) -> None:
        """Say which patches there are to what this depot serves, when that is news."""
        for sha256, offer in self._patches.offers().items():
            payload = offer.to_json() if self._peers.serves(sha256) else b""
            if payload != self._offered.get(sha256, b""):
                topic = self._topics.delta(sha256)
                self._transport.publish(topic, payload, qos=1, retain=True)
                self._offered[sha256] = payload

    def _refresh(self) -> bool:
        """Publish what changed; a folder that cannot be read is tried again."""
        trouble, changed = "", False
        try:
            changed = self._publication.refresh()
        except OSError as error:
            trouble = f"{error.filename}: {error.strerror}"
        if trouble != self._folder_trouble:
            self._folder_trouble = trouble
            if trouble:
                logger.error("%s; what was published stays; trying again", trouble)
            else:
                logger.info("%s can be read again", self._files)
        return changed

    def _take(self, arrival: Arrival) -> None:
        match arrival:
            case Connected():
                self._online = True
                self._poll_at = 0.0
                self._publication.forget()
                self._offered.clear()
                self._claim()
            case Disconnected(reason=reason):
                self._online = False
                logger.warning("the broker is gone: %s; waiting for it", reason)
            case Message(topic=self._topics.index, payload=payload, retained=True):
                self._publication.note_broker_index(payload)
                self._poll_at = 0.0
            case Message(topic=self._topics.index):
                pass  # our own, come back
            case Message(topic=topic) if name := self._topics.depot_name(topic):
                self._meet(name, there=bool(arrival.payload))
            case Message():
                self._take_want(arrival)
            case _:
                assert_never(arrival)

    def leave(self) -> None:
        """Tell the other depots that this one serves no longer."""
        topic = self._topics.depot(self._options.name)
        self._transport.publish(topic, b"", qos=1, retain=True)

    def _claim(self) -> None:
        topic = self._topics.depot(self._options.name)
        self._transport.publish(topic, b"1", qos=1, retain=True)

    def _meet(self, name: str, *, there: bool) -> None:
        """Share the bundles with the depots that are there, and with no others."""
        if not self._peers.note(name, there=there):
            return
        logger.info(
            "depot %s %s; %d share the bundles now",
            *(name, "is there" if there else "is gone", len(self._peers.names)),
        )
        if there:
            self._claim()  # it may not have been told: not every broker retains
        for sha256 in [s for s in self._schedules if not self._peers.serves(s)]:
            self._drop(sha256)

    def _take_want(self, message: Message) -> None:
        self.served.wants += 1
        device = self._topics.sender(message.topic)
        try:
            want = Want.decode(message.payload)
        except TransportError as error:
            self._refuse(message.topic, str(error))
            return
        entry = self._entries.get(want.sha256)
        if device is None or entry is None:
            logger.debug("%s wants unknown %s", device, want.sha256[:_SHORT])
        elif want.chunks != entry.chunks:
            self._refuse(
                message.topic, f"{want.chunks} chunks of a bundle of {entry.chunks}"
            )
        else:
            self._hear(device, want)

    def _refuse(self, topic: str, reason: str) -> None:
        self.served.malformed_wants += 1
        more = self._refusals.due(self._options.clock())
        if more is not None:
            logger.warning("%s: %s; ignored%s", topic, reason, more)

    def _hear(self, device: str, want: Want) -> None:
        sha256, now = want.sha256, self._options.clock()
        if not self._peers.serves(sha256):
            silent = self._peers.asks(device, want, now)
            if silent is not None:
                logger.warning("depot %s lets %s wait: taken for gone", silent, device)
            if silent is None or not self._peers.serves(sha256):
                return
        if now < self._unreadable.get(sha256, now):
            return
        if sha256 not in self._schedules:
            self._open(sha256)
        schedule, chronicle = self._schedules[sha256], self._chronicles[sha256]
        served = schedule.serves(device)
        schedule.hear(device, want, now)
        if schedule.serves(device) and not served:
            chronicle.asks(device, len(want.missing), now)
        elif served and not want.missing:
            chronicle.finishes(device, now)
            if not schedule.devices:
                chronicle.ends(now)

    def _open(self, sha256: str) -> None:
        entry = self._entries[sha256]
        self._schedules[sha256] = Schedule(
            chunks=entry.chunks, epoch=draw_epoch(), rules=self._options.rules
        )
        self._throttles[sha256] = Throttle(self._options.topic_bytes_per_s)
        self._turns.append(sha256)
        if sha256 not in self._chronicles:
            title = self._publication.catalogue.titles.get(sha256, "patch")
            self._chronicles[sha256] = Chronicle(title, entry)

    def _send_burst(self, now: float) -> int:
        """Send a few chunks, one of each bundle in turn; return how many."""
        sent = idle = 0
        while self._online and sent < _BURST_CHUNKS and idle < len(self._turns):
            if self._throttle.wait_s(now):
                break
            sha256 = self._turns[0]
            self._turns.rotate(-1)
            limited = self._throttles[sha256].wait_s(now) > 0
            sending = None if limited else self._schedules[sha256].next(now)
            if sending is None:
                idle += 1
            elif self._send(sha256, sending):
                sent, idle = sent + 1, 0
        return sent

    def _send(self, sha256: str, sending: Sending) -> bool:
        """Read and publish; when it cannot be read, pause the bundle."""
        entry = self._entries[sha256]
        try:
            message = self._shelf.message(entry, self._schedules[sha256].epoch, sending)
        except OSError as error:
            chunks = ", ".join(map(str, sending.numbers))
            self._pause(sha256, f"chunk {chunks}: {error.strerror}")
            return False
        topic = self._topics.blob(sha256)
        if isinstance(message, Repair):
            topic = self._topics.repair(sha256)
            self.served.repairs += 1
        self._transport.publish(topic, message.encode(), qos=0)
        self._throttle.spend(len(message.data))
        self._throttles[sha256].spend(len(message.data))
        self._chronicles[sha256].sent(len(message.data))
        if self._unreadable.pop(sha256, None) is not None:
            logger.info("%s: it can be read again", self._chronicles[sha256].subject)
        self.served.chunks += 1
        self.served.chunk_bytes += len(message.data)
        return True

    def _pause(self, sha256: str, reason: str) -> None:
        """Serve nothing of a bundle for a while; devices go on asking."""
        if sha256 not in self._unreadable:
            logger.error(
                "%s: %s; not served until it can be read, devices wait",
                *(self._shelf.path(self._entries[sha256]), reason),
            )
        self._unreadable[sha256] = self._options.clock() + _UNREADABLE_S
        self._drop(sha256)

    def _drop_stale_schedules(self) -> None:
        """Forget the sendings of bundles that are gone, or are cut another way now."""
        for sha256, schedule in list(self._schedules.items()):
            entry = self._entries.get(sha256)
            if entry is None or entry.chunks != schedule.chunks:
                self._drop(sha256)
                del self._chronicles[sha256]

    def _drop(self, sha256: str) -> None:
        del self._schedules[sha256], self._throttles[sha256]
        self._turns.remove(sha256)
