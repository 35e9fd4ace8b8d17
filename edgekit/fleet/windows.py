"""Telemetry windows in fleet.db: each taken once, old ones merged by hours and days.

Knows no broker. What a window says is added up exactly (edgekit.telemetry.window),
so keeping a day as one row loses nothing but the times within it. What was taken is
remembered apart from the rows: a window that comes again is known also when its row was
merged. What can never be taken is refused with a reason, for the device to give it up: the
device counts what it gave up, and tells it in a window, so that loss is counted once, too.
"""

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from edgekit.database import Cursor, Database
from edgekit.errors import TransportError
from edgekit.fleet import refusals, unread
from edgekit.fleet.heard import Heard, Losses
from edgekit.fleet.unread import Unread, Waiting
from edgekit.telemetry.taken import Arrival, Range, admit, digest
from edgekit.telemetry.window import FORMAT, NewerFormatError, Window

log = logging.getLogger(__name__)

SCHEMA = """
CREATE TABLE window (
    device TEXT NOT NULL REFERENCES device,
    boot_id TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    at TEXT NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (device, boot_id, first)
);
CREATE INDEX window_at ON window (device, at, last);
CREATE TABLE taken (
    device TEXT NOT NULL REFERENCES device,
    boot_id TEXT NOT NULL,
    ranges TEXT NOT NULL,
    PRIMARY KEY (device, boot_id)
);
"""
LOSSES = (
    """
CREATE TABLE lost (
    device TEXT PRIMARY KEY REFERENCES device,
    dropped INTEGER NOT NULL,
    corrupt INTEGER NOT NULL,
    refused INTEGER NOT NULL
);
"""
    + unread.SCHEMA
)
SINGLE_WINDOWS = 3_000  # of a device, before its older half is merged: two days of minutes
MOST_WINDOWS = 10_000  # of a device, days included; beyond it the oldest go
MOST_RANGES = 1_000  # of a life, between which windows are missing
MOST_LIVES = 10_000  # of a device, whose windows are known for ever
_EARLIEST = datetime(2024, 1, 1, tzinfo=UTC)  # a clock before it was never set
_AHEAD = timedelta(days=1)
_DAY, _HOUR = len("2026-03-01"), len("2026-03-01T12")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A window, and when it ended: by the device's clock where that can be, UTC."""

    at: datetime
    window: Window


class Windows:
    """The windows of all devices in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._unread = Unread(database)
        self._unread.read_again(FORMAT, _read_again)

    def hear(self, device: str, payload: bytes, now: datetime) -> Heard:
        """Take what an enrolled device sent; what is kept survives a power cut."""
        sha256 = digest(payload)
        try:
            window = _of(device, payload)
        except NewerFormatError as newer:
            put_by = Waiting(device, sha256, newer.format, now, payload)
            kept = self._unread.keep(put_by)
            return Heard(device=device, sha256=sha256, kept=kept, news=kept)
        except TransportError as error:
            return Heard(device=device, sha256=sha256, refused=str(error))
        with self._database.transaction() as cursor:
            arrival = _take(cursor, window, payload, now)
        if arrival is Arrival.PARTLY_KNOWN:
            which = f"windows {window.first} to {window.last} of {window.boot_id}"
            overlap = f"telemetry: {which} overlap known ones"
            return Heard(device=device, sha256=sha256, window=window, refused=overlap)
        news = arrival is Arrival.NEW
        return Heard(device=device, sha256=sha256, window=window, kept=True, news=news)

    def losses(self) -> tuple[Losses, ...]:
        """Return what was lost and what waits, of devices that have either, by name."""
        waiting = self._unread.counts()
        lost = {device: told for device, *told in self._database.rows("SELECT * FROM lost")}
        return tuple(
            Losses(
                device=device,
                dropped=dropped,
                corrupt=corrupt,
                refused=refused,
                unread=waiting.get(device, 0),
            )
            for device in sorted({*waiting, *lost})
            for dropped, corrupt, refused in [lost.get(device, (0, 0, 0))]
        )

    def last(self, device: str) -> Window | None:
        """Return a device's newest window; None before the first, or unreadable."""
        newest = "SELECT payload FROM window WHERE device = ? ORDER BY at DESC, last DESC"
        rows = self._database.rows(f"{newest} LIMIT 1", (device,))
        return _readable(rows[0][0]) if rows else None

    def of(self, device: str, *, since: datetime | None = None) -> Iterator[Counted]:
        """Yield a device's windows that ended after `since`, in the order of time.

        What cannot be read is left out, with a warning: the other windows still count.
        """
        query = (
            "SELECT at, payload FROM window WHERE device = ? AND at >= ? ORDER BY at, last"
        )
        begins = since.isoformat() if since else ""
        unreadable = 0
        for at, payload in self._database.rows(query, (device, begins)):
            window = _readable(payload)
            if window is None:
                unreadable += 1
            else:
                yield Counted(at=datetime.fromisoformat(at), window=window)
        if unreadable:
            log.warning(
                "telemetry: %d rows of %s in fleet.db cannot be read, and are left out",
                unreadable,
                device,
            )


def _of(device: str, payload: bytes) -> Window:
    """Return the window that a device sent, or raise TransportError."""
    window = Window.decode(payload)
    if window.device != device:
        raise TransportError(f"telemetry: counts as device {window.device}")
    return window


def _readable(payload: bytes) -> Window | None:
    """Return the window of a row; None where an older edgekit wrote what none can read."""
    try:
        return Window.decode(payload)
    except TransportError:
        return None


def _take(cursor: Cursor, window: Window, payload: bytes, now: datetime) -> Arrival:
    """Keep a window that is new, and what it tells of others that are lost."""
    device, key = window.device, (window.device, window.boot_id)
    ranges = "SELECT ranges FROM taken WHERE device = ? AND boot_id = ?"
    row = cursor.execute(ranges, key).fetchone()
    before = _ranges(row[0] if row else "[]")
    arrival, known = admit(before, (window.first, window.last))
    if arrival is Arrival.NEW:
        arrival = _among_rows(cursor, window)
    if arrival is not Arrival.NEW:
        return arrival
    cursor.execute(
        "INSERT OR REPLACE INTO taken VALUES (?, ?, ?)", (*key, json.dumps(known))
    )
    at = ended(window, now).isoformat()
    cursor.execute(
        "INSERT INTO window VALUES (?, ?, ?, ?, ?, ?)",
        (*key, window.first, window.last, at, payload),
    )
    _sum(cursor, window)
    _bound(cursor, device)
    return arrival


def sum_again(cursor: Cursor) -> None:
    """Sum what the windows in the book tell, which an older edgekit kept no sums of."""
    rows = cursor.connection.execute("SELECT payload FROM window")  # one after the other
    for (payload,) in rows:
        window = _readable(payload)
        if window is not None:
            _sum(cursor, window)


def _sum(cursor: Cursor, window: Window) -> None:
    """Add what a window tells of others that are lost, and of what its device refused."""
    if window.dropped or window.corrupt or window.refused:
        lost = (window.dropped, window.corrupt, window.refused)
        _lose(cursor, window.device, *lost)
    refusals.add(cursor, window.device, window.refusals)


def _among_rows(cursor: Cursor, window: Window) -> Arrival:
    """Return what a window is to the rows: they may outlive what is known of their life."""
    nearest = (
        "SELECT first, last FROM window WHERE device = ? AND boot_id = ? AND first <= ?"
        " ORDER BY first DESC LIMIT 1"
    )
    life = (window.device, window.boot_id)
    rows = cursor.execute(nearest, (*life, window.last)).fetchall()
    return admit(tuple(rows), (window.first, window.last))[0]


def _read_again(cursor: Cursor, waiting: Waiting) -> None:
    """Take what an older edgekit could not read; its device has it no more."""
    try:
        window = _of(waiting.device, waiting.payload)
    except TransportError:
        _lose(cursor, waiting.device, refused=1)
        return
    arrival = _take(cursor, window, waiting.payload, waiting.heard_at)
    if arrival is Arrival.PARTLY_KNOWN:
        _lose(cursor, waiting.device, refused=1)


def _lose(
    cursor: Cursor, device: str, dropped: int = 0, corrupt: int = 0, refused: int = 0
) -> None:
    cursor.execute(
        "INSERT INTO lost VALUES (?, ?, ?, ?) ON CONFLICT (device) DO UPDATE SET"
        " dropped = dropped + excluded.dropped, corrupt = corrupt + excluded.corrupt,"
        " refused = refused + excluded.refused",
        (device, dropped, corrupt, refused),
    )


def _ranges(text: str) -> tuple[Range, ...]:
    """Return what is known of a life.

    Of one with gaps without end the oldest are closed: what lies in them is not waited for.
    """
    known = [(int(first), int(last)) for first, last in json.loads(text)]
    closed = known[: max(0, len(known) - MOST_RANGES)]
    if closed:
        known = [(closed[0][0], closed[-1][1]), *known[len(closed) :]]
    return tuple(known)


def ended(window: Window, now: datetime) -> datetime:
    """Return when a window ended: by its device's clock, else when it was heard."""
    try:
        end = datetime.fromisoformat(window.end).astimezone(UTC)
    except (ValueError, OverflowError):
        return now
    return end if _EARLIEST <= end <= now + _AHEAD else now


def _bound(cursor: Cursor, device: str) -> None:
    count = "SELECT COUNT(*) FROM window WHERE device = ?"
    beyond = cursor.execute(count, (device,)).fetchone()[0] - SINGLE_WINDOWS
    if beyond > 0 and beyond % max(1, SINGLE_WINDOWS // 10) in {0, 1}:  # not at each window
        _merge(cursor, device)
    cursor.execute(
        "DELETE FROM window WHERE rowid IN (SELECT rowid FROM window WHERE device = ?"
        " ORDER BY at DESC LIMIT -1 OFFSET ?)",
        (device, MOST_WINDOWS),
    )
    cursor.execute(
        "DELETE FROM taken WHERE device = ? AND rowid IN (SELECT rowid FROM taken WHERE"
        " device = ? ORDER BY rowid DESC LIMIT -1 OFFSET ?)",
        (device, device, MOST_LIVES),
    )


def _merge(cursor: Cursor, device: str) -> None:
    """Make one row of neighbours of a day, of an hour of the day; leave the newer half."""
    newer = "SELECT at FROM window WHERE device = ? ORDER BY at DESC LIMIT 1 OFFSET ?"
    (until,) = cursor.execute(newer, (device, SINGLE_WINDOWS // 2)).fetchone()
    query = "SELECT at, payload FROM window WHERE device = ? AND at < ?"
    rows = cursor.execute(f"{query} ORDER BY boot_id, first", (device, until)).fetchall()
    found = ((at, _readable(payload)) for at, payload in rows)
    readable = ((at, window) for at, window in found if window is not None)
    for run in _runs(readable, until[:_DAY]):
        _replace(cursor, run)


def _runs(
    rows: Iterable[tuple[str, Window]], today: str
) -> Iterator[list[tuple[str, Window]]]:
    run: list[tuple[str, Window]] = []
    for at, window in rows:
        if run and not _follows(run[-1], (at, window), today):
            yield run
            run = []
        run.append((at, window))
    if run:
        yield run


def _follows(one: tuple[str, Window], other: tuple[str, Window], today: str) -> bool:
    (at, window), (later_at, later) = one, other
    same_life = (window.boot_id, window.last + 1) == (later.boot_id, later.first)
    part = _DAY if at[:_DAY] < today else _HOUR
    return same_life and at[:part] == later_at[:part]


def _replace(cursor: Cursor, run: list[tuple[str, Window]]) -> None:
    """Put a run together as far as one window holds it."""
    if len(run) < 2:  # noqa: PLR2004 - nothing to put together
        return
    whole, at = run[0][1], run[-1][0]
    try:
        for _, window in run[1:]:
            whole = whole.merged(window)
        payload = whole.encode()
        Window.decode(payload)  # sums may exceed what each of them was bounded by
    except (ValueError, TransportError):  # too much for one: they stay as they are
        return
    key = (whole.device, whole.boot_id)
    cursor.execute(
        "DELETE FROM window WHERE device = ? AND boot_id = ? AND first BETWEEN ? AND ?",
        (*key, whole.first, whole.last),
    )
    cursor.execute(
        "INSERT INTO window VALUES (?, ?, ?, ?, ?, ?)",
        (*key, whole.first, whole.last, at, payload),
    )
