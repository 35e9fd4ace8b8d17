"""One telemetry window as a file: the CRC-32 of the payload, big-endian, and the payload.

Knows the names of such files, and no order of them.
"""

import contextlib
import errno
import logging
import re
import zlib
from pathlib import Path

from edgekit import atomic
from edgekit.errors import StoreError, TransportError
from edgekit.telemetry.window import Window

log = logging.getLogger(__name__)

NEW, SENT = ".new", ".sent"
_DIGITS = 10
_NAME = re.compile(rf"\d{{{_DIGITS}}}({NEW}|{SENT})")
_CRC_BYTES = 4
_MODE = 0o600
# The machine is short of something, the file is not to blame. EIO is not among them: what
# flash cannot read it hardly ever can later, and would hold up all that follows.
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN})


class CorruptError(StoreError):
    """A window cannot be read any more: it is lost, the others are not."""


def name(number: int, *, sent: bool) -> str:
    """Return the name of the window at this place in the order."""
    return f"{number:0{_DIGITS}}{SENT if sent else NEW}"


def is_one(path: Path) -> bool:
    """Whether a file has such a name."""
    return _NAME.fullmatch(path.name) is not None


def number(path: Path) -> int:
    """Return the place in the order that a file's name tells."""
    return int(path.name[:_DIGITS])


def payload(path: Path) -> bytes:
    """Return what lies in a file, or raise CorruptError; StoreError where that may pass."""
    try:
        content = path.read_bytes()
    except OSError as error:
        kind = StoreError if error.errno in _PASSING else CorruptError
        raise kind(f"{path}: {atomic.reason(error, path)}") from error
    found = content[_CRC_BYTES:]
    right = zlib.crc32(found).to_bytes(_CRC_BYTES) == content[:_CRC_BYTES]
    if not found or not right:
        raise CorruptError(f"{path}: changed on the disk, its checksum is another one")
    return found


def decoded(content: bytes, path: Path) -> Window:
    """Return the window that was read from a file, or raise CorruptError."""
    try:
        return Window.decode(content)
    except TransportError as error:
        raise CorruptError(f"{path}: {error}") from error


def write(path: Path, content: bytes) -> None:
    """Write a payload; a disk that refuses only the last fsync has it all the same."""
    sealed = zlib.crc32(content).to_bytes(_CRC_BYTES) + content
    try:
        atomic.write_bytes(path, sealed, mode=_MODE)
    except StoreError as error:
        if not _holds(path, content):
            raise
        log.warning("telemetry: %s", error)


def remove(path: Path) -> None:
    """Delete a file, if that is possible: one that comes back is found again, and known."""
    with contextlib.suppress(OSError):
        path.unlink()


def _holds(path: Path, content: bytes) -> bool:
    try:
        return payload(path) == content
    except StoreError:
        return False
