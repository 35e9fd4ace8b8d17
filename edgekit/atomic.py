"""Change a file so that a reader, or a power cut, sees the old or the new one whole.

Knows no format. Every file that must survive a power cut is written through here.
"""

import contextlib
import errno
import os
import tempfile
from pathlib import Path

from edgekit.errors import StoreError

_SUFFIX = ".tmp"


def write_bytes(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace the file at `path` by `data`: write beside, fsync, rename, fsync folder.

    Raises StoreError when the disk refuses; the old file is then untouched.
    """
    try:
        descriptor, beside = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=_SUFFIX
        )
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            os.replace(beside, path)  # noqa: PTH105 - the name the rule is known by
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(beside)  # noqa: PTH108 - a plain string from mkstemp
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {reason(error, path)}") from error


def sweep(folder: Path) -> None:
    """Delete what kills left unfinished below `folder`, where nobody writes meanwhile."""
    for beside in list(folder.rglob(f".*{_SUFFIX}")):
        with contextlib.suppress(OSError):
            beside.unlink()


def sync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def reason(error: OSError, path: Path) -> str:
    """Return what the system said; where the disk of `path` is full, with what is free."""
    told = error.strerror or str(error)
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return told
    with contextlib.suppress(OSError):
        found = os.statvfs(path.parent)
        told = f"{told}, {found.f_bavail * found.f_frsize} bytes are free"
    return told
