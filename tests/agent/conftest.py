"""Folders for agents: a Unix socket's path must be short, pytest's folders are long."""

import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit_agent.storage.store import Store
from tests.agent.running import Agent


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder with a short path."""
    path = Path(tempfile.mkdtemp(prefix="ek-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def store(folder: Path) -> Store:
    """A prepared store."""
    found = Store(folder / "state")
    found.prepare()
    return found


@pytest.fixture
def agent(folder: Path) -> Iterator[Agent]:
    """An agent that a test starts; it ends with the test."""
    logging.getLogger("edgekit_agent").setLevel(logging.INFO)
    found = Agent(folder)
    yield found
    found.stop()
