"""The power goes at every single write, on the operator's side and on the device."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.atomic import write_bytes
from edgekit.errors import TrustError
from edgekit.trust.client import TrustClient
from edgekit.trust.payload import CryptoSigner, Signer
from edgekit.trust.repository import Repository
from edgekit.trust.roles import RoleKeys, role_names
from tests.trust.simulator import NOW, Simulator, pointer, record

pytestmark = pytest.mark.slow  # every write is cut once

STAGES = ("production", "staging")
ENOUGH = 1_000


class PowerCutError(Exception):
    """Nothing is caught that says this; the machine is off."""


class Fuse:
    """Writes files until it blows; from then on nothing is written."""

    def __init__(self, writes: int = ENOUGH) -> None:
        self.left = writes

    @property
    def used(self) -> int:
        return ENOUGH - self.left

    def write(self, path: Path, data: bytes) -> None:
        if self.left == 0:
            raise PowerCutError
        self.left -= 1
        write_bytes(path, data)


class Operator:
    """A fleet that runs version 1, and copies of its folder to be ruined."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.signers: dict[str, Signer] = {}
        keys = {role: self.make_key() for role in role_names(STAGES)}
        repository = Repository.create(
            folder / "original",
            fleet="demo",
            stages=STAGES,
            keys=keys,
            signers=self.signers.get,
            now=NOW,
        )
        self.release(repository, "1", 1)
        self.root = repository.trusted_root()

    def make_key(self) -> RoleKeys:
        signer = CryptoSigner.generate_ed25519()
        self.signers[signer.public_key.keyid] = signer
        return RoleKeys(keys=(signer.public_key,))

    def release(self, repository: Repository, version: str, rollout: int) -> None:
        repository.publish(
            records=[record(version)],
            pointers=[pointer(version, rollout)],
            signers=self.signers.get,
            now=NOW,
        )

    def copy(self, name: str, fuse: Fuse) -> Repository:
        shutil.copytree(self.folder / "original", self.folder / name)
        return Repository.open(self.folder / name, write=fuse.write)

    def runs(self, repository: Repository, device: str) -> str | None:
        """Return what a device runs that sees the folder as it is."""
        client = TrustClient(self.folder / device, self.root, repository.files, NOW)
        vouched = client.resolve(stage="production", model="wine")
        return None if vouched is None else vouched.pointer.version


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    """A fleet in a folder."""
    return Operator(tmp_path)


def writes_of(operator: Operator, change: Callable[[Repository], object]) -> int:
    fuse = Fuse()
    change(operator.copy("counted", fuse))
    return fuse.used


def test_a_publish_cut_at_any_write_leaves_the_old_state_and_heals(
    operator: Operator,
) -> None:
    def change(repository: Repository) -> None:
        operator.release(repository, "2", 2)

    writes = writes_of(operator, change)
    assert writes == 6  # two statements, two roles, snapshot, timestamp
    for cut in range(writes):
        broken = operator.copy(f"cut{cut}", Fuse(cut))
        assert operator.runs(broken, f"device{cut}") == "1"
        with pytest.raises(PowerCutError):
            change(broken)
        assert operator.runs(broken, f"device{cut}") == "1"
        assert operator.runs(broken, f"new{cut}") == "1"
        healed = Repository.open(broken.folder)
        served = {n: healed.files.read(n) for n in healed.files.names()}
        operator.release(healed, "2", 2)
        assert operator.runs(healed, f"device{cut}") == "2"
        kept = healed.files.names() & served.keys()
        changed = {name for name in kept if healed.files.read(name) != served[name]}
        assert changed == {"timestamp.json"}  # no name ever stands for two contents


def test_a_founding_cut_at_any_write_is_begun_anew(tmp_path: Path) -> None:
    for cut in range(6):
        signers: dict[str, Signer] = {}
        keys: dict[str, RoleKeys] = {}
        for role in role_names(STAGES):
            signer = CryptoSigner.generate_ed25519()
            signers[signer.public_key.keyid] = signer
            keys[role] = RoleKeys(keys=(signer.public_key,))

        def found(fuse: Fuse, folder: Path, keys: dict[str, RoleKeys] = keys) -> Repository:
            return Repository.create(
                folder,
                fleet="demo",
                stages=STAGES,
                keys=keys,
                signers=signers.get,  # noqa: B023 - called within the same turn
                now=NOW,
                write=fuse.write,
            )

        folder = tmp_path / str(cut)
        with pytest.raises(PowerCutError):
            found(Fuse(cut), folder)
        assert found(Fuse(), folder).records() == ()


@pytest.mark.parametrize("role", role_names(STAGES))
def test_new_keys_cut_at_any_write_heal_with_the_next_change(
    operator: Operator, role: str
) -> None:
    keys = operator.make_key()

    def change(repository: Repository) -> None:
        repository.set_keys(role, keys, signers=operator.signers.get, now=NOW)

    for cut in range(writes_of(operator, change)):
        broken = operator.copy(f"cut{cut}", Fuse(cut))
        device = f"device{cut}"
        assert operator.runs(broken, device) == "1"
        with pytest.raises(PowerCutError):
            change(broken)
        settled = role in {"root", "models", "stage-production", "stage-staging"}
        try:
            assert operator.runs(broken, device) == "1"
        except TrustError:  # the new root is there, what its new key must sign is not yet
            assert not settled
        healed = Repository.open(broken.folder)
        healed.renew(signers=operator.signers.get, now=NOW)
        assert operator.runs(healed, device) == "1"
        change(healed)
        operator.release(Repository.open(broken.folder), "2", 2)
        assert operator.runs(healed, device) == "2"


def test_a_sweep_that_was_cut_short_is_finished_by_the_next(operator: Operator) -> None:
    repository = operator.copy("swept", Fuse())
    operator.release(repository, "2", 2)
    for stray in ("1.models.json", "targets/models/wine/old.json"):
        repository.files.write(stray, b"left over")
    operator.release(repository, "3", 3)
    assert "1.models.json" not in repository.files.names()
    assert "targets/models/wine/old.json" not in repository.files.names()
    assert operator.runs(repository, "device") == "3"


def test_a_device_cut_at_any_write_goes_on(tmp_path: Path) -> None:
    operator = Simulator()
    operator.release("1", 1)
    trusted = operator.trusted_root

    def runs(folder: Path, fuse: Fuse) -> str | None:
        client = TrustClient(folder, trusted, operator, NOW, write=fuse.write)
        vouched = client.resolve(stage="production", model="wine")
        return None if vouched is None else vouched.pointer.version

    before = tmp_path / "before"
    assert runs(before, Fuse()) == "1"
    operator.rotate("root")
    operator.rotate("models")
    operator.release("2", 2)
    counter = Fuse()
    shutil.copytree(before, tmp_path / "counted", symlinks=True)
    assert runs(tmp_path / "counted", counter) == "2"
    assert counter.used >= 7
    for cut in range(counter.used):
        folder = tmp_path / f"cut{cut}"
        shutil.copytree(before, folder, symlinks=True)
        with pytest.raises(PowerCutError):
            runs(folder, Fuse(cut))
        assert runs(folder, Fuse()) == "2"


def test_a_device_without_news_writes_nothing(tmp_path: Path) -> None:
    operator = Simulator()
    operator.release("1", 1)
    for fuse in (Fuse(), Fuse(0)):
        client = TrustClient(
            tmp_path, operator.trusted_root, operator, NOW, write=fuse.write
        )
        assert client.resolve(stage="production", model="wine") is not None
