"""A fleet in memory and a device that follows it, before somebody interferes."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.trust.repository import Repository
from tests.trust.device import Device
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
