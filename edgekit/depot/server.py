"""Serve a repository folder to a fleet: metadata retained, bundles in chunks.

A thin doer: edgekit.depot.publication says what is retained, edgekit.depot.sender sends
chunks, edgekit.depot.peers says what other depots serve.
"""

import logging
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

from edgekit.depot.complaints import Complaints
from edgekit.depot.patches import FOLDER as PATCHES
from edgekit.depot.patches import Patches
from edgekit.depot.peers import Peers
from edgekit.depot.publication import Publication
from edgekit.depot.sender import Pace, Sender, Sent
from edgekit.depot.shelf import Shelf
from edgekit.errors import TransportError
from edgekit.statement import BundleEntry
from edgekit.transport import Arrival, Connected, Disconnected, Message, Transport
from edgekit.wire import Topics, Want

logger = logging.getLogger(__name__)

FILES = "files"
BLOBS = "blobs"
_ARRIVALS_A_TURN = 256
_SHORT = 12  # hexadecimal digits of a digest that people compare


@dataclass(frozen=True, slots=True, kw_only=True)
class DepotOptions(Pace):
    """How a depot paces itself."""

    name: str = field(default_factory=lambda: secrets.token_hex(4))  # among the depots
    poll_s: float = 1.0  # how often it looks for a new timestamp


@dataclass(slots=True, kw_only=True)
class Served(Sent):
    """What a depot did since it started."""

    wants: int = 0
    malformed_wants: int = 0


class Depot:
    """Serves the repository folder `repository` of the fleet that `topics` name."""

    def __init__(
        self,
        transport: Transport,
        topics: Topics,
        repository: Path,
        options: DepotOptions | None = None,
    ) -> None:
        self._transport = transport
        self._topics = topics
        self._options = options or DepotOptions()
        self._files = repository / FILES
        self.served = Served()
        shelf = Shelf(repository / BLOBS, repository / PATCHES)
        self._sender = Sender(transport, topics, shelf, self._options, self.served)
        self._patches = Patches(repository, repository / BLOBS)
        self._offered: dict[str, bytes] = {}  # bundle -> what was said of its patches
        self._peers = Peers(self._options.name)
        self._publication = Publication(transport, topics, self._files)
        self._refusals = Complaints()
        self._folder_trouble = ""
        self._online = False
        self._poll_at = 0.0
        transport.subscribe(topics.every("want"), topics.depot("+"), qos=1)

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
        sent = self._sender.burst(now) if self._online else 0
        arrival = self._transport.receive(0 if sent else self._wait_s(now, most_wait_s))
        for _ in range(_ARRIVALS_A_TURN):
            if arrival is None:
                return
            self._take(arrival)
            arrival = self._transport.receive(0)
        if arrival is not None:
            self._take(arrival)

    def _wait_s(self, now: float, most_s: float) -> float:
        if self._online:
            most_s = min(most_s, max(0.0, self._poll_at - now))
        return self._sender.wait_s(now, most_s)

    def _poll(self, now: float) -> None:
        self._publication.check(now)
        if self._refresh():
            self._patches.follow(self._publication.catalogue)
            self._sender.forget_stale(self._entries)
            logger.info(
                "serving %d files and %d bundles",
                *(len(self._publication.names), len(self._publication.catalogue.entries)),
            )
        self._offer_patches()
        self._peers.forget_silent(now)
        self._sender.forget_silent(now)

    @property
    def _entries(self) -> Mapping[str, BundleEntry]:
        patches = {sha256: patch.entry for sha256, patch in self._patches.all.items()}
        return {**self._publication.catalogue.entries, **patches}

    def _entry(self, sha256: str) -> BundleEntry | None:
        if entry := self._publication.catalogue.entries.get(sha256):
            return entry
        patch = self._patches.all.get(sha256)
        return patch.entry if patch else None

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
            changed = self._publication.refresh(self._options.clock())
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
            case Message():
                self._take_message(arrival)
            case _:
                assert_never(arrival)

    def _take_message(self, message: Message) -> None:
        if self._publication.takes(message, self._options.clock()):
            self._poll_at = 0.0
        elif name := self._topics.depot_name(message.topic):
            self._meet(name, there=bool(message.payload))
        else:
            self._take_want(message)

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
        self._sender.keep(self._peers.serves)

    def _take_want(self, message: Message) -> None:
        self.served.wants += 1
        device = self._topics.sender(message.topic)
        try:
            want = Want.decode(message.payload)
        except TransportError as error:
            self._refuse(message.topic, str(error))
            return
        entry = self._entry(want.sha256)
        if device is None or entry is None:
            logger.debug("%s wants unknown %s", device, want.sha256[:_SHORT])
        elif want.chunks != entry.chunks:
            self._refuse(
                message.topic, f"{want.chunks} chunks of a bundle of {entry.chunks}"
            )
        else:
            self._hear(device, want, entry)

    def _refuse(self, topic: str, reason: str) -> None:
        self.served.malformed_wants += 1
        more = self._refusals.due(self._options.clock())
        if more is not None:
            logger.warning("%s: %s; ignored%s", topic, reason, more)

    def _hear(self, device: str, want: Want, entry: BundleEntry) -> None:
        sha256, now = want.sha256, self._options.clock()
        self._sender.company.hear(device, done=not want.missing)
        if not self._peers.serves(sha256):
            silent = self._peers.asks(device, want, now)
            if silent is not None:
                logger.warning("depot %s lets %s wait: taken for gone", silent, device)
            if silent is None or not self._peers.serves(sha256):
                return
        title = self._publication.catalogue.titles.get(sha256, "patch")
        self._sender.hear(device, want, entry, title, now)
