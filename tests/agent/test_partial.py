"""A download survives a kill, a power cut and a full disk at every single operation."""

import random
import threading
from pathlib import Path

import pytest

from edgekit.errors import StoreError, TrustError
from edgekit.statement import BundleEntry
from edgekit_agent.update.partial import Partial, final_path
from tests.failing_files import FailingFiles, PowerCutError, fill_disk
from tests.simulation import bundle_of

CHUNKS = 12
FOLDER = Path("/models")


def piece(data: bytes, entry: BundleEntry, number: int) -> bytes:
    return data[number * entry.chunk_bytes :][: entry.chunk_bytes]


def download(files: FailingFiles, added: set[int], *, commit_every: int = 4) -> Path:
    """Fetch what is missing, in a shuffled order; note what was handed over."""
    entry, index, data = bundle_of(CHUNKS)
    partial = Partial(entry, index, FOLDER, files)
    missing = sorted(set(range(CHUNKS)) - partial.have)
    random.Random(5).shuffle(missing)  # noqa: S311 - repeatable, not secret
    for count, number in enumerate(missing, start=1):
        partial.add(number, piece(data, entry, number))
        added.add(number)
        if count % commit_every == 0:
            partial.commit()
    partial.commit()
    assert partial.damaged() == frozenset()
    return partial.finish()


def all_operations() -> int:
    files = FailingFiles()
    download(files, set())
    return len(files.operations)


def assert_claims_are_true(files: FailingFiles) -> frozenset[int]:
    """Every chunk that counts is on disk; return them."""
    entry, index, data = bundle_of(CHUNKS)
    if files.size(final_path(FOLDER, entry)) is not None:
        assert files.read(final_path(FOLDER, entry), 0, 10**6) == data
        return frozenset(range(CHUNKS))
    partial = Partial(entry, index, FOLDER, files)
    part = FOLDER / f"{entry.sha256}.part"
    for number in partial.have:
        at = number * entry.chunk_bytes
        assert files.read(part, at, entry.chunk_length(number)) == piece(
            data, entry, number
        )
    return partial.have


@pytest.mark.parametrize("at", range(all_operations()))
def test_killed_at_every_operation_no_verified_chunk_is_fetched_twice(at: int) -> None:
    files, added = FailingFiles(fail_at=at), set[int]()
    with pytest.raises(PowerCutError):
        download(files, added)
    survived = assert_claims_are_true(files.after_kill())
    assert added <= survived


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("at", range(all_operations()))
def test_power_cut_at_every_operation_leaves_no_claim_without_its_data(
    at: int, seed: int
) -> None:
    files = FailingFiles(fail_at=at, seed=seed)
    with pytest.raises(PowerCutError):
        download(files, set())
    rebooted = files.after_power_cut()
    assert_claims_are_true(rebooted)
    entry, _, data = bundle_of(CHUNKS)
    if rebooted.size(final_path(FOLDER, entry)) is None:
        download(rebooted, set())
    assert rebooted.read(final_path(FOLDER, entry), 0, 10**6) == data


@pytest.mark.parametrize("at", range(all_operations()))
def test_disk_full_at_every_operation_is_a_store_error_and_keeps_what_was_verified(
    at: int,
) -> None:
    files, added = FailingFiles(fail_at=at, fail=fill_disk), set[int]()
    with pytest.raises(StoreError, match="No space left"):
        download(files, added)
    assert added <= assert_claims_are_true(files.after_kill())


def test_a_bit_never_precedes_its_data() -> None:
    files = FailingFiles()
    download(files, set(), commit_every=1)
    assert files.operations[:4] == ["write", "sync", "write", "sync_folder"]
    assert files.operations[4:7] == ["write", "sync", "write"]


def test_commits_are_batched() -> None:
    files = FailingFiles()
    download(files, set(), commit_every=100)
    assert files.operations.count("sync") == 1


# --- while the disk is slow --------------------------------------------------------------


class SlowFiles(FailingFiles):
    """Files whose sync takes until it is told to end."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.syncing, self.may_end = threading.Event(), threading.Event()

    def sync(self, path: Path) -> None:
        self.syncing.set()
        assert self.may_end.wait(10)
        super().sync(path)


def download_aside(files: FailingFiles, added: set[int]) -> None:
    """Fetch what is missing, two chunks a commit, and let each go on aside."""
    entry, index, data = bundle_of(CHUNKS)
    with Partial(
        entry, index, FOLDER, files, commit_bytes=2 * entry.chunk_bytes
    ) as partial:
        for number in sorted(set(range(CHUNKS)) - partial.have):
            partial.add(number, piece(data, entry, number))
            added.add(number)
        assert partial.damaged() == frozenset()
        partial.finish()


def operations_aside() -> int:
    files = FailingFiles()
    download_aside(files, set())
    return len(files.operations)


def test_chunks_come_in_while_the_disk_is_at_work_and_none_is_claimed_before() -> None:
    entry, index, data = bundle_of(CHUNKS)
    files = SlowFiles()
    partial = Partial(entry, index, FOLDER, files, commit_bytes=entry.chunk_bytes)
    partial.add(0, piece(data, entry, 0))
    assert files.syncing.wait(10)
    written = FOLDER / f"{entry.sha256}.bits"
    assert files.size(written) is None
    assert partial.read(0) == piece(data, entry, 0)
    files.may_end.set()
    partial.add(1, piece(data, entry, 1))
    partial.commit()
    assert files.size(written) is not None
    assert_claims_are_true(files.after_power_cut())


@pytest.mark.parametrize("at", range(operations_aside()))
def test_killed_at_every_operation_of_a_commit_aside(at: int) -> None:
    files, added = FailingFiles(fail_at=at), set[int]()
    with pytest.raises(PowerCutError):
        download_aside(files, added)
    assert added <= assert_claims_are_true(files.after_kill())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("at", range(operations_aside()))
def test_power_cut_at_every_operation_of_a_commit_aside(at: int, seed: int) -> None:
    files = FailingFiles(fail_at=at, seed=seed)
    with pytest.raises(PowerCutError):
        download_aside(files, set())
    rebooted = files.after_power_cut()
    if len(assert_claims_are_true(rebooted)) < CHUNKS:
        download_aside(rebooted, set())
    assert len(assert_claims_are_true(rebooted)) == CHUNKS


@pytest.mark.parametrize("at", range(operations_aside()))
def test_disk_full_aside_is_a_store_error_in_time_and_nothing_is_claimed(at: int) -> None:
    files, added = FailingFiles(fail_at=at, fail=fill_disk), set[int]()
    with pytest.raises(StoreError, match="No space left"):
        download_aside(files, added)
    assert added <= assert_claims_are_true(files.after_kill())


def test_what_could_not_be_made_durable_is_tried_again() -> None:
    entry, index, data = bundle_of(CHUNKS)
    files = FailingFiles(fail_at=1, fail=fill_disk)  # the first sync, aside
    partial = Partial(entry, index, FOLDER, files, commit_bytes=entry.chunk_bytes)
    partial.add(0, piece(data, entry, 0))
    with pytest.raises(StoreError, match="No space left"):
        partial.commit()
    partial.commit()
    assert 0 in assert_claims_are_true(files.after_power_cut())


def test_what_a_kill_left_unclaimed_is_made_durable_by_the_next_process() -> None:
    entry, index, data = bundle_of(CHUNKS)
    files = FailingFiles()
    Partial(entry, index, FOLDER, files).add(0, piece(data, entry, 0))
    with Partial(entry, index, FOLDER, files.after_kill()) as partial:
        assert partial.have == {0}
    assert 0 in assert_claims_are_true(files.after_power_cut())


# --- on the real disk ------------------------------------------------------------------


def filled(folder: Path) -> tuple[Partial, BundleEntry, bytes, bytes]:
    entry, index, data = bundle_of(CHUNKS)
    partial = Partial(entry, index, folder)
    for number in range(CHUNKS):
        partial.add(number, piece(data, entry, number))
    partial.commit()
    return partial, entry, index, data


def test_a_finished_download_is_the_bundle_and_leaves_nothing_else(tmp_path: Path) -> None:
    partial, entry, _, data = filled(tmp_path)
    assert partial.damaged() == frozenset()
    assert partial.finish().read_bytes() == data
    assert [p.name for p in tmp_path.iterdir()] == [f"{entry.sha256}.bundle"]


@pytest.mark.parametrize("damage", [b"", b"x", b"\0" * 6, b"\xff" * 6, b"\xff" * 99])
def test_a_damaged_bits_file_heals_from_the_digests(tmp_path: Path, damage: bytes) -> None:
    _, entry, index, _ = filled(tmp_path)
    (tmp_path / f"{entry.sha256}.bits").write_bytes(damage)
    assert Partial(entry, index, tmp_path).have == frozenset(range(CHUNKS))


def test_bits_without_a_file_claim_nothing(tmp_path: Path) -> None:
    _, entry, index, _ = filled(tmp_path)
    (tmp_path / f"{entry.sha256}.part").unlink()
    assert Partial(entry, index, tmp_path).have == frozenset()


def test_a_shortened_file_loses_only_what_was_cut_off(tmp_path: Path) -> None:
    _, entry, index, data = filled(tmp_path)
    (tmp_path / f"{entry.sha256}.part").write_bytes(data[: 3 * entry.chunk_bytes + 1])
    assert Partial(entry, index, tmp_path).have == {0, 1, 2}


def test_a_file_that_grew_is_not_ours(tmp_path: Path) -> None:
    _, entry, index, data = filled(tmp_path)
    (tmp_path / f"{entry.sha256}.part").write_bytes(data + b"more")
    assert Partial(entry, index, tmp_path).have == frozenset()


def test_bytes_that_rotted_on_disk_are_found_before_the_file_is_used(
    tmp_path: Path,
) -> None:
    _, entry, index, data = filled(tmp_path)
    rotten = bytearray(data)
    rotten[entry.chunk_bytes * 4] ^= 1
    (tmp_path / f"{entry.sha256}.part").write_bytes(rotten)
    partial = Partial(entry, index, tmp_path)
    assert partial.damaged() == {4}
    assert partial.have == frozenset(range(CHUNKS)) - {4}
    assert not final_path(tmp_path, entry).exists()
    partial.add(4, piece(data, entry, 4))
    assert partial.damaged() == frozenset()
    assert partial.finish().read_bytes() == data


def test_signed_data_that_contradict_each_other_are_a_trust_error(tmp_path: Path) -> None:
    entry, index, data = bundle_of(CHUNKS)
    lie = BundleEntry(
        **{f: getattr(entry, f) for f in BundleEntry.__slots__} | {"sha256": "ab" * 32}
    )
    partial = Partial(lie, index, tmp_path)
    for number in range(CHUNKS):
        partial.add(number, piece(data, entry, number))
    with pytest.raises(TrustError, match="together they are not"):
        partial.damaged()
    assert list(tmp_path.iterdir()) == []


def test_an_absent_folder_is_a_store_error(tmp_path: Path) -> None:
    entry, index, data = bundle_of(CHUNKS)
    partial = Partial(entry, index, tmp_path / "absent")
    with pytest.raises(StoreError, match="No such file"):
        partial.add(0, piece(data, entry, 0))
