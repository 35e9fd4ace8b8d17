"""Delivery as deployed: `edgekit depot`, a real mosquitto, devices as processes."""

import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from edgekit.statement import CHUNK_BYTES
from tests.brokers import Mosquitto
from tests.repositories import RepositoryFolder

pytestmark = [pytest.mark.slow, pytest.mark.broker]

DATA = random.Random(4).randbytes(6 * 2**20 + 17)  # noqa: S311 - repeatable
FETCHER = Path(__file__).with_name("fetcher.py")


class Site:
    """A broker, a depot process, and a folder for each device."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker = Mosquitto(folder, ("allow_anonymous true", "max_queued_messages 200"))
        self.broker.start()
        repository = RepositoryFolder(folder / "repository")
        self.entry, _ = repository.release(DATA, chunk_bytes=CHUNK_BYTES)
        (self.record,) = (repository.path / "files/targets/models/wine").iterdir()
        (folder / "fleet.toml").write_text(
            f'format = 1\nfleet = "demo"\n[broker]\nurl = "{self.broker.url}"\n'
            '[stages.production]\nselector = "@production"\n'
        )
        self.processes: list[subprocess.Popen[str]] = []
        self.depot: subprocess.Popen[str] | None = None

    def start_depot(self, *options: str) -> None:
        edgekit = Path(sys.executable).with_name("edgekit")
        command = [str(edgekit), "depot", "--fleet", str(self.folder), *options]
        self.depot = self.start(command)
        assert "depot of fleet demo" in read(self.depot.stderr)

    def start_device(self, name: str) -> "subprocess.Popen[str]":
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        script = [sys.executable, str(FETCHER), self.broker.url, name]
        device = self.start([*script, str(folder), str(self.record)])
        assert read(device.stdout) == "ready\n"
        return device

    def start(self, command: list[str]) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def stop_depot(self) -> int:
        """Return how many chunks it sent."""
        assert self.depot is not None
        self.depot.send_signal(signal.SIGTERM)
        _, errors = self.depot.communicate(timeout=20)
        assert self.depot.returncode == 0, errors
        sent = re.search(r"stopped; (\d+) chunks sent", errors)
        assert sent, errors
        return int(sent[1])

    def bundle(self, device: str) -> bytes:
        return (self.folder / device / f"{self.entry.sha256}.bundle").read_bytes()

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()
        self.broker.kill()


def read(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline()


def go(*devices: "subprocess.Popen[str]") -> None:
    for device in devices:
        assert device.stdin is not None
        device.stdin.close()
        device.stdin = None


def finish(device: "subprocess.Popen[str]") -> list[int]:
    """Wait for a device; return the progress it told."""
    output, errors = device.communicate(timeout=60)
    assert device.returncode == 0, errors
    *told, last = output.split()
    assert last == "done"
    return [int(line) for line in told]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    place = Site(tmp_path)
    yield place
    place.close()


def test_five_devices_cost_the_depot_little_more_than_one(site: Site) -> None:
    site.start_depot()
    names = [f"pi-{n}" for n in range(5)]
    devices = [site.start_device(name) for name in names]
    go(*devices)
    for device in devices:
        finish(device)
    assert all(site.bundle(name) == DATA for name in names)
    assert site.stop_depot() <= 1.1 * site.entry.chunks


def test_a_killed_device_resumes_where_it_was(site: Site) -> None:
    site.start_depot("--max-rate", "3000")
    doomed = site.start_device("pi")
    go(doomed)
    lines = [int(read(doomed.stdout)) for _ in range(5)]
    doomed.kill()
    doomed.communicate()
    resumed = site.start_device("pi")
    go(resumed)
    again = finish(resumed)
    assert again[0] >= lines[-1]
    assert site.bundle("pi") == DATA
    assert site.stop_depot() <= site.entry.chunks + 64  # what was in flight at the kill


def test_a_killed_broker_delays_and_nothing_more(site: Site) -> None:
    site.start_depot("--max-rate", "3000")
    device = site.start_device("pi")
    go(device)
    for _ in range(5):
        read(device.stdout)
    site.broker.kill()
    site.broker.start()
    finish(device)
    assert site.bundle("pi") == DATA
    assert site.stop_depot() <= site.entry.chunks + 64


def test_a_killed_depot_delays_and_nothing_more(site: Site) -> None:
    site.start_depot("--max-rate", "3000")
    device = site.start_device("pi")
    go(device)
    for _ in range(5):
        read(device.stdout)
    assert site.depot is not None
    site.depot.kill()
    site.start_depot()
    finish(device)
    assert site.bundle("pi") == DATA
    assert site.stop_depot() < 0.8 * site.entry.chunks


def test_a_depot_without_a_broker_says_so(site: Site) -> None:
    site.broker.kill()
    with pytest.raises(AssertionError, match="Connection refused"):
        site.start_depot()
