"""A small JSON object kept twice on the disk, each time with its checksum.

A bit that flips in one of the two costs nothing; what only looks like JSON is no record.
Knows no fields. An object without a checksum, as earlier agents wrote it, is taken as is.
"""

import contextlib
import logging
import re
import zlib
from pathlib import Path

from edgekit import atomic
from edgekit.errors import StoreError

log = logging.getLogger(__name__)

_SEAL = re.compile(rb'\{"crc32":"([0-9a-f]{8})",')
_DAMAGED = ".damaged"


def write(path: Path, content: bytes) -> None:
    """Replace both copies, one after the other; StoreError when the disk refuses.

    `content` is an object with at least one member. When only the second copy cannot be
    written, the first holds.
    """
    sealed = b'{"crc32":"%08x",' % zlib.crc32(content) + content[1:]
    atomic.write_bytes(path, sealed)
    try:
        atomic.write_bytes(copy_of(path), sealed)
    except StoreError as error:
        log.warning("%s; there is one copy only", error)


def unseal(content: bytes, *, subject: str) -> bytes:
    """Return the object without its checksum; StoreError when they do not match."""
    seal = _SEAL.match(content)
    if seal is None:
        return content
    bare = b"{" + content[seal.end() :]
    if zlib.crc32(bare) != int(seal.group(1), 16):
        raise StoreError(f"{subject}: changed on the disk, its checksum is another one")
    return bare


def copy_of(path: Path) -> Path:
    """Return where the second copy lies."""
    return path.with_suffix(".copy")


def put_aside(path: Path) -> None:
    """Keep a damaged file for people to look at, out of the way."""
    with contextlib.suppress(OSError):
        path.rename(damaged(path))


def damaged(path: Path) -> Path:
    """Return where a damaged file is put aside."""
    return path.with_suffix(_DAMAGED)
