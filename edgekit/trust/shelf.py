"""The folder of files that a repository offers. Knows names and bytes, no meaning."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from edgekit.atomic import sync_folder, write_bytes
from edgekit.errors import StoreError

WriteFile = Callable[[Path, bytes], None]


class Shelf:
    """Named files in a folder; slashes in a name are folders. A MetadataSource.

    `write` replaces a file whole or not at all (edgekit.atomic).
    """

    def __init__(self, folder: Path, *, write: WriteFile = write_bytes) -> None:
        self.folder = folder
        self._write = write

    def file(self, name: str, max_bytes: int) -> bytes | None:
        """Return up to `max_bytes` + 1 bytes of a file, None when there is none."""
        try:
            with self._path(name).open("rb") as file:
                return file.read(max_bytes + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"{name}: cannot be read: {error.strerror}") from error

    def read(self, name: str) -> bytes:
        """Return a file that must be there."""
        try:
            return self._path(name).read_bytes()
        except OSError as error:
            raise StoreError(
                f"{self.folder}: {name}: cannot be read: {error.strerror};"
                " restore the repository folder from a copy"
            ) from error

    def write(self, name: str, data: bytes) -> None:
        """Put a file there, replacing an older one, unless it is there already."""
        if self.file(name, len(data)) == data:
            return
        path = self._path(name)
        self._make_folder(path.parent)
        self._write(path, data)

    def remove(self, name: str) -> None:
        """Take a file away, if it is there."""
        try:
            self._path(name).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{name}: cannot be removed: {error.strerror}") from error

    def names(self) -> frozenset[str]:
        """Return the names of all files; unfinished ones start with a dot and are left."""
        return frozenset(
            path.relative_to(self.folder).as_posix()
            for path in self.folder.rglob("*")
            if path.is_file() and not path.name.startswith(".")
        )

    def _path(self, name: str) -> Path:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts:
            raise StoreError(f"{name}: not a name of a file in {self.folder}")
        return self.folder.joinpath(*parts)

    def _make_folder(self, folder: Path) -> None:
        missing = [f for f in (folder, *folder.parents) if not f.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for made in missing:
                sync_folder(made.parent)
        except OSError as error:
            raise StoreError(f"{folder}: cannot be made: {error.strerror}") from error
