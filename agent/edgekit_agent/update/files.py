"""The operations on files that a download needs: the port, and the real disk.

Knows no chunks. Tests put a disk in its place that fails at every single operation.
"""

import errno
import os
from pathlib import Path
from typing import Protocol

from edgekit.atomic import sync_folder


class Files(Protocol):
    """The few operations on files that a download needs, each as the system has it."""

    def size(self, path: Path) -> int | None:
        """Return the bytes in a file, None when there is none."""

    def read(self, path: Path, offset: int, length: int) -> bytes:
        """Return up to `length` bytes."""

    def write(self, path: Path, offset: int, data: bytes) -> None:
        """Write at an offset; make the file if there is none."""

    def sync(self, path: Path) -> None:
        """Make what was written to a file survive a power cut."""

    def sync_folder(self, folder: Path) -> None:
        """Make new names and renames survive a power cut."""

    def replace(self, source: Path, target: Path) -> None:
        """Rename, replacing the target."""

    def remove(self, path: Path) -> None:
        """Remove a file, if there is one."""


class DiskFiles:
    """Files on the real disk."""

    def size(self, path: Path) -> int | None:
        """Return the bytes in a file, None when there is none."""
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return None

    def read(self, path: Path, offset: int, length: int) -> bytes:
        """Return up to `length` bytes."""
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def write(self, path: Path, offset: int, data: bytes) -> None:
        """Write at an offset; make the file if there is none."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            written = os.pwrite(descriptor, data, offset)
        finally:
            os.close(descriptor)
        if written != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self, path: Path) -> None:
        """Make what was written to a file survive a power cut."""
        with path.open("rb") as file:
            os.fsync(file.fileno())

    def sync_folder(self, folder: Path) -> None:
        """Make new names and renames survive a power cut."""
        sync_folder(folder)

    def replace(self, source: Path, target: Path) -> None:
        """Rename, replacing the target."""
        source.replace(target)

    def remove(self, path: Path) -> None:
        """Remove a file, if there is one."""
        path.unlink(missing_ok=True)
