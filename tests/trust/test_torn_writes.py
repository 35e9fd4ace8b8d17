"""A write of which only the first bytes reached the disk, at each file that is kept.

The operator's: repository, key files, fleet.toml, the ledger. The device's: its trust.
"""

import os
import resource
import signal
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgekit.address import BrokerAddress
from edgekit.errors import TrustError
from edgekit.fleet import config as fleet_config
from edgekit.fleet.config import FleetConfig
from edgekit.registry.uri import Selector
from edgekit.release.history import Action, Entry
from edgekit.release.ledger import Ledger
from edgekit.trust.client import TrustClient
from edgekit.trust.keys import KeyFolder
from edgekit.trust.repository import Repository
from edgekit.trust.shelf import Shelf
from tests.power import torn_writes
from tests.trust.simulator import NOW, Simulator
from tests.trust.workbench import Keys, create, release

WORDS = "correct horse battery staple"

pytestmark = pytest.mark.slow  # every write is torn in several places


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where the ruined copies go."""
    return tmp_path / "torn"


# --- the operator -----------------------------------------------------------------------


class Fleet:
    """A fleet that runs version 1, and what a device makes of a copy of its folder."""

    def __init__(self, folder: Path) -> None:
        self.keys = Keys()
        self.folder = folder / "repository"
        repository = create(self.folder, self.keys)
        release(repository, self.keys.look_up, "1", 1)
        self.root = repository.trusted_root()
        self._devices = folder

    def runs(self, folder: Path, device: str) -> str | None:
        source = Shelf(folder / "files")
        client = TrustClient(self._devices / device, self.root, source, NOW)
        vouched = client.resolve(stage="production", model="wine")
        return None if vouched is None else vouched.pointer.version


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """A fleet in a folder."""
    return Fleet(tmp_path)


def test_a_torn_release_offers_the_old_or_the_new_and_is_made_again(
    fleet: Fleet, target: Path
) -> None:
    def change(folder: Path) -> None:
        release(Repository.open(folder), fleet.keys.look_up, "2", 2)

    states = 0
    for number, folder in enumerate(torn_writes(fleet.folder, target, change)):
        states += 1
        assert fleet.runs(folder, f"device{number}") in {"1", "2"}
        release(Repository.open(folder), fleet.keys.look_up, "3", 3)
        assert fleet.runs(folder, f"device{number}") == "3"
    assert states >= 6 * 6  # files, beginnings


@pytest.mark.parametrize("role", ["root", "targets", "models", "timestamp"])
def test_a_torn_change_of_keys_is_made_again(fleet: Fleet, target: Path, role: str) -> None:
    new = fleet.keys.make(role)
    old = {state.role: state.keys for state in Repository.open(fleet.folder).roles()}

    def change(folder: Path) -> None:
        repository = Repository.open(folder)
        repository.set_keys(role, new, signers=fleet.keys.signers.get, now=NOW)

    assert old[role] != new
    for number, folder in enumerate(torn_writes(fleet.folder, target, change)):
        healed = Repository.open(folder)
        healed.renew(signers=fleet.keys.signers.get, now=NOW)
        assert fleet.runs(folder, f"device{number}") == "1"
        change(folder)
        release(Repository.open(folder), fleet.keys.signers.get, "2", 2)
        assert fleet.runs(folder, f"device{number}") == "2"


def test_a_torn_key_file_is_no_key_and_hides_no_other(tmp_path: Path, target: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    first = KeyFolder(folder).generate("models", passphrase=WORDS)

    def change(copy: Path) -> None:
        KeyFolder(copy).generate("stage-production", passphrase=WORDS)

    states = 0
    for copy in torn_writes(folder, target, change):
        states += 1
        keys = KeyFolder(copy)
        assert keys.signers(WORDS)(first.key.keyid) is not None
        found = {file.key.keyid for file in keys.files()}
        assert first.key.keyid in found
        assert len(found) <= 2
        change(copy)
    assert states >= 6


def test_a_torn_fleet_toml_is_the_old_one_or_the_new(tmp_path: Path, target: Path) -> None:
    selector = Selector.parse("stage:Production", subject="test")
    address = BrokerAddress(url="mqtt://localhost:1883")
    old = FleetConfig(fleet="demo", broker=address, stages={"production": selector})
    new = replace(old, broker=BrokerAddress(url="mqtt://elsewhere:1883"))
    folder = tmp_path / "fleet"
    folder.mkdir()
    fleet_config.write(folder, old)
    states = 0
    for copy in torn_writes(folder, target, lambda copy: fleet_config.write(copy, new)):
        states += 1
        assert fleet_config.load(copy) in (old, new)
    assert states >= 6


ENTRY = Entry(
    stage="production",
    model="wine",
    rollout=1,
    version="1",
    run_id="8f0c",
    bundles={"fp32": "ab" * 32},
    signers={"models": ("k1",)},
    who="ada",
    at=datetime(2026, 3, 1, 12, tzinfo=UTC),
    action=Action.RELEASE,
)


def killed_beyond(most_bytes: int, change: Callable[[], object]) -> bool:
    """Do it in a process that dies when a file of it grows beyond so many bytes.

    The kernel writes up to the limit: the write is torn there, whoever makes it, and in
    whatever language. Whether it died.
    """
    child = os.fork()
    if not child:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        try:
            change()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_a_torn_entry_of_the_ledger_is_there_or_not_and_can_be_made(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"

    def append(rollout: int) -> None:
        with Ledger(path) as ledger:
            ledger.append(replace(ENTRY, rollout=rollout, who="x" * 5000))

    append(1)
    known, died = 1, 0
    for most_bytes in (*range(0, 4096, 256), *range(4096, 200_000, 4096)):
        died += killed_beyond(most_bytes, lambda: append(known + 1))  # noqa: B023 - done within the turn
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        with Ledger(path) as ledger:
            rollouts = [entry.rollout for entry in ledger.everything()]
        assert rollouts in (list(range(1, known + 1)), list(range(1, known + 2)))
        known = len(rollouts)
    assert died >= 10
    append(known + 1)


# --- the device -------------------------------------------------------------------------


def test_torn_metadata_on_a_device_lose_nothing_that_was_accepted(
    tmp_path: Path, target: Path
) -> None:
    operator = Simulator()
    operator.release("1", 1)
    trusted = operator.trusted_root

    def runs(folder: Path) -> str | None:
        client = TrustClient(folder, trusted, operator, NOW)
        vouched = client.resolve(stage="production", model="wine")
        return None if vouched is None else vouched.pointer.version

    before = tmp_path / "before"
    before.mkdir()
    assert runs(before) == "1"
    old = dict(operator.files)
    operator.rotate("root")
    operator.rotate("models")
    operator.release("2", 2)
    states = 0
    for folder in torn_writes(before, target, runs):
        states += 1
        assert runs(folder) == "2"
        new, operator.files = operator.files, old
        with pytest.raises(TrustError):
            runs(folder)
        operator.files = new
    assert states >= 7 * 6
