"""Receipts: what the operator's side believes of them, against a broker that lies."""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgekit.errors import ConfigError, TrustError
from edgekit.fleet.book import Book, Device
from edgekit.fleet.receipts import Standing
from edgekit.fleet.status import Row, rows
from edgekit.fleet.watch import take
from edgekit.receipt import Receipt, Served
from edgekit.transport import Message
from edgekit.trust import receipt as signed
from edgekit.wire import Topics
from tests.core.reports import SHA, model_state, state

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOPICS = Topics(fleet="demo")
SECRET, PUBLIC = signed.generate()
OTHER_SECRET, OTHER_PUBLIC = signed.generate()
WINE = Served(
    model="wine",
    stage="production",
    version="3",
    flavor="int8",
    sha256=SHA,
    rollout=1,
    since="2026-03-01T11:00:00Z",
)
RECEIPT = Receipt(
    fleet="demo",
    device="pi-7",
    boot_id="0123abcd-4",
    seq=2,
    at="2026-03-01T11:00:01Z",
    models=(WINE,),
)


def device(name: str = "pi-7", key: bytes | None = PUBLIC) -> Device:
    return Device(
        name=name,
        board="raspberry-pi-4",
        models=(("wine", "production"),),
        enrolled_by="ada",
        enrolled_at=NOW,
        receipt_key=key,
    )


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    with Book(tmp_path / "fleet.db") as opened:
        opened.enroll(device())
        opened.enroll(device("pi-8", OTHER_PUBLIC))
        yield opened


def hear(book: Book, payload: bytes, *, of: str = "pi-7") -> bool:
    message = Message(topic=TOPICS.receipt(of), payload=payload, retained=True)
    return take(message, topics=TOPICS, book=book, now=NOW)


def report(book: Book, *, boot_id: str = RECEIPT.boot_id, **changes: object) -> None:
    payload = state(boot_id=boot_id, models=[model_state(**changes)])
    message = Message(topic=TOPICS.state("pi-7"), payload=payload, retained=True)
    assert take(message, topics=TOPICS, book=book, now=NOW)


def the_row(book: Book) -> Row:
    return next(row for row in rows(book.known()) if row.device == "pi-7")


def garbage(book: Book) -> list[tuple[str, int]]:
    return [(one.device, one.messages) for one in book.garbage()]


def test_what_a_device_signed_and_reports_is_told_as_signed(book: Book) -> None:
    report(book)
    assert the_row(book).receipt.sentence == "no receipt yet"

    assert hear(book, signed.sign(RECEIPT, SECRET))

    told = the_row(book).receipt
    assert (told.standing, told.at) == (Standing.SIGNED, RECEIPT.at)
    assert told.sentence == "signed, 2026-03-01T11:00:01Z"


def test_a_broker_that_changes_the_report_is_seen(book: Book) -> None:
    hear(book, signed.sign(RECEIPT, SECRET))
    forged = {"version": "4", "flavor": "int8", "sha256": "cd" * 32, "since": ""}
    report(book, current=forged)

    told = the_row(book).receipt
    assert told.standing is Standing.DIFFERS
    assert told.sentence == (
        f"DIFFERS: signed version 3 ({SHA[:12]}) at {RECEIPT.at}, reports version 4"
    )


@pytest.mark.parametrize("boot_id", ["ffffffff-1", "ffffffff-4"])
def test_a_device_whose_state_was_wiped_or_copied_is_told_as_such(
    book: Book, boot_id: str
) -> None:
    hear(book, signed.sign(RECEIPT, SECRET))
    report(book, boot_id=boot_id)
    refused = replace(RECEIPT, boot_id=boot_id, seq=1, at="2026-02-01T00:00:00Z")
    assert not hear(book, signed.sign(refused, SECRET))

    told = the_row(book).receipt
    start = boot_id.rpartition("-")[2]
    assert told.standing is Standing.WENT_BACK
    assert told.sentence == (
        f"WENT BACK: signed as start 4, reports start {start}: its state folder was wiped"
        " or put back, or it is a copy; `edgekit device enroll --again`"
    )

    book.enroll_again(device(key=OTHER_PUBLIC))
    assert hear(book, signed.sign(refused, OTHER_SECRET))
    assert the_row(book).receipt.standing is Standing.SIGNED


@pytest.mark.parametrize("boot_id", ["ffffffff-5", "ffffffff-1800000000", "ffffffff-xaa"])
def test_a_later_start_goes_not_back(book: Book, boot_id: str) -> None:
    hear(book, signed.sign(RECEIPT, SECRET))
    report(book, boot_id=boot_id)
    assert the_row(book).receipt.standing is Standing.SIGNED


def test_serving_nothing_can_be_signed_too(book: Book) -> None:
    hear(book, signed.sign(replace(RECEIPT, models=()), SECRET))
    report(book, current=None)
    assert the_row(book).receipt.standing is Standing.SIGNED
    assert not hear(book, signed.sign(RECEIPT, SECRET))


def tampered(payload: bytes) -> bytes:
    document = json.loads(payload)
    document["signed"]["models"][0]["version"] = "4"
    return json.dumps(document).encode()


def stripped(payload: bytes) -> bytes:
    return json.dumps({**json.loads(payload), "signatures": []}).encode()


def renamed(payload: bytes) -> bytes:
    """Another key's signature under the pinned key's name."""
    document = json.loads(payload)
    document["signatures"][0]["keyid"] = signed.key_id(PUBLIC)
    return json.dumps(document).encode()


FORGERIES = {
    "tampered": tampered(signed.sign(RECEIPT, SECRET)),
    "unsigned": stripped(signed.sign(RECEIPT, SECRET)),
    "signed by a key of the forger's": signed.sign(RECEIPT, OTHER_SECRET),
    "that key under the pinned name": renamed(signed.sign(RECEIPT, OTHER_SECRET)),
    "of another device": signed.sign(replace(RECEIPT, device="pi-8"), SECRET),
    "of another fleet": signed.sign(replace(RECEIPT, fleet="prod"), SECRET),
    "no JSON": b"\xff\x00",
    "no envelope": b"{}",
    "a signature that is no hex": b'{"signed":{},"signatures":[{"keyid":"'
    + signed.key_id(PUBLIC).encode()
    + b'","sig":"xyz"}]}',
    "too long": b" " * 70_000 + signed.sign(RECEIPT, SECRET),
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_receipt_is_counted_and_the_last_one_stays(
    book: Book, forgery: bytes
) -> None:
    first = signed.sign(replace(RECEIPT, seq=1), SECRET)
    hear(book, first)
    report(book)

    assert not hear(book, forgery)

    assert garbage(book) == [("pi-7", 1)]
    assert the_row(book).receipt.standing is Standing.SIGNED
    assert book.rows("SELECT payload FROM receipt") == [(first,)]


def test_a_receipt_of_another_device_does_not_pass_under_this_ones_topic(
    book: Book,
) -> None:
    other = signed.sign(replace(RECEIPT, device="pi-8"), OTHER_SECRET)
    assert not hear(book, other)
    assert hear(book, other, of="pi-8")
    assert garbage(book) == [("pi-7", 1)]


@pytest.mark.parametrize(
    "older",
    [
        replace(RECEIPT, seq=1),
        replace(RECEIPT, models=()),  # the same number, another content
        replace(RECEIPT, boot_id="ffffffff-3", seq=9),
        replace(RECEIPT, boot_id="ffffffff-3", seq=9, at="2040-01-01T00:00:00Z"),
        replace(RECEIPT, boot_id="ffffffff-4", at="2026-02-01T00:00:00Z"),
        replace(RECEIPT, boot_id="ffffffff-xaa", at="2026-02-01T00:00:00Z"),
    ],
)
def test_a_replayed_receipt_is_counted_and_the_last_one_stays(
    book: Book, older: Receipt
) -> None:
    hear(book, signed.sign(RECEIPT, SECRET))

    assert not hear(book, signed.sign(older, SECRET))

    assert garbage(book) == [("pi-7", 1)]
    assert book.known()[0].receipt == RECEIPT


@pytest.mark.parametrize(
    "newer",
    [
        replace(RECEIPT, seq=3, at="1970-01-01T00:00:09Z"),  # its clock was put back
        replace(RECEIPT, boot_id="ffffffff-5", seq=1, at="1970-01-01T00:00:09Z"),
        replace(RECEIPT, boot_id="ffffffff-xaa", seq=1, at="2026-03-02T00:00:00Z"),
    ],
)
def test_a_newer_receipt_is_taken_whatever_the_clock(book: Book, newer: Receipt) -> None:
    hear(book, signed.sign(RECEIPT, SECRET))
    assert hear(book, signed.sign(newer, SECRET))
    assert book.known()[0].receipt == newer
    assert garbage(book) == []


def test_what_the_broker_says_again_is_no_news_and_no_garbage(book: Book) -> None:
    payload = signed.sign(RECEIPT, SECRET)
    assert hear(book, payload)
    assert not hear(book, payload)
    assert garbage(book) == []


def test_enrolling_again_pins_another_key_and_the_old_one_counts_no_more(
    book: Book,
) -> None:
    hear(book, signed.sign(RECEIPT, SECRET))
    book.enroll_again(device(key=OTHER_PUBLIC))
    report(book)
    assert the_row(book).receipt.standing is Standing.NONE

    assert not hear(book, signed.sign(replace(RECEIPT, seq=9), SECRET))
    assert hear(book, signed.sign(replace(RECEIPT, seq=1), OTHER_SECRET))


def test_no_key_is_trusted_on_first_use(tmp_path: Path) -> None:
    with Book(tmp_path / "fleet.db") as book:
        book.enroll(device(key=None))
        assert not hear(book, signed.sign(RECEIPT, SECRET))
        assert garbage(book) == [("pi-7", 1)]
        report(book)
        assert the_row(book).receipt.standing is Standing.NOT_ASKED


def test_fields_that_a_newer_agent_signs_are_kept_and_verified() -> None:
    newer = replace(RECEIPT, extra={"proof": {"rows": 3}})
    assert signed.verify(signed.sign(newer, SECRET), PUBLIC) == newer


def test_a_key_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="an unencrypted PEM file is expected"):
        signed.sign(RECEIPT, b"garbage")
    with pytest.raises(TrustError, match="not signed by the key that was pinned"):
        signed.verify(signed.sign(RECEIPT, SECRET), OTHER_PUBLIC)


def test_a_book_of_before_is_read_and_its_devices_have_no_key(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    before = sqlite3.connect(path)
    before.executescript(_VERSION_1)
    before.execute(
        "INSERT INTO device VALUES (?, ?, ?, ?, ?)",
        ("pi-7", "b", "[]", "ada", NOW.isoformat()),
    )
    before.commit()
    before.close()
    with Book(path) as book:
        (found,) = book.devices()
        assert (found.name, found.receipt_key) == ("pi-7", None)
        book.enroll_again(device())
        assert hear(book, signed.sign(RECEIPT, SECRET))


_VERSION_1 = """
CREATE TABLE device (
    name TEXT PRIMARY KEY, board TEXT NOT NULL, models TEXT NOT NULL,
    enrolled_by TEXT NOT NULL, enrolled_at TEXT NOT NULL
);
CREATE TABLE report (
    device TEXT PRIMARY KEY REFERENCES device,
    heard_at TEXT NOT NULL, payload BLOB NOT NULL
);
CREATE TABLE presence (
    device TEXT PRIMARY KEY REFERENCES device,
    heard_at TEXT NOT NULL, payload BLOB NOT NULL
);
CREATE TABLE telemetry (
    device TEXT NOT NULL REFERENCES device,
    boot_id TEXT NOT NULL, seq INTEGER NOT NULL,
    heard_at TEXT NOT NULL, payload BLOB NOT NULL,
    PRIMARY KEY (device, boot_id, seq)
);
CREATE TABLE garbage (
    device TEXT PRIMARY KEY, messages INTEGER NOT NULL,
    reason TEXT NOT NULL, heard_at TEXT NOT NULL
);
PRAGMA user_version = 1;
"""
