"""`edgekit keys` as a person and a script see it."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgekit.cli import main
from edgekit.fleet.book import Device
from edgekit.fleet.folder import FleetFolder
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


# --- revoking, and what a change would do -------------------------------------------------


def test_revoke_takes_a_key_away_and_makes_none(fleet: Path) -> None:
    first, second = keyid(fleet, "models", 0), keyid(fleet, "models", 1)
    result = run(fleet, "revoke", "models", "--key", first, "--json")
    document = json.loads(result.stdout)
    assert (document["revoked"], document["key"]) == (first, None)
    assert keyid(fleet, "models") == second
    assert not (fleet / "keys/models-3.pem").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["revoke", "root"], "root: 0 of its keys would be left and 1 must sign"),
        (["revoke", "stage-production"], "stage-production: 0 of its keys would be left"),
        (["add", "models", "--threshold=4"], "models: 3 of its keys would be left and 4"),
        (["revoke", "models", "--key=zz"], "models: 0 of its keys start with 'zz'"),
        (["rotate", "nobody"], "nobody: no such role"),
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_what_would_lock_the_fleet_out_is_refused_and_leaves_nothing_behind(
    fleet: Path, arguments: list[str], sentence: str, dry: list[str]
) -> None:
    before = contents(fleet)
    result = run(fleet, *arguments, *dry)
    assert result.exit_code == 3
    assert sentence in result.stderr
    assert contents(fleet) == before


def contents(fleet: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in fleet.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "now", "afterwards", "signed"),
    [
        (
            ["add", "stage-production", "--threshold=2"],
            "1 of 1 keys must sign, none may be lost",
            "2 of 2 keys must sign, none may be lost",
            ["stage-production", "targets", "snapshot", "timestamp"],
        ),
        (
            ["rotate", "root"],
            "1 of 1 keys must sign, none may be lost",
            "1 of 1 keys must sign, none may be lost",
            ["root", "root", "timestamp"],
        ),
        (
            ["revoke", "models", "--key="],
            "1 of 2 keys must sign, 1 may be lost",
            "1 of 1 keys must sign, none may be lost",
            ["models", "targets", "snapshot", "timestamp"],
        ),
        (
            ["rotate", "timestamp"],
            "1 of 1 keys must sign, none may be lost",
            "1 of 1 keys must sign, none may be lost",
            ["root", "timestamp"],
        ),
    ],
)
def test_a_dry_run_tells_the_sums_and_what_is_signed_and_changes_nothing(
    fleet: Path, arguments: list[str], now: str, afterwards: str, signed: list[str]
) -> None:
    if arguments[-1] == "--key=":
        arguments = [*arguments[:-1], f"--key={keyid(fleet, 'models')}"]
    before = contents(fleet)
    result = run(fleet, *arguments, "--dry-run", secret="")
    assert result.exit_code == 0, result.stderr
    told = result.stdout.splitlines()
    role = arguments[1]
    assert told[:2] == [f"{role}: {now} now", f"{role}: {afterwards} afterwards"]
    assert [line.split()[0] for line in told[4:]] == signed
    assert all(line.endswith("yes") for line in told[4:])
    assert result.stderr == "nothing was changed (--dry-run)\n"
    assert contents(fleet) == before


def test_a_dry_run_says_whose_signatures_would_be_missing(fleet: Path) -> None:
    (fleet / "keys/targets-1.pem").unlink()
    missing = keyid(fleet, "targets")[:8]
    result = run(fleet, "rotate", "stage-production", "--dry-run", secret="")
    assert result.exit_code == 3
    row = next(line for line in result.stdout.splitlines() if line.startswith("targets"))
    assert row.endswith(f"1 more of {missing}")
    assert "stage-production: signatures would be missing" in result.stderr


def test_what_a_dry_run_foretells_is_what_happens(fleet: Path) -> None:
    foretold = json.loads(
        run(fleet, "rotate", "stage-production", "--dry-run", "--json", secret="").stdout
    )
    done = json.loads(run(fleet, "rotate", "stage-production", "--json").stdout)
    assert foretold["possible"] is True
    assert {one["role"] for one in foretold["signings"]} == set(done["signed_by"])
    versions = {state.role: state.version for state in repository_of(fleet).roles()}
    for one in foretold["signings"]:
        assert versions[one["role"]] == one["version"]


def test_a_dry_run_names_the_devices_that_a_stage_concerns(fleet: Path) -> None:
    (fleet / "fleet.toml").write_text("")
    with FleetFolder(path=fleet).book() as book:
        for name, stage in (("pi-1", "production"), ("pi-2", "staging")):
            book.enroll(
                Device(
                    name=name,
                    board="pi",
                    models=(("wine", stage),),
                    enrolled_by="ada",
                    enrolled_at=datetime.now(UTC),
                )
            )
    told = run(fleet, "rotate", "stage-production", "--dry-run").stdout
    assert "1 devices that follow it: each goes over to the new keys" in told
    told = run(fleet, "rotate", "root", "--dry-run").stdout
    assert "2 devices enrolled: each goes over" in told
