"""One SQLite file, opened by any number of commands at once, is made and upgraded once."""

import sqlite3
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from edgekit.database import Database
from edgekit.errors import StoreError

FIRST = "CREATE TABLE one (a TEXT DEFAULT ';'); CREATE TABLE two (b)"
UPGRADES = {
    1: "CREATE TABLE three (c); INSERT INTO three VALUES ('a;b')",
    2: """
CREATE TABLE four (d);
CREATE TRIGGER kept AFTER INSERT ON four BEGIN DELETE FROM one; DELETE FROM two; END;
""",
}
SCHEMA = f"{FIRST}; {UPGRADES[1]}; {UPGRADES[2]}"


def opened(path: Path, version: int = 3) -> Database:
    schema = SCHEMA if version == 3 else FIRST
    return Database(path, schema=schema, version=version, upgrades=UPGRADES)


def tables(database: Database) -> list[str]:
    return [name for (name,) in database.rows("SELECT name FROM sqlite_schema")]


@pytest.mark.parametrize("before", [(), (1,)])
def test_a_file_is_made_new_or_upgraded_to_the_same_tables(
    tmp_path: Path, before: tuple[int, ...]
) -> None:
    path = tmp_path / "a.db"
    for version in before:
        with opened(path, version):
            pass
    with opened(path) as database:
        assert tables(database) == ["one", "two", "three", "four", "kept"]
        assert database.rows("SELECT c FROM three") == [("a;b",)]
    with opened(path) as again:
        assert again.rows("SELECT c FROM three") == [("a;b",)]


@pytest.mark.parametrize("before", [(), (1,)])
def test_a_file_that_another_command_upgrades_meanwhile_is_upgraded_once(
    tmp_path: Path, before: tuple[int, ...]
) -> None:
    """The other one is done after this one has looked, and before it has the lock."""
    path = tmp_path / "a.db"
    for version in before:
        with opened(path, version):
            pass
    connect, others = sqlite3.connect, list[str]()

    def traced(name: Path, **options: Any) -> sqlite3.Connection:  # noqa: ANN401 - passed on
        connection: sqlite3.Connection = connect(name, **options)
        connection.set_trace_callback(before_the_lock)
        return connection

    def before_the_lock(statement: str) -> None:
        if statement.startswith("BEGIN") and not others:
            others.append(statement)
            with opened(path):
                pass

    with patch.object(sqlite3, "connect", traced), opened(path) as database:
        assert len(others) == 1
        assert database.rows("SELECT c FROM three") == [("a;b",)]


def test_an_upgrade_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with opened(path, 1):
        pass
    broken = {1: "CREATE TABLE three (c); CREATE TABLE one (a)"}
    with pytest.raises(StoreError, match="table one already exists"):
        Database(path, schema=FIRST, version=2, upgrades=broken)
    with opened(path, 1) as database:
        assert tables(database) == ["one", "two"]


def test_a_file_of_a_newer_edgekit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with opened(path):
        pass
    with pytest.raises(StoreError, match="schema version 3, this edgekit knows 1"):
        opened(path, 1)
