"""The agent's folder, killed, cut off and filled up at every single operation on it.

One life: a device runs version 1, fetches version 2 chunk by chunk, unpacks it, tries it,
commits to it and deletes version 1. After any accident it must be able to serve the one
or the other, and a kill may not cost a chunk that was verified.
"""

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit import atomic
from edgekit.bundle import chunk_index, describe
from edgekit.errors import StoreError
from edgekit.statement import BundleEntry
from edgekit_agent.rules.record import Phase, Record, Release
from edgekit_agent.storage import bundles
from edgekit_agent.storage.store import Store
from edgekit_agent.subscription import Subscription
from edgekit_agent.update.partial import Partial
from tests.agent.making import Made, made
from tests.power import Disk, PowerCutError, copied, full, read_only, torn_writes

WINE = Subscription(model="wine", stage="production")
OLD, NEW = made(version="1"), made(version="2", scale=3.0)
CHUNK_BYTES = 500


def release(what: Made, version: str) -> Release:
    return Release(version=version, flavor="fp32", sha256=what.sha256, rollout=1)


SERVING_OLD = Record(model="wine", stage="production", current=release(OLD, "1"))
TRYING = replace(SERVING_OLD, phase=Phase.FETCHING, candidate=release(NEW, "2"))
COMMITTING = replace(TRYING, phase=Phase.COMMITTING)
SERVING_NEW = Record(model="wine", stage="production", current=release(NEW, "2"))


def entry() -> tuple[BundleEntry, bytes]:
    index = chunk_index(NEW.data, CHUNK_BYTES)
    digest = describe(index).sha256
    return replace(NEW.entry, chunk_bytes=CHUNK_BYTES, index_sha256=digest), index


def begin(folder: Path) -> None:
    store = Store(folder)
    store.prepare()
    (store.incoming / "old").write_bytes(OLD.data)
    bundles.add(store, OLD.sha256, store.incoming / "old")
    (store.incoming / "old").unlink()
    store.save(SERVING_OLD)


def update(folder: Path, fetched: list[int]) -> None:
    """Go on from whatever is there to serving version 2; note the chunks fetched."""
    store = Store(folder)
    store.begin()
    if store.load(WINE) != SERVING_NEW or not bundles.holds(store, NEW.sha256):
        store.save(TRYING)
        if not bundles.holds(store, NEW.sha256):
            bundles.add(store, NEW.sha256, _fetch(store, fetched))
        store.drop_incoming(NEW.sha256)
        store.save(COMMITTING)
        store.save(SERVING_NEW)
    store.collect({NEW.sha256})


def _fetch(store: Store, fetched: list[int]) -> Path:
    what, index = entry()
    final = store.incoming / f"{what.sha256}.bundle"
    if final.is_file() and final.read_bytes() == NEW.data:
        return final
    with Partial(what, index, store.incoming) as partial:
        for number in sorted(set(range(what.chunks)) - partial.have):
            partial.add(number, NEW.data[number * CHUNK_BYTES :][:CHUNK_BYTES])
            fetched.append(number)
            if number % 2:
                partial.commit()
        partial.commit()
        assert partial.damaged() == frozenset()
        return partial.finish()


def can_serve(folder: Path) -> Record:
    """Return what a restart finds; a model it may serve is whole on the disk."""
    store = Store(folder)
    record = store.load(WINE)
    assert record in {SERVING_OLD, TRYING, COMMITTING, SERVING_NEW}
    assert record.current is not None
    assert bundles.holds(store, record.current.sha256)
    return record


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a device that serves version 1."""
    folder = tmp_path_factory.mktemp("device") / "state"
    begin(folder)
    return folder


def operations(device: Path, target: Path) -> int:
    with Disk(copied(device, target)).watched() as disk:
        update(target, [])
    return len(disk.operations)


def test_every_operation_is_met(device: Path, tmp_path: Path) -> None:
    with Disk(copied(device, tmp_path / "d")).watched() as disk:
        update(tmp_path / "d", [])
    kinds = {"open", "fsync", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}
    assert set(disk.operations) == kinds
    assert len(disk.operations) > 50


@pytest.mark.slow
def test_killed_at_every_operation_it_serves_and_fetches_nothing_twice(
    device: Path, tmp_path: Path
) -> None:
    for at in range(operations(device, tmp_path / "all")):
        folder, fetched = tmp_path / f"at{at}", list[int]()
        with (
            Disk(copied(device, folder), fail_at=at).watched(),
            contextlib.suppress(PowerCutError),
        ):
            update(folder, fetched)
        can_serve(folder)
        update(folder, fetched)
        assert can_serve(folder) == SERVING_NEW, at
        assert len(fetched) == len(set(fetched)), at
        assert [p.name for p in (folder / "bundles").iterdir()] == [NEW.sha256], at
        assert list((folder / "incoming").iterdir()) == [], at


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_power_cut_at_every_operation_leaves_the_old_or_the_new(
    device: Path, tmp_path: Path, seed: int
) -> None:
    for at in range(operations(device, tmp_path / "all")):
        disk = Disk(copied(device, tmp_path / f"at{at}"), fail_at=at)
        with disk.watched(), contextlib.suppress(PowerCutError):
            update(disk.folder, [])
        rebooted = disk.after_power_cut(tmp_path / f"boot{at}", seed * 1000 + at)
        Store(rebooted).prepare()
        can_serve(rebooted)
        update(rebooted, [])
        assert can_serve(rebooted) == SERVING_NEW, at


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_operation_is_said_and_costs_no_model(
    device: Path, tmp_path: Path
) -> None:
    for at in range(operations(device, tmp_path / "all")):
        folder, fetched = tmp_path / f"at{at}", list[int]()
        disk = Disk(copied(device, folder), fail_at=at, fail=full)
        with disk.watched():
            try:
                update(folder, fetched)
            except StoreError as error:
                assert "No space left" in str(error)  # noqa: PT017 - not all raise
        can_serve(folder)
        update(folder, fetched)
        assert can_serve(folder) == SERVING_NEW, at
        assert len(fetched) == len(set(fetched)), at


@pytest.mark.slow
def test_a_disk_that_is_read_only_from_any_operation_on_still_serves(
    device: Path, tmp_path: Path
) -> None:
    for at in range(operations(device, tmp_path / "all")):
        folder = tmp_path / f"at{at}"
        disk = Disk(copied(device, folder), fail_at=at, fail=read_only)
        with disk.watched():
            try:
                update(folder, [])
            except StoreError as error:
                assert "Read-only" in str(error)  # noqa: PT017 - not all raise
            can_serve(folder)


def test_a_bit_that_flips_anywhere_in_the_record_is_healed_from_its_copy(
    device: Path, tmp_path: Path
) -> None:
    folder = copied(device, tmp_path / "d")
    (path,) = folder.glob("models/*/state.json")
    content = path.read_bytes()
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        assert Store(folder).load(WINE) == SERVING_OLD, at


def test_a_bit_that_flips_anywhere_in_the_copy_changes_nothing(
    device: Path, tmp_path: Path
) -> None:
    folder = copied(device, tmp_path / "d")
    (path,) = folder.glob("models/*/state.copy")
    content = path.read_bytes()
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        assert Store(folder).load(WINE) == SERVING_OLD, at


def test_a_bit_that_flips_anywhere_in_a_download_costs_that_chunk_only(
    tmp_path: Path,
) -> None:
    what, index = entry()
    for at in range(0, what.length, 97):
        folder = tmp_path / str(at)
        folder.mkdir()
        with Partial(what, index, folder) as partial:
            for number in range(what.chunks):
                partial.add(number, NEW.data[number * CHUNK_BYTES :][:CHUNK_BYTES])
        part = folder / f"{what.sha256}.part"
        damaged = bytearray(part.read_bytes())
        damaged[at] ^= 1
        part.write_bytes(damaged)
        assert Partial(what, index, folder).damaged() == {at // CHUNK_BYTES}


def test_a_record_without_a_checksum_is_that_of_an_earlier_agent(
    device: Path, tmp_path: Path
) -> None:
    folder = copied(device, tmp_path / "d")
    for path in folder.glob("models/*/state.*"):
        path.unlink()
    atomic.write_bytes(folder / "models" / "wine" / "state.json", TRYING.to_json())
    assert Store(folder).load(WINE) == TRYING


@pytest.mark.slow
def test_of_every_single_write_any_part_may_be_there(device: Path, tmp_path: Path) -> None:
    states = 0
    for folder in torn_writes(device, tmp_path, lambda folder: update(folder, [])):
        states += 1
        Store(folder).prepare()
        can_serve(folder)
        update(folder, [])
        assert can_serve(folder) == SERVING_NEW, folder
    assert states > 50
