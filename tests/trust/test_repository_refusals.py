"""What the operator's side does not publish, and does not sign on top of."""

import dataclasses
import json
import threading
from pathlib import Path

import pytest

from edgekit.errors import ConfigError, StoreError, TrustError
from edgekit.trust.limits import Limits
from edgekit.trust.lock import exclusive
from edgekit.trust.repository import Repository
from edgekit.trust.revision import Publication
from tests.trust.simulator import DAY, NOW, pointer, record
from tests.trust.workbench import Keys, release, runs


def test_publishing_the_same_again_changes_nothing(
    repository: Repository, keys: Keys
) -> None:
    release(repository, keys.look_up, "1", 1)
    before = repository.files.names(), repository.files.read("timestamp.json")
    assert release(repository, keys.look_up, "1", 1) == Publication(signed_by={}, files=())
    assert (repository.files.names(), repository.files.read("timestamp.json")) == before


@pytest.mark.parametrize("rollout", [1, 4, 5])
def test_a_rollout_number_must_grow(
    repository: Repository, keys: Keys, rollout: int
) -> None:
    release(repository, keys.look_up, "1", 5)
    with pytest.raises(ConfigError, match=f"rollout {rollout}, the last one was 5"):
        release(repository, keys.look_up, "2", rollout)
    assert [r.version for r in repository.records()] == ["1"]


def test_a_pointer_to_nothing_is_refused(repository: Repository, keys: Keys) -> None:
    with pytest.raises(ConfigError, match="points at version 1, of which the models role"):
        repository.publish(pointers=[pointer("1", 1)], signers=keys.look_up, now=NOW)
    strange = dataclasses.replace(pointer("1", 1), bundles={"fp32": "a" * 64})
    with pytest.raises(ConfigError, match="those it names are expected"):
        repository.publish(
            records=[record("1")], pointers=[strange], signers=keys.look_up, now=NOW
        )


def test_a_stage_that_does_not_exist_is_refused(repository: Repository, keys: Keys) -> None:
    lost = pointer("1", 1, stage="prod")
    with pytest.raises(ConfigError, match="stage-prod: no such role in this fleet; known"):
        repository.publish(
            records=[record("1")], pointers=[lost], signers=keys.look_up, now=NOW
        )


def test_more_metadata_than_devices_read_is_refused(
    tmp_path: Path, keys: Keys, repository: Repository
) -> None:
    release(repository, keys.look_up, "1", 1)
    limit = len(repository.files.read("2.models.json")) + 100
    small = Repository.open(repository.folder, limits=Limits(targets_bytes=limit))
    with pytest.raises(ConfigError, match=f"devices read up to {limit}; withdraw old"):
        release(small, keys.look_up, "2", 2)
    small.publish(
        records=[record("2")],
        pointers=[pointer("2", 2)],
        withdraw=[("wine", "1")],
        signers=keys.look_up,
        now=NOW,
    )
    assert runs(small, tmp_path / "device") == "2"


def test_a_record_in_use_is_not_withdrawn(repository: Repository, keys: Keys) -> None:
    release(repository, keys.look_up, "1", 1)
    with pytest.raises(ConfigError, match="points at version 1"):
        repository.publish(withdraw=[("wine", "1")], signers=keys.look_up, now=NOW)
    release(repository, keys.look_up, "2", 2)
    repository.publish(withdraw=[("wine", "1")], signers=keys.look_up, now=NOW)
    assert [r.version for r in repository.records()] == ["2"]


def test_a_clock_that_went_back_is_refused(repository: Repository, keys: Keys) -> None:
    with pytest.raises(
        ConfigError, match="clock: it is 2026-05-31T00:00:00Z, but the last"
    ):
        repository.renew(signers=keys.look_up, now=NOW - DAY)


def test_nothing_is_signed_on_top_of_tampered_metadata(
    repository: Repository, keys: Keys
) -> None:
    release(repository, keys.look_up, "1", 1)
    name = "2.models.json"
    forged = json.loads(repository.files.read(name))
    target = next(iter(forged["signed"]["targets"].values()))
    target["hashes"]["sha256"] = "e" * 64
    (repository.files.folder / name).write_text(json.dumps(forged))
    with pytest.raises(TrustError, match="models was signed by 0/1 keys; nothing is"):
        release(repository, keys.look_up, "2", 2)


def test_a_tampered_statement_is_not_read(repository: Repository, keys: Keys) -> None:
    release(repository, keys.look_up, "1", 1)
    name = next(n for n in repository.files.names() if n.startswith("targets/models"))
    (repository.files.folder / name).write_bytes(record("6").to_json())
    with pytest.raises(TrustError, match="not the bytes that were signed for"):
        repository.records()


@pytest.mark.parametrize(
    "name", ["1.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]
)
def test_a_damaged_or_missing_file_is_named(repository: Repository, name: str) -> None:
    path = repository.files.folder / name
    path.write_bytes(b"{")
    with pytest.raises(TrustError, match=f"{name}: damaged"):
        Repository.open(repository.folder)
    path.unlink()
    with pytest.raises((StoreError, ConfigError), match=r"restore|edgekit init"):
        Repository.open(repository.folder)


def test_two_writers_do_not_mix(repository: Repository, keys: Keys) -> None:
    outcome: list[str] = []

    def write() -> None:
        try:
            release(repository, keys.look_up, "1", 1)
        except StoreError as error:
            outcome.append(str(error))

    with exclusive(repository.folder / "lock"):
        other = threading.Thread(target=write)
        other.start()
        other.join()
    assert "another command is changing it" in outcome[0]
    release(repository, keys.look_up, "1", 1)
