"""An SQLite file of one known schema. Knows no table: its owner brings schema and queries.

A power cut leaves the last whole transaction. Whatever the disk or SQLite refuses becomes
StoreError.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping
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
    `refills` work out, by the same version and in the same transaction, what new tables say
    of the rows that are there.
    """

    def __init__(
        self,
        path: Path,
        *,
        schema: str,
        version: int,
        upgrades: Mapping[int, str] = MappingProxyType({}),
        refills: Mapping[int, Callable[[Cursor], object]] = MappingProxyType({}),
    ) -> None:
        self._path = path
        self._refills = refills
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
        found = self._version()
        while found != version and (found == 0 or found in upgrades):
            found = self._step(schema, version, upgrades)
        if found != version:
            raise StoreError(
                f"{self._path}: schema version {found}, this edgekit knows {version};"
                " use the edgekit that wrote it, or a newer one"
            )

    def _step(self, schema: str, version: int, upgrades: Mapping[int, str]) -> int:
        """Make the tables, or those of the next version; return which they are of."""
        with self.transaction() as cursor:
            found = self._version()  # again: another command may have made them meanwhile
            if found == 0:
                self._make(cursor, schema, version)
            elif found != version and found in upgrades:
                self._make(cursor, upgrades[found], found + 1)
                if found in self._refills:
                    self._refills[found](cursor)
            return self._version()

    def _version(self) -> int:
        return int(self.rows("PRAGMA user_version")[0][0])

    def _make(self, cursor: Cursor, script: str, version: int) -> None:
        for statement in _statements(f"{script}; PRAGMA user_version = {version};"):
            cursor.execute(statement)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{self._path}: {error}") from error


def _statements(script: str) -> Iterator[str]:
    """Yield a script's statements, which sqlite3's own way to run one would commit."""
    statement = ""
    for part in script.split(";"):
        statement += f"{part};"
        if sqlite3.complete_statement(statement):  # the semicolon is in no text or trigger
            yield statement
            statement = ""
