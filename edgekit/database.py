"""An SQLite file of one known schema. Knows no table: its owner brings schema and queries.

A power cut leaves the last whole transaction. Whatever the disk or SQLite refuses becomes
StoreError.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from edgekit.errors import StoreError

_WAIT_S = 10.0  # for another command that writes to the same file

Row = tuple[Any, ...]
Cursor = sqlite3.Cursor


class Database:
    """One open SQLite file, made with `schema` when it is new.

    `version` is the schema's. `upgrades` has, by version, the statements that make an older
    file one of the next version; a file of any other is refused, never guessed at.
    """

    def __init__(
        self,
        path: Path,
        *,
        schema: str,
        version: int,
        upgrades: Mapping[int, str] = MappingProxyType({}),
    ) -> None:
        self._path = path
        with self._translated():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)
        try:
            self._prepare(schema, version, upgrades)
        except StoreError:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        """Give itself; it is closed at the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._connection.close()

    def rows(self, query: str, parameters: Row = ()) -> list[Row]:
        """Return every row of a query."""
        with self._translated():
            return self._connection.execute(query, parameters).fetchall()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Cursor]:
        """Change all or nothing: what the block executes is kept when it ends well."""
        with self._translated():
            cursor = self._connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")

    def _prepare(self, schema: str, version: int, upgrades: Mapping[int, str]) -> None:
        with self._translated():
            found = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if found == 0:
                self._make(schema, version)
                found = version
            while found != version and found in upgrades:
                self._make(upgrades[found], found + 1)
                found += 1
        if found != version:
            raise StoreError(
                f"{self._path}: schema version {found}, this edgekit knows {version};"
                " use the edgekit that wrote it, or a newer one"
            )

    def _make(self, statements: str, version: int) -> None:
        self._connection.executescript(
            f"BEGIN IMMEDIATE; {statements}; PRAGMA user_version = {version}; COMMIT;"
        )

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{self._path}: {error}") from error
