"""fleet.db: the devices that were enrolled, and the last that was heard of each.

Knows no broker. What an enrolled device sends is kept byte for byte once it can be read,
and counted as garbage otherwise; what anybody else sends is only counted. A repeated or
late message changes nothing.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from edgekit.database import Database
from edgekit.errors import ConfigError, TransportError, TrustError
from edgekit.fleet import refusals, windows
from edgekit.fleet.heard import Heard, Losses
from edgekit.fleet.receipts import accept
from edgekit.fleet.report import Presence, Report
from edgekit.fleet.windows import Counted, Windows
from edgekit.receipt import Receipt
from edgekit.telemetry.refusals import Refusals
from edgekit.telemetry.window import Window
from edgekit.trust.receipt import envelope_content

T = TypeVar("T")

FILE_NAME = "fleet.db"
_VERSION = 3
_CLAIMS = "CREATE TABLE claim (token TEXT PRIMARY KEY);"
_SCHEMA = (
    """
CREATE TABLE device (
    name TEXT PRIMARY KEY,
    board TEXT NOT NULL,
    models TEXT NOT NULL,
    enrolled_by TEXT NOT NULL,
    enrolled_at TEXT NOT NULL,
    receipt_key BLOB
);
CREATE TABLE report (
    device TEXT PRIMARY KEY REFERENCES device,
    heard_at TEXT NOT NULL,
    payload BLOB NOT NULL
);
CREATE TABLE presence (
    device TEXT PRIMARY KEY REFERENCES device,
    heard_at TEXT NOT NULL,
    payload BLOB NOT NULL
);
CREATE TABLE receipt (
    device TEXT PRIMARY KEY REFERENCES device,
    heard_at TEXT NOT NULL,
    payload BLOB NOT NULL
);
CREATE TABLE garbage (
    device TEXT PRIMARY KEY,
    messages INTEGER NOT NULL,
    reason TEXT NOT NULL,
    heard_at TEXT NOT NULL
);
"""
    + windows.SCHEMA
    + windows.LOSSES
    + refusals.SCHEMA
    + _CLAIMS
)
_UPGRADES = {
    1: """
ALTER TABLE device ADD COLUMN receipt_key BLOB;
CREATE TABLE receipt (
    device TEXT PRIMARY KEY REFERENCES device,
    heard_at TEXT NOT NULL,
    payload BLOB NOT NULL
);
DROP TABLE telemetry;
"""
    + windows.SCHEMA,
    2: windows.LOSSES + refusals.SCHEMA + _CLAIMS,
}
_REFILLS = {2: windows.sum_again}
STRANGERS = ""  # what devices that were never enrolled sent is counted under this name


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """An enrolled device, and the (model, stage) pairs it was told to follow."""

    name: str
    board: str
    models: tuple[tuple[str, str], ...]
    enrolled_by: str
    enrolled_at: datetime
    receipt_key: bytes | None = None  # its own public key, pinned: 32 bytes of Ed25519


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """How many messages of a device could not be used, and why the last one."""

    device: str
    messages: int
    reason: str
    heard_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """All that is known of one device; None where it was never heard."""

    device: Device
    report: Report | None
    presence: Presence | None
    window: Window | None  # the last one heard
    receipt: Receipt | None = None  # the last one, verified
    refusals: Refusals = field(default_factory=dict)  # in all
    losses: Losses | None = None  # in all; None: no telemetry was lost, and none waits


class Book(Database):
    """The devices of one fleet."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path, schema=_SCHEMA, version=_VERSION, upgrades=_UPGRADES, refills=_REFILLS
        )
        self._windows = Windows(self)

    def enroll(self, device: Device) -> None:
        """Add a device, or raise ConfigError when its name is taken."""
        if self.rows("SELECT 1 FROM device WHERE name = ?", (device.name,)):
            raise ConfigError(
                f"device {device.name}: enrolled already; --again writes its file anew"
            )
        self.enroll_again(device)

    def enroll_again(self, device: Device) -> None:
        """Add a device, or replace what it was told; what it reported is kept."""
        with self.transaction() as cursor:
            cursor.execute(
                "INSERT OR REPLACE INTO device VALUES (?, ?, ?, ?, ?, ?)",
                (
                    device.name,
                    device.board,
                    json.dumps(device.models),
                    device.enrolled_by,
                    device.enrolled_at.isoformat(),
                    device.receipt_key,
                ),
            )
            # what another key signed proves nothing any more
            cursor.execute("DELETE FROM receipt WHERE device = ?", (device.name,))

    def claim(self) -> str:
        """Return a new token, which this book knows and its copies do not."""
        token = os.urandom(16).hex()
        with self.transaction() as cursor:
            cursor.execute("INSERT INTO claim VALUES (?)", (token,))
        return token

    def claimed(self, token: str) -> bool:
        """Whether this book, or what it was copied from, has made that token."""
        return bool(self.rows("SELECT 1 FROM claim WHERE token = ?", (token,)))

    def devices(self) -> tuple[Device, ...]:
        """Return every enrolled device by name."""
        return tuple(
            Device(
                name=name,
                board=board,
                models=tuple((model, stage) for model, stage in json.loads(models)),
                enrolled_by=who,
                enrolled_at=datetime.fromisoformat(at),
                receipt_key=key,
            )
            for name, board, models, who, at, key in self.rows(
                "SELECT * FROM device ORDER BY name"
            )
        )

    def known(self) -> tuple[Known, ...]:
        """Return every enrolled device with the last that was heard of it."""
        reports: dict[str, bytes] = dict(self.rows("SELECT device, payload FROM report"))
        presences: dict[str, bytes] = dict(
            self.rows("SELECT device, payload FROM presence")
        )
        receipts: dict[str, bytes] = dict(self.rows("SELECT device, payload FROM receipt"))
        refused = refusals.sums(self)
        lost = {one.device: one for one in self.losses()}
        return tuple(
            Known(
                device=one,
                report=_parsed(Report.from_json, reports.get(one.name)),
                presence=_parsed(Presence.from_json, presences.get(one.name)),
                window=self._windows.last(one.name),
                receipt=_parsed(envelope_content, receipts.get(one.name)),
                refusals=refused.get(one.name, {}),
                losses=lost.get(one.name),
            )
            for one in self.devices()
        )

    def windows(self, device: str, *, since: datetime | None = None) -> Iterator[Counted]:
        """Yield a device's telemetry windows that ended after `since`, in order."""
        return self._windows.of(device, since=since)

    def losses(self) -> tuple[Losses, ...]:
        """Return which devices' windows are lost, or wait here for a newer edgekit."""
        return self._windows.losses()

    def garbage(self) -> tuple[Garbage, ...]:
        """Return what was counted instead of kept."""
        query = "SELECT device, messages, reason, heard_at FROM garbage ORDER BY device"
        return tuple(
            Garbage(
                device=device,
                messages=messages,
                reason=reason,
                heard_at=datetime.fromisoformat(at),
            )
            for device, messages, reason, at in self.rows(query)
        )

    def hear_report(self, device: str, payload: bytes, now: datetime) -> bool:
        """Take a reported state; False when it was late, unreadable or a stranger's."""
        report = self._read(device, payload, Report.from_json, now)
        if report is None:
            return False
        if report.device != device:
            return self._refuse(device, f"reports as device {report.device}", now)
        known = self.rows("SELECT payload FROM report WHERE device = ?", (device,))
        last = Report.from_json(known[0][0]) if known else None
        if last and last.boot_id == report.boot_id and last.seq >= report.seq:
            return False
        self._keep("INSERT OR REPLACE INTO report VALUES (?, ?, ?)", device, payload, now)
        return True

    def hear_presence(self, device: str, payload: bytes, now: datetime) -> bool:
        """Take a presence message; False when it was unreadable or a stranger's."""
        if self._read(device, payload, Presence.from_json, now) is None:
            return False
        self._keep("INSERT OR REPLACE INTO presence VALUES (?, ?, ?)", device, payload, now)
        return True

    def hear_receipt(
        self, device: str, payload: bytes, now: datetime, *, fleet: str
    ) -> bool:
        """Take a signed receipt; False when it is known, forged or a replay."""
        enrolled = self.rows("SELECT receipt_key FROM device WHERE name = ?", (device,))
        if not enrolled:
            return self._refuse(STRANGERS, "never enrolled", now)
        kept = self.rows("SELECT payload FROM receipt WHERE device = ?", (device,))
        if kept and kept[0][0] == payload:
            return False
        last = envelope_content(kept[0][0]) if kept else None
        ((key,),) = enrolled
        try:
            accept(payload, pinned=key, last=last, fleet=fleet, device=device)
        except TrustError as error:
            return self._refuse(device, str(error), now)
        self._keep("INSERT OR REPLACE INTO receipt VALUES (?, ?, ?)", device, payload, now)
        return True

    def hear_telemetry(self, device: str, payload: bytes, now: datetime) -> Heard | None:
        """Take a window; None from a stranger, who is not answered."""
        if not self._enrolled(device, now):
            return None
        heard = self._windows.hear(device, payload, now)
        if heard.refused:
            self._refuse(device, heard.refused, now)
        return heard

    def _enrolled(self, device: str, now: datetime) -> bool:
        if self.rows("SELECT 1 FROM device WHERE name = ?", (device,)):
            return True
        return self._refuse(STRANGERS, "never enrolled", now)

    def _read(
        self, device: str, payload: bytes, parse: Callable[[bytes], T], now: datetime
    ) -> T | None:
        if not self._enrolled(device, now):
            return None
        try:
            return parse(payload)
        except TransportError as error:
            self._refuse(device, str(error), now)
            return None

    def _keep(self, statement: str, device: str, payload: bytes, now: datetime) -> None:
        with self.transaction() as cursor:
            cursor.execute(statement, (device, now.isoformat(), payload))

    def _refuse(self, device: str, reason: str, now: datetime) -> bool:
        with self.transaction() as cursor:
            cursor.execute(
                "INSERT INTO garbage VALUES (?, 1, ?, ?) ON CONFLICT (device) DO UPDATE"
                " SET messages = messages + 1, reason = excluded.reason,"
                " heard_at = excluded.heard_at",
                (device, reason, now.isoformat()),
            )
        return False


def _parsed(parse: Callable[[bytes], T], payload: bytes | None) -> T | None:
    return None if payload is None else parse(payload)
