"""From the device's counts to the fleet's book, over a channel that is as bad as it gets.

Real on both ends: what cuts, keeps and sends windows on the device, on a real folder, and
the fleet's book. Only the channel and the clock are the test's own.
"""

import os
import random
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edgekit.fleet.acknowledgements import Acknowledgements
from edgekit.fleet.book import Book, Device
from edgekit.telemetry.counts import BundleCounts
from edgekit.telemetry.refusals import Reason, RefusalCounter, Refusals
from edgekit.telemetry.window import FORMAT, Health
from edgekit.wire import Topics
from edgekit_agent.config import Config
from edgekit_agent.rules.backlog import MOST_IN_FLIGHT, Drop, Entry, Merge, relief
from edgekit_agent.rules.state import Moment
from edgekit_agent.storage import spool
from edgekit_agent.storage.spool import Spool
from edgekit_agent.supervision.attendant import Stats
from edgekit_agent.supervision.telemetry import Telemetry
from tests.agent.test_report import configuration

TOPICS = Topics(fleet="demo")
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
T = TypeVar("T")
MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0
LOSS, DUPLICATION = 0.3, 0.2
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - SQLite waits for disks


class Channel:
    """A transport that loses, repeats and swaps what passes, in both directions."""

    dropped = 0

    def __init__(self, world: "World") -> None:
        self._world = world

    def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False
    ) -> None:
        assert topic == TOPICS.telemetry(self._world.name)
        assert (qos, retain) == (1, False)
        assert self._world.online
        self._world.sent_bytes.append((self._world.now_s, len(payload) + len(topic)))
        self._world.put(self._world.to_fleet, (self._world.name, payload))


class Way:
    """The other direction: what the fleet answers."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False
    ) -> None:
        assert topic == TOPICS.taken(self._world.config.device)  # the only one enrolled
        assert (qos, retain) == (1, False)
        self._world.put(self._world.to_device, payload)


class World:
    """One device, one fleet, and what lies between them."""

    def __init__(self, folder: Path, config: Config, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self.config = config
        self.now_s = 1_000.0
        self.online = False
        self.to_fleet: list[tuple[str, bytes]] = []
        self.to_device: list[bytes] = []
        self.sent_bytes: list[tuple[float, int]] = []
        self.waiting = 0  # counted in the worker, and not asked for yet
        self.made: dict[tuple[str, int], int] = {}  # requests of every window
        self.given_up: set[tuple[str, int]] = set()  # windows for which there was no room
        self.lives = 0
        self.name = config.device  # as the device calls itself
        self.foreign: set[tuple[str, int]] = set()  # windows made under another name
        self.answers = Acknowledgements()
        self.fleet_reads = FORMAT
        self.folder = folder / "telemetry"
        self.book = Book(folder / "fleet.db")
        self.book.enroll(
            Device(
                name=config.device,
                board=config.board,
                models=(("wine", "production"),),
                enrolled_by="test",
                enrolled_at=BEGIN,
            )
        )
        self.start()

    @property
    def at(self) -> Moment:
        return Moment(s=self.now_s, utc=self.utc.isoformat())

    @property
    def utc(self) -> datetime:
        return BEGIN + timedelta(seconds=self.now_s)

    def start(self) -> None:
        self.lives += 1
        self.spool = Spool(self.folder, most_bytes=self.config.telemetry_spool_bytes)
        channel = Channel(self)
        config = replace(self.config, device=self.name)
        self.refusals = RefusalCounter()
        self.device = Telemetry(
            config,
            channel,  # type: ignore[arg-type]  # all it uses
            self.spool,
            f"b-{self.lives}",
            refusals=self.refusals,
        )
        self.device.begin(self.at)
        if self.online:
            self.device.connected(self.at)

    def kill(self) -> None:
        """Take the whole device: what the worker had not told yet is lost, no more."""
        self.waiting = 0
        self.start()

    def stop(self) -> None:
        """End orderly: the worker tells the last, then all starts again."""
        self.checkpoint()
        self.start()

    def rename(self, name: str) -> None:
        """End orderly; from now on the device goes by another name."""
        self.checkpoint()
        self.name = name
        self.start()

    def count(self, requests: int) -> None:
        """Have the worker answer and refuse so many requests, and this process refuse."""
        self.waiting += requests
        self.refusals.add(Reason.ASK_BUSY, requests)

    def checkpoint(self) -> None:
        counted = BundleCounts(
            model="wine",
            version="1",
            flavor="fp32",
            sha256="a" * 64,
            requests=self.waiting,
            inputs=((self.waiting, 2 * self.waiting, 0),),
        )
        refused: Refusals = {Reason.HTTP_PATH: self.waiting} if self.waiting else {}
        stats = Stats(bundles=(counted,) if self.waiting else (), refusals=refused)
        with patch.object(spool, "relief", self._relief):
            window = self.device.counted(stats, Health(), self.at)
        self.made[window.boot_id, window.first] = self.waiting
        if self.name != self.config.device:
            self.foreign.add((window.boot_id, window.first))
        self.waiting = 0

    def _relief(
        self, entries: Sequence[Entry], most_bytes: int, unmergeable: Collection[int]
    ) -> Merge | Drop | None:
        order = relief(entries, most_bytes, unmergeable)
        if isinstance(order, Drop):
            one = order.entry
            numbers = range(one.first, one.last + 1)
            self.given_up |= {(one.boot_id, number) for number in numbers}
        return order

    def connect(self, *, online: bool) -> None:
        self.online = online
        if online:
            self.device.connected(self.at)
        else:
            self.device.disconnected()

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        if self.device.due(self.at):
            self.checkpoint()
        self.device.tick(self.at)
        if self.online:
            self.deliver()

    def put(self, queue: list[T], message: T) -> None:
        for _ in range(1 + (self.random.random() < DUPLICATION)):
            if self.random.random() >= LOSS:
                queue.insert(self.random.randint(0, len(queue)), message)

    def deliver(self) -> None:
        """Let some of what is under way arrive; the rest arrives later."""
        for _ in range(self.random.randint(0, len(self.to_fleet))):
            sender, payload = self.to_fleet.pop()
            with patch("edgekit.telemetry.window.FORMAT", self.fleet_reads):
                heard = self.book.hear_telemetry(sender, payload, self.utc)
            if heard is None:
                assert sender != self.config.device, self.book.garbage()
            else:
                self.answers.note(heard, self.now_s)
        self.answers.send(Way(self), TOPICS)  # type: ignore[arg-type]  # all it uses
        for _ in range(self.random.randint(0, len(self.to_device))):
            answer = self.to_device.pop()
            if self.name == self.config.device:
                self.device.taken(answer)

    def update_fleet(self) -> None:
        """Open the book with an edgekit that reads what the device writes."""
        self.fleet_reads = FORMAT
        self.book = Book(self.folder.parent / "fleet.db")

    def settle(self) -> None:
        """Let it run until the device has nothing left to tell."""
        self.rename(self.config.device)  # what is still open is then as long as it gets
        self.connect(online=True)
        for _ in range(60 * 24 * 6):
            if not self.spool.entries:
                return
            self.now_s += 10 * MINUTE_S  # nothing is counted any more
            self.device.tick(self.at)
            self.deliver()
        raise AssertionError(f"never told: {self.spool.entries}")

    @property
    def kept(self) -> int:
        """How many requests the device made windows of, under the name that counts."""
        return sum(self.made[one] for one in self.made.keys() - self.foreign)

    @property
    def told(self) -> int:
        """How many the fleet knows of; each window says what those it covers say."""
        known: set[tuple[str, int]] = set()
        total = 0
        for one in (counted.window for counted in self.book.windows("pi-7")):
            covered = {(one.boot_id, number) for number in range(one.first, one.last + 1)}
            assert known.isdisjoint(covered)
            known |= covered
            requests = sum(bundle.requests for bundle in one.bundles)
            counts = covered - self.foreign
            assert requests == sum(self.made[number] for number in counts)
            assert one.refused == len(covered & self.foreign)
            refusals = {Reason.HTTP_PATH: requests, Reason.ASK_BUSY: requests}
            assert one.refusals == (refusals if requests else {})
            assert all(b.inputs == ((requests, 2 * requests, 0),) for b in one.bundles)
            total += requests
        assert self.made.keys() - known <= self.given_up
        return total


@contextmanager
def world(seed: int = 0, **changes: int) -> Iterator[World]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder, patch.object(os, "fsync"):
        yield World(Path(folder), replace(configuration(), **changes), seed)  # type: ignore[arg-type]  # numbers all


steps = st.lists(
    st.one_of(
        st.tuples(st.just("count"), st.integers(1, 500)),
        st.tuples(st.just("minutes"), st.integers(1, 30)),
        st.tuples(st.just("hours"), st.integers(1, 48)),
        st.tuples(
            st.sampled_from(["kill", "stop", "online", "offline", "rename"]), st.just(0)
        ),
    ),
    max_size=30,
)
FORTNIGHT = [("count", 3), ("hours", 14 * 24), ("online", 0), ("count", 2), ("minutes", 9)]
# Sent, killed before the answer, and then so long offline that the spool is full.
FORGETFUL = [("online", 0), ("minutes", 6), ("offline", 0), ("kill", 0), ("hours", 60)]


# A day's windows under a name that the fleet does not take, and then under its own.
RENAMED = [("rename", 0), ("minutes", 30), ("rename", 0), ("minutes", 30), ("online", 0)]


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@example(todo=FORTNIGHT, seed=1, interval_s=60, kb_a_day=4096, spool_kb=1024)
@example(
    todo=[*FORTNIGHT, ("kill", 0), *FORTNIGHT],
    seed=2,
    interval_s=600,
    kb_a_day=64,
    spool_kb=128,
)
@example(
    todo=[*RENAMED, ("minutes", 3), ("kill", 0), ("minutes", 9)],
    seed=3,
    interval_s=60,
    kb_a_day=4096,
    spool_kb=1024,
)
@example(todo=FORGETFUL, seed=5, interval_s=60, kb_a_day=4096, spool_kb=128)
@given(
    todo=steps,
    seed=st.integers(0, 2**32),
    interval_s=st.sampled_from([5, 60, 600]),
    kb_a_day=st.sampled_from([64, 4096]),
    spool_kb=st.sampled_from([128, 1024]),
)
def test_totals_are_what_was_counted_and_nothing_counts_twice(
    todo: list[tuple[str, int]], seed: int, interval_s: int, kb_a_day: int, spool_kb: int
) -> None:
    with world(
        seed,
        telemetry_interval_s=interval_s,
        telemetry_kb_per_day=kb_a_day,
        telemetry_spool_kb=spool_kb,
    ) as found:
        for what, number in todo:
            match what:
                case "count":
                    found.count(number)
                case "minutes" | "hours":
                    for _ in range(number):
                        found.count(1)
                        found.pass_time(MINUTE_S if what == "minutes" else HOUR_S)
                case "kill":
                    found.kill()
                case "stop":
                    found.stop()
                case "rename":
                    found.rename("pi-6" if found.name == "pi-7" else "pi-7")
                case _:
                    found.connect(online=what == "online")
        found.settle()
        told = found.told
        if not found.given_up:
            assert told == found.kept
            refused = [one.refused for one in found.book.losses()]
            assert sum(refused) == len(found.foreign)
        strange = {one.reason for one in found.book.garbage()}
        assert strange <= {"never enrolled", "telemetry: counts as device pi-6"}


@pytest.mark.slow
def test_two_weeks_offline_of_every_minute_are_told_to_the_last_count() -> None:
    with world(telemetry_spool_kb=128) as found:
        for _ in range(14 * 24 * 12):
            found.count(7)
            found.pass_time(5 * MINUTE_S)
        spans = [entry.span for entry in found.spool.entries]
        assert len(spans) <= 32
        assert spans[0] > 5 * spans[-1]
        found.settle()
        assert found.told == found.kept == 14 * 24 * 12 * 7
        assert found.spool.take_losses() == (0, 0, 0)


@pytest.mark.slow
def test_a_fleet_with_nobody_listening_costs_at_most_the_budget() -> None:
    with world(telemetry_kb_per_day=64) as found:
        found.connect(online=True)
        with patch.object(found, "deliver"):
            for minute in range(2 * 24 * 60):
                found.count(minute % 7)
                found.pass_time(MINUTE_S)
        for day in range(2):
            begin = 1_000.0 + day * DAY_S
            of_day = [size for s, size in found.sent_bytes if begin < s <= begin + DAY_S]
            assert 0 < sum(of_day) <= 64 * 1024 + 4_096
        assert len([one for one in found.spool.entries if one.sent]) <= 8
        found.to_fleet.clear()
        found.settle()
        assert found.told == found.kept


@pytest.mark.slow
def test_a_budget_that_is_short_makes_windows_longer_instead_of_losing_them() -> None:
    with world(telemetry_kb_per_day=16) as found:
        found.connect(online=True)
        for minute in range(3 * 24 * 60):
            found.count(minute % 5)
            found.pass_time(MINUTE_S)
        assert len(found.spool.entries) < 100
        found.settle()
        assert found.told == found.kept
        spans = [
            one.window.last - one.window.first + 1 for one in found.book.windows("pi-7")
        ]
        assert max(spans) > 5


def test_a_full_disk_keeps_counts_in_memory_until_there_is_room() -> None:
    with world() as found:
        with patch("edgekit.atomic.os.replace", side_effect=OSError(28, "No space left")):
            for _ in range(5):
                found.count(3)
                found.pass_time(MINUTE_S)
        assert not found.spool.entries
        found.count(1)
        found.pass_time(MINUTE_S)
        assert [entry.span for entry in found.spool.entries] == [6]
        found.settle()
        assert found.told == found.kept == 16


def test_nothing_is_sent_before_the_disk_knows_that_it_may_have_arrived() -> None:
    with world() as found:
        found.count(3)
        found.pass_time(MINUTE_S)
        with patch("edgekit.atomic.sync_folder", side_effect=OSError(5, "I/O error")):
            found.connect(online=True)
            found.pass_time(1.0)
            assert not found.sent_bytes
        found.pass_time(1.0)
        assert len(found.sent_bytes) == 1
        found.settle()
        assert found.told == found.kept == 3


def test_a_stranger_who_says_taken_costs_telemetry_that_was_sent_and_no_other() -> None:
    with world() as found:
        found.count(3)
        found.pass_time(MINUTE_S)
        for message in (b"", b"{}", b'{"boot_id":"b-1","windows":[[1,99999]]}'):
            found.device.taken(message)
        assert len(found.spool.entries) == 1, "it was never sent"


def test_windows_that_a_fleet_never_counts_do_not_hold_up_the_others() -> None:
    with world() as found:
        found.rename("pi-6")
        for _ in range(12):
            found.count(5)
            found.pass_time(MINUTE_S)
        found.rename("pi-7")
        found.connect(online=True)
        for _ in range(60):
            found.count(1)
            found.pass_time(MINUTE_S)
        told = [one.window for one in found.book.windows("pi-7")]
        assert sum(b.requests for one in told for b in one.bundles) > 0, "held up"
        found.settle()
        assert found.told == found.kept == 60
        (lost,) = found.book.losses()
        assert (lost.device, lost.refused) == ("pi-7", len(found.foreign))


def test_windows_too_new_for_the_fleet_count_once_it_is_updated() -> None:
    with world() as found:
        found.fleet_reads = FORMAT - 1
        for _ in range(20):
            found.count(2)
            found.pass_time(MINUTE_S)
        found.connect(online=True)
        for _ in range(60):
            found.pass_time(MINUTE_S)
        assert list(found.book.windows("pi-7")) == []
        (waiting,) = found.book.losses()
        assert waiting.unread > MOST_IN_FLIGHT
        assert (waiting.dropped, waiting.corrupt, waiting.refused) == (0, 0, 0)

        found.update_fleet()
        assert list(found.book.windows("pi-7")), "counted as soon as the book is opened"
        found.settle()
        assert found.told == found.kept == 40
        assert (found.book.losses(), found.book.garbage()) == ((), ())
