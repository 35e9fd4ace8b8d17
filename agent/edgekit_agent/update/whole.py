"""The digest of a file that is still growing. Knows no chunks.

Reading goes on where it ended: when a download is complete, most of it was read already.
"""

import hashlib
from pathlib import Path

from edgekit_agent.update.files import DiskFiles, Files

_BLOCK_BYTES = 256 * 1024


class Whole:
    """The SHA-256 of what was read so far, from the beginning of the file at `path`."""

    def __init__(self, path: Path, files: Files) -> None:
        self._path = path
        self._files = files
        self._digest = hashlib.sha256()
        self._at = 0

    def read_to(self, end: int) -> None:
        """Read on up to byte `end`, or to the end of the file; OSError as it comes."""
        while self._at < end:
            length = min(_BLOCK_BYTES, end - self._at)
            block = self._files.read(self._path, self._at, length)
            if not block:
                return
            self._digest.update(block)
            self._at += len(block)

    def hexdigest(self) -> str:
        """Return the digest of what was read."""
        return self._digest.hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a whole file."""
    whole = Whole(path, DiskFiles())
    whole.read_to(path.stat().st_size)
    return whole.hexdigest()
