"""Which bundle the agent chose for a model, seen from another process. Changes nothing.

The record of a model is replaced as a whole at each step of the agent, so a reader finds
the old one or the new one.
"""

from pathlib import Path

from edgekit.errors import StoreError
from edgekit.statement import slug
from edgekit_agent.rules.record import Record, Release


class Choice:
    """The record of one model, read again only when the file is another one."""

    def __init__(self, state_dir: Path, model: str) -> None:
        self._path = state_dir / "models" / slug(model) / "state.json"
        self._seen: tuple[int, int, int] | None = None

    def has_changed(self) -> bool:
        """Whether the record is another one than `read` found last."""
        return self._signature() != self._seen

    def read(self) -> Release | None:
        """Return what serves now, None before there is something; or raise StoreError."""
        self._seen = self._signature()
        if self._seen is None:
            return None
        try:
            data = self._path.read_bytes()
        except OSError as error:
            raise StoreError(f"{self._path}: cannot be read: {error.strerror}") from error
        return Record.from_json(data, subject=str(self._path)).current

    def _signature(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self._path}: cannot be read: {error.strerror}") from error
        return found.st_ino, found.st_mtime_ns, found.st_size
