"""A whole fetch through a real depot over a broker that loses, doubles, swaps and lies."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.depot.server import Depot, DepotOptions
from edgekit.errors import StoreError, TransportError, TrustError
from edgekit.statement import BundleEntry
from edgekit.wire import Chunk, Repair, Topics, Want, mix
from edgekit_agent.update.fetch import fetch_bundle
from edgekit_agent.update.standstill import Patience
from tests.failing_files import FailingFiles, PowerCutError, fill_disk
from tests.fakes import FakeBroker, FakeClock
from tests.repositories import RepositoryFolder

TOPICS = Topics(fleet="demo")
CHUNK_BYTES = 500
DATA = random.Random(2).randbytes(20_250)  # noqa: S311 - repeatable, not secret
CHUNKS = 41


class Fleet:
    """A depot that acts whenever a device waits, and one bundle to fetch."""

    def __init__(self, folder: Path, **knobs: float) -> None:
        self.clock = FakeClock()
        self.broker = FakeBroker(clock=self.clock, seed=3, **knobs)  # type: ignore[arg-type]  # floats only
        repository = RepositoryFolder(folder / "repository")
        self.entry, self.index = repository.release(DATA, chunk_bytes=CHUNK_BYTES)
        self.repository = repository
        self.folder = folder / "models"
        self.folder.mkdir()
        self.refused: list[int] = []  # what each fetch told
        self.start_depot()

    def start_depot(self) -> None:
        options = DepotOptions(clock=self.clock, poll_s=0)
        session = self.broker.connect("depot")
        self.depot = Depot(session, TOPICS, self.repository.path, options)
        self.broker.peers[:] = [lambda: self.depot.step(0.02)]
        for _ in range(3):
            self.depot.step(0)

    def fetch(
        self,
        *,
        files: FailingFiles | None = None,
        entry: BundleEntry | None = None,
        progress: Callable[[int, int], None] = lambda _here, _all: None,
        patience: Patience | None = None,
    ) -> Path:
        session = self.broker.connect("pi")
        try:
            return fetch_bundle(
                session,
                TOPICS,
                "pi",
                entry or self.entry,
                self.index,
                self.folder,
                progress=progress,
                clock=self.clock,
                refused=self.refused.append,
                patience=patience,
                files=files,
            )
        finally:
            session.close()

    def wants(self) -> list[Want]:
        topic = TOPICS.want("pi")
        return [Want.decode(p.payload) for p in self.broker.published if p.topic == topic]


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def test_a_bundle_arrives_whole_and_each_chunk_is_sent_once(fleet: Fleet) -> None:
    path = fleet.fetch()
    assert path.read_bytes() == DATA
    assert fleet.depot.served.chunks == CHUNKS
    assert [p.name for p in fleet.folder.iterdir()] == [path.name]


def test_a_finished_bundle_is_not_fetched_again(fleet: Fleet) -> None:
    path = fleet.fetch()
    assert fleet.fetch() == path
    assert fleet.depot.served.chunks == CHUNKS


def test_a_finished_bundle_that_rotted_is_fetched_again(fleet: Fleet) -> None:
    path = fleet.fetch()
    path.write_bytes(b"rotten" + DATA[6:])
    assert fleet.fetch().read_bytes() == DATA


def test_the_device_says_goodbye(fleet: Fleet) -> None:
    fleet.fetch()
    assert fleet.wants()[-1].missing == frozenset()


def test_progress_only_grows_and_ends_at_the_length(fleet: Fleet) -> None:
    seen: list[int] = []
    fleet.fetch(progress=lambda here, _all: seen.append(here))
    assert seen == sorted(seen)
    assert seen[-1] == len(DATA)


@pytest.mark.parametrize(
    "knobs",
    [
        {"loss": 0.3},
        {"duplication": 0.5},
        {"reorder": 0.5},
        {"loss": 0.6, "duplication": 0.3, "reorder": 0.3},
    ],
)
def test_a_bad_network_costs_time_and_nothing_else(
    tmp_path: Path, knobs: dict[str, float]
) -> None:
    fleet = Fleet(tmp_path, **knobs)
    assert fleet.fetch(patience=Patience(silent_s=3600)).read_bytes() == DATA


def garbage(_entry: BundleEntry) -> bytes:
    return b"\xff" * 400


def wrong_data(_entry: BundleEntry) -> bytes:
    return Chunk(epoch=1, sequence=1, number=0, data=b"evil" * 125).encode()


def wrong_number(_entry: BundleEntry) -> bytes:
    return Chunk(epoch=1, sequence=1, number=7, data=DATA[:CHUNK_BYTES]).encode()


def number_out_of_range(_entry: BundleEntry) -> bytes:
    return Chunk(epoch=1, sequence=1, number=10**6, data=DATA[:500]).encode()


def oversize(_entry: BundleEntry) -> bytes:
    return Chunk(epoch=1, sequence=1, number=0, data=DATA[:500] + b"x" * 120_000).encode()


def forged_sequence(_entry: BundleEntry) -> bytes:
    return Chunk(epoch=9, sequence=2**32 - 1, number=0, data=DATA[:500]).encode()


@pytest.mark.parametrize(
    "attack",
    [garbage, wrong_data, wrong_number, number_out_of_range, oversize, forged_sequence],
)
def test_a_hostile_publisher_costs_its_own_chunks_and_no_more(
    fleet: Fleet, attack: Callable[[BundleEntry], bytes]
) -> None:
    topic = TOPICS.blob(fleet.entry.sha256)
    fleet.broker.peers.insert(
        0, lambda: fleet.broker.inject(topic, attack(fleet.entry), qos=1)
    )
    assert fleet.fetch().read_bytes() == DATA
    assert fleet.depot.served.chunks <= 3 * CHUNKS
    genuine = attack is forged_sequence
    assert [count > 0 for count in fleet.refused] == ([] if genuine else [True])


def test_a_publisher_that_spoils_repairs_does_not_block_the_transfer(
    tmp_path: Path,
) -> None:
    fleet = Fleet(tmp_path, loss=0.2)
    spoiled = Repair(epoch=1, sequence=1, numbers=(0, 1), data=b"evil" * 125).encode()
    topic = TOPICS.repair(fleet.entry.sha256)
    fleet.broker.peers.insert(0, lambda: fleet.broker.inject(topic, spoiled, qos=1))
    assert fleet.fetch().read_bytes() == DATA
    assert fleet.wants()[0].coded
    assert not fleet.wants()[-1].coded


def test_a_repair_is_solved_with_what_lies_on_the_disk(fleet: Fleet) -> None:
    blob = fleet.repository.path / "blobs" / fleet.entry.sha256
    topic, sent = TOPICS.repair(fleet.entry.sha256), iter([True])
    pieces = [DATA[n * CHUNK_BYTES :][:CHUNK_BYTES] for n in (1, 40)]
    data = mix(pieces, CHUNK_BYTES)
    payload = Repair(epoch=1, sequence=1, numbers=(1, 40), data=data).encode()

    def only_the_repair_at_the_end(here: int, everything: int) -> None:
        if here == everything - len(pieces[1]) and next(sent, False):
            fleet.broker.inject(topic, payload)

    fleet.broker.loss = 0.0
    blob.write_bytes(DATA[:-250] + bytes(250))  # the depot has the last chunk wrong
    path = fleet.fetch(progress=only_the_repair_at_the_end)
    assert path.read_bytes() == DATA


def test_a_publisher_that_only_lies_is_soon_named_and_nothing_is_kept(
    fleet: Fleet,
) -> None:
    topic = TOPICS.blob(fleet.entry.sha256)
    fleet.broker.peers[:] = [
        lambda: fleet.broker.inject(topic, wrong_data(fleet.entry), qos=0)
    ]
    began = fleet.clock.now
    facts = r"chunk 0 of 41: \d+ messages did not match the signed digest; 0 of 20250 bytes"
    with pytest.raises(TransportError, match=facts):
        fleet.fetch()
    assert fleet.clock.now - began <= 20
    assert list(fleet.folder.iterdir()) == []


def test_a_blob_damaged_in_the_depot_is_named_and_what_is_right_of_it_stays(
    fleet: Fleet,
) -> None:
    blob = fleet.repository.path / "blobs" / fleet.entry.sha256
    blob.write_bytes(DATA[:1234] + b"!" + DATA[1235:])
    began = fleet.clock.now
    facts = r"chunk 2 of 41: \d+ messages did not .*; 19750 of 20250 bytes are here"
    with pytest.raises(TransportError, match=facts):
        fleet.fetch()
    assert fleet.clock.now - began <= 20
    blob.write_bytes(DATA)
    sent = fleet.depot.served.chunks
    assert fleet.fetch().read_bytes() == DATA
    assert fleet.depot.served.chunks == sent + 1


def test_no_depot_ends_the_fetch_for_now_and_the_next_attempt_resumes(
    fleet: Fleet,
) -> None:
    def stop_halfway(here: int, _all: int) -> None:
        if here > len(DATA) // 2:
            fleet.broker.peers.clear()

    with pytest.raises(TransportError, match=r"for 60 s; is the depot running.*resumes"):
        fleet.fetch(progress=stop_halfway)
    first = fleet.depot.served.chunks
    fleet.start_depot()
    assert fleet.fetch().read_bytes() == DATA
    assert first + fleet.depot.served.chunks == CHUNKS


def test_a_broker_that_dies_and_forgets_does_not_restart_the_download(
    fleet: Fleet,
) -> None:
    accidents = iter([True])

    def crash_once(here: int, _all: int) -> None:
        if here > len(DATA) // 2 and next(accidents, False):
            fleet.broker.kill(forget_retained=True)
            fleet.broker.restart()

    assert fleet.fetch(progress=crash_once).read_bytes() == DATA
    first_missing = [w for w in fleet.wants() if len(w.missing) == CHUNKS]
    assert len(first_missing) == 1
    assert fleet.depot.served.chunks <= CHUNKS + 32


def test_a_depot_that_restarts_goes_on(fleet: Fleet) -> None:
    accidents = iter([True])

    def restart_once(here: int, _all: int) -> None:
        if here > len(DATA) // 2 and next(accidents, False):
            fleet.start_depot()

    assert fleet.fetch(progress=restart_once).read_bytes() == DATA


@pytest.mark.parametrize("at", range(0, 46, 3))
def test_killed_at_any_write_the_next_fetch_takes_only_the_rest(
    fleet: Fleet, at: int
) -> None:
    files = FailingFiles(fail_at=at)
    with pytest.raises(PowerCutError):
        fleet.fetch(files=files)
    here: list[int] = []
    rest = files.after_kill()
    path = fleet.fetch(files=rest, progress=lambda h, _all: here.append(h))
    assert rest.read(path, 0, 10**6) == DATA
    wants = fleet.wants()
    resumed = next(w for w in reversed(wants) if w.epoch == 0)
    assert len(resumed.missing) <= CHUNKS - here[0] // CHUNK_BYTES


def test_a_full_disk_is_a_store_error_and_what_was_verified_stays(fleet: Fleet) -> None:
    files = FailingFiles(fail_at=20, fail=fill_disk)
    with pytest.raises(StoreError, match="No space left"):
        fleet.fetch(files=files)
    here: list[int] = []
    path = fleet.fetch(files=files.after_kill(), progress=lambda h, _all: here.append(h))
    assert here[0] >= 15 * CHUNK_BYTES
    assert path.name.startswith(fleet.entry.sha256)


def test_an_index_that_does_not_match_the_entry_touches_nothing(fleet: Fleet) -> None:
    lie = replace(fleet.entry, index_sha256="ab" * 32)
    with pytest.raises(TrustError, match="not the signed one"):
        fleet.fetch(entry=lie)
    assert list(fleet.folder.iterdir()) == []
    assert fleet.wants() == []


def test_a_bundle_that_rotted_while_it_was_fetched_is_repaired(fleet: Fleet) -> None:
    part = fleet.folder / f"{fleet.entry.sha256}.part"
    accidents = iter([True])

    def rot(here: int, everything: int) -> None:
        if here == everything and next(accidents, False):
            content = bytearray(part.read_bytes())
            content[1234] ^= 1
            part.write_bytes(content)

    assert fleet.fetch(progress=rot).read_bytes() == DATA
    assert fleet.depot.served.chunks == CHUNKS + 1
