"""A founded fleet to run commands in, and a way to run them: exact output, exit code."""

import atexit
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from edgekit.address import BrokerAddress
from edgekit.cli import main
from edgekit.fleet.config import FleetConfig, ModelSettings, ReleaseSettings
from edgekit.fleet.founding import RootPolicy, default_selector, found
from tests.core.workshop import NOW, STAGES

PASSPHRASE = "correct horse"  # noqa: S105 - of keys that live for one test


def run(*arguments: str, fleet: Path | None = None) -> Result:
    """Run `edgekit` with these arguments, as an operator who set the two variables."""
    environment = {"EDGEKIT_PASSPHRASE": PASSPHRASE}
    if fleet is not None:
        environment["EDGEKIT_FLEET"] = str(fleet)
    return CliRunner().invoke(main, list(arguments), env=environment)


def fleet_in(folder: Path) -> Path:
    """Return a copy of a fleet that was founded once."""
    return Path(shutil.copytree(_founded(), folder / "fleet"))


@cache
def _founded() -> Path:
    place = mkdtemp(prefix="edgekit-test-")
    atexit.register(shutil.rmtree, place)
    folder = Path(place) / "fleet"
    found(
        folder,
        FleetConfig(
            fleet="demo",
            broker=BrokerAddress(url="mqtt://localhost:1883"),
            stages={stage: default_selector(stage) for stage in STAGES},
            release=ReleaseSettings(boards=("generic-x86-64",)),
            models={"wine": ModelSettings()},
        ),
        root=RootPolicy(keys=1, threshold=1),
        passphrase=PASSPHRASE,
        now=NOW,
    )
    for path in (folder / "keys").iterdir():
        _open_fast(path)
    return folder


def _open_fast(path: Path) -> None:
    """Encrypt a key file anew with few rounds: the real ones take a fifth of a second."""
    pem = path.read_bytes()
    public = pem[: pem.index(b"-----BEGIN ENCRYPTED")]
    private = load_pem_private_key(pem, PASSPHRASE.encode())
    encryption = BestAvailableEncryption(PASSPHRASE.encode())
    path.write_bytes(
        public + private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    )


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Be in a folder for a while."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
