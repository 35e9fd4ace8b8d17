"""A temporary folder that is gone when its work is, even work that was killed.

Its owner holds a lock on it, which the kernel takes back however the owner ends. So any
later process can tell what was left behind from what is in use, also across containers
that share the folder for temporary files, where process ids would lie.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "edgekit-work-"


@contextlib.contextmanager
def folder(kind: str) -> Iterator[Path]:
    """Give an empty folder, named after its `kind`, for as long as the block lasts."""
    path, lock = _locked(kind)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def sweep() -> None:
    """Remove what processes of this user that were killed have left; never fails."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if path.is_symlink() or path.lstat().st_uid != os.getuid():
                continue
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)


def _locked(kind: str) -> tuple[Path, int]:
    """Return a new folder and its lock; another one where a sweep was in between."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{kind}-"))
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists():
                return path, lock
            os.close(lock)
