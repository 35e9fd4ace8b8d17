"""A device that holds an earlier bundle fetches a patch, or all of the new one."""

import hashlib
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit import delta
from edgekit.bundle import chunk_index, read_members
from edgekit.depot.server import Depot, DepotOptions
from edgekit.manifest import Manifest
from edgekit.offer import Offer
from edgekit.statement import ReleaseRecord, StagePointer
from edgekit.wire import Topics
from edgekit_agent.storage import bundles
from edgekit_agent.storage.store import Store
from edgekit_agent.update.fetch import fetch_bundle
from edgekit_agent.update.patched import Patching
from tests.agent.making import Made, made, stored
from tests.fakes import FakeBroker

pytestmark = pytest.mark.slow

TOPICS = Topics(fleet="demo")
OLD = made(version="1", padding_bytes=400_000)
NEW = made(version="2", scale=3.0, padding_bytes=400_000)


class Fleet:
    """A repository with two versions, a depot that made its patches, and one device."""

    def __init__(self, folder: Path, store: Store, patch: bytes | None = None) -> None:
        self.store = store
        self.folder = folder / "repository"
        (self.folder / "blobs").mkdir(parents=True)
        self.broker = FakeBroker()
        for what in (OLD, NEW):
            (self.folder / "blobs" / what.sha256).write_bytes(what.data)
        record = ReleaseRecord(
            model="wine",
            version="2",
            run_id="run",
            source_sha256="0" * 64,
            bundles=(OLD.entry, NEW.entry),
        )
        pointer = StagePointer(
            model="wine",
            stage="production",
            version="2",
            rollout=2,
            bundles={"fp32": NEW.sha256},
        )
        self.put("targets/models/wine/ab.1.json", record.to_json())
        self.put("targets/stages/production/ab.1.json", pointer.to_json())
        self.put("timestamp.json", b"{}")
        if patch is not None:  # the depot finds this one, and believes it
            digest = hashlib.sha256(patch).hexdigest()
            self.put(f"../patches/{digest}", patch)
            self.put(f"../patches/{NEW.sha256}.{OLD.sha256}", digest.encode())
        self.depot = Depot(
            self.broker.connect("depot"), TOPICS, self.folder, DepotOptions(poll_s=0)
        )
        for _ in range(3):
            self.depot.step(0)
        self.depot.make_patches()
        self.depot.step(0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.depot.serve, args=(self._stop,))
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def put(self, name: str, content: bytes) -> None:
        path = self.folder / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def bring(self, *held: Made) -> Manifest | None:
        for what in held:
            stored(self.store, what)
        session = self.broker.connect("pi")
        patching = Patching(
            transport=session,
            topics=TOPICS,
            device="pi",
            store=self.store,
            progress=lambda _here, _all: None,
        )
        try:
            return patching.bring(
                NEW.entry, chunk_index(NEW.data), [what.sha256 for what in (OLD, NEW)]
            )
        finally:
            session.close()

    def fetch_all(self) -> Path:
        """Fetch the whole bundle, as the updater does when there is no patch."""
        session = self.broker.connect("pi")
        try:
            return fetch_bundle(
                session,
                TOPICS,
                "pi",
                NEW.entry,
                chunk_index(NEW.data),
                self.store.incoming,
            )
        finally:
            session.close()

    def offer(self) -> Offer:
        return Offer.from_json(self.broker.retained[TOPICS.delta(NEW.sha256)])


@pytest.fixture
def fleet(folder: Path, store: Store) -> Iterator[Fleet]:
    found = Fleet(folder, store)
    yield found
    found.stop()


def assert_nothing_of_it_is_here(store: Store) -> None:
    assert [p.name for p in store.bundles.iterdir()] == [OLD.sha256]


def test_a_patch_makes_the_same_folder_as_the_whole_bundle(
    fleet: Fleet, folder: Path
) -> None:
    assert fleet.bring(OLD) == NEW.manifest
    assert bundles.read(fleet.store, NEW.sha256) == NEW.manifest
    whole = Store(folder / "other")
    whole.prepare()
    stored(whole, NEW)
    for path in whole.bundle(NEW.sha256).iterdir():
        here = fleet.store.bundle(NEW.sha256) / path.name
        assert here.read_bytes() == path.read_bytes()
    assert fleet.depot.served.chunk_bytes < len(NEW.data) / 2


def test_without_an_earlier_bundle_nothing_is_asked_for(fleet: Fleet) -> None:
    assert fleet.bring() is None
    assert fleet.depot.served.chunks == 0


def test_an_earlier_bundle_that_is_damaged_is_not_built_upon(fleet: Fleet) -> None:
    stored(fleet.store, OLD)
    path = fleet.store.bundle(OLD.sha256) / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert fleet.bring() is None


def assert_all_of_it_is_fetched(fleet: Fleet) -> None:
    assert fleet.bring(OLD) is None
    assert_nothing_of_it_is_here(fleet.store)
    assert bundles.add(fleet.store, NEW.sha256, fleet.fetch_all()) == NEW.manifest


def to(what: Made) -> bytes:
    old, new = (read_members(io.BytesIO(one.data))[1] for one in (OLD, what))
    return delta.make(old, new)


@pytest.mark.parametrize(
    "patch",
    [to(made(version="2", scale=5.0, padding_bytes=400_000)), to(NEW)[:-1], b"garbage"],
    ids=["of another model", "cut", "garbage"],
)
def test_a_patch_that_yields_anything_else_is_dropped(
    folder: Path, store: Store, patch: bytes
) -> None:
    fleet = Fleet(folder, store, patch)
    try:
        assert_all_of_it_is_fetched(fleet)
    finally:
        fleet.stop()


@pytest.mark.parametrize("offer", [b"garbage", b'{"format":1,"patches":[]}'])
def test_an_offer_that_is_no_use_costs_nothing(fleet: Fleet, offer: bytes) -> None:
    fleet.broker.inject(TOPICS.delta(NEW.sha256), offer, qos=1, retain=True)
    assert_all_of_it_is_fetched(fleet)


def test_a_patch_that_is_damaged_in_the_depot_is_given_up_soon(fleet: Fleet) -> None:
    (patch,) = fleet.offer().patches
    path = fleet.folder / "patches" / patch.entry.sha256
    path.write_bytes(bytes(patch.entry.length))
    assert_all_of_it_is_fetched(fleet)


def test_patches_that_were_made_are_found_again(fleet: Fleet) -> None:
    before = fleet.offer()
    fleet.stop()
    fleet.depot.leave()
    fleet.broker.retained.pop(TOPICS.delta(NEW.sha256))
    for path in (fleet.folder / "blobs").iterdir():
        path.write_bytes(b"")  # nothing to make a patch from
    again = Depot(
        fleet.broker.connect("again"), TOPICS, fleet.folder, DepotOptions(poll_s=0)
    )
    for _ in range(3):
        again.step(0)
    again.make_patches()
    again.step(0)
    assert fleet.offer() == before
