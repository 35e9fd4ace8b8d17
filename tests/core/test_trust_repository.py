"""The operator's repository, seen by a device that reads its folder."""

import dataclasses
import json
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from edgekit.errors import ConfigError, StoreError, TrustError
from edgekit.trust.client import ExpiredError, TrustClient
from edgekit.trust.expiry import Lifetimes
from edgekit.trust.keys import SignerLookup
from edgekit.trust.limits import Limits
from edgekit.trust.lock import exclusive
from edgekit.trust.payload import CryptoSigner, Signer
from edgekit.trust.repository import Publication, Repository
from edgekit.trust.roles import RoleKeys, role_names
from tests.core.trust_simulator import DAY, NOW, pointer, record

STAGES = ("production", "staging")
Publish = Callable[..., Publication]


class Keys:
    """Keys in memory, by role; some can be away."""

    def __init__(self) -> None:
        self.signers: dict[str, Signer] = {}
        self.of: dict[str, list[CryptoSigner]] = {}
        self.away: set[str] = set()
        self.asked: set[str] = set()

    def make(self, role: str, count: int = 1, threshold: int = 1) -> RoleKeys:
        made = [CryptoSigner.generate_ed25519() for _ in range(count)]
        self.of[role] = made
        self.signers |= {signer.public_key.keyid: signer for signer in made}
        return RoleKeys(keys=tuple(s.public_key for s in made), threshold=threshold)

    def look_up(self, keyid: str) -> Signer | None:
        role = next(
            (
                r
                for r, made in self.of.items()
                if keyid in {s.public_key.keyid for s in made}
            ),
            "revoked",
        )
        self.asked.add(role)
        return None if role in self.away else self.signers.get(keyid)


def _keyids(signers: list[CryptoSigner]) -> set[str]:
    return {signer.public_key.keyid for signer in signers}


@pytest.fixture
def keys() -> Keys:
    """One key for each role, all at hand."""
    return Keys()


@pytest.fixture
def repository(tmp_path: Path, keys: Keys) -> Repository:
    """A new fleet's repository."""
    return create(tmp_path / "repository", keys)


def create(folder: Path, keys: Keys, **quorums: tuple[int, int]) -> Repository:
    return Repository.create(
        folder,
        fleet="demo",
        stages=STAGES,
        keys={
            role: keys.make(role, *quorums.get(role, (1, 1))) for role in role_names(STAGES)
        },
        signers=keys.look_up,
        now=NOW,
    )


def release(
    repository: Repository, signers: SignerLookup, version: str, rollout: int
) -> Publication:
    return repository.publish(
        records=[record(version)],
        pointers=[pointer(version, rollout)],
        signers=signers,
        now=NOW,
    )


def runs(repository: Repository, folder: Path, now: datetime = NOW) -> str | None:
    """Return what a device runs of stage production."""
    root = repository.files.read("1.root.json")
    client = TrustClient(folder, root, repository.files, now)
    vouched = client.resolve(stage="production", model="wine")
    return None if vouched is None else vouched.pointer.version


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


# --- which keys a change takes -----------------------------------------------------


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


# --- what is not published ---------------------------------------------------------


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


# --- old files ---------------------------------------------------------------------


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


# --- staying fresh -----------------------------------------------------------------


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


# --- replacing keys ----------------------------------------------------------------


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
    repository.add_stage("canary", made, signers=keys.look_up, now=NOW)
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
        repository.add_stage("canary", made, signers=keys.look_up, now=NOW)


# --- a folder that was tampered with -----------------------------------------------


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
