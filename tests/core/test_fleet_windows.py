"""Telemetry windows in fleet.db: taken once, acknowledged, bounded, never lost."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import StoreError
from edgekit.fleet import unread
from edgekit.fleet import windows as fleet_windows
from edgekit.fleet.book import Book, Device
from edgekit.fleet.heard import Heard, Losses
from edgekit.fleet.watch import Listener
from edgekit.fleet.windows import ended
from edgekit.telemetry import window as window_module
from edgekit.telemetry.refusals import Reason
from edgekit.telemetry.taken import Taken, digest
from edgekit.telemetry.window import FORMAT, Window
from edgekit.transport import Connected
from edgekit.wire import Topics
from tests.core.reports import counts, window
from tests.fakes import FakeBroker, FakeClock

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
TOPICS = Topics(fleet="demo")


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    with opened(tmp_path) as made:
        yield made


def opened(folder: Path) -> Book:
    made = Book(folder / "fleet.db")
    made.rows("PRAGMA synchronous = OFF")  # no power cut is tested here
    for name in ("pi-7", "pi-8"):
        pi = Device(name=name, board="b", models=(), enrolled_by="ada", enrolled_at=NOW)
        made.enroll_again(pi)
    return made


def hear(book: Book, payload: bytes, device: str = "pi-7") -> bool:
    heard = book.hear_telemetry(device, payload, NOW)
    return heard is not None and heard.news


def requests(book: Book, device: str = "pi-7") -> int:
    windows = [one.window for one in book.windows(device)]
    return sum(bundle.requests for one in windows for bundle in one.bundles)


def ranges(book: Book, device: str = "pi-7") -> list[tuple[int, int]]:
    found = book.windows(device)
    return [(one.window.first, one.window.last) for one in found]


def minute(number: int, day: int = 1, boot_id: str = "boot-1") -> bytes:
    end = f"2026-03-{day:02}T{number // 60 % 24:02}:{number % 60:02}:59Z"
    return window(first=number, end=end, bundles=[counts(requests=1)], boot_id=boot_id)


def test_a_repeated_window_counts_once(book: Book) -> None:
    assert hear(book, window())
    assert not hear(book, window())
    assert hear(book, window(first=2, last=4))
    assert not hear(book, window(first=3))
    assert requests(book) == 20
    assert book.garbage() == ()


@pytest.mark.parametrize("crossing", [(1, 6), (3, 6), (4, 9), (1, 9)])
def test_windows_that_overlap_what_is_known_are_refused_and_counted(
    book: Book, crossing: tuple[int, int]
) -> None:
    hear(book, window(first=4, last=6))
    if crossing == (4, 9):
        hear(book, window(first=8))
    heard = book.hear_telemetry("pi-7", window(first=crossing[0], last=crossing[1]), NOW)
    assert heard is not None
    assert not heard.kept
    assert requests(book) == 10 * len(ranges(book))
    (garbage,) = book.garbage()
    assert "overlap known ones" in garbage.reason


def test_each_life_of_a_device_counts_for_itself(book: Book) -> None:
    assert hear(book, window(boot_id="a"))
    assert hear(book, window(boot_id="b"))
    assert hear(book, window("pi-8", boot_id="a"), "pi-8")


@settings(deadline=None, max_examples=15)  # each window is on the disk before the next
@given(
    order=st.permutations(range(1, 13)),
    repeated=st.lists(st.integers(1, 12)),
    cuts=st.sets(st.integers(2, 12)),
)
def test_no_order_and_no_repetition_changes_what_is_counted(
    tmp_path_factory: pytest.TempPathFactory,
    order: Sequence[int],
    repeated: list[int],
    cuts: set[int],
) -> None:
    starts = sorted({1, *cuts, 13})
    merged = {low: (low, high - 1) for low, high in pairwise(starts)}
    with opened(tmp_path_factory.mktemp("book")) as book:
        for number in (*order, *repeated):
            low, high = merged[max(start for start in merged if start <= number)]
            told = [counts(requests=high - low + 1)]
            hear(book, window(first=low, last=high, bundles=told))
        assert requests(book) == 12


def test_old_days_are_merged_and_lose_nothing(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_windows, "SINGLE_WINDOWS", 20)
    for number in range(1, 61):
        hear(book, minute(number, day=1 + (number - 1) // 10))
    found = ranges(book)
    assert requests(book) == 60
    assert len(found) <= 24
    assert found[0] == (1, 10)
    assert found[-1] == (60, 60)
    assert not hear(book, minute(3))
    assert book.known()[0].window == Window.decode(minute(60, day=6))


def test_windows_of_a_second_fit_their_day_too(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_windows, "SINGLE_WINDOWS", 20)
    monkeypatch.setattr(fleet_windows, "MOST_WINDOWS", 40)
    for number in range(1, 301):
        hear(book, minute(number))
    found = ranges(book)
    assert requests(book) == 300
    assert found[:4] == [(1, 59), (60, 119), (120, 179), (180, 239)]
    assert len(found) <= 27


def test_merged_days_stay_apart_where_a_device_began_anew(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_windows, "SINGLE_WINDOWS", 4)
    for number in range(1, 9):
        hear(book, minute(number, boot_id="a"))
    for number in range(1, 9):
        hear(book, minute(number, day=2, boot_id="b"))
    assert requests(book) == 16
    assert (1, 8) in ranges(book)


def most(number: int) -> bytes:
    """Return a window of a minute that counts as much as windows can."""
    one = Window.decode(minute(number))
    bundles = tuple(replace(bundle, requests=2**53) for bundle in one.bundles)
    return replace(one, bundles=bundles).encode()


def test_windows_whose_sum_no_window_can_tell_stay_apart(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_windows, "SINGLE_WINDOWS", 4)
    for number in range(1, 20):
        hear(book, most(number))
    assert requests(book) == 19 * 2**53
    assert book.known()[0].window is not None


def test_a_row_that_cannot_be_read_ends_nothing(
    book: Book, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fleet_windows, "SINGLE_WINDOWS", 4)
    hear(book, minute(1))
    hear(book, minute(2))
    book.rows("UPDATE window SET payload = x'00' WHERE first = 2")
    assert book.known()[0].window is None
    for number in range(3, 20):
        hear(book, minute(number))
    assert requests(book) == 18
    assert "1 rows of pi-7 in fleet.db cannot be read" in caplog.text
    assert not hear(book, minute(2)), "what was taken is known all the same"


def forgotten(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave rows 1 to 3 and 4 of a life that is not known any more."""
    monkeypatch.setattr(fleet_windows, "MOST_LIVES", 3)
    hear(book, window(first=1, last=3))
    hear(book, window(first=4))
    for life in range(3):
        hear(book, minute(1, boot_id=f"life-{life}"))
    assert len(book.rows("SELECT 1 FROM taken WHERE boot_id = 'boot-1'")) == 0


@pytest.mark.parametrize("known", [(1, 3), (2, 2), (4, 4)])
def test_a_window_of_a_forgotten_life_is_known_while_its_row_is_there(
    book: Book, monkeypatch: pytest.MonkeyPatch, known: tuple[int, int]
) -> None:
    forgotten(book, monkeypatch)
    before = ranges(book)
    for _ in range(2):
        payload = window(first=known[0], last=known[1])
        heard = book.hear_telemetry("pi-7", payload, NOW)
        assert heard is not None
        assert (heard.kept, heard.news, heard.refused) == (True, False, "")
        hear(book, window(first=9))  # the life is known again, but of that only
    assert sorted(ranges(book)) == sorted([*before, (9, 9)])


def test_a_window_over_rows_of_a_forgotten_life_is_refused(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten(book, monkeypatch)
    heard = book.hear_telemetry("pi-7", window(first=3, last=6), NOW)
    assert heard is not None
    assert "overlap known ones" in heard.refused


def test_a_forgotten_life_that_was_put_by_does_not_keep_the_book_shut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as book:
        forgotten(book, monkeypatch)
        hear_as_before(book, window(first=4))
    with opened(tmp_path) as newer:
        assert newer.losses() == ()
        assert requests(newer) == 23


def test_telemetry_cannot_fill_the_disk(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_windows, "MOST_WINDOWS", 3)
    monkeypatch.setattr(fleet_windows, "MOST_RANGES", 3)
    monkeypatch.setattr(fleet_windows, "MOST_LIVES", 2)
    for number in range(1, 40, 2):
        hear(book, minute(number))
    for life in range(6):
        hear(book, minute(50 + life, boot_id=f"life-{life}"))
    assert [first for first, _ in ranges(book)] == [53, 54, 55]
    assert len(book.rows("SELECT 1 FROM taken")) == 2
    assert not hear(book, minute(55, boot_id="life-5"))


@pytest.mark.parametrize("end", ["1970-01-01T00:10:00Z", "2040-01-01T00:00:00Z", "soon"])
def test_a_window_of_an_impossible_time_counts_when_it_was_heard(end: str) -> None:
    assert ended(Window.decode(window(end=end)), NOW) == NOW


def test_a_window_of_two_weeks_ago_belongs_there(book: Book) -> None:
    hear(book, window(end="2026-02-16T08:00:00Z"))
    hear(book, window(first=2, end="2026-03-02T08:00:00Z"))
    since = datetime(2026, 2, 27, tzinfo=UTC)
    assert [one.window.first for one in book.windows("pi-7", since=since)] == [2]


class Site:
    """A listener and a device on one broker, in a time that only waiting moves."""

    def __init__(self, book: Book) -> None:
        self.clock = FakeClock()
        self.broker = FakeBroker(clock=self.clock)
        self.device = self.broker.connect("pi-7")
        self.device.subscribe(TOPICS.taken("pi-7"))
        self.listener = Listener(
            transport=self.broker.connect("operator"),
            topics=TOPICS,
            book=book,
            now=lambda: NOW,
            monotonic=self.clock,
        )

    def told(self) -> list[Taken]:
        found = []
        while (arrival := self.device.receive(0.0)) is not None:
            if not isinstance(arrival, Connected):
                found.append(Taken.decode(arrival.payload))  # type: ignore[union-attr]  # a message
        return found


def test_what_is_kept_is_told_to_the_device_some_at_a_time(book: Book) -> None:
    site = Site(book)
    heard = site.listener.follow(pause_s=0.1)
    next(heard)
    for number in range(1, 6):
        site.device.publish(TOPICS.telemetry("pi-7"), window(first=number))
    assert [next(heard) for _ in range(6)] == [True] * 5 + [False]
    next(heard)

    told = site.told()

    assert len(told) == 1
    assert told[0].boot_id == "boot-1"
    assert told[0].windows == {(n, n) for n in range(1, 6)}


def test_what_comes_again_is_told_again_and_what_never_counts_is_told_with_a_reason(
    book: Book,
) -> None:
    site = Site(book)
    heard = site.listener.follow(pause_s=0.1)
    next(heard)
    hear(book, window(first=1, last=3))
    never = {
        window(first=3, last=4): "telemetry: windows 3 to 4 of boot-1 overlap known ones",
        b"garbage": "telemetry: not JSON: Expecting value: line 1 column 1 (char 0)",
        window("pi-8"): "telemetry: counts as device pi-8",
    }
    for payload in (window(first=2), *never):
        site.device.publish(TOPICS.telemetry("pi-7"), payload)
    assert [next(heard) for _ in range(5)] == [False] * 5
    next(heard)
    taken, refused = site.told()
    assert (set(taken.windows), dict(taken.refused)) == ({(2, 2)}, {})
    assert refused.windows == set()
    assert refused.refused == {digest(one): reason for one, reason in never.items()}


def test_a_stranger_is_not_answered(book: Book) -> None:
    site = Site(book)
    site.device.subscribe(TOPICS.taken("eve"))
    heard = site.listener.follow(pause_s=0.1)
    next(heard)
    for payload in (window("eve"), b"garbage"):
        site.device.publish(TOPICS.telemetry("eve"), payload)
    for _ in range(5):
        next(heard)
    assert hear_as_before(book, window("eve"), "eve") is None
    assert site.told() == []
    assert book.rows("SELECT * FROM unread") == []


def hear_as_before(book: Book, payload: bytes, device: str = "pi-7") -> Heard | None:
    """Hear a window as an edgekit does that is older than this device's."""
    with patch.object(window_module, "FORMAT", FORMAT - 1):
        return book.hear_telemetry(device, payload, NOW)


def test_a_window_of_a_newer_format_is_put_by_and_counts_once(tmp_path: Path) -> None:
    tomorrow = window(bundles=[counts(requests=7)])
    foreign, overlapping = window("pi-8"), window(first=4, last=6)
    with opened(tmp_path) as book:
        hear(book, window(first=5))
        for payload in (tomorrow, foreign, overlapping, tomorrow):
            heard = hear_as_before(book, payload)
            assert heard is not None
            assert (heard.kept, heard.window, heard.refused) == (True, None, "")
        assert requests(book) == 10
        assert book.losses() == (Losses(device="pi-7", unread=3),)
    with (
        patch.object(fleet_windows, "FORMAT", FORMAT - 1),
        opened(tmp_path) as still_older,
    ):
        assert still_older.losses() == (Losses(device="pi-7", unread=3),)
    for _ in range(2):
        with opened(tmp_path) as newer:
            assert requests(newer) == 17
            assert newer.losses() == (Losses(device="pi-7", refused=2),)
            assert not hear(newer, tomorrow), "known by now"


def test_windows_put_by_count_once_though_their_sum_no_window_can_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_windows, "SINGLE_WINDOWS", 4)
    with opened(tmp_path) as book:
        for number in range(1, 20):
            hear_as_before(book, most(number))
    with opened(tmp_path) as newer:
        assert (requests(newer), newer.losses()) == (19 * 2**53, ())


def test_windows_put_by_cannot_fill_the_disk(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unread, "MOST_UNREAD", 2)
    kept = [hear_as_before(book, window(first=number)) for number in (1, 2, 3, 1)]
    assert [one and one.kept for one in kept] == [True, True, False, True]
    assert not any(one and one.refused for one in kept), "the third waits on its device"


def test_a_loss_that_a_device_tells_is_counted_once(book: Book) -> None:
    told = replace(Window.decode(window(first=2)), dropped=3, corrupt=1, refused=2)
    for payload in (window(first=1), told.encode(), told.encode()):
        hear(book, payload)
    assert book.losses() == (Losses(device="pi-7", dropped=3, corrupt=1, refused=2),)


def test_an_older_book_is_summed_once_when_it_is_upgraded(tmp_path: Path) -> None:
    told = replace(
        Window.decode(window()), dropped=3, corrupt=1, refusals={Reason.HTTP_PATH: 2}
    )
    with opened(tmp_path) as book:
        for number in (1, 2):
            hear(book, replace(told, first=number, last=number).encode())
        hear(book, window(first=3))
        book.rows("UPDATE window SET payload = x'00' WHERE first = 3")
        for table in ("lost", "refusal", "unread", "claim"):
            book.rows(f"DROP TABLE {table}")
        book.rows("PRAGMA user_version = 2")
    for _ in range(2):
        with opened(tmp_path) as upgraded:
            assert upgraded.losses() == (Losses(device="pi-7", dropped=6, corrupt=2),)
            assert upgraded.known()[0].refusals == {Reason.HTTP_PATH: 4}


def test_what_a_device_refused_is_summed_once_and_outlives_the_windows(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_windows, "MOST_WINDOWS", 2)
    refused = {Reason.HTTP_PATH: 2, Reason.ASK_BUSY: 1}
    for number in (1, 2, 3, 4, 2, 4, 1):
        hear(book, window(first=number, refusals=refused))
    hear(book, window(first=5))
    assert len(ranges(book)) == 2
    sums = {one.device.name: one.refusals for one in book.known()}
    assert sums == {"pi-7": {Reason.HTTP_PATH: 8, Reason.ASK_BUSY: 4}, "pi-8": {}}


def test_the_word_that_a_window_is_lost_and_the_window_count_as_one(book: Book) -> None:
    """A refusal and a window crossed: whichever comes first stands, once."""
    payload = window(first=3, last=5)
    word = Window.decode(payload).lost("pi-7")
    assert (word.is_loss, word.refused, Window.decode(word.encode())) == (True, 3, word)
    assert hear(book, payload)
    assert not hear(book, word.encode())
    assert (requests(book), book.losses()) == (10, ())


def test_nothing_is_told_that_is_not_on_the_disk(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(book)
    heard = site.listener.follow(pause_s=0.1)
    next(heard)

    def full(*_: object) -> None:
        raise StoreError("disk full")

    monkeypatch.setattr(fleet_windows, "_bound", full)
    site.device.publish(TOPICS.telemetry("pi-7"), window())
    with pytest.raises(StoreError):
        next(heard)
    assert (site.told(), ranges(book)) == ([], [])
    monkeypatch.undo()
    assert hear(book, window())


def test_a_broker_that_is_gone_costs_a_repetition(book: Book) -> None:
    site = Site(book)
    heard = site.listener.follow(pause_s=0.1)
    next(heard)
    site.device.publish(TOPICS.telemetry("pi-7"), window())
    next(heard)
    site.broker.kill()
    for _ in range(3):
        next(heard)
    assert ranges(book) == [(1, 1)]
