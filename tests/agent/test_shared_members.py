"""Bundles that hold the same bytes keep them once, and none suffers when another goes."""

from pathlib import Path

import pytest

from edgekit.errors import StoreError
from edgekit.manifest import GOLDEN_NAME, MODEL_NAME
from edgekit_agent.rules.record import Phase, Record, Release
from edgekit_agent.rules.state import Policy
from edgekit_agent.storage import bundles
from edgekit_agent.storage.store import Store
from edgekit_agent.subscription import Subscription
from edgekit_agent.supervision.roster import Roster
from tests.agent.making import Made, made, repacked, stored

MB = 2**20
FIRST = made(version="1", padding_bytes=MB)
AGAIN = made(version="2", padding_bytes=MB)  # the same model and golden vectors
NEIGHBOUR = made(model="beer", version="1", padding_bytes=MB)
OTHER = made(version="3", scale=3.0, padding_bytes=MB)


def inode(store: Store, what: Made, name: str = MODEL_NAME) -> int:
    return (store.bundle(what.sha256) / name).stat().st_ino


def test_equal_members_of_two_bundles_are_one_file(store: Store) -> None:
    stored(store, FIRST)
    alone = store.used_bytes()
    stored(store, AGAIN)
    stored(store, NEIGHBOUR)
    for name in (MODEL_NAME, GOLDEN_NAME):
        found = {inode(store, one, name) for one in (FIRST, AGAIN, NEIGHBOUR)}
        assert len(found) == 1
    assert store.used_bytes() < alone + MB // 10, "counted once"
    for one in (FIRST, AGAIN, NEIGHBOUR):
        assert bundles.read(store, one.sha256) == one.manifest


def test_what_is_shared_counts_once_for_a_model_and_whole_for_each_bundle(
    store: Store,
) -> None:
    stored(store, FIRST)
    stored(store, AGAIN)
    each = [store.held_bytes(one.sha256) for one in (FIRST, AGAIN)]
    assert min(each) > MB
    assert store.held_bytes(FIRST.sha256, AGAIN.sha256) < sum(each) - MB + MB // 10


def test_members_that_differ_are_not_shared(store: Store) -> None:
    stored(store, FIRST)
    stored(store, OTHER)
    assert inode(store, FIRST) != inode(store, OTHER)
    assert bundles.holds(store, FIRST.sha256)
    assert bundles.holds(store, OTHER.sha256)


@pytest.mark.parametrize("gone", [FIRST, AGAIN], ids=["first", "second"])
def test_what_one_bundle_leaves_the_other_keeps(store: Store, gone: Made) -> None:
    stored(store, FIRST)
    stored(store, AGAIN)
    kept = AGAIN if gone is FIRST else FIRST
    store.discard(gone.sha256)
    assert bundles.read(store, kept.sha256) == kept.manifest
    assert store.used_bytes() > MB
    store.collect(set())
    assert store.used_bytes() == 0


def test_collecting_keeps_what_any_model_serves_or_goes_back_to(store: Store) -> None:
    def release(what: Made) -> Release:
        sha256 = stored(store, what)
        version = what.manifest.model.version
        return Release(version=version, flavor="fp32", sha256=sha256, rollout=1)

    serving = Phase.SERVING
    current, previous, beside = release(AGAIN), release(FIRST), release(NEIGHBOUR)
    unneeded = release(OTHER)
    store.save(
        Record(model="wine", stage="p", phase=serving, current=current, previous=previous)
    )
    store.save(Record(model="beer", stage="p", phase=serving, current=beside))
    wanted = [Subscription(model=model, stage="p") for model in ("wine", "beer")]
    Roster(store, wanted, Policy()).collect()
    for kept in (current, previous, beside):
        assert bundles.holds(store, kept.sha256)
    assert not store.bundle(unneeded.sha256).exists()


def test_two_models_with_one_bundle_have_one_folder(store: Store) -> None:
    """A digest is a bundle, whoever follows it: it goes when nobody needs it."""
    sha256 = stored(store, FIRST)
    release = Release(version="1", flavor="fp32", sha256=sha256, rollout=1)
    for model in ("wine", "beer"):
        store.save(Record(model=model, stage="p", phase=Phase.SERVING, current=release))
    store.save(Record(model="wine", stage="p"))
    wanted = [Subscription(model=model, stage="p") for model in ("wine", "beer")]
    Roster(store, wanted, Policy()).collect()
    assert bundles.holds(store, sha256)


def test_damaged_bytes_are_not_shared(store: Store) -> None:
    stored(store, FIRST)
    path = store.bundle(FIRST.sha256) / MODEL_NAME
    with path.open("r+b") as file:
        file.write(b"\0")
    stored(store, AGAIN)
    assert bundles.read(store, AGAIN.sha256) == AGAIN.manifest
    assert inode(store, FIRST) != inode(store, AGAIN)
    with pytest.raises(StoreError, match="changed on the disk"):
        bundles.read(store, FIRST.sha256)
    stored(store, FIRST)
    assert bundles.holds(store, FIRST.sha256), "fetched again, it is whole"


def test_a_damaged_shared_file_is_healed_for_both(store: Store) -> None:
    stored(store, FIRST)
    stored(store, AGAIN)
    with (store.bundle(FIRST.sha256) / MODEL_NAME).open("r+b") as file:
        file.write(b"\0")
    for one in (FIRST, AGAIN):
        assert not bundles.holds(store, one.sha256)
    for one in (FIRST, AGAIN):
        stored(store, one)
        assert bundles.holds(store, one.sha256)
    assert inode(store, FIRST) == inode(store, AGAIN)


def test_a_disk_without_hard_links_keeps_copies(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted", str(self), None, str(target))

    monkeypatch.setattr(Path, "hardlink_to", refused)
    stored(store, FIRST)
    stored(store, AGAIN)
    assert inode(store, FIRST) != inode(store, AGAIN)
    assert bundles.read(store, AGAIN.sha256) == AGAIN.manifest


def test_nothing_but_members_is_left_in_a_bundles_folder(store: Store) -> None:
    stored(store, FIRST)
    stored(store, AGAIN)
    names = [
        sorted(path.name for path in store.bundle(one.sha256).iterdir())
        for one in (FIRST, AGAIN)
    ]
    assert names[0] == names[1]


def test_a_bundle_of_twin_members_is_whole(store: Store) -> None:
    """Two names for the same bytes within one bundle, too."""
    twins = repacked(FIRST, b"same", golden_file=b"same")
    stored(store, twins)
    assert bundles.read(store, twins.sha256) == twins.manifest
    stored(store, twins)
    assert bundles.read(store, twins.sha256) == twins.manifest
