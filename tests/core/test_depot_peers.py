"""Several depots at one broker: one serves each bundle, whichever of them die."""

import random
from pathlib import Path

import pytest

from edgekit.depot.peers import PATIENCE_S, Peers
from edgekit.depot.server import Depot, DepotOptions
from edgekit.wire import Topics, Want
from edgekit_agent.update.fetch import fetch_bundle
from tests.fakes import FakeBroker, FakeClock, FakeTransport
from tests.repositories import RepositoryFolder

TOPICS = Topics(fleet="demo")
DIGESTS = [f"{n:064x}" for n in range(60)]


def want(sha256: str, *missing: int) -> Want:
    return Want(
        sha256=sha256,
        epoch=0,
        last_sequence=0,
        window=8,
        chunks=10,
        missing=frozenset(missing),
    )


def group(*names: str) -> list[Peers]:
    depots = [Peers(name) for name in names]
    for depot in depots:
        for name in names:
            depot.note(name, there=True)
    return depots


def test_each_bundle_is_served_by_one_and_all_have_some() -> None:
    depots = group("a", "b", "c")
    shares = [[d for d in DIGESTS if depot.serves(d)] for depot in depots]
    assert sorted(d for share in shares for d in share) == DIGESTS
    assert min(map(len, shares)) > 5


def test_who_leaves_moves_its_own_bundles_only() -> None:
    staying, _, leaving = group("a", "b", "c")
    before = {d for d in DIGESTS if staying.serves(d)}
    assert staying.note(leaving.name, there=False)
    after = {d for d in DIGESTS if staying.serves(d)}
    assert before < after
    assert all(leaving.serves(d) for d in after - before)


def test_a_depot_that_lets_a_device_wait_is_taken_for_gone() -> None:
    one, other = group("a", "b")
    theirs = next(d for d in DIGESTS if other.serves(d))
    assert one.asks("pi", want(theirs, 1, 2), 0) is None
    assert one.asks("pi", want(theirs, 1), 1) is None
    assert one.asks("pi", want(theirs, 1), PATIENCE_S) is None  # it got 2 at 1
    assert one.asks("pi", want(theirs, 1), PATIENCE_S + 1) == "b"
    assert one.serves(theirs)


def test_a_device_that_has_all_is_watched_no_longer() -> None:
    one, other = group("a", "b")
    theirs = next(d for d in DIGESTS if other.serves(d))
    one.asks("pi", want(theirs, 1), 0)
    one.asks("pi", want(theirs), 1)
    assert one.asks("pi", want(theirs, 1), PATIENCE_S + 1) is None


class Site:
    """A broker with several depots and some bundles."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.broker = FakeBroker(clock=self.clock)
        self.folder = folder
        self.repository = RepositoryFolder(folder / "repository")
        self.depots: dict[str, tuple[Depot, FakeTransport]] = {}

    def start(self, name: str) -> Depot:
        options = DepotOptions(clock=self.clock, poll_s=0, name=name)
        session = self.broker.connect(name)
        depot = Depot(session, TOPICS, self.repository.path, options)
        self.depots[name] = depot, session
        self.broker.peers.append(lambda: depot.step(0))
        for _ in range(5):
            self.broker.idle()
        return depot

    def fetch(self, data: bytes, device: str = "pi") -> bytes:
        entry, index = self.repository.release(data, chunk_bytes=50)
        self.broker.idle()
        session = self.broker.connect(device)
        folder = self.folder / device
        folder.mkdir(exist_ok=True)
        try:
            return fetch_bundle(
                session, TOPICS, device, entry, index, folder, clock=self.clock
            ).read_bytes()
        finally:
            session.close()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def blobs(count: int) -> list[bytes]:
    return [random.Random(n).randbytes(500) for n in range(count)]  # noqa: S311 - repeatable, not secret


def test_two_depots_share_the_bundles_and_send_nothing_twice(site: Site) -> None:
    first, second = site.start("a"), site.start("b")
    for data in blobs(12):
        assert site.fetch(data) == data
    assert first.served.chunks + second.served.chunks == 12 * 10
    assert first.served.chunks
    assert second.served.chunks


def test_when_a_depot_dies_the_other_serves_everything(site: Site) -> None:
    first, _ = site.start("a"), site.start("b")
    session = site.depots["b"][1]
    site.broker.peers.pop()
    session.close()
    site.broker.inject(TOPICS.depot("b"), b"", qos=1, retain=True)  # its last will
    for data in blobs(6):
        assert site.fetch(data) == data
    assert first.served.chunks == 60


def test_a_claim_without_a_depot_delays_a_bundle_and_no_more(site: Site) -> None:
    first = site.start("a")
    site.broker.inject(TOPICS.depot("ghost"), b"1", qos=1, retain=True)
    began = site.clock.now
    for data in blobs(6):
        assert site.fetch(data) == data
    assert first.served.chunks == 60
    assert site.clock.now - began < 3 * PATIENCE_S


def test_a_limit_for_each_bundle_leaves_the_others_their_share(site: Site) -> None:
    options = DepotOptions(
        clock=site.clock, poll_s=0, name="a", topic_bytes_per_s=100, bytes_per_s=None
    )
    depot = Depot(site.broker.connect("a"), TOPICS, site.repository.path, options)
    site.broker.peers.append(lambda: depot.step(0))
    began = site.clock.now
    (data,) = blobs(1)
    assert site.fetch(data) == data
    assert site.clock.now - began >= (len(data) - 50) / 100
