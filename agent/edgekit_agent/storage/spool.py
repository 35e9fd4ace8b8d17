"""Telemetry windows on the disk until the fleet has them: bounded, and whole or not there.

One file a window, named by its place in the order and by whether it may have arrived:

    telemetry/0000000012.new     never sent; may be merged with a neighbour
    telemetry/0000000012.sent    handed to the network once; stays as it is

A file is the CRC-32 of the payload, big-endian, and the payload. A window is written, and
fsynced, once; that it is deleted needs no fsync, as one that comes back is sent again and
known to the fleet. edgekit_agent.rules.backlog decides what gives way when it is full.
"""

import contextlib
import errno
import logging
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from edgekit import atomic
from edgekit.errors import StoreError, TransportError
from edgekit.telemetry.window import Window
from edgekit_agent.rules.backlog import BLOCK_BYTES, Drop, Entry, Merge, relief

log = logging.getLogger(__name__)

_DIGITS = 10
_NEW, _SENT = ".new", ".sent"
_NAME = re.compile(rf"\d{{{_DIGITS}}}({_NEW}|{_SENT})")
_CRC_BYTES = 4
_MODE = 0o600
# The machine is short of something, the file is not to blame. EIO is not among them: what
# flash cannot read it hardly ever can later, and would hold up all that follows.
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN})


class CorruptError(StoreError):
    """A window cannot be read any more: it is lost, the others are not."""


class _ApartError(Exception):
    """Two windows stay two: too long for one message, of different bins or kinds."""


class Losses(NamedTuple):
    """Windows that never count: for want of room, for the disk, by the fleet's word."""

    dropped: int = 0
    corrupt: int = 0
    refused: int = 0


class Spool:
    """The windows in one folder, in order. Used by one thread; raises StoreError.

    `dropped`, `corrupt` and `refused` count what was lost since they were last taken.
    """

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._entries: list[Entry] = []
        self._unmergeable: set[int] = set()
        self._next = 1
        self._opened = False
        self._unsynced = False
        self.dropped = 0
        self.corrupt = 0
        self.refused = 0

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What is there, the oldest first."""
        return tuple(self._entries)

    def open(self) -> None:
        """Read what an earlier life left; what the disk changed is deleted and counted.

        Where that cannot be done now, nothing is lost: the next add() does it first.
        """
        with _disk(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            found = sorted(
                path for path in self._folder.iterdir() if _NAME.fullmatch(path.name)
            )
        self._entries.clear()
        for path in found:
            self._find(path)
        self._opened = True

    def add(self, window: Window, *, sent: bool) -> Entry:
        """Write a window; then make room, if there is too little now."""
        if not self._opened:  # numbers would be given twice
            self.open()
        payload = encode(window)
        entry = _entry(self._next, window, payload, sent=sent)
        self._write(entry, payload)
        self._next += 1
        self._entries.append(entry)
        self._relieve()
        return entry

    def extend(self, entry: Entry, later: Window) -> Entry:
        """Merge a window into the one before it, which was never sent.

        Where the two cannot become one, the later one stands alone.
        """
        try:
            return self._merged(entry, later)
        except CorruptError as error:
            log.warning("a telemetry window is lost: %s", error)
            self.discard_corrupt(entry)
        except _ApartError:
            pass
        return self.add(later, sent=False)

    def mark_sent(self, entry: Entry) -> Entry:
        """Note, before it is sent, that a window may have arrived from now on."""
        marked = replace(entry, sent=True)
        with _disk(self._path(entry)):
            self._path(entry).rename(self._path(marked))
        self._entries[self._entries.index(entry)] = marked
        self._sync()
        return marked

    def payload(self, entry: Entry) -> bytes:
        """Return a window as it is sent; CorruptError where the disk changed it."""
        if self._unsynced:
            self._sync()
        return _payload(self._path(entry))

    def remove(self, entry: Entry) -> None:
        """Forget a window."""
        self._entries.remove(entry)
        _unlink(self._path(entry))

    def discard_corrupt(self, entry: Entry) -> None:
        """Forget a window that the disk changed, and count it."""
        self.corrupt += entry.span
        self.remove(entry)

    def refuse(self, entry: Entry, device: str) -> None:
        """Put the word that a window is lost in its place: the fleet never counts it.

        That survives a power cut, and is sent like any window. Where it is refused, too,
        it is forgotten, and counted.
        """
        window = _decoded(self.payload(entry), self._path(entry))
        if window.is_loss:
            self._tell_again(window)
            self.remove(entry)
            return
        word = window.lost(device)
        payload = word.encode()
        told = _entry(entry.number, word, payload, sent=False)
        self._write(told, payload)
        self._entries[self._entries.index(entry)] = told
        _unlink(self._path(entry))  # one that comes back is found to be covered

    def take_losses(self) -> Losses:
        """Return how many windows were lost, and count anew."""
        losses = Losses(self.dropped, self.corrupt, self.refused)
        self.dropped = self.corrupt = self.refused = 0
        return losses

    def _find(self, path: Path) -> None:
        number = int(path.name[:_DIGITS])
        self._next = max(self._next, number + 1)
        try:
            payload = _payload(path)
            entry = _entry(
                number, _decoded(payload, path), payload, sent=path.suffix == _SENT
            )
        except CorruptError as error:
            log.warning("a telemetry window is lost: %s", error)
            self.corrupt += 1
            _unlink(path)
            return
        if any(_covers(one, entry) for one in self._entries):
            _unlink(path)  # a kill came between a merge and its end
        else:
            self._entries.append(entry)

    def _relieve(self) -> None:
        """Make room where that is due; a disk that refuses is tried with the next one."""
        try:
            self._make_room()
        except StoreError as error:
            log.warning("telemetry: %s", error)

    def _make_room(self) -> None:
        while True:
            order = relief(self._entries, self._most_bytes, self._unmergeable)
            match order:
                case None:
                    return
                case Drop(entry=entry):
                    log.warning(
                        "telemetry: windows %d to %d of %s dropped, the spool is full",
                        entry.first,
                        entry.last,
                        entry.boot_id,
                    )
                    self._drop(entry)
                case Merge(earlier=earlier, later=later):
                    self._merge(earlier, later)

    def _drop(self, entry: Entry) -> None:
        """Forget a window, and count it; those of whose loss it told stay counted."""
        path = self._path(entry)
        try:
            window = _decoded(_payload(path), path)
        except CorruptError as error:
            log.warning("a telemetry window is lost: %s", error)
            self.discard_corrupt(entry)
            return
        if not window.is_loss:  # a word counts its own numbers among the refused
            self.dropped += entry.span
        self._tell_again(window)
        self.remove(entry)

    def _tell_again(self, window: Window) -> None:
        """Count the losses that a window told of which is lost itself."""
        self.dropped += window.dropped
        self.corrupt += window.corrupt
        self.refused += window.refused

    def _merge(self, earlier: Entry, later: Entry) -> None:
        """Make one entry of two; where that cannot be, note it, so that it ends."""
        try:
            window = _decoded(self.payload(later), self._path(later))
        except CorruptError as error:
            log.warning("a telemetry window is lost: %s", error)
            self.discard_corrupt(later)
            return
        try:
            self._merged(earlier, window)
        except CorruptError as error:
            log.warning("a telemetry window is lost: %s", error)
            self.discard_corrupt(earlier)
            return
        except _ApartError:
            self._unmergeable.add(earlier.number)
            return
        self.remove(later)
        self._sync()  # before the merged one is sent: its part must not come back

    def _merged(self, entry: Entry, later: Window) -> Entry:
        merged = _decoded(self.payload(entry), self._path(entry))
        if merged.is_loss != later.is_loss:  # refused, the lost ones would count twice
            raise _ApartError("a window, and the word that another one is lost")
        try:
            merged = merged.merged(later)
            payload = merged.encode()
            Window.decode(payload)  # sums may exceed what each of them was bounded by
        except (TransportError, ValueError) as error:
            raise _ApartError(str(error)) from error
        longer = _entry(entry.number, merged, payload, sent=False)
        self._write(longer, payload)
        self._entries[self._entries.index(entry)] = longer
        return longer

    def _write(self, entry: Entry, payload: bytes) -> None:
        """Write a file; a disk that refuses only the last fsync has it all the same."""
        sealed = zlib.crc32(payload).to_bytes(_CRC_BYTES) + payload
        path = self._path(entry)
        try:
            atomic.write_bytes(path, sealed, mode=_MODE)
        except StoreError as error:
            if not _holds(path, payload):
                raise
            log.warning("telemetry: %s", error)

    def _sync(self) -> None:
        """Make names survive a power cut; until that is done nothing is sent."""
        self._unsynced = True
        with _disk(self._folder):
            atomic.sync_folder(self._folder)
        self._unsynced = False

    def _path(self, entry: Entry) -> Path:
        suffix = _SENT if entry.sent else _NEW
        return self._folder / f"{entry.number:0{_DIGITS}}{suffix}"


class Waiting(NamedTuple):
    """What lies in a spool, and since when the first that was sent waits for an answer."""

    files: int
    disk_bytes: int
    oldest_sent_s: float | None


def waiting(folder: Path) -> Waiting:
    """Return what lies in a folder, without reading or changing it."""
    found: list[tuple[str, int, float]] = []
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if _NAME.fullmatch(path.name):
                status = path.stat()
                found.append((path.suffix, status.st_size, status.st_mtime))
    return Waiting(
        files=len(found),
        disk_bytes=sum(-(-size // BLOCK_BYTES) * BLOCK_BYTES for _, size, _ in found),
        oldest_sent_s=min((at for kind, _, at in found if kind == _SENT), default=None),
    )


def encode(window: Window) -> bytes:
    """Return the payload of a window; without its histograms where it would be too long."""
    try:
        return window.encode()
    except ValueError as error:
        log.warning("telemetry: %s: its histograms are left out", error)
        return window.reduced().encode()


def _entry(number: int, window: Window, payload: bytes, *, sent: bool) -> Entry:
    return Entry(
        number=number,
        boot_id=window.boot_id,
        first=window.first,
        last=window.last,
        payload_bytes=len(payload),
        sent=sent,
    )


def _covers(one: Entry, other: Entry) -> bool:
    same = one.boot_id == other.boot_id
    return same and one.first <= other.first and other.last <= one.last


def _payload(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        kind = StoreError if error.errno in _PASSING else CorruptError
        raise kind(f"{path}: {atomic.reason(error, path)}") from error
    payload = content[_CRC_BYTES:]
    right = zlib.crc32(payload).to_bytes(_CRC_BYTES) == content[:_CRC_BYTES]
    if not payload or not right:
        raise CorruptError(f"{path}: changed on the disk, its checksum is another one")
    return payload


def _holds(path: Path, payload: bytes) -> bool:
    try:
        return _payload(path) == payload
    except StoreError:
        return False


def _decoded(payload: bytes, path: Path) -> Window:
    try:
        return Window.decode(payload)
    except TransportError as error:
        raise CorruptError(f"{path}: {error}") from error


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):  # it is found again, and known
        path.unlink()


@contextlib.contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path}: {atomic.reason(error, path)}") from error
