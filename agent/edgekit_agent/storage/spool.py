"""Telemetry windows on the disk until the fleet has them: bounded, and whole or not there.

One file a window, named by its place in the order and by whether it may have arrived:

    telemetry/0000000012.new     never sent; may be merged with a neighbour
    telemetry/0000000012.sent    handed to the network once; stays as it is

A window is written, and fsynced, once; that it is deleted needs no fsync, as one that comes
back is sent again and known to the fleet. edgekit_agent.rules.backlog decides what gives
way when it is full. What a file holds is window_file's.
"""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from edgekit import atomic
from edgekit.errors import StoreError, TransportError
from edgekit.telemetry.window import Window
from edgekit_agent.rules.backlog import BLOCK_BYTES, Drop, Entry, Merge, relief
from edgekit_agent.storage import window_file
from edgekit_agent.storage.window_file import CorruptError

log = logging.getLogger(__name__)


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
                path for path in self._folder.iterdir() if window_file.is_one(path)
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
        window_file.write(self._path(entry), payload)
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
        return window_file.payload(self._path(entry))

    def remove(self, entry: Entry) -> None:
        """Forget a window."""
        self._entries.remove(entry)
        window_file.remove(self._path(entry))

    def discard_corrupt(self, entry: Entry) -> None:
        """Forget a window that the disk changed, and count it."""
        self.corrupt += entry.span
        self.remove(entry)

    def refuse(self, entry: Entry, device: str) -> None:
        """Put the word that a window is lost in its place: the fleet never counts it.

        That survives a power cut, and is sent like any window. Where it is refused, too,
        it is forgotten, and counted.
        """
        window = self._window(entry)
        if window.is_loss:
            self._tell_again(window)
            self.remove(entry)
            return
        word = window.lost(device)
        payload = word.encode()
        told = _entry(entry.number, word, payload, sent=False)
        window_file.write(self._path(told), payload)
        self._entries[self._entries.index(entry)] = told
        window_file.remove(self._path(entry))  # one that comes back is found to be covered

    def take_losses(self) -> Losses:
        """Return how many windows were lost, and count anew."""
        losses = Losses(self.dropped, self.corrupt, self.refused)
        self.dropped = self.corrupt = self.refused = 0
        return losses

    def _find(self, path: Path) -> None:
        number = window_file.number(path)
        self._next = max(self._next, number + 1)
        try:
            payload = window_file.payload(path)
            window = window_file.decoded(payload, path)
        except CorruptError as error:
            log.warning("a telemetry window is lost: %s", error)
            self.corrupt += 1
            window_file.remove(path)
            return
        sent = path.suffix == window_file.SENT
        entry = _entry(number, window, payload, sent=sent)
        if any(_covers(one, entry) for one in self._entries):
            window_file.remove(path)  # a kill came between a merge and its end
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
            window = window_file.decoded(window_file.payload(path), path)
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
            window = self._window(later)
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
        merged = self._window(entry)
        if merged.is_loss != later.is_loss:  # refused, the lost ones would count twice
            raise _ApartError("a window, and the word that another one is lost")
        try:
            merged = merged.merged(later)
            payload = merged.encode()
            Window.decode(payload)  # sums may exceed what each of them was bounded by
        except (TransportError, ValueError) as error:
            raise _ApartError(str(error)) from error
        longer = _entry(entry.number, merged, payload, sent=False)
        window_file.write(self._path(longer), payload)
        self._entries[self._entries.index(entry)] = longer
        return longer

    def _sync(self) -> None:
        """Make names survive a power cut; until that is done nothing is sent."""
        self._unsynced = True
        with _disk(self._folder):
            atomic.sync_folder(self._folder)
        self._unsynced = False

    def _window(self, entry: Entry) -> Window:
        return window_file.decoded(self.payload(entry), self._path(entry))

    def _path(self, entry: Entry) -> Path:
        return self._folder / window_file.name(entry.number, sent=entry.sent)


class Waiting(NamedTuple):
    """What lies in a spool, and since when the first that was sent waits for an answer."""

    files: int
    disk_bytes: int
    oldest_sent_s: float | None


def waiting(folder: Path) -> Waiting:
    """Return what lies in a folder, without reading or changing it."""
    sizes: list[int] = []
    sent_s: list[float] = []
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if window_file.is_one(path):
                status = path.stat()
                sizes.append(status.st_size)
                sent_s += [status.st_mtime] if path.suffix == window_file.SENT else []
    return Waiting(
        files=len(sizes),
        disk_bytes=sum(-(-size // BLOCK_BYTES) * BLOCK_BYTES for size in sizes),
        oldest_sent_s=min(sent_s, default=None),
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


@contextlib.contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path}: {atomic.reason(error, path)}") from error
