"""The depot over a fake broker: what is retained, what is sent, what is survived."""

import logging
import random
import re
from pathlib import Path

import pytest

from edgekit.depot.schedule import ScheduleRules
from edgekit.depot.server import Depot, DepotOptions
from edgekit.depot.throttle import Throttle
from edgekit.transport import Message
from edgekit.wire import Chunk, Repair, Topics, Want, decode_names
from tests.fakes import FakeBroker, FakeClock, FakeTransport
from tests.repositories import RepositoryFolder

TOPICS = Topics(fleet="demo")
DATA = random.Random(1).randbytes(1000)  # noqa: S311 - repeatable, not secret


class World:
    """A broker, a depot, a repository, and a device's session."""

    def __init__(self, folder: Path, options: DepotOptions | None = None) -> None:
        self.clock = FakeClock()
        self.broker = FakeBroker(clock=self.clock)
        self.repository = RepositoryFolder(folder / "repository")
        self.options = options or DepotOptions(
            clock=self.clock, rules=ScheduleRules(gather_s=0)
        )
        self.depot = self.new_depot()
        self.device = self.broker.connect("pi")

    def new_depot(self) -> Depot:
        transport = self.broker.connect("depot")
        folder = self.repository.path
        return Depot(transport, TOPICS, folder, self.options)

    def turn(self, times: int = 3) -> None:
        for _ in range(times):
            self.depot.step(1.0)

    def retained(self) -> dict[str, bytes]:
        names = decode_names(self.broker.retained.get(TOPICS.index, b""))
        return {name: self.broker.retained[TOPICS.file(name)] for name in names}

    def topics_published(self) -> list[str]:
        published = [p.topic for p in self.broker.published]
        self.broker.published.clear()
        return published

    def ask(self, want: Want, device: str = "pi") -> None:
        self.device.publish(TOPICS.want(device), want.encode(), qos=1)


def chunks_for(device: FakeTransport) -> list[Chunk]:
    chunks = []
    while (arrival := device.inbox.take(0)) is not None:
        if isinstance(arrival, Message):
            chunks.append(Chunk.decode(arrival.payload))
    return chunks


def want_all(sha256: str, chunks: int, **changes: object) -> Want:
    fields = {"epoch": 0, "last_sequence": 0, "window": 100, "chunks": chunks}
    missing = frozenset(range(chunks))
    return Want(sha256=sha256, **{"missing": missing, **fields, **changes})  # type: ignore[arg-type]  # a test's shorthand


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_files_are_retained_under_their_names(world: World) -> None:
    world.repository.put("1.root.json", b"root")
    world.repository.put("targets/models/wine/ab.1.json", b"{}")
    world.repository.stamp()
    world.turn()
    assert world.retained() == {
        "1.root.json": b"root",
        "targets/models/wine/ab.1.json": b"{}",
        "timestamp.json": b'{"version":1}',
    }


def test_nothing_is_published_before_there_is_a_timestamp(world: World) -> None:
    world.repository.put("1.root.json", b"root")
    world.turn()
    assert world.retained() == {}


def test_files_come_first_then_the_index_then_the_timestamp_then_what_vanished(
    world: World,
) -> None:
    world.repository.put("a.json", b"a")
    world.repository.stamp()
    world.turn()
    world.topics_published()
    world.repository.remove("a.json")
    world.repository.put("b.json", b"b")
    world.repository.stamp()
    world.turn()
    assert world.topics_published() == [
        TOPICS.file("b.json"),
        TOPICS.index,
        TOPICS.file("timestamp.json"),
        TOPICS.file("a.json"),
    ]
    assert TOPICS.file("a.json") not in world.broker.retained


def test_only_what_changed_is_published_again(world: World) -> None:
    world.repository.put("a.json", b"a")
    world.repository.put("b.json", b"b")
    world.repository.stamp()
    world.turn()
    world.topics_published()
    world.turn(5)
    assert world.topics_published() == []
    world.repository.put("b.json", b"new")
    world.repository.stamp()
    world.turn()
    assert world.topics_published() == [
        TOPICS.file("b.json"),
        TOPICS.file("timestamp.json"),
    ]


def test_half_written_files_are_not_offered(world: World) -> None:
    world.repository.put(".a.json.x.tmp", b"half")
    world.repository.stamp()
    world.turn()
    assert set(world.retained()) == {"timestamp.json"}


def test_a_file_beyond_the_message_limit_is_left_out_and_said(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.repository.put("9.models.json", b"x" * 200_000)
    world.repository.stamp()
    world.turn()
    assert set(world.retained()) == {"timestamp.json"}
    assert "not offered" in caplog.text


def test_names_of_an_earlier_depot_that_are_files_no_more_are_cleared(
    world: World,
) -> None:
    world.repository.put("old.json", b"old")
    world.repository.stamp()
    world.turn()
    world.repository.remove("old.json")
    world.repository.stamp()
    world.depot = world.new_depot()
    world.turn(4)
    assert TOPICS.file("old.json") not in world.broker.retained
    assert set(world.retained()) == {"timestamp.json"}


def test_everything_is_retained_again_after_the_broker_lost_it(world: World) -> None:
    world.repository.put("a.json", b"a")
    world.repository.stamp()
    world.turn()
    world.broker.kill(forget_retained=True)
    world.turn()
    world.broker.restart()
    world.turn()
    assert set(world.retained()) == {"a.json", "timestamp.json"}


def test_wanted_chunks_are_sent_with_their_numbers_and_data(world: World) -> None:
    entry, _ = world.repository.release(DATA, chunk_bytes=300)
    world.turn()
    world.device.subscribe(TOPICS.blob(entry.sha256), qos=0)
    world.ask(want_all(entry.sha256, 4))
    world.turn()
    chunks = chunks_for(world.device)
    assert [(c.number, c.sequence) for c in chunks] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert b"".join(c.data for c in chunks) == DATA
    assert {len(c.data) for c in chunks} == {300, 100}


def test_what_several_lost_goes_out_once_as_a_repair(world: World) -> None:
    entry, _ = world.repository.release(DATA, chunk_bytes=300)
    world.turn()
    world.device.subscribe(TOPICS.repair(entry.sha256), qos=0)
    for name, number in (("a", 0), ("b", 3)):
        asked = want_all(
            entry.sha256, entry.chunks, missing=frozenset({number}), coded=True
        )
        world.ask(asked, device=name)
    world.turn()
    arrival = world.device.inbox.take(0)
    while not isinstance(arrival, Message):
        assert arrival is not None
        arrival = world.device.inbox.take(0)
    repair = Repair.decode(arrival.payload)
    assert repair.numbers == (0, 3)
    last = DATA[900:].ljust(300, b"\0")
    assert repair.data == bytes(a ^ b for a, b in zip(DATA[:300], last, strict=True))
    assert (world.depot.served.chunks, world.depot.served.repairs) == (1, 1)


def test_bundles_take_turns(world: World) -> None:
    first, _ = world.repository.release(DATA, chunk_bytes=100)
    second, _ = world.repository.release(DATA[::-1], chunk_bytes=100, model="iris")
    world.turn()
    for entry in (first, second):
        world.device.subscribe(TOPICS.blob(entry.sha256), qos=0)
        world.ask(want_all(entry.sha256, 10))
    world.turn(1)
    world.topics_published()
    world.turn(1)
    sent = world.topics_published()
    assert sent.count(TOPICS.blob(first.sha256)) == 4
    assert sent.count(TOPICS.blob(second.sha256)) == 4


@pytest.mark.parametrize(
    "payload", [b"", b"\x01", b"\x02" + bytes(60), b"\x01" + bytes(48), bytes(200)]
)
def test_malformed_wants_are_counted_and_logged(
    world: World, payload: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    world.repository.release(DATA, chunk_bytes=100)
    world.turn()
    world.device.publish(TOPICS.want("pi"), payload)
    world.turn()
    assert world.depot.served.malformed_wants == 1
    assert "want:" in caplog.text


def test_a_want_with_the_wrong_number_of_chunks_is_malformed(world: World) -> None:
    entry, _ = world.repository.release(DATA, chunk_bytes=100)
    world.turn()
    world.ask(want_all(entry.sha256, 11))
    world.turn()
    assert world.depot.served.malformed_wants == 1
    assert world.depot.served.chunks == 0


def test_a_want_for_an_unknown_bundle_is_ignored(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.repository.stamp()
    world.turn()
    with caplog.at_level(logging.DEBUG):
        world.ask(want_all("ab" * 32, 4))
        world.turn()
    assert "unknown abababababab" in caplog.text
    assert world.depot.served.malformed_wants == 0


def test_a_bundle_file_that_vanished_is_said_once_and_served_when_it_is_back(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    entry, _ = world.repository.release(DATA, chunk_bytes=100)
    other, _ = world.repository.release(DATA[::-1], chunk_bytes=100, model="iris")
    blob = world.repository.path / "blobs" / entry.sha256
    world.turn()
    blob.rename(blob.with_suffix(".away"))
    world.device.subscribe(TOPICS.blob(entry.sha256), TOPICS.blob(other.sha256), qos=0)
    world.ask(want_all(other.sha256, 10))
    with caplog.at_level(logging.INFO):
        for _ in range(20):
            world.ask(want_all(entry.sha256, 10))
            world.turn()
            world.clock.now += 1
    assert caplog.text.count("asks for 10 of 10") == 2
    assert caplog.text.count("No such file or directory; not served until") == 1
    assert len(chunks_for(world.device)) == 10, "the other bundle does not suffer"

    blob.with_suffix(".away").rename(blob)
    world.clock.now += 10
    world.ask(want_all(entry.sha256, 10))
    with caplog.at_level(logging.INFO):
        world.turn()
    assert b"".join(chunk.data for chunk in chunks_for(world.device)) == DATA
    assert "it can be read again" in caplog.text


def test_a_bundle_cut_short_while_it_is_served_sends_no_short_chunk(world: World) -> None:
    entry, _ = world.repository.release(DATA, chunk_bytes=100)
    world.turn()
    world.device.subscribe(TOPICS.blob(entry.sha256), qos=0)
    (world.repository.path / "blobs" / entry.sha256).write_bytes(DATA[:250])
    world.ask(want_all(entry.sha256, 10))
    world.turn()
    assert [len(chunk.data) for chunk in chunks_for(world.device)] == [100, 100]


def test_a_folder_that_vanishes_takes_nothing_from_devices_and_is_served_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    entry, _ = world.repository.release(DATA, chunk_bytes=100)
    world.turn()
    before = world.retained()
    path = world.repository.path
    path.rename(path.with_name("away"))
    for _ in range(10):
        world.clock.now += 2
        world.turn()
    assert world.retained() == before
    assert caplog.text.count("what was published stays") == 1

    path.with_name("away").rename(path)
    world.clock.now += 2
    with caplog.at_level(logging.INFO):
        world.turn()
    assert "can be read again" in caplog.text
    world.ask(want_all(entry.sha256, 10))
    world.turn()
    assert world.depot.served.chunks == 10


def test_ten_thousand_garbage_wants_cost_a_line_and_delay_nobody(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    entry, _ = world.repository.release(DATA, chunk_bytes=100)
    world.turn()
    garbage = random.Random(6)  # noqa: S311 - repeatable
    for n in range(10_000):
        payload = garbage.randbytes(garbage.randrange(100))
        world.device.publish(TOPICS.want(f"d{n}"), payload)
        if n == 5_000:
            world.ask(want_all(entry.sha256, 10))
    world.turn(60)
    assert world.depot.served.wants == 10_001
    assert world.depot.served.malformed_wants > 9_000
    assert world.depot.served.chunks == 10
    assert len(caplog.records) == 1
    world.clock.now += 100
    world.device.publish(TOPICS.want("d"), b"")
    world.turn()
    assert re.search(r"ignored \(9\d\d\d more since", caplog.text)


def test_the_log_says_who_asked_who_has_it_and_what_it_cost(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    entry, _ = world.repository.release(DATA, chunk_bytes=100)
    with caplog.at_level(logging.INFO):
        world.turn()
        for name in ("pi-1", "pi-2"):
            world.ask(want_all(entry.sha256, 10), name)
        world.turn()
        world.clock.now += 3
        for name in ("pi-1", "pi-2"):
            world.ask(want_all(entry.sha256, 10, missing=frozenset()), name)
        world.turn()
    subject = f"wine 1 fp32 ({entry.sha256[:12]})"
    assert [record.getMessage() for record in caplog.records] == [
        "serving 4 files and 1 bundles",
        f"{subject}: pi-1 asks for 10 of 10 chunks",
        f"{subject}: pi-2 asks for 10 of 10 chunks",
        f"{subject}: pi-1 has it, after 3.0 s",
        f"{subject}: pi-2 has it, after 3.0 s",
        (
            f"{subject}: nobody asks any more; 2 devices have it, 0.0 MB sent in 3.0 s,"
            " 1.00 times the bundle"
        ),
    ]


def test_a_chunk_index_is_offered_while_a_stage_points_at_its_bundle(world: World) -> None:
    old, _ = world.repository.release(DATA, chunk_bytes=100)
    new, _ = world.repository.release(DATA[::-1], chunk_bytes=100)
    indexes = [f"index/{entry.index_sha256}" for entry in (old, new)]
    for pointed_at, offered in [((old, new), [0, 1]), ((new,), [1]), ((old,), [0])]:
        world.repository.point("wine", *pointed_at)
        world.repository.stamp()
        world.clock.now += 2
        world.turn()
        found = world.retained()
        assert [n for n, name in enumerate(indexes) if name in found] == offered
        assert sum("index/" in topic for topic in found) == len(offered)


def test_more_names_than_the_index_holds_are_said_and_devices_keep_what_they_had(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.repository.stamp()
    world.turn()
    names = [f"targets/models/wine/{n:064}.{n}.json" for n in range(1600)]
    for name in names:
        world.repository.put(name, b"{}")
    world.repository.stamp()
    for _ in range(5):
        world.clock.now += 2
        world.turn()
    said = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len(said) == 1
    assert "1601 names take" in said[0]
    assert "withdraw release records" in said[0]
    assert world.retained() == {"timestamp.json": b'{"version":1}'}
    for name in names[:800]:
        world.repository.remove(name)
    world.repository.stamp()
    world.clock.now += 2
    world.turn()
    assert len(world.retained()) == 801


def test_an_unreadable_record_leaves_the_others_served(world: World) -> None:
    entry, _ = world.repository.release(DATA, chunk_bytes=100)
    world.repository.put("targets/models/evil/cd.1.json", b"{not json")
    world.repository.stamp()
    world.turn()
    world.ask(want_all(entry.sha256, 10))
    world.turn()
    assert world.depot.served.chunks == 10


def test_a_file_that_cannot_be_read_is_said_and_tried_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    files = world.repository.path / "files"
    (files / "timestamp.json").mkdir()
    world.turn()
    assert "Is a directory" in caplog.text
    (files / "timestamp.json").rmdir()
    world.repository.stamp()
    world.turn()
    assert set(world.retained()) == {"timestamp.json"}


def test_a_new_depot_draws_a_new_epoch(world: World) -> None:
    entry, _ = world.repository.release(DATA, chunk_bytes=100)
    epochs = set()
    for _ in range(2):
        world.turn()
        world.device.subscribe(TOPICS.blob(entry.sha256), qos=0)
        world.ask(want_all(entry.sha256, 10))
        world.turn()
        epochs |= {chunk.epoch for chunk in chunks_for(world.device)}
        world.depot = world.new_depot()
    assert len(epochs) == 2
    assert 0 not in epochs


def test_no_chunk_is_sent_while_the_broker_is_gone(world: World) -> None:
    entry, _ = world.repository.release(DATA, chunk_bytes=100)
    world.turn()
    world.ask(want_all(entry.sha256, 10, window=1))
    world.turn()
    world.broker.kill()
    world.turn()
    before = world.depot.served.chunks
    world.clock.now += 100
    world.turn(10)
    assert world.depot.served.chunks == before


def test_a_rate_limit_is_kept(tmp_path: Path) -> None:
    clock = FakeClock()
    options = DepotOptions(
        clock=clock, bytes_per_s=200, rules=ScheduleRules(gather_s=0, quiet_s=100)
    )
    world = World(tmp_path, options)
    world.clock = world.broker.clock = clock
    entry, _ = world.repository.release(DATA, chunk_bytes=100)
    world.turn()
    world.ask(want_all(entry.sha256, 10))
    start = clock.now
    while world.depot.served.chunks < 10:
        world.turn(1)
    assert clock.now - start == pytest.approx(1000 / 200, rel=0.25)


def test_the_only_device_that_a_depot_has_served_waits_for_nobody(tmp_path: Path) -> None:
    clock = FakeClock()
    world = World(tmp_path, DepotOptions(clock=clock))
    world.clock = world.broker.clock = clock
    waits = []
    for data in (DATA, DATA[::-1]):
        entry, _ = world.repository.release(data, chunk_bytes=100)
        world.turn()
        world.ask(want_all(entry.sha256, 10))
        begun, before = clock.now, world.depot.served.chunks
        while world.depot.served.chunks == before:
            world.depot.step(0.01)
        waits.append(clock.now - begun)
        world.ask(want_all(entry.sha256, 10, missing=frozenset()))
        world.turn()
    gather_s = ScheduleRules().gather_s
    assert waits == [pytest.approx(gather_s, abs=0.02), pytest.approx(0, abs=0.02)]


def test_a_throttle_without_a_limit_never_waits() -> None:
    throttle = Throttle(None)
    throttle.spend(10**12)
    assert throttle.wait_s(0) == 0
