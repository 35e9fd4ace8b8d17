"""One book takes a fleet's telemetry; whoever comes with another is told."""

import shutil
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgekit.errors import ConfigError
from edgekit.fleet.book import Book, Device
from edgekit.fleet.claim import ASK_S, ECHO_S, OBJECT_S, Claim, ClaimedError, Said
from edgekit.fleet.watch import Listener
from edgekit.inbox import Inbox
from edgekit.telemetry.taken import Taken
from edgekit.transport import Arrival, Connected, Message
from edgekit.wire import Topics
from tests.core.reports import window
from tests.fakes import FakeBroker, FakeClock, FakeTransport

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
TOPICS = Topics(fleet="demo")
MINE = Said(token="a", who="ada", at="")  # noqa: S106 - no secret
STEP_S = 0.25
ENOUGH = int((ASK_S + OBJECT_S) / STEP_S) + 20  # steps, for any claim to be settled


class SlowInbox(Inbox):
    """What the broker sends takes `late_s` seconds."""

    def __init__(self, clock: FakeClock, late_s: float) -> None:
        super().__init__(max_messages=1_000, max_bytes=2**20)
        self._clock, self._late_s = clock, late_s
        self._under_way: deque[tuple[float, Message, int]] = deque()

    def offer(self, message: Message, *, qos: int) -> bool:
        self._under_way.append((self._clock.now + self._late_s, message, qos))
        return True

    def take(self, timeout_s: float) -> Arrival | None:
        while self._under_way and self._under_way[0][0] <= self._clock.now:
            _, message, qos = self._under_way.popleft()
            super().offer(message, qos=qos)
        return super().take(timeout_s)


class Watch:
    """A listener with a claim, as `edgekit fleet watch` runs it; ended once it yields."""

    def __init__(
        self, broker: FakeBroker, clock: FakeClock, path: Path, *, take_over: bool = False
    ) -> None:
        self.book = Book(path)
        self.book.rows("PRAGMA synchronous = OFF")  # no power cut is tested here
        pi = Device(name="pi-7", board="b", models=(), enrolled_by="ada", enrolled_at=NOW)
        self.book.enroll_again(pi)
        said = Said(
            token=self.book.claim(), who=path.parent.name, at="12:00", take_over=take_over
        )
        self.claim = Claim(said, ours=self.book.claimed, now_s=clock.now)
        self.transport: FakeTransport = broker.connect(path.parent.name)
        self._heard = Listener(
            transport=self.transport,
            topics=TOPICS,
            book=self.book,
            now=lambda: NOW,
            monotonic=clock,
            claim=self.claim,
        ).follow(pause_s=STEP_S)
        self.ended = ""

    def step(self) -> None:
        if self.ended:
            return
        try:
            next(self._heard)
        except ClaimedError as error:
            self.ended = str(error)
            self.transport.close()

    def slow(self, clock: FakeClock, late_s: float) -> None:
        """Have what the broker sends come late; before the first step."""
        self.transport.inbox = SlowInbox(clock, late_s)
        self.transport.inbox.tell(Connected())

    def stop(self) -> None:
        self.ended = "stopped"
        self.transport.close()

    @property
    def windows(self) -> int:
        return len(list(self.book.windows("pi-7")))


class World:
    """A broker, a device and any number of watches, in a time that only waiting moves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.broker = FakeBroker(clock=self.clock)
        self.device = self.broker.connect("pi-7")
        self.device.subscribe(TOPICS.taken("pi-7"))
        self.watches: list[Watch] = []

    def watch(self, name: str, *, take_over: bool = False) -> Watch:
        path = self.folder / name / "fleet.db"
        made = Watch(self.broker, self.clock, path, take_over=take_over)
        self.watches.append(made)
        return made

    def settle(self) -> None:
        for _ in range(ENOUGH):
            for one in self.watches:
                one.step()

    def say(self, number: int) -> None:
        self.device.publish(TOPICS.telemetry("pi-7"), window(first=number))

    def answered(self) -> set[tuple[int, int]]:
        found: set[tuple[int, int]] = set()
        while (arrival := self.device.receive(0.0)) is not None:
            if isinstance(arrival, Message):
                found |= Taken.decode(arrival.payload).windows
        return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    for one in made.watches:
        one.book.__exit__(None, None, None)


def test_a_watch_answers_devices_once_nobody_objects(world: World) -> None:
    ada = world.watch("ada")
    ada.step()
    world.say(1)
    ada.step()
    assert (ada.windows, world.answered()) == (1, set())
    world.settle()
    assert world.answered() == {(1, 1)}


def test_a_second_book_is_refused_and_the_first_goes_on(world: World) -> None:
    ada = world.watch("ada")
    world.settle()
    bob = world.watch("bob")
    world.settle()
    assert bob.ended == (
        "telemetry: another book has it, of ada since 12:00; one book for each fleet is"
        " expected: run `edgekit fleet watch` only there, or have it here from now on with"
        " --take-over"
    )
    assert issubclass(ClaimedError, ConfigError)
    world.say(1)
    world.settle()
    assert (ada.ended, ada.windows, world.answered()) == ("", 1, {(1, 1)})


def test_a_second_book_is_refused_though_the_first_is_away(world: World) -> None:
    ada = world.watch("ada")
    world.settle()
    ada.stop()
    world.say(1)
    bob = world.watch("bob")
    world.settle()
    world.say(2)
    world.settle()
    assert bob.ended
    assert world.answered() == set(), "the device keeps them for the first"


def test_the_same_book_watches_again_after_a_kill_and_twice_at_once(world: World) -> None:
    world.watch("ada").stop()
    first = world.watch("ada")
    world.settle()
    again = world.watch("ada")
    world.settle()
    assert (first.ended, again.ended) == ("", "")
    world.say(1)
    world.settle()
    assert (first.windows, world.answered()) == (1, {(1, 1)})


def test_taking_over_ends_the_other_and_lasts(world: World) -> None:
    ada = world.watch("ada")
    world.settle()
    bob = world.watch("bob", take_over=True)
    world.settle()
    assert bob.ended == ""
    assert "of bob since 12:00" in ada.ended
    bob.stop()
    back = world.watch("bob")
    late = world.watch("ada")
    world.settle()
    assert (back.ended, bool(late.ended)) == ("", True)


@pytest.mark.parametrize("late_s", [0.8, 1.2, 1.8, 2.8])
def test_a_claim_that_comes_over_a_slow_line_is_heeded_and_stands(
    world: World, late_s: float
) -> None:
    ada = world.watch("ada")
    world.settle()
    ada.stop()
    before = world.broker.retained[TOPICS.book]
    for _ in range(2):
        bob = world.watch("bob")
        bob.slow(world.clock, late_s)
        world.settle()
        assert "of ada since 12:00" in bob.ended
        assert world.broker.retained[TOPICS.book] == before
    back = world.watch("ada")
    world.settle()
    world.say(1)
    world.settle()
    assert (back.ended, world.answered()) == ("", {(1, 1)})


@pytest.mark.parametrize("late_s", [0.8, 1.2, 1.8, 2.8])
def test_taking_over_succeeds_over_a_slow_line(world: World, late_s: float) -> None:
    ada = world.watch("ada")
    world.settle()
    ada.stop()
    bob = world.watch("bob", take_over=True)
    bob.slow(world.clock, late_s)
    world.settle()
    assert (bob.ended, bob.claim.held) == ("", True)
    back = world.watch("ada")
    world.settle()
    assert "of bob since" in back.ended


def test_of_a_book_that_was_asked_late_the_claim_is_put_back() -> None:
    """Some brokers send what they kept after what was published since."""
    claim = Claim(MINE, ours=lambda _: False, now_s=0.0)
    mine, theirs = claim.tick(ASK_S), Said(token="b", who="bob", at="").encode()  # noqa: S106
    assert mine is not None
    claim.heard(mine, ASK_S)
    with pytest.raises(ClaimedError) as told:
        claim.heard(theirs, ASK_S, retained=True)
    assert told.value.displaced == theirs


@pytest.mark.parametrize("between", [0, 1, 3, 5])
def test_of_two_that_begin_at_once_one_stays(world: World, between: int) -> None:
    ada = world.watch("ada")
    for _ in range(between):
        ada.step()
    bob = world.watch("bob")
    world.settle()
    assert bool(ada.ended) != bool(bob.ended)


def copied(world: World) -> None:
    (world.folder / "copy").mkdir()
    shutil.copy(world.folder / "ada/fleet.db", world.folder / "copy/fleet.db")


def test_a_copy_of_a_book_is_another_book(world: World) -> None:
    ada = world.watch("ada")
    world.settle()
    ada.stop()
    copied(world)
    again = world.watch("ada")
    world.settle()
    copy = world.watch("copy")
    world.settle()
    assert again.ended == ""
    assert "of ada since" in copy.ended


def test_a_copy_of_a_book_that_is_in_use_is_another_book(world: World) -> None:
    ada = world.watch("ada")
    world.settle()
    copied(world)
    for _ in range(2):  # what was objected to once stays so
        copy = world.watch("copy")
        world.settle()
        assert "of ada since" in copy.ended
        assert ada.ended == ""
    world.watch("ada")
    world.settle()
    assert ada.ended == ""
    moved = world.watch("copy", take_over=True)
    world.settle()
    assert (moved.ended, "of copy since" in ada.ended) == ("", True)
    moved.stop()
    again = world.watch("copy")
    world.settle()
    assert again.ended == ""


def test_a_copy_that_watches_while_the_first_is_away_is_noticed_by_it(
    world: World,
) -> None:
    ada = world.watch("ada")
    world.settle()
    ada.stop()
    copied(world)
    copy = world.watch("copy")
    world.settle()
    back = world.watch("ada")
    world.settle()
    assert (copy.ended, "of copy since" in back.ended) == ("", True)


def test_a_broker_that_forgot_everything_is_told_again(world: World) -> None:
    ada = world.watch("ada")
    world.settle()
    world.broker.kill(forget_retained=True)
    world.settle()
    world.broker.restart()
    world.settle()
    bob = world.watch("bob")
    world.settle()
    assert (ada.ended, bool(bob.ended)) == ("", True)


def test_a_watch_that_was_cut_off_yields_to_who_took_over(world: World) -> None:
    ada = world.watch("ada")
    world.settle()
    ada.transport.session_ended("the cable is out")
    bob = world.watch("bob", take_over=True)
    world.settle()
    ada.transport.reconnect()
    world.settle()
    assert (bool(ada.ended), bob.ended) == (True, "")


def test_a_broker_that_keeps_no_claim_is_told_of_and_telemetry_flows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    claim = Claim(MINE, ours=lambda _: False, now_s=0.0)
    assert claim.tick(ASK_S) is not None
    assert claim.tick(ASK_S + ECHO_S - 1) is None
    assert not claim.held
    claim.tick(ASK_S + ECHO_S)
    assert claim.held
    assert "must let the operator write and read the fleet's topic `book`" in caplog.text


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff",
        b"[]",
        b'{"token":"\\u001b","who":"","at":""}',
        b" " * 5_000,
        Said(token="x" * 301, who="", at="").encode(),
    ],
)
def test_garbage_claims_nothing(garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    claim = Claim(MINE, ours=lambda _: False, now_s=0.0)
    assert claim.heard(garbage, 0.0) is None
    assert claim.heard(b"", 0.0) is None
    assert len(caplog.records) == 1
