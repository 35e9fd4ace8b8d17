"""ledger.db: what was released to which stage, when and by whom, for ever.

Append-only: the database itself refuses to change or delete a row. MLflow keeps no such
history (docs/adr/0005). Knows neither MLflow nor keys.
"""

import json
from datetime import datetime
from pathlib import Path

from edgekit.database import Database, Row
from edgekit.errors import StoreError
from edgekit.release.history import Action, Entry

FILE_NAME = "ledger.db"
_VERSION = 1
_SCHEMA = """
CREATE TABLE entry (
    number INTEGER PRIMARY KEY,
    stage TEXT NOT NULL,
    model TEXT NOT NULL,
    rollout INTEGER NOT NULL,
    version TEXT NOT NULL,
    run_id TEXT NOT NULL,
    bundles TEXT NOT NULL,
    signers TEXT NOT NULL,
    who TEXT NOT NULL,
    at TEXT NOT NULL,
    action TEXT NOT NULL,
    UNIQUE (stage, model, rollout)
);
CREATE TRIGGER kept BEFORE UPDATE ON entry
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER never_deleted BEFORE DELETE ON entry
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
"""


class Ledger(Database):
    """The releases of one fleet."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, schema=_SCHEMA, version=_VERSION)

    def append(self, entry: Entry) -> None:
        """Add an entry; StoreError when its rollout is not above all of its pointer's."""
        newest = self.newest(stage=entry.stage, model=entry.model)
        if newest is not None and entry.rollout <= newest.rollout:
            raise StoreError(
                f"ledger: {entry.model} in stage {entry.stage}: rollout {entry.rollout},"
                f" one above {newest.rollout} is expected"
            )
        with self.transaction() as cursor:
            cursor.execute(
                "INSERT INTO entry VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    entry.stage,
                    entry.model,
                    entry.rollout,
                    entry.version,
                    entry.run_id,
                    json.dumps(dict(entry.bundles)),
                    json.dumps(dict(entry.signers)),
                    entry.who,
                    entry.at.isoformat(),
                    entry.action.value,
                ),
            )

    def entries(self, *, stage: str, model: str) -> tuple[Entry, ...]:
        """Return the entries of one pointer, oldest first."""
        query = "SELECT * FROM entry WHERE stage = ? AND model = ? ORDER BY rollout"
        return tuple(map(_entry, self.rows(query, (stage, model))))

    def everything(self) -> tuple[Entry, ...]:
        """Return all entries in the order they were written."""
        return tuple(map(_entry, self.rows("SELECT * FROM entry ORDER BY number")))

    def newest(self, *, stage: str, model: str) -> Entry | None:
        """Return the newest entry of one pointer."""
        found = self.entries(stage=stage, model=model)
        return found[-1] if found else None


def _entry(row: Row) -> Entry:
    _, stage, model, rollout, version, run_id, bundles, signers, who, at, action = row
    return Entry(
        stage=stage,
        model=model,
        rollout=rollout,
        version=version,
        run_id=run_id,
        bundles=json.loads(bundles),
        signers={role: tuple(ids) for role, ids in json.loads(signers).items()},
        who=who,
        at=datetime.fromisoformat(at),
        action=Action(action),
    )
