"""Keep the broker's retained messages equal to the files of a repository folder.

Publishes what changed and clears what vanished, in an order in which a reader never sees
a name before its file: files, then the index, the timestamp, and last what is cleared.
Chunk indexes that no device will ask for stay unpublished.

What was published is read back (edgekit.depot.readback), and published again where the
broker has lost it or a stranger replaced it. A timestamp that the fleet's own keys signed
later than ours is neither: then this folder is an old copy, and keeps still.
"""

import hashlib
import logging
from pathlib import Path

from edgekit.depot.catalogue import Catalogue, read_catalogue
from edgekit.depot.readback import Answer, Readback, ReadbackRules
from edgekit.errors import TransportError
from edgekit.transport import Message, Transport
from edgekit.trust.succession import succeeds
from edgekit.wire import MAX_PAYLOAD_BYTES, Topics, decode_names, encode_names

logger = logging.getLogger(__name__)

TIMESTAMP = "timestamp.json"


class Publication:
    """The named files under `folder`, as far as they are published."""

    def __init__(
        self,
        transport: Transport,
        topics: Topics,
        folder: Path,
        rules: ReadbackRules | None = None,
    ) -> None:
        self.catalogue = Catalogue()
        self._transport = transport
        self._topics = topics
        self._folder = folder
        self._published: dict[str, bytes] = {}  # name -> digest
        self._index = b""
        self._seen: tuple[int, int] | None = None
        self._began = False
        self._left_over: frozenset[str] = frozenset()
        self._readback = Readback(rules)
        self._names: dict[str, str] = {}  # topic -> name of a published file
        self._lost: set[str] = set()  # topics whose message the broker did not keep
        self._timestamp = b""
        self._newer = b""  # a timestamp from elsewhere that may succeed ours
        self._always = {topics.index: 1, topics.file(TIMESTAMP): 0}  # topic -> QoS
        for topic, qos in self._always.items():
            transport.subscribe(topic, qos=qos)

    @property
    def names(self) -> frozenset[str]:
        """The names of the published files."""
        return frozenset(self._published)

    def refresh(self, now: float) -> bool:
        """Publish what changed since the timestamp last did; whether anything did.

        Raises TransportError when the broker takes no more, and OSError when the folder
        cannot be read; the next call goes on there.
        """
        seen = self._look()
        if seen == self._seen:
            return False
        # Read first, published last: it must not speak of files that came after a scan.
        timestamp = (self._folder / TIMESTAMP).read_bytes()
        catalogue = read_catalogue(self._folder)
        if self._is_behind(timestamp):
            self.catalogue, self._seen = catalogue, seen
            return True
        names = self._publish_files(catalogue, now) | {TIMESTAMP}
        if self._look() != seen:
            return False  # it changed while it was read: nothing may vanish by that
        index = encode_names(names)
        if len(index) > MAX_PAYLOAD_BYTES:
            self._say_too_many(names, len(index))
        else:
            self._publish_index(index, now)
            self._publish_file(TIMESTAMP, timestamp, now)
            self._clear((self.names | self._left_over) - names)
            self._left_over = frozenset()
            self.catalogue = catalogue
        self._seen = seen
        return self.catalogue is catalogue

    def forget(self) -> None:
        """Publish everything again: the broker may have lost it."""
        self._newer = b""
        self._disown()

    def check(self, now: float) -> None:
        """Ask for what is doubted; what was lost is published at the next refresh."""
        for topic in self._readback.unanswered(now):
            self._lose(topic)
        if self._lost:
            logger.warning(
                "%d messages are not retained as they were published, %s among them;"
                " publishing them again",
                *(len(self._lost), min(self._lost)),
            )
            self._forget_some(frozenset(self._lost))
            self._lost.clear()
        due = self._readback.due(now)
        for qos in (0, 1):
            topics = [topic for topic in due if self._always.get(topic, 0) == qos]
            self._transport.subscribe(*topics, qos=qos)

    def takes(self, message: Message, now: float) -> bool:
        """Take a message in if it is of a published topic, and say whether it was."""
        topic, payload = message.topic, message.payload
        if topic == self._topics.file(TIMESTAMP):
            self._meet(payload)
        elif topic not in self._names and topic != self._topics.index:
            return False
        if not message.retained:
            self._readback.heard(topic, payload, now)
        elif (answer := self._readback.answered(topic, payload)) is not Answer.UNASKED:
            self._ask_no_more(topic)
            if answer is Answer.OTHER:
                self._lose(topic)
        elif topic == self._topics.index:
            self._note_broker_index(payload)
        return True

    def _disown(self) -> None:
        """Know of nothing any more that it is published."""
        self._left_over |= self.names
        self._published.clear()
        self._index = b""
        self._seen = None
        self._readback.begin_anew()

    def _meet(self, timestamp: bytes) -> None:
        """Look at a timestamp on the broker: one that succeeds ours silences us."""
        if timestamp in (self._timestamp, self._newer):
            return
        if not self._timestamp:
            self._newer = timestamp  # judged when ours has been read
        elif self._succeeds(timestamp, self._newer or self._timestamp):
            self._newer, self._seen = timestamp, None

    def _is_behind(self, timestamp: bytes) -> bool:
        """Whether the broker holds a later state than that of the folder."""
        self._timestamp = timestamp
        if not self._newer:
            return False
        if self._succeeds(self._newer, timestamp):
            logger.warning(
                "%s is an old copy: the broker holds what this fleet's keys signed later;"
                " publishing nothing until it is newer",
                self._folder,
            )
            self._disown()
            return True
        self._newer = b""
        return False

    def _succeeds(self, candidate: bytes, known: bytes) -> bool:
        roots = self._folder.glob("*.root.json")
        newest = max(roots, key=lambda path: _version(path.name), default=None)
        if newest is None:
            return False
        return succeeds(candidate, known=known, root=newest.read_bytes())

    def _lose(self, topic: str) -> None:
        self._ask_no_more(topic)
        if self._readback.lost(topic):
            self._lost.add(topic)
        elif self._readback.may_read:
            logger.error("%s: the broker does not keep it; devices may miss it", topic)
        else:
            logger.warning(
                "%s: the broker does not give it back, so nobody knows whether it is"
                " retained; its access rules should let a depot read it",
                topic,
            )

    def _forget_some(self, topics: frozenset[str]) -> None:
        """Publish some messages again, and then tell devices that they are there."""
        for topic in topics:
            self._published.pop(self._names.get(topic, ""), None)
        if self._topics.index in topics:
            self._index = b""
        self._published.pop(TIMESTAMP, None)
        self._seen = None

    def _ask_no_more(self, topic: str) -> None:
        if topic not in self._always:
            self._transport.unsubscribe(topic)

    def _note_broker_index(self, payload: bytes) -> None:
        """Clear, at the next refresh, names of an earlier depot that are files no more."""
        try:
            names = decode_names(payload)
        except TransportError as error:
            logger.warning("the broker's index is not readable: %s", error)
            return
        if names - self.names:
            self._left_over |= names
            self._seen = None

    def _look(self) -> tuple[int, int] | None:
        """Return what the timestamp looks like; None before there is the first one."""
        try:
            status = (self._folder / TIMESTAMP).stat()
        except FileNotFoundError:
            if self._began:
                raise
            return None
        return status.st_mtime_ns, status.st_size

    def _publish_files(self, catalogue: Catalogue, now: float) -> frozenset[str]:
        """Publish all files but the timestamp; return the names that are offered."""
        offered = set()
        for path in sorted(self._folder.rglob("*")):
            name = path.relative_to(self._folder).as_posix()
            if path.name.startswith(".") or not path.is_file() or name == TIMESTAMP:
                continue
            if catalogue.is_idle(name):
                continue
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue  # replaced meanwhile: the timestamp will change, too
            if len(content) > MAX_PAYLOAD_BYTES:
                logger.error(
                    "%s: %d bytes, a message holds %d: not offered",
                    *(path, len(content), MAX_PAYLOAD_BYTES),
                )
                continue
            self._publish_file(name, content, now)
            offered.add(name)
        return frozenset(offered)

    def _publish_file(self, name: str, content: bytes, now: float) -> None:
        digest = hashlib.sha256(content).digest()
        if self._published.get(name) != digest:
            topic = self._topics.file(name)
            self._names[topic] = name
            self._retain(topic, content, now)
            self._published[name] = digest

    def _publish_index(self, index: bytes, now: float) -> None:
        if index != self._index:
            self._retain(self._topics.index, index, now)
            self._index = index
        self._began = True

    def _retain(self, topic: str, payload: bytes, now: float) -> None:
        self._transport.publish(topic, payload, qos=1, retain=True)
        self._readback.published(topic, payload, now)

    def _say_too_many(self, names: frozenset[str], length: int) -> None:
        logger.error(
            "%s: %d names take %d bytes, the one message of the index holds %d: devices are"
            " told nothing new until there are fewer; withdraw release records that no"
            " stage needs, or give some models a fleet of their own",
            *(self._folder, len(names), length, MAX_PAYLOAD_BYTES),
        )

    def _clear(self, names: frozenset[str]) -> None:
        for name in sorted(names):
            topic = self._topics.file(name)
            self._transport.publish(topic, b"", qos=1, retain=True)
            self._published.pop(name, None)
            self._names.pop(topic, None)
            self._readback.cleared(topic)


def _version(name: str) -> int:
    """Return the number before the first dot of a root's name, -1 when there is none."""
    number = name.partition(".")[0]
    return int(number) if number.isascii() and number.isdecimal() else -1
