"""Let one process at a time change a folder. Knows nothing of what is in it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.errors import StoreError


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`; StoreError when another process holds it.

    The kernel lets go when the holder dies, so a lock is never left behind.
    """
    try:
        file = path.open("w")
    except OSError as error:
        raise StoreError(f"{path}: cannot be opened: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"{path.parent}: another command is changing it; wait until it is done"
            ) from error
        yield
