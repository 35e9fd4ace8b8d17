"""One userland for all tests, with edgekit's wheels of this checkout beside it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.arm64 import userland
from tests.arm64.boards import Board
from tests.e2e.household import Household, household


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The userland, and a folder with the agent as its wheels have it."""
    if lacking := userland.missing():
        pytest.skip(lacking)
    try:
        folder = userland.prepare()
    except (RuntimeError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no arm64 userland: Debian's or the packages' servers: {error}")
    site = tmp_path_factory.mktemp("site")
    built = userland.wheels(tmp_path_factory.mktemp("wheels"))
    userland.install(site, userland.SUITES["bookworm"], ["--no-deps", *built])
    return folder, site


@pytest.fixture(params=["zero2w", "pi4", "pi5"])
def board(request: pytest.FixtureRequest, installed: tuple[Path, Path]) -> Board:
    """A Raspberry Pi's processor: Cortex-A53, A72 and A76."""
    folder, site = installed
    return Board(python=folder / str(request.param), site=site)


@pytest.fixture
def house() -> Iterator[Household]:
    """A fleet with one enrolled device; broker and depot run on the host."""
    with household() as found:
        yield found
