"""The agent in little memory, its libraries read from a cold disk: it updates and survives.

The kernel charges file pages to whoever reads them first, so the agent gets copies of its
libraries that nobody has read; otherwise a control group would look roomier than a board.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from edgekit_converters.verdict.cap import Group, capped
from tests.agent.making import made
from tests.e2e.household import Household

pytestmark = [pytest.mark.slow, pytest.mark.broker]

_MB = 2**20
FIRST = made(version="1", scale=2.0)
SECOND = made(version="2", scale=3.0)
TOO_LARGE = made(version="2", scale=3.0, peak_rss_bytes=400 * _MB)
LARGEST_FLOOR_BYTES = 52 * _MB
LIBRARIES = ("onnxruntime", "numpy", "cryptography", "protobuf", "tuf", "securesystemslib")

with capped(256 * _MB) as _group:
    if _group is None:
        pytest.skip("no memory cgroup can be made here: root", allow_module_level=True)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of the agent's large libraries, written back and out of the page cache."""
    folder = tmp_path_factory.mktemp("libraries")
    for name in LIBRARIES:
        for file in metadata.files(name) or ():
            if ".." in file.parts or "__pycache__" in file.parts:
                continue
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(str(file.locate())), target)
    return folder


@pytest.fixture(params=[256, 128], ids=["256 MB", "128 MB"])
def group(request: pytest.FixtureRequest, libraries: Path) -> Iterator[Group]:
    if request.param < 256 and (taken := floor_bytes(libraries)) > LARGEST_FLOOR_BYTES:
        pytest.skip(
            f"onnxruntime alone takes {taken // _MB} MB on this processor; a board with"
            f" {request.param} MB has room for {LARGEST_FLOOR_BYTES // _MB}"
        )
    with capped(request.param * _MB) as found:
        assert found is not None
        forget(libraries)
        yield found


def floor_bytes(libraries: Path) -> int:
    """What a process takes with onnxruntime and nothing else; processors differ."""
    code = "import onnxruntime; from edgekit_agent.memory import *; print(peak_rss_bytes())"
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(libraries)},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(told.stdout)


def forget(folder: Path) -> None:
    """Have the kernel drop what it holds of these files."""
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


@pytest.fixture
def confined(house: Household, group: Group, libraries: Path) -> Iterator[Household]:
    """The agent serves version 1 in a control group."""
    house.release(FIRST, 1)
    agent = str(Path(sys.executable).parent / "edgekit-agent")
    with (house.folder / "agent.log").open("ab") as log:
        house.processes["agent"] = subprocess.Popen(
            group.command([agent, "run", "--config", str(house.config)]),
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(libraries)},
        )
    house.until(lambda: house.serves("1"), "version 1 is served")
    assert str(libraries) in Path(f"/proc/{house.worker()}/maps").read_text("utf-8")
    yield house
    house.stop("agent")


def test_an_update_goes_through(confined: Household, group: Group) -> None:
    confined.release(SECOND, 2)
    confined.until(lambda: confined.serves("2"), "version 2 is served")
    assert confined.answer() == [9.0]
    assert not group.killed()


def test_a_model_that_does_not_fit_is_refused_with_numbers(
    confined: Household, group: Group
) -> None:
    confined.release(TOO_LARGE, 2)
    confined.until(lambda: "RAM" in confined.trouble().get("reason", ""), "it is refused")
    assert "it takes 400.0 MB" in confined.trouble()["reason"]
    assert confined.answer() == [6.0]
    assert not group.killed()


def test_a_model_that_takes_more_than_it_says_ends_its_proof_and_nothing_else(
    confined: Household,
) -> None:
    """What its manifest says of memory is a lie: the proof finds out."""
    worker = confined.worker()
    liar = made(version="2", scale=3.0, padding_bytes=200_000_000)
    confined.release(liar, 2)
    confined.until(lambda: bool(confined.trouble()), "it is refused")
    assert confined.answer() == [6.0]
    assert confined.worker() == worker
    assert confined.serves("1")
