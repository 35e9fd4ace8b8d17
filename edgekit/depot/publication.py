"""Keep the broker's retained messages equal to the files of a repository folder.

Publishes what changed and clears what vanished, in an order in which a reader never sees
a name before its file: files, then the index, the timestamp, and last what is cleared.
Chunk indexes that no device will ask for stay unpublished. Knows no signatures.
"""

import hashlib
import logging
from pathlib import Path

from edgekit.depot.catalogue import Catalogue, read_catalogue
from edgekit.errors import TransportError
from edgekit.transport import Transport
from edgekit.wire import MAX_PAYLOAD_BYTES, Topics, decode_names, encode_names

logger = logging.getLogger(__name__)

TIMESTAMP = "timestamp.json"


class Publication:
    """The named files under `folder`, as far as they are published."""

    def __init__(self, transport: Transport, topics: Topics, folder: Path) -> None:
        self.catalogue = Catalogue()
        self._transport = transport
        self._topics = topics
        self._folder = folder
        self._published: dict[str, bytes] = {}  # name -> digest
        self._index = b""
        self._seen: tuple[int, int] | None = None
        self._began = False
        self._left_over: frozenset[str] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        """The names of the published files."""
        return frozenset(self._published)

    def refresh(self) -> bool:
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
        names = self._publish_files(catalogue) | {TIMESTAMP}
        if self._look() != seen:
            return False  # it changed while it was read: nothing may vanish by that
        index = encode_names(names)
        if len(index) > MAX_PAYLOAD_BYTES:
            self._say_too_many(names, len(index))
        else:
            self._publish_index(index)
            self._publish_file(TIMESTAMP, timestamp)
            self._clear((self.names | self._left_over) - names)
            self._left_over = frozenset()
            self.catalogue = catalogue
        self._seen = seen
        return self.catalogue is catalogue

    def forget(self) -> None:
        """Publish everything again: the broker may have lost it."""
        self._left_over |= self.names
        self._published.clear()
        self._index = b""
        self._seen = None

    def note_broker_index(self, payload: bytes) -> None:
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

    def _publish_files(self, catalogue: Catalogue) -> frozenset[str]:
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
            self._publish_file(name, content)
            offered.add(name)
        return frozenset(offered)

    def _publish_file(self, name: str, content: bytes) -> None:
        digest = hashlib.sha256(content).digest()
        if self._published.get(name) != digest:
            self._transport.publish(self._topics.file(name), content, qos=1, retain=True)
            self._published[name] = digest

    def _publish_index(self, index: bytes) -> None:
        if index != self._index:
            self._transport.publish(self._topics.index, index, qos=1, retain=True)
            self._index = index
        self._began = True

    def _say_too_many(self, names: frozenset[str], length: int) -> None:
        logger.error(
            "%s: %d names take %d bytes, the one message of the index holds %d: devices are"
            " told nothing new until there are fewer; withdraw release records that no"
            " stage needs, or give some models a fleet of their own",
            *(self._folder, len(names), length, MAX_PAYLOAD_BYTES),
        )

    def _clear(self, names: frozenset[str]) -> None:
        for name in sorted(names):
            self._transport.publish(self._topics.file(name), b"", qos=1, retain=True)
            self._published.pop(name, None)
