"""Which keys a change of the repository takes, and how they are replaced."""

from pathlib import Path

import pytest

from edgekit.errors import ConfigError
from edgekit.trust.client import TrustClient
from edgekit.trust.redraft import founding
from edgekit.trust.repository import Repository
from edgekit.trust.roles import RoleKeys, role_names
from tests.trust.simulator import NOW, pointer, record
from tests.trust.workbench import STAGES, Keys, create, release, runs


def test_a_pointer_needs_no_models_key(repository: Repository, keys: Keys) -> None:
    release(repository, keys.look_up, "1", 1)
    release(repository, keys.look_up, "2", 2)
    keys.away = {"models", "root", "targets", "stage-staging"}
    keys.asked.clear()
    done = repository.publish(pointers=[pointer("1", 3)], signers=keys.look_up, now=NOW)
    assert set(done.signed_by) == {"stage-production", "snapshot", "timestamp"}
    assert keys.asked == {"stage-production", "snapshot", "timestamp"}


def test_a_record_needs_no_stage_key(repository: Repository, keys: Keys) -> None:
    keys.away = {"root", "targets", "stage-staging", "stage-production"}
    done = repository.publish(records=[record("1")], signers=keys.look_up, now=NOW)
    assert set(done.signed_by) == {"models", "snapshot", "timestamp"}


@pytest.mark.parametrize("role", ["models", "stage-production", "snapshot", "timestamp"])
def test_an_absent_key_is_named_and_nothing_is_written(
    repository: Repository, keys: Keys, role: str
) -> None:
    before = repository.files.names()
    keys.away = {role}
    keyid = keys.of[role][0].public_key.keyid
    reason = f"{role}: 0 of the 1 keys it needs are at hand; not here: {keyid[:8]}"
    with pytest.raises(ConfigError, match=reason):
        release(repository, keys.look_up, "1", 1)
    assert repository.files.names() == before
    keys.away = set()
    release(repository, keys.look_up, "1", 1)


def test_a_threshold_is_met_by_any_of_the_keys(tmp_path: Path, keys: Keys) -> None:
    quorum = (3, 2)
    repository = create(tmp_path / "r", keys, models=quorum, root=(2, 2))
    done = release(repository, keys.look_up, "1", 1)
    assert len(done.signed_by["models"]) == 2
    keys.signers.pop(keys.of["models"][0].public_key.keyid)
    release(repository, keys.look_up, "2", 2)
    assert runs(repository, tmp_path / "device") == "2"
    keys.signers.pop(keys.of["models"][1].public_key.keyid)
    with pytest.raises(ConfigError, match="models: 1 of the 2 keys it needs are at hand"):
        release(repository, keys.look_up, "3", 3)
    assert runs(repository, tmp_path / "device") == "2"


@pytest.mark.parametrize("threshold", [0, 3])
def test_a_threshold_nobody_can_meet_is_refused(keys: Keys, threshold: int) -> None:
    with pytest.raises(ConfigError, match=f"threshold {threshold}: there are 2 keys"):
        keys.make("models", 2, threshold)


def test_one_key_twice_is_not_two_people(keys: Keys) -> None:
    key = keys.make("models").keys[0]
    with pytest.raises(ConfigError, match="one is there twice"):
        RoleKeys(keys=(key, key), threshold=2)


@pytest.mark.parametrize("role", role_names(STAGES))
def test_every_role_can_get_new_keys(
    repository: Repository, keys: Keys, tmp_path: Path, role: str
) -> None:
    release(repository, keys.look_up, "1", 1)
    assert runs(repository, tmp_path / "device") == "1"
    former = keys.of[role]
    replacement = keys.make(role, 2, 2)
    keys.of["former"] = former
    repository.set_keys(role, replacement, signers=keys.look_up, now=NOW)
    keys.away = {"former"}
    assert runs(repository, tmp_path / "device") == "1"
    release(repository, keys.look_up, "2", 2)
    assert runs(repository, tmp_path / "device") == "2"
    assert {s.role: s.keys for s in repository.roles()}[role] == replacement


def test_a_root_is_rotated_many_times_while_a_device_sleeps(
    repository: Repository, keys: Keys, tmp_path: Path
) -> None:
    for _ in range(5):
        keys.of["former"] = keys.of["root"]
        new = keys.make("root")
        repository.set_keys("root", new, signers=keys.look_up, now=NOW)
    release(repository, keys.look_up, "1", 1)
    assert runs(repository, tmp_path / "device") == "1"
    roots = {f"{n}.root.json" for n in range(1, 7)}
    assert roots <= repository.files.names()


@pytest.mark.parametrize(
    ("role", "away"),
    [
        ("root", "former"),
        ("root", "root"),
        ("timestamp", "root"),
        ("models", "targets"),
        ("models", "models"),
    ],
)
def test_new_keys_without_those_who_must_agree_are_refused(
    repository: Repository, keys: Keys, role: str, away: str
) -> None:
    before = repository.files.names()
    keys.of["former"] = keys.of[role]
    new = keys.make(role)
    keys.away = {away}
    with pytest.raises(ConfigError, match="0 of the 1 keys it needs are at hand"):
        repository.set_keys(role, new, signers=keys.look_up, now=NOW)
    assert repository.files.names() == before


def test_a_stage_is_added(repository: Repository, keys: Keys, tmp_path: Path) -> None:
    made = keys.make("stage-canary")
    repository.redraft(founding("stage-canary", made), signers=keys.look_up, now=NOW)
    repository.publish(
        records=[record("1")],
        pointers=[pointer("1", 1, stage="canary")],
        signers=keys.look_up,
        now=NOW,
    )
    root = repository.trusted_root()
    client = TrustClient(tmp_path / "device", root, repository.files, NOW)
    assert client.resolve(stage="canary", model="wine") is not None
    with pytest.raises(ConfigError, match="stage-canary: exists already"):
        repository.redraft(founding("stage-canary", made), signers=keys.look_up, now=NOW)
