"""What devices refused before any model saw it, in fleet.db: one sum for each reason.

The sums are kept apart from the windows that told them, which are merged and end one day.
"""

from collections import defaultdict

from edgekit.database import Cursor, Database
from edgekit.telemetry.refusals import Refusals

SCHEMA = """
CREATE TABLE refusal (
    device TEXT NOT NULL REFERENCES device,
    reason INTEGER NOT NULL,
    times INTEGER NOT NULL,
    PRIMARY KEY (device, reason)
);
"""


def add(cursor: Cursor, device: str, refusals: Refusals) -> None:
    """Add what a window tells, in the transaction that takes it."""
    cursor.executemany(
        "INSERT INTO refusal VALUES (?, ?, ?) ON CONFLICT (device, reason) DO UPDATE SET"
        " times = times + excluded.times",
        [(device, int(reason), times) for reason, times in refusals.items()],
    )


def sums(database: Database) -> dict[str, Refusals]:
    """Return what every device refused, of those that refused anything."""
    found: dict[str, dict[int, int]] = defaultdict(dict)
    query = "SELECT device, reason, times FROM refusal ORDER BY device, reason"
    for device, reason, times in database.rows(query):
        found[device][reason] = times
    return dict(found)
