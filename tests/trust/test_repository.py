"""The operator's repository, seen by a device that reads its folder."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from edgekit.errors import ConfigError
from edgekit.trust.client import ExpiredError, TrustClient
from edgekit.trust.expiry import Lifetimes
from edgekit.trust.repository import Repository
from tests.trust.simulator import DAY, NOW, pointer, record
from tests.trust.workbench import Keys, create, release, runs


def test_a_new_repository_offers_nothing_yet(
    repository: Repository, tmp_path: Path
) -> None:
    assert repository.records() == ()
    assert repository.pointers() == ()
    assert repository.fleet == "demo"
    assert runs(repository, tmp_path / "device") is None


def test_a_release_reaches_a_device(
    repository: Repository, keys: Keys, tmp_path: Path
) -> None:
    done = release(repository, keys.look_up, "1", 1)
    assert runs(repository, tmp_path / "device") == "1"
    assert repository.records() == (record("1"),)
    assert repository.pointer(stage="production", model="wine") == pointer("1", 1)
    assert repository.pointer(stage="staging", model="wine") is None
    assert set(done.signed_by) == {"models", "stage-production", "snapshot", "timestamp"}
    assert done.signed_by["models"] == (keys.of["models"][0].public_key.keyid,)
    assert done.files[-1] == "timestamp.json"


def test_the_files_are_named_as_the_format_says(repository: Repository, keys: Keys) -> None:
    release(repository, keys.look_up, "1", 1)
    names = {n for n in repository.files.names() if not n.startswith("targets/")}
    assert names == {
        "1.models.json",
        "1.root.json",
        "1.snapshot.json",
        "1.stage-production.json",
        "1.stage-staging.json",
        "1.targets.json",
        "2.models.json",
        "2.snapshot.json",
        "2.stage-production.json",
        "timestamp.json",
    }
    folders = {n.rpartition("/")[0] for n in repository.files.names() - names}
    assert folders == {"targets/models/wine", "targets/stages/production"}


def test_every_signed_part_names_the_fleet_and_the_timestamp_its_time(
    repository: Repository,
) -> None:
    for name in repository.files.names():
        signed = json.loads(repository.files.read(name))["signed"]
        assert signed["x-edgekit-fleet"] == "demo"
        assert ("x-edgekit-issued" in signed) == (name == "timestamp.json")


def test_an_opened_repository_goes_on(
    repository: Repository, keys: Keys, tmp_path: Path
) -> None:
    release(repository, keys.look_up, "1", 1)
    again = Repository.open(repository.folder)
    release(again, keys.look_up, "2", 2)
    assert runs(again, tmp_path / "device") == "2"


def test_no_repository_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no repository in it; `edgekit init` makes one"):
        Repository.open(tmp_path)


def test_a_second_founding_is_refused(repository: Repository, keys: Keys) -> None:
    before = repository.files.read("1.root.json")
    with pytest.raises(ConfigError, match="there is a repository in it already"):
        create(repository.folder, keys)
    assert repository.files.read("1.root.json") == before


def test_the_generation_before_is_kept_and_older_ones_go(
    repository: Repository, keys: Keys
) -> None:
    release(repository, keys.look_up, "1", 1)
    first = repository.files.names()
    release(repository, keys.look_up, "2", 2)
    assert {"1.root.json", "2.models.json", "3.models.json"} < repository.files.names()
    assert "1.models.json" not in repository.files.names()
    release(repository, keys.look_up, "3", 3)
    gone = first - repository.files.names()
    assert {"2.models.json", "2.snapshot.json", "2.stage-production.json"} <= gone
    assert [n for n in gone if n.startswith("targets/stages")]
    assert not [n for n in gone if n.startswith("targets/models")]


def test_a_device_in_the_middle_of_a_refresh_finishes(
    repository: Repository, keys: Keys, tmp_path: Path
) -> None:
    release(repository, keys.look_up, "1", 1)
    root = repository.trusted_root()
    client = TrustClient(tmp_path / "device", root, repository.files, NOW)
    client.refresh()
    release(repository, keys.look_up, "2", 2)
    vouched = client.resolve(stage="production", model="wine")
    assert vouched is not None
    assert vouched.pointer.version == "1"


def test_chunk_indexes_are_left_alone(repository: Repository, keys: Keys) -> None:
    repository.files.write(f"index/{'a' * 64}", b"digests")
    for rollout in (1, 2, 3):
        release(repository, keys.look_up, str(rollout), rollout)
    assert repository.files.read(f"index/{'a' * 64}") == b"digests"


def test_renewing_keeps_a_quiet_fleet_fresh(
    repository: Repository, keys: Keys, tmp_path: Path
) -> None:
    release(repository, keys.look_up, "1", 1)
    later = NOW + 31 * DAY
    with pytest.raises(ExpiredError):
        runs(repository, tmp_path / "device", later)
    keys.away = {"root", "targets", "models", "stage-production", "stage-staging"}
    done = repository.renew(signers=keys.look_up, now=later)
    assert set(done.signed_by) == {"snapshot", "timestamp"}
    assert runs(repository, tmp_path / "device", later) == "1"


@pytest.mark.parametrize("role", ["root", "targets", "models", "stage-staging"])
def test_a_long_lived_role_is_renewed(
    repository: Repository, keys: Keys, tmp_path: Path, role: str
) -> None:
    release(repository, keys.look_up, "1", 1)
    later = NOW + 300 * DAY
    repository.renew(signers=keys.look_up, now=later, roles=[role, "snapshot"])
    expires = {state.role: state.expires for state in repository.roles()}
    assert expires[role] == later + 365 * DAY
    assert runs(repository, tmp_path / "device", later) == "1"


def test_lifetimes_are_the_operators_choice(repository: Repository, keys: Keys) -> None:
    hasty = Repository.open(
        repository.folder, lifetimes=Lifetimes(timestamp=timedelta(hours=6))
    )
    hasty.renew(signers=keys.look_up, now=NOW)
    expires = {state.role: state.expires for state in hasty.roles()}
    assert expires["timestamp"] == NOW + timedelta(hours=6)
