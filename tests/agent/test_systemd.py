"""The unit file as systemd reads it, and the words the agent says to systemd."""

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from edgekit_agent.supervision.notify import Notifier

UNIT = Path(__file__).parents[2] / "systemd" / "edgekit-agent.service"
MOST_EXPOSED = 30  # of 100
ANALYZE = shutil.which("systemd-analyze")
needs_analyze = pytest.mark.skipif(
    ANALYZE is None, reason="systemd-analyze is not installed: apt-get install systemd"
)


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    assert ANALYZE is not None
    return subprocess.run(
        [ANALYZE, *arguments, str(UNIT)], capture_output=True, text=True, check=False
    )


@needs_analyze
def test_systemd_has_nothing_to_say_about_the_unit() -> None:
    found = analyze("verify")
    assert (found.returncode, found.stderr) == (0, "")


@needs_analyze
def test_the_unit_is_hardened() -> None:
    found = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}")
    assert found.returncode == 0, found.stdout


def test_the_unit_lets_onnxruntime_read_cpuinfo() -> None:
    settings = [line for line in UNIT.read_text().splitlines() if "=" in line]
    assert not any(line.startswith("ProcSubset=") for line in settings)


def heard(listener: socket.socket) -> bytes:
    listener.settimeout(5)
    return listener.recv(1000)


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told(folder: Path, *, abstract: bool) -> None:
    address = "@edgekit-test" if abstract else str(folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address.replace("@", "\0", 1))
        notifier = Notifier(address)
        notifier.ready()
        assert heard(listener) == b"READY=1"
        notifier.alive()
        assert heard(listener) == b"WATCHDOG=1"
        notifier.status("wine: serving version 2")
        assert heard(listener) == b"STATUS=wine: serving version 2"
        notifier.stopping()
        assert heard(listener) == b"STOPPING=1"


def test_without_a_service_manager_nothing_is_told() -> None:
    Notifier(None).ready()


def test_a_service_manager_that_is_gone_is_no_failure(folder: Path) -> None:
    Notifier(str(folder / "nobody")).ready()
