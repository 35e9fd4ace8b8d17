"""Telemetry that this edgekit is too old for, kept as it came until a newer one reads it.

Agents may be updated before the operator's machine. Their windows are answered, so that
devices need not keep them, and lie in fleet.db by the digest of their bytes. Of a device
for which that is full nothing more is answered: its windows wait there, as they can.
"""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from edgekit.database import Cursor, Database

SCHEMA = """
CREATE TABLE unread (
    device TEXT NOT NULL REFERENCES device,
    sha256 TEXT NOT NULL,
    format INTEGER NOT NULL,
    heard_at TEXT NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (device, sha256)
);
CREATE INDEX unread_format ON unread (format, device);
"""
MOST_UNREAD = 3_000  # of a device: two days of minutes


class Waiting(NamedTuple):
    """A window of a format that was too new when it was heard."""

    device: str
    sha256: str
    format: int
    heard_at: datetime
    payload: bytes


class Unread:
    """The windows of all devices that wait for a newer edgekit, in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, waiting: Waiting) -> bool:
        """Keep a window, once; False where its device has no room for it."""
        device = waiting.device
        with self._database.transaction() as cursor:
            named = "SELECT 1 FROM unread WHERE device = ? AND sha256 = ?"
            if cursor.execute(named, (device, waiting.sha256)).fetchone():
                return True
            count = "SELECT COUNT(*) FROM unread WHERE device = ?"
            if cursor.execute(count, (device,)).fetchone()[0] >= MOST_UNREAD:
                return False
            row = waiting._replace(heard_at=waiting.heard_at.isoformat())  # type: ignore[arg-type]  # as text
            cursor.execute("INSERT INTO unread VALUES (?, ?, ?, ?, ?)", row)
        return True

    def read_again(
        self, most_format: int, read: Callable[[Cursor, Waiting], object]
    ) -> None:
        """Give `read` what has a format that is known by now, all of a device or none.

        In the order in which it was heard, each time in the transaction that forgets it.
        """
        devices = "SELECT DISTINCT device FROM unread WHERE format <= ?"
        for (device,) in self._database.rows(devices, (most_format,)):
            of_device = "FROM unread WHERE device = ? AND format <= ?"
            with self._database.transaction() as cursor:
                known = f"SELECT * {of_device} ORDER BY rowid"
                for row in cursor.execute(known, (device, most_format)).fetchall():
                    name, sha256, format_, at, payload = row
                    heard_at = datetime.fromisoformat(at)
                    read(cursor, Waiting(name, sha256, format_, heard_at, payload))
                cursor.execute(f"DELETE {of_device}", (device, most_format))

    def counts(self) -> dict[str, int]:
        """Return how many wait, by device."""
        return dict(
            self._database.rows("SELECT device, COUNT(*) FROM unread GROUP BY device")
        )
