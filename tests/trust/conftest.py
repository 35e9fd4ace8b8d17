"""A fleet in memory and a device that follows it, before somebody interferes."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.trust.repository import Repository
from tests.trust.device import Device
from tests.trust.people import People, running_fleet
from tests.trust.simulator import Simulator
from tests.trust.workbench import Keys, create


@pytest.fixture
def operator() -> Simulator:
    """A fleet whose stage production runs version 1."""
    simulator = Simulator()
    simulator.release("1", 1)
    return simulator


@pytest.fixture
def device(tmp_path: Path, operator: Simulator) -> Device:
    """A device that has seen version 1."""
    device = Device(folder=tmp_path, root=operator.trusted_root, source=operator)
    assert device.version() == "1"
    return device


@pytest.fixture
def keys() -> Keys:
    """One key for each role, all at hand."""
    return Keys()


@pytest.fixture
def repository(tmp_path: Path, keys: Keys) -> Repository:
    """A new fleet's repository."""
    return create(tmp_path / "repository", keys)


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """An empty folder with a path short enough for an agent's socket."""
    path = Path(tempfile.mkdtemp(prefix="ek-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def people_s_fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a fleet that runs version 1, to be copied."""
    folder = tmp_path_factory.mktemp("fleet")
    running_fleet(folder)
    return folder


@pytest.fixture
def people(people_s_fleet: Path, tmp_path: Path) -> People:
    """Ada with the keys of root and targets, others with none, and the fleet's folder."""
    return People(people_s_fleet, tmp_path)
