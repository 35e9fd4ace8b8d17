from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import ConfigError, TransportError
from edgekit.fleet.book import STRANGERS, Book, Device
from edgekit.fleet.report import Presence, Report
from edgekit.fleet.status import Row, rows
from edgekit.fleet.watch import Listener, take
from edgekit.fleet.words import MAX_BYTES
from edgekit.telemetry.window import Window
from edgekit.transport import Message
from edgekit.wire import Topics
from tests.core.reports import GONE, PRESENT, SHA, model_state, state, window
from tests.fakes import FakeBroker, FakeClock

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOPICS = Topics(fleet="demo")
PI = Device(
    name="pi-7",
    board="raspberry-pi-4",
    models=(("wine", "production"),),
    enrolled_by="ada",
    enrolled_at=NOW,
)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    with Book(tmp_path / "fleet.db") as opened:
        opened.enroll(PI)
        yield opened


def say(book: Book, topic: str, payload: bytes) -> bool:
    message = Message(topic=topic, payload=payload, retained=True)
    return take(message, topics=TOPICS, book=book, now=NOW)


def the_row(book: Book) -> Row:
    (row,) = rows(book.known())
    return row


def test_a_device_that_never_reported_is_shown_as_such(book: Book) -> None:
    row = the_row(book)

    assert (row.device, row.model, row.stage) == ("pi-7", "wine", "production")
    assert (row.online, row.version, row.trouble) == (None, "", "never reported")


def test_what_a_device_reports_becomes_its_row(book: Book) -> None:
    assert say(book, TOPICS.state("pi-7"), state())
    assert say(book, TOPICS.presence("pi-7"), PRESENT)

    assert the_row(book) == Row(
        device="pi-7",
        board="raspberry-pi-4",
        online=True,
        model="wine",
        stage="production",
        version="3",
        flavor="int8",
        sha256=SHA,
        since="2026-03-01T11:00:00Z",
        phase="serving",
        rollout=1,
        trouble="",
    )


def test_a_last_will_turns_the_device_offline_and_keeps_its_state(book: Book) -> None:
    say(book, TOPICS.state("pi-7"), state())
    say(book, TOPICS.presence("pi-7"), PRESENT)
    say(book, TOPICS.presence("pi-7"), GONE)

    assert (the_row(book).online, the_row(book).version) == (False, "3")


def test_trouble_is_told_with_its_reason(book: Book) -> None:
    trouble = {
        "kind": "rejected",
        "error": "TrustError",
        "reason": "chunk 3 does not match\nits index",
        "at": "2026-03-01T12:00:00Z",
        "sha256": SHA,
    }
    say(book, TOPICS.state("pi-7"), state(models=[model_state(trouble=trouble)]))

    assert the_row(book).trouble == "rejected: chunk 3 does not match its index"


def test_a_model_the_device_does_not_know_of_is_shown(book: Book) -> None:
    say(book, TOPICS.state("pi-7"), state(models=[]))

    assert the_row(book).trouble == "not followed by the device; enrolled anew since?"


def test_an_older_report_of_the_same_boot_changes_nothing(book: Book) -> None:
    say(book, TOPICS.state("pi-7"), state(seq=5))
    older = state(seq=4, models=[])

    assert not say(book, TOPICS.state("pi-7"), older)
    assert not say(book, TOPICS.state("pi-7"), state(seq=5))
    assert the_row(book).version == "3"
    assert book.garbage() == ()


def test_a_new_boot_counts_from_one(book: Book) -> None:
    say(book, TOPICS.state("pi-7"), state(seq=5))

    assert say(book, TOPICS.state("pi-7"), state(boot_id="boot-2", seq=1, models=[]))


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff",
        b"[]",
        b"{}",
        b'{"format":2}',
        state(device="pi-8"),
        state(board="\x1b[2J"),
        state(seq=-1),
        state(models=[model_state()] * 65),
        state(models=[model_state(current={"version": "3"})]),
        state(padding="x" * MAX_BYTES),
    ],
)
def test_garbage_from_a_device_is_counted_and_its_last_state_kept(
    book: Book, garbage: bytes
) -> None:
    say(book, TOPICS.state("pi-7"), state(seq=5))

    assert not say(book, TOPICS.state("pi-7"), garbage)

    assert the_row(book).version == "3"
    ((device, messages),) = [(g.device, g.messages) for g in book.garbage()]
    assert (device, messages) == ("pi-7", 1)


def test_a_stranger_is_counted_and_not_remembered(book: Book) -> None:
    for number in range(3):
        assert not say(book, TOPICS.state(f"eve-{number}"), state(f"eve-{number}"))

    assert [known.device for known in book.known()] == [PI]
    (counted,) = book.garbage()
    assert (counted.device, counted.messages) == (STRANGERS, 3)
    assert counted.reason == "never enrolled"


def test_a_device_cannot_speak_for_another(book: Book) -> None:
    say(book, TOPICS.state("pi-7"), state("pi-8"))

    (counted,) = book.garbage()
    assert counted.reason == "reports as device pi-8"


def test_a_field_that_a_newer_agent_sends_is_kept(book: Book) -> None:
    payload = state(temperature_c=41.5)

    assert say(book, TOPICS.state("pi-7"), payload)
    assert book.rows("SELECT payload FROM report") == [(payload,)]


def test_a_name_is_enrolled_once(book: Book) -> None:
    with pytest.raises(ConfigError, match="pi-7: enrolled already"):
        book.enroll(PI)


def test_enrolling_again_keeps_what_was_reported(book: Book) -> None:
    say(book, TOPICS.state("pi-7"), state())
    book.enroll_again(PI)

    assert the_row(book).version == "3"


def test_names_with_slashes_and_spaces_find_their_device(tmp_path: Path) -> None:
    name = "hall 2/press #7"
    with Book(tmp_path / "fleet.db") as book:
        book.enroll(
            Device(name=name, board="b", models=(), enrolled_by="ada", enrolled_at=NOW)
        )

        assert say(book, TOPICS.state(name), state(name))


@given(st.binary(max_size=300))
@pytest.mark.parametrize("parse", [Report.from_json, Presence.from_json, Window.decode])
def test_any_bytes_are_read_or_refused(
    parse: Callable[[bytes], object], payload: bytes
) -> None:
    try:
        parse(payload)
    except TransportError:
        return


def listener(book: Book, broker: FakeBroker, clock: FakeClock) -> Listener:
    return Listener(
        transport=broker.connect("operator"),
        topics=TOPICS,
        book=book,
        now=lambda: NOW,
        monotonic=clock,
    )


def test_listening_takes_what_the_broker_kept_and_ends_when_it_is_quiet(
    book: Book,
) -> None:
    clock = FakeClock()
    broker = FakeBroker(clock=clock)
    device = broker.connect("pi-7")
    device.publish(TOPICS.state("pi-7"), state(), retain=True)
    device.publish(TOPICS.presence("pi-7"), PRESENT, retain=True)

    told = listener(book, broker, clock).until_quiet(quiet_s=1.0)

    assert told == 2
    assert (the_row(book).version, the_row(book).online) == ("3", True)


def test_listening_ends_in_a_fleet_that_is_never_quiet(book: Book) -> None:
    clock = FakeClock()
    broker = FakeBroker(clock=clock)
    device = broker.connect("pi-7")
    seqs = iter(range(10_000))

    def chatter() -> None:
        clock.now += 0.5
        device.publish(TOPICS.state("pi-7"), state(seq=next(seqs)))

    broker.peers.append(chatter)

    assert listener(book, broker, clock).until_quiet(quiet_s=1.0, most_s=15.0) == 30


def test_following_hears_telemetry_and_looks_up_when_it_is_quiet(book: Book) -> None:
    clock = FakeClock()
    broker = FakeBroker(clock=clock)
    heard = listener(book, broker, clock).follow()
    assert next(heard) is False  # the session begins
    assert next(heard) is False  # nobody says anything

    broker.connect("pi-7").publish(TOPICS.telemetry("pi-7"), window())

    assert next(heard) is True
    assert len(list(book.windows("pi-7"))) == 1
