"""What the broker did not keep is noticed by reading it back, and published again."""

from pathlib import Path

import pytest

from edgekit.depot.readback import Answer, Readback, ReadbackRules
from edgekit.depot.server import Depot, DepotOptions
from edgekit.wire import Topics
from tests.fakes import FakeBroker, FakeClock, FakeTransport
from tests.repositories import RepositoryFolder
from tests.trust.simulator import Simulator

TOPICS = Topics(fleet="demo")
RULES = ReadbackRules()
A, B = TOPICS.file("a.json"), TOPICS.file("b.json")
TIMESTAMP = TOPICS.file("timestamp.json")


# --- the decision -----------------------------------------------------------------------


def test_what_was_published_is_asked_for_once_it_has_settled() -> None:
    readback = Readback()
    readback.published(A, b"1", 0)
    assert readback.due(RULES.settle_s - 0.1) == ()
    assert readback.due(RULES.settle_s) == (A,)
    assert readback.due(RULES.settle_s) == ()
    assert readback.answered(A, b"1") is Answer.KEPT
    assert readback.due(RULES.every_s - 1) == ()


def test_another_message_than_the_one_that_was_published_is_a_loss() -> None:
    readback = Readback()
    readback.published(A, b"2", 0)
    readback.due(RULES.settle_s)
    assert readback.answered(A, b"1") is Answer.OTHER
    assert readback.lost(A)


def test_nothing_in_time_is_a_loss_too() -> None:
    readback = Readback()
    readback.published(A, b"1", 0)
    readback.due(RULES.settle_s)
    assert readback.unanswered(RULES.settle_s + RULES.answer_s - 1) == ()
    assert readback.unanswered(RULES.settle_s + RULES.answer_s) == (A,)


def test_attempts_come_later_and_later_and_end() -> None:
    readback = Readback()
    now, waits = 0.0, []
    for _ in range(RULES.most_attempts):
        readback.published(A, b"2", now)
        wait_s = next(s for s in range(1, 200) if readback.due(now + s))
        waits.append(wait_s)
        now += wait_s
        readback.answered(A, b"1")
        assert readback.lost(A)
    assert waits == [2, 4, 8, 16, 32, 64]
    readback.published(A, b"2", now)
    readback.due(now + 200)
    assert not readback.lost(A)


def test_another_content_is_tried_from_the_beginning() -> None:
    readback = Readback()
    readback.published(A, b"1", 0)
    readback.due(2)
    readback.answered(A, b"0")
    assert readback.lost(A)
    readback.published(A, b"2", 3)
    assert readback.due(3 + RULES.settle_s) == (A,)


def test_a_broker_that_gives_nothing_back_is_not_asked_for_long() -> None:
    readback = Readback()
    now = 0.0
    for expected in (True, True, False):
        readback.published(A, b"1", now)
        readback.due(now + 100)
        assert readback.lost(A) is expected
        now += 100
    assert not readback.may_read


def test_no_more_are_asked_for_at_once_than_a_session_may() -> None:
    readback = Readback()
    for number in range(100):
        readback.published(f"t/{number}", b"1", 0)
    assert len(readback.due(10)) == RULES.most_asked
    assert readback.due(10) == ()


def test_in_time_all_are_looked_at_again_some_at_a_time() -> None:
    readback = Readback(ReadbackRules(most_asked=2, every_s=100))
    readback.due(0)
    for topic in ("a", "b", "c"):
        readback.published(topic, b"1", 0)
    for _ in range(2):
        for topic in readback.due(5):
            readback.answered(topic, b"1")
    seen = []
    for now in (100, 200, 300):
        for topic in readback.due(now):
            seen.append(topic)
            readback.answered(topic, b"1")
    assert seen == ["a", "b", "c", "a", "b", "c"]


def test_a_stranger_s_message_is_doubted_and_our_own_is_not() -> None:
    readback = Readback()
    readback.published(A, b"1", 0)
    readback.due(2)
    readback.answered(A, b"1")
    readback.heard(A, b"1", 10)
    assert readback.due(20) == ()
    readback.heard(A, b"2", 20)
    assert readback.due(20 + RULES.settle_s) == (A,)


# --- the depot --------------------------------------------------------------------------


class World:
    """A broker that can forget, a repository, its depots."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.broker = FakeBroker(clock=self.clock)
        self.repository = RepositoryFolder(folder / "repository")
        self.depots: list[Depot] = []
        self.transports: list[FakeTransport] = []

    def depot(self, repository: Path | None = None) -> Depot:
        transport = self.broker.connect(f"depot-{len(self.depots)}")
        options = DepotOptions(clock=self.clock)
        depot = Depot(transport, TOPICS, repository or self.repository.path, options)
        self.depots.append(depot)
        self.transports.append(transport)
        return depot

    def pass_time(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while self.clock.now < end:
            for depot in self.depots:
                depot.step(0.5)

    def published(self, topic: str) -> int:
        return sum(1 for said in self.broker.published if said.topic == topic)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_message_that_was_acknowledged_and_not_kept_is_published_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.repository.put("a.json", b"a")
    world.repository.put("b.json", b"b")
    world.repository.stamp()
    world.depot()
    world.pass_time(1)
    del world.broker.retained[A]
    world.broker.retained[B] = b"old"
    world.pass_time(30)
    assert (world.broker.retained[A], world.broker.retained[B]) == (b"a", b"b")
    assert "not retained as they were published" in caplog.text


def test_devices_are_told_again_after_what_was_lost(world: World) -> None:
    world.repository.put("a.json", b"a")
    world.repository.stamp()
    world.depot()
    world.pass_time(1)
    world.broker.retained[A] = b"old"
    world.broker.published.clear()
    world.pass_time(30)
    assert [said.topic for said in world.broker.published] == [A, TIMESTAMP]


def test_what_is_kept_is_published_once(world: World) -> None:
    world.repository.put("a.json", b"a")
    world.repository.stamp()
    world.depot()
    world.pass_time(4 * RULES.every_s)
    assert [world.published(t) for t in (A, TIMESTAMP, TOPICS.index)] == [1, 1, 1]


def test_a_loss_that_comes_later_is_found_in_time(world: World) -> None:
    world.repository.put("a.json", b"a")
    world.repository.stamp()
    world.depot()
    world.pass_time(60)
    del world.broker.retained[A]
    world.pass_time(2 * RULES.every_s)
    assert world.broker.retained[A] == b"a"


@pytest.mark.parametrize("topic", [TIMESTAMP, TOPICS.index])
def test_a_stranger_s_timestamp_or_index_is_replaced_at_once(
    world: World, topic: str
) -> None:
    world.repository.put("a.json", b"a")
    world.repository.stamp()
    world.depot()
    world.pass_time(60)
    ours = world.broker.retained[topic]
    world.broker.inject(topic, b"forged", qos=1, retain=True)
    world.pass_time(10)
    assert world.broker.retained[topic] == ours


def test_a_broker_that_keeps_nothing_is_not_flooded(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.repository.put("a.json", b"a")
    world.repository.stamp()
    world.depot()
    end = world.clock.now + 600
    while world.clock.now < end:
        world.broker.retained.clear()
        world.pass_time(1)
    assert world.published(TIMESTAMP) <= 1 + 3 * RULES.most_attempts
    assert "let a depot read it" in caplog.text or "does not keep it" in caplog.text


def test_the_depot_asks_for_few_files_at_a_time_and_stays_subscribed_to_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[set[str]] = []

    def subscribe(transport: FakeTransport, *filters: str, qos: int = 1) -> None:
        subscribed(transport, *filters, qos=qos)
        asked.append(set(transport.filters))

    subscribed = FakeTransport.subscribe
    monkeypatch.setattr(FakeTransport, "subscribe", subscribe)
    for number in range(100):
        world.repository.put(f"{number}.json", b"x")
    world.repository.release(b"x" * 900, chunk_bytes=300)
    world.depot()
    always = asked[-1]
    world.pass_time(60)
    assert len(set.union(*asked)) > len(always) + 100
    assert max(map(len, asked)) <= len(always) + RULES.most_asked
    assert not [topic for topic in set.union(*asked) if "/blob/" in topic]
    assert set(world.transports[0].filters) == always


# --- copies of one repository -----------------------------------------------------------


def offer(folder: Path, simulator: Simulator) -> None:
    for name, data in sorted(
        simulator.files.items(), key=lambda file: file[0] == "timestamp.json"
    ):
        path = folder / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def test_an_old_copy_of_the_repository_yields_to_a_newer_one(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    simulator = Simulator()
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        (folder / "blobs").mkdir(parents=True)
        offer(folder, simulator)
    simulator.release("2", 2)
    offer(new, simulator)
    world.depot(new)
    world.pass_time(5)
    world.depot(old)  # it publishes first, and reads then
    world.pass_time(30)
    assert world.broker.retained[TIMESTAMP] == simulator.files["timestamp.json"]
    assert "is an old copy" in caplog.text
    world.broker.published.clear()
    world.pass_time(120)
    assert world.published(TIMESTAMP) == 0, "they fight"
    simulator.release("3", 3)
    offer(old, simulator)
    world.pass_time(30)
    assert world.broker.retained[TIMESTAMP] == simulator.files["timestamp.json"]


def test_a_newer_timestamp_by_strange_keys_silences_nobody(
    world: World, tmp_path: Path
) -> None:
    simulator, stranger = Simulator(), Simulator()
    folder = tmp_path / "own"
    (folder / "blobs").mkdir(parents=True)
    offer(folder, simulator)
    for rollout in range(2, 9):
        stranger.release(str(rollout), rollout)
    world.depot(folder)
    world.pass_time(30)
    forged = stranger.files["timestamp.json"]
    world.broker.inject(TIMESTAMP, forged, qos=1, retain=True)
    world.pass_time(10)
    assert world.broker.retained[TIMESTAMP] == simulator.files["timestamp.json"]
