"""`edgekit keys` as a person and a script see it."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgekit.cli import main
from edgekit.trust.client import TrustClient
from edgekit.trust.founding import Foundation, Founded, Quorum, found
from edgekit.trust.keys import KeyFolder
from edgekit.trust.repository import Repository
from tests.trust.simulator import pointer, record

pytestmark = pytest.mark.slow  # founds fleets: a key takes a fifth of a second on purpose

GUESS = "abracadabra"
SECRET = "open sesame"  # noqa: S105 - the tests' own


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Founded:
    """A fleet with one stage, founded just now; models has two keys."""
    folder = tmp_path_factory.mktemp("fleet")
    return found(
        Foundation(fleet="demo", stages=["production"], quorums={"models": Quorum(keys=2)}),
        keys_folder=folder / "keys",
        repository_folder=folder / "repository",
        passphrase=SECRET,
        now=datetime.now(UTC),
    )


@pytest.fixture
def fleet(template: Founded, tmp_path: Path) -> Path:
    """A copy of the fleet's folder to change."""
    folder = tmp_path / "fleet"
    return shutil.copytree(template.repository.folder.parent, folder)


def run(fleet: Path, *arguments: str, secret: str = SECRET) -> Result:
    environment = {"EDGEKIT_FLEET": str(fleet), "EDGEKIT_PASSPHRASE": secret}
    return CliRunner().invoke(main, ["keys", *arguments], env=environment)


def repository_of(fleet: Path) -> Repository:
    return Repository.open(fleet / "repository")


def lines(result: Result) -> list[list[str]]:
    assert result.exit_code == 0, result.output
    return [line.split("  ") for line in result.stdout.splitlines()]


def keyid(fleet: Path, role: str, number: int = 0) -> str:
    keys = {state.role: state.keys for state in repository_of(fleet).roles()}
    return keys[role].keyids[number]


def test_list_names_every_role_and_where_its_keys_are(fleet: Path) -> None:
    (fleet / "keys/root-1.pem").unlink()
    result = run(fleet, "list", secret="")
    first = [" ".join(cells).split() for cells in lines(result)]
    assert first[0] == ["ROLE", "NEEDS", "KEY", "FILE", "VERSION", "EXPIRES"]
    assert [row[0] for row in first[1:]] == [
        "root",
        "targets",
        "snapshot",
        "timestamp",
        "models",
        "models",
        "stage-production",
    ]
    assert first[1][4:7] == [keyid(fleet, "root")[:8], "not", "here"]
    assert first[5][1:6] == ["1", "of", "2", keyid(fleet, "models")[:8], "models-1.pem"]


def test_list_as_json(fleet: Path) -> None:
    document = json.loads(run(fleet, "list", "--json", secret="").stdout)
    models = next(role for role in document if role["role"] == "models")
    assert models["threshold"] == 1
    assert [key["id"] for key in models["keys"]] == [
        keyid(fleet, "models", 0),
        keyid(fleet, "models", 1),
    ]
    assert models["keys"][0]["file"].endswith("models-1.pem")


def test_the_keys_to_take_offline_are_told_apart(template: Founded) -> None:
    assert {key.role for key in template.to_take_offline} == {"root", "targets"}
    assert {key.role for key in template.online} == {"snapshot", "timestamp"}


def test_rotate_replaces_the_key(fleet: Path) -> None:
    old = keyid(fleet, "stage-production")
    result = run(fleet, "rotate", "stage-production", "--json")
    document = json.loads(result.stdout)
    assert document["revoked"] == old
    assert document["key"] == keyid(fleet, "stage-production")
    assert document["file"].endswith("stage-production-2.pem")
    assert "stage-production-1.pem: signs for no role" in run(fleet, "list").stderr


def test_rotate_of_one_among_several_wants_to_know_which(fleet: Path) -> None:
    vague = run(fleet, "rotate", "models")
    assert vague.exit_code == 3
    assert "models: 2 of its keys start with 'nothing', one is expected" in vague.stderr
    first, second = keyid(fleet, "models", 0), keyid(fleet, "models", 1)
    result = run(fleet, "rotate", "models", "--key", first[:8])
    assert result.exit_code == 0
    assert f"key {first[:8]} no longer signs; destroy it" in result.stderr
    assert keyid(fleet, "models", 0) == second


def test_add_with_a_threshold_asks_for_two_people(fleet: Path) -> None:
    result = run(fleet, "add", "stage-production", "--threshold", "2")
    assert result.exit_code == 0, result.output
    state = next(s for s in repository_of(fleet).roles() if s.role == "stage-production")
    assert (state.keys.threshold, len(state.keys.keys)) == (2, 2)


def test_add_of_a_new_stage(fleet: Path) -> None:
    assert run(fleet, "add", "stage-canary").exit_code == 3
    assert run(fleet, "add", "stage-canary", "--new").exit_code == 0
    assert repository_of(fleet).pointer(stage="canary", model="wine") is None


def test_a_wrong_passphrase_leaves_no_key_behind(fleet: Path) -> None:
    before = sorted(fleet.rglob("*"))
    result = run(fleet, "rotate", "timestamp", secret=GUESS)
    assert result.exit_code == 3
    assert "wrong passphrase" in result.stderr
    assert sorted(fleet.rglob("*")) == before


def test_a_root_key_on_a_stick_is_found(fleet: Path, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    for name in ("root-1.pem", "targets-1.pem"):
        (fleet / "keys" / name).rename(stick / name)
    missing = run(fleet, "rotate", "timestamp")
    assert missing.exit_code == 3
    assert "root: 0 of the 1 keys it needs are at hand" in missing.stderr
    assert run(fleet, "rotate", "timestamp", "--keys", str(stick)).exit_code == 0


def test_renew_signs_the_online_roles(fleet: Path) -> None:
    versions = {state.role: state.version for state in repository_of(fleet).roles()}
    result = run(fleet, "renew")
    assert result.stdout.splitlines()[-1].startswith("timestamp: signed by ")
    after = {state.role: state.version for state in repository_of(fleet).roles()}
    assert {role for role in after if after[role] > versions[role]} == {
        "snapshot",
        "timestamp",
    }
    assert run(fleet, "renew", "nonsense").exit_code == 3


def test_a_device_follows_all_of_it(fleet: Path, tmp_path: Path) -> None:
    root = repository_of(fleet).trusted_root()
    for role in ("root", "stage-production"):
        assert run(fleet, "rotate", role).exit_code == 0
    repository = repository_of(fleet)
    signers = KeyFolder(fleet / "keys").signers(SECRET)
    now = datetime.now(UTC)
    repository.publish(
        records=[record("1")], pointers=[pointer("1", 1)], signers=signers, now=now
    )
    client = TrustClient(tmp_path / "device", root, repository.files, now)
    assert client.resolve(stage="production", model="wine") is not None
