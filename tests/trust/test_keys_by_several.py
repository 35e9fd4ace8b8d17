"""A change of keys that several people sign, each with an own key, on an own machine."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edgekit.cli import main
from edgekit.errors import TrustError
from edgekit.trust.client import TrustClient
from edgekit.trust.founding import Foundation, Founded, found
from edgekit.trust.key_proposal import KeyProposal, parse
from edgekit.trust.keys import KeyFolder, public_key
from edgekit.trust.proposal import MAX_BYTES
from edgekit.trust.repository import Repository
from edgekit.trust.roles import RoleKeys
from tests.trust.simulator import pointer, record

pytestmark = pytest.mark.slow  # makes keys: each takes a fifth of a second on purpose

SECRET = "the fleet's own"  # noqa: S105 - the tests' own


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Founded:
    """A fleet that runs version 1 of a model."""
    folder = tmp_path_factory.mktemp("fleet")
    founded = found(
        Foundation(fleet="demo", stages=["production"]),
        keys_folder=folder / "keys",
        repository_folder=folder / "repository",
        passphrase=SECRET,
        now=datetime.now(UTC),
    )
    founded.repository.publish(
        records=[record("1")],
        pointers=[pointer("1", 1)],
        signers=KeyFolder(folder / "keys").signers(SECRET),
        now=datetime.now(UTC),
    )
    return founded


def run(*arguments: object, secret: str = SECRET, **environment: str) -> Result:
    variables = {"EDGEKIT_PASSPHRASE": secret, **environment}
    return CliRunner().invoke(main, [str(one) for one in arguments], env=variables)


class People:
    """The fleet's folder with its online keys; Ada took those of root and targets."""

    def __init__(self, template: Path, folder: Path) -> None:
        self.folder = folder
        self.fleet = shutil.copytree(template, folder / "fleet")
        self.root = self.repository().trusted_root()
        for name in ("ada", "bob", "carol", "mallory"):
            (folder / name).mkdir()
        for role in ("root", "targets"):
            shutil.move(self.fleet / "keys" / f"{role}-1.pem", folder / "ada")

    def repository(self) -> Repository:
        return Repository.open(self.fleet / "repository")

    def keys(self, role: str) -> RoleKeys:
        return next(s.keys for s in self.repository().roles() if s.role == role)

    def secret(self, name: str) -> str:
        return SECRET if name == "ada" else f"{name}'s own"

    def makes(self, name: str, role: str) -> Path:
        """Somebody makes a key at home, and sends the public half."""
        folder = self.folder / name
        made = run("keys", "make", role, "--folder", folder, secret=self.secret(name))
        assert made.exit_code == 0, made.stderr
        assert "PRIVATE" not in made.stdout
        public = self.folder / f"{name}-{role}.pub"
        public.write_text(made.stdout)
        return public

    def propose(self, *arguments: object) -> Path:
        """The operator's half: none of the keys that are needed are here."""
        result = run(
            "keys", *arguments, "--propose", "--json", EDGEKIT_FLEET=str(self.fleet)
        )
        assert result.exit_code == 0, result.stderr
        return Path(json.loads(result.stdout)["file"])

    def sign(self, name: str, file: Path, *more: str) -> Result:
        """One person's half, who has no fleet folder: the file travels there and back."""
        there = shutil.copy(file, self.folder / name / "sent.json")
        keys = f"--keys={self.folder / name}"
        result = run("sign", there, keys, "--yes", *more, secret=self.secret(name))
        shutil.move(there, file)
        return result

    def publish(self, file: Path) -> Result:
        return run("publish", file, EDGEKIT_FLEET=str(self.fleet))

    def device_runs(self, device: str = "device") -> str | None:
        """What a device runs that was provisioned before all changes."""
        source, now = self.repository().files, datetime.now(UTC)
        client = TrustClient(self.folder / device, self.root, source, now)
        vouched = client.resolve(stage="production", model="wine")
        return None if vouched is None else vouched.pointer.version


@pytest.fixture
def people(template: Founded, tmp_path: Path) -> People:
    return People(template.repository.folder.parent, tmp_path)


def two_for_root(people: People) -> None:
    """Let Bob sign for the root beside Ada, both of them always."""
    public = people.makes("bob", "root")
    file = people.propose("add", "root", "--threshold=2", "--theirs", public)
    for name in ("ada", "bob"):
        assert people.sign(name, file).exit_code == 0
    assert people.publish(file).exit_code == 0


def test_a_root_of_two_people_who_never_share_a_machine(people: People) -> None:
    assert people.device_runs() == "1"
    public = people.makes("bob", "root")
    file = people.propose("add", "root", "--threshold=2", "--theirs", public)
    assert people.publish(file).exit_code == 3
    first = people.sign("ada", file)
    assert first.exit_code == 0, first.stderr
    assert "keys of root: 1 of 1 must sign now, 2 of 2 afterwards" in first.stdout
    assert first.stdout.endswith("1 more to come\n")
    early = people.publish(file)
    assert early.exit_code == 3
    assert "root: 1 signatures are missing" in early.stderr
    assert people.keys("root").threshold == 1
    assert people.sign("bob", file).stdout.endswith("nothing is missing\n")
    done = people.publish(file)
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "root: 2 of 2 keys must sign, none may be lost from now on\n"
    keys = people.keys("root")
    assert keys.threshold == 2
    assert public_key(public).keyid in keys.keyids
    assert people.device_runs() == "1"


def test_every_role_s_keys_change_by_the_signatures_of_their_holders(
    people: People,
) -> None:
    two_for_root(people)
    file = people.propose("rotate", "targets", "--theirs", people.makes("carol", "targets"))
    for name in ("ada", "bob", "carol"):
        assert people.sign(name, file).exit_code == 0, name
    assert people.publish(file).exit_code == 0
    assert people.device_runs() == "1"
    public = people.makes("bob", "models")
    file = people.propose("add", "models", "--threshold=2", "--theirs", public)
    for name in ("carol", "bob"):
        assert people.sign(name, file).exit_code == 0, name
    assert people.publish(file).exit_code == 0
    assert people.keys("models").threshold == 2
    assert people.device_runs() == "1"
    bobs = public_key(people.folder / "bob-root.pub").keyid
    file = people.propose("revoke", "root", "--key", bobs[:8], "--threshold=1")
    for name in ("bob", "ada"):
        assert people.sign(name, file).exit_code == 0, name
    assert people.publish(file).exit_code == 0
    assert bobs not in people.keys("root").keyids
    assert people.device_runs() == "1"
    assert people.device_runs("a new one") == "1"


def test_an_online_key_is_made_at_the_fleet_and_signed_for_elsewhere(
    people: People,
) -> None:
    old = people.keys("timestamp")
    file = people.propose("rotate", "timestamp")
    assert people.keys("timestamp") == old
    assert people.sign("ada", file).exit_code == 0
    assert people.publish(file).exit_code == 0
    assert people.keys("timestamp") != old
    assert people.device_runs() == "1"


def test_who_holds_none_of_the_keys_cannot_sign(people: People) -> None:
    people.makes("mallory", "root")
    file = people.propose("add", "root", "--theirs", people.makes("bob", "root"))
    before = file.read_bytes()
    result = people.sign("mallory", file)
    assert result.exit_code == 3
    assert "none of the keys here can sign it" in result.stderr
    assert file.read_bytes() == before


def test_a_new_key_alone_is_not_enough(people: People) -> None:
    file = people.propose("add", "root", "--theirs", people.makes("mallory", "root"))
    assert people.sign("mallory", file).exit_code == 0
    assert people.publish(file).exit_code == 3
    assert len(people.keys("root").keys) == 1


def test_what_was_proposed_before_another_change_is_proposed_again(people: People) -> None:
    public = people.makes("bob", "root")
    late = people.propose("add", "root", "--theirs", public)
    late = late.rename(late.with_name("late.json"))
    two_for_root(people)
    people.sign("ada", late)
    people.sign("bob", late)
    result = people.publish(late)
    assert result.exit_code == 3
    assert "the fleet has changed since" in result.stderr


def test_the_root_one_knows_can_be_insisted_on(people: People, tmp_path: Path) -> None:
    file = people.propose("add", "root", "--theirs", people.makes("bob", "root"))
    other = found(
        Foundation(fleet="demo", stages=["production"]),
        keys_folder=tmp_path / "other" / "keys",
        repository_folder=tmp_path / "other" / "repository",
        passphrase=SECRET,
        now=datetime.now(UTC),
    )
    strange = tmp_path / "strange.json"
    strange.write_bytes(other.repository.trusted_root())
    assert people.sign("ada", file, f"--root={strange}").exit_code == 7
    known = tmp_path / "known.json"
    known.write_bytes(people.root)
    assert people.sign("ada", file, f"--root={known}").exit_code == 0


def test_another_s_key_needs_a_proposal(people: People) -> None:
    public = people.makes("bob", "root")
    result = run(
        *("keys", "add", "root", "--theirs", public), EDGEKIT_FLEET=str(people.fleet)
    )
    assert result.exit_code == 3
    assert "--theirs: it belongs to --propose" in result.stderr


# --- what may not hide in such a file ---------------------------------------------------

Document = dict[str, Any]


def _targets(document: Document) -> Document:
    found: Document = document["roles"]["targets"]["signed"]
    return found


def _a_statement(document: Document) -> None:
    _targets(document)["targets"]["x"] = {"length": 1, "hashes": {"sha256": "0" * 64}}


def _another_path(document: Document) -> None:
    _targets(document)["delegations"]["roles"][0]["paths"] = ["*"]


def _another_role(document: Document) -> None:
    roles = _targets(document)["delegations"]["roles"]
    roles.append({**roles[0], "name": "backdoor", "paths": ["stages/*/*"]})


def _another_fleet(document: Document) -> None:
    _targets(document)["x-edgekit-fleet"] = "theirs"


def _an_older_version(document: Document) -> None:
    _targets(document)["version"] = document["targets"]["signed"]["version"]


def _a_release(document: Document) -> None:
    models: Document = document["roles"]["models"]["signed"]
    models["targets"].clear()


def _a_base_nobody_signed(document: Document) -> None:
    document["base"]["models"]["signed"]["version"] += 1


def _a_role_without_base(document: Document) -> None:
    del document["base"]["models"]


def _no_change(document: Document) -> None:
    document["roles"] = {}
    document["base"] = {}


def _a_newer_format(document: Document) -> None:
    document["format"] = 3


def _another_kind_of_metadata(document: Document) -> None:
    document["roles"]["targets"] = document["root"]


def _more_signatures_than_keys(document: Document) -> None:
    _targets(document)["delegations"]["roles"][0]["threshold"] = 9


def _a_fraction(document: Document) -> None:
    _targets(document)["x-half"] = 0.5


def _a_key_that_is_not_there(document: Document) -> None:
    _targets(document)["delegations"]["roles"][0]["keyids"].append("ab" * 32)


FORGERIES: list[Callable[[Document], None]] = [
    _a_statement,
    _another_path,
    _another_role,
    _another_fleet,
    _an_older_version,
    _a_release,
    _a_base_nobody_signed,
    _a_role_without_base,
    _no_change,
    _a_newer_format,
    _another_kind_of_metadata,
    _more_signatures_than_keys,
    _a_fraction,
    _a_key_that_is_not_there,
]


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_nothing_but_keys_can_be_slipped_in(
    people: People, forge: Callable[[Document], None]
) -> None:
    file = people.propose("add", "models", "--theirs", people.makes("bob", "models"))
    document = json.loads(file.read_bytes())
    assert set(document["roles"]) == {"models", "targets"}
    forge(document)
    file.write_text(json.dumps(document))
    with pytest.raises(TrustError):
        parse(file.read_bytes())
    before = file.read_bytes()
    assert people.sign("ada", file).exit_code == 7
    assert file.read_bytes() == before


def test_a_root_that_changes_more_than_keys_is_refused(people: People) -> None:
    file = people.propose("add", "root", "--theirs", people.makes("bob", "root"))
    for field, value in (("consistent_snapshot", False), ("version", 3)):
        document = json.loads(file.read_bytes())
        document["new_root"]["signed"][field] = value
        with pytest.raises(TrustError):
            parse(json.dumps(document).encode())


def test_a_wrong_signature_counts_for_nothing(people: People) -> None:
    file = people.propose("add", "root", "--theirs", people.makes("bob", "root"))
    people.sign("ada", file)
    document = json.loads(file.read_bytes())
    for signature in document["new_root"]["signatures"]:
        signature["sig"] = "00" * 64
    proposal = parse(json.dumps(document).encode())
    assert isinstance(proposal, KeyProposal)
    assert [one.lacks for one in proposal.gathered()] == [1]
    file.write_text(json.dumps(document))
    assert people.sign("ada", file).exit_code == 0
    assert people.publish(file).exit_code == 0


def test_an_endless_file_is_not_read() -> None:
    with pytest.raises(TrustError, match="are read"):
        parse(b" " * (MAX_BYTES + 1))
