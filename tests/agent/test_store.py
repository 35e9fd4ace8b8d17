import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from edgekit.errors import StoreError, TrustError
from edgekit_agent.rules.record import Attempt, Phase, Record, Release, Trouble, TroubleKind
from edgekit_agent.storage import bundles
from edgekit_agent.storage.store import Store
from edgekit_agent.subscription import Subscription
from tests.agent.making import Made, made

WINE = Subscription(model="wine", stage="production")


def fetched(store: Store, what: Made) -> Path:
    path = store.incoming / what.sha256
    path.write_bytes(what.data)
    return path


def added(store: Store, what: Made) -> str:
    bundles.add(store, what.sha256, fetched(store, what))
    return what.sha256


def release(letter: str) -> Release:
    return Release(version="1", flavor="fp32", sha256=letter * 64, rollout=1)


def full_record() -> Record:
    setback = Trouble(
        kind=TroubleKind.FAILED, error="E", reason="so", at="t", sha256="c" * 64
    )
    return Record(
        model="wine",
        stage="production",
        phase=Phase.COMMITTING,
        current=replace(release("a"), since="2026-01-01T00:00:00Z"),
        previous=release("b"),
        candidate=release("c"),
        attempt=Attempt(
            rollout=1, sha256="c" * 64, interrupted=1, proofs=2, verdict=setback
        ),
        trouble=setback,
        probation=True,
        crashes=1,
    )


def test_a_bundle_is_unpacked_and_read_back(store: Store) -> None:
    what = made()
    digest = added(store, what)
    assert bundles.read(store, digest) == what.manifest
    assert bundles.holds(store, digest)


def test_a_file_that_is_another_bundle_is_refused_and_leaves_nothing(store: Store) -> None:
    with pytest.raises(TrustError, match="its digest is"):
        bundles.add(store, "0" * 64, fetched(store, made()))
    assert list(store.bundles.iterdir()) == []


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_a_flipped_bit_on_the_way_is_refused_and_leaves_nothing(
    store: Store, part: float
) -> None:
    what = made()
    path = fetched(store, what)
    damaged = bytearray(what.data)
    damaged[int(len(damaged) * part)] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(TrustError):
        bundles.add(store, what.sha256, path)
    assert list(store.bundles.iterdir()) == []


@pytest.mark.parametrize("name", ["model.onnx", "golden.json", "manifest.json"])
def test_a_bit_flipped_on_flash_is_noticed_in_every_file(store: Store, name: str) -> None:
    digest = added(store, made())
    path = store.bundle(digest) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match=f"{name} changed on the disk"):
        bundles.read(store, digest)
    added(store, made())
    assert bundles.holds(store, digest), "fetching it again heals it"


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", ".seal.json"])
def test_a_lost_file_is_noticed(store: Store, name: str) -> None:
    digest = added(store, made())
    (store.bundle(digest) / name).unlink()
    with pytest.raises(StoreError):
        bundles.read(store, digest)


def test_what_is_needed_survives_the_collection(store: Store) -> None:
    kept = added(store, made(version="1"))
    gone = added(store, made(version="2", scale=3.0))
    (store.unfinished("f" * 64)).mkdir()
    (store.bundles / ".deleting-old").mkdir()
    store.collect({kept})
    assert [entry.name for entry in store.bundles.iterdir()] == [kept]
    assert [entry.name for entry in store.incoming.iterdir()] == [kept]
    assert not bundles.holds(store, gone)


def test_room_is_counted_and_given_back(store: Store) -> None:
    digest = added(store, made(padding_bytes=100_000))
    assert store.used_bytes() > 200_000, "packed in incoming, and unpacked"
    store.discard(digest)
    store.collect(set())
    assert store.used_bytes() == 0
    assert store.free_bytes() > 0


def test_a_record_is_kept_whole(store: Store) -> None:
    store.save(full_record())
    assert store.load(WINE) == full_record()


def test_an_unknown_model_has_a_fresh_record(store: Store) -> None:
    assert store.load(WINE) == Record(model="wine", stage="production")


def test_a_model_name_is_no_path(store: Store, folder: Path) -> None:
    store.save(Record(model="../../a b/☃", stage="p"))
    outside = set(folder.iterdir()) - {folder / "state"}
    assert outside == set()


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"format": 1}'])
def test_a_record_damaged_on_flash_is_put_aside_and_the_bundles_stay(
    store: Store, damage: bytes
) -> None:
    digest = added(store, made())
    store.save(full_record())
    (path,) = store.tuf.parent.glob("models/*/state.json")
    path.write_bytes(damage)
    path.with_suffix(".copy").write_bytes(damage)
    assert store.load(WINE) == Record(model="wine", stage="production")
    assert path.with_suffix(".damaged").read_bytes() == damage
    assert bundles.holds(store, digest)


def test_a_phase_that_lacks_its_candidate_is_damage() -> None:
    text = replace(full_record(), candidate=None).to_json()
    with pytest.raises(StoreError, match="candidate"):
        Record.from_json(text, subject="record")


def test_a_full_disk_is_a_store_error_and_keeps_the_old_record(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(full_record())

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        store.save(Record(model="wine", stage="production"))
    assert store.load(WINE) == full_record()


def test_an_unusable_folder_is_a_store_error(folder: Path) -> None:
    (folder / "file").write_text("a file where a folder should be")
    with pytest.raises(StoreError):
        Store(folder / "file").prepare()


def test_a_disk_that_cannot_count_still_gives_a_new_id(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(_descriptor: int) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "fsync", read_only)
    assert store.begin() != store.begin()


def test_two_agents_cannot_use_one_folder(store: Store) -> None:
    held = store.lock(wait_s=0)
    with pytest.raises(StoreError, match="another agent uses this folder"):
        store.lock(wait_s=0.1)
    os.close(held)
    os.close(store.lock(wait_s=0))


@pytest.mark.slow
def test_the_lock_of_a_killed_agent_is_free(store: Store) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from edgekit_agent.storage.store import Store\n"
        "Store(Path(sys.argv[1])).lock(wait_s=0); print('held', flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(store.tuf.parent)],
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError):
            store.lock(wait_s=0)
        holder.send_signal(signal.SIGKILL)
    os.close(store.lock(wait_s=5))


def test_no_two_starts_have_the_same_id(store: Store) -> None:
    ids = [store.begin() for _ in range(3)]
    assert len(set(ids)) == 3
    assert ids[0].rsplit("-", 1)[0] == ids[1].rsplit("-", 1)[0], "one boot, several starts"


def number(boot_id: str) -> int:
    return int(boot_id.rsplit("-", 1)[1])


@pytest.mark.parametrize("damage", ["many", "", "\xff"])
def test_starts_go_up_though_their_counter_is_damaged(store: Store, damage: str) -> None:
    first = number(store.begin())
    (store.tuf.parent / "starts").write_text(damage, "latin-1")
    with clock(ahead_s=3600):
        assert number(store.begin()) > first


def test_starts_go_up_though_the_folder_was_wiped(tmp_path: Path) -> None:
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
    before = Store(tmp_path / "before")
    last = [number(before.begin()) for _ in range(50)][-1]
    with clock(ahead_s=3600):
        assert number(Store(tmp_path / "after").begin()) > last


def test_starts_are_counted_though_there_is_no_clock(store: Store) -> None:
    with patch("edgekit_agent.storage.store.time.time", return_value=0.0):
        assert [number(store.begin()) for _ in range(2)] == [1, 2]


def test_an_agent_of_before_counts_on(store: Store) -> None:
    (store.tuf.parent / "starts").write_text("17\n")
    assert number(store.begin()) == 18


@contextmanager
def clock(*, ahead_s: float) -> Iterator[None]:
    with patch("edgekit_agent.storage.store.time.time", return_value=time.time() + ahead_s):
        yield


def test_what_kills_left_half_written_is_gone_at_the_next_start(store: Store) -> None:
    left = [store.tuf / ".floor.json.abc.tmp", store.tuf.parent / ".starts.xyz.tmp"]
    kept = store.tuf / "floor.json"
    for path in (*left, kept):
        path.write_bytes(b"{")
    store.begin()
    assert [path for path in left if path.exists()] == []
    assert kept.exists()


def test_a_record_that_was_damaged_once_is_known_to_be_forgotten(store: Store) -> None:
    wanted = Subscription(model="wine", stage="production")
    assert not store.forgot("wine")
    store.save(store.load(wanted))
    assert not store.forgot("wine")
    (store.tuf.parent / "models" / "wine" / "state.json").write_bytes(b"{")
    store.load(wanted)
    assert store.forgot("wine")
