"""A fleet's folder and people who each hold a key, on a machine of their own."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

from click.testing import CliRunner, Result

from edgekit.cli import main
from edgekit.trust.client import TrustClient
from edgekit.trust.founding import Foundation, Founded, found
from edgekit.trust.keys import KeyFolder
from edgekit.trust.repository import Repository
from edgekit.trust.roles import RoleKeys
from tests.trust.simulator import pointer, record

SECRET = "the fleet's own"  # noqa: S105 - the tests' own


def running_fleet(folder: Path, fleet: str = "demo") -> Founded:
    """A fleet that runs version 1 of a model."""
    founded = found(
        Foundation(fleet=fleet, stages=["production"]),
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

    def version(self, role: str) -> int:
        return next(s.version for s in self.repository().roles() if s.role == role)

    def contents(self) -> dict[str, bytes]:
        """Every file of the fleet's folder, as it is."""
        files = (path for path in self.fleet.rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in files}

    def secret(self, name: str) -> str:
        """Return what opens somebody's key files."""
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


def for_bob(people: People) -> Path:
    """A proposal that Ada and Bob must sign."""
    public = people.makes("bob", "root")
    return people.propose("add", "root", "--threshold=2", "--theirs", public)
