"""Two depots as processes, one of them killed while devices fetch: all finish, cheaply."""

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from edgekit import embedded_broker
from edgekit.embedded_broker import EmbeddedBroker
from edgekit.errors import ConfigError
from edgekit.statement import CHUNK_BYTES
from edgekit.wire import CHUNK_HEADER_BYTES
from tests.repositories import RepositoryFolder
from tests.wiretap import Kind, Wiretap

pytestmark = [pytest.mark.slow, pytest.mark.broker]

DATA = random.Random(5).randbytes(8 * 2**20 + 17)  # noqa: S311 - repeatable
FETCHER = Path(__file__).with_name("fetcher.py")
PATIENCE_S = 60.0
PROMISED = 1.3  # times the bundle, for all devices together, at 5 % loss


class DepotProcess:
    """`edgekit depot`, on a connection that is listened to."""

    def __init__(self, folder: Path, broker: EmbeddedBroker, number: int) -> None:
        self.log = folder / f"depot-{number}.log"
        self.tap = Wiretap(int(broker.url.rpartition(":")[2]))
        edgekit = Path(sys.executable).with_name("edgekit")
        url = f"mqtt://127.0.0.1:{self.tap.port}"
        options = ("--fleet", str(folder), "--broker", url, "--max-rate", "3000")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(edgekit), "depot", *options], stdout=log, stderr=log
            )

    def says(self, words: str) -> bool:
        return words in self.log.read_text("utf-8", errors="replace")

    @property
    def sent_bytes(self) -> int:
        """What it sent of bundles, headers aside."""
        return sum(
            len(packet.payload) - CHUNK_HEADER_BYTES
            for packet in self.tap.seen()
            if packet.kind == Kind.PUBLISH
            and packet.from_client
            and "/blob/" in packet.topic
            and not packet.retain
        )

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.tap.close()


class Site:
    """A broker, a repository, two depots, and devices as processes."""

    def __init__(self, folder: Path, broker: EmbeddedBroker) -> None:
        self.folder, self.broker = folder, broker
        repository = RepositoryFolder(folder / "repository")
        self.entry, _ = repository.release(DATA, chunk_bytes=CHUNK_BYTES)
        (self.record,) = (repository.path / "files/targets/models/wine").iterdir()
        (folder / "fleet.toml").write_text(
            f'format = 1\nfleet = "demo"\n[broker]\nurl = "{broker.url}"\n'
            '[stages.production]\nselector = "@production"\n'
        )
        self.depots = [DepotProcess(folder, broker, number) for number in range(2)]
        self.devices: list[subprocess.Popen[str]] = []

    def start_device(self, name: str) -> "subprocess.Popen[str]":
        folder = self.folder / name
        folder.mkdir()
        script = [sys.executable, str(FETCHER), self.broker.url, name]
        device = subprocess.Popen(
            [*script, str(folder), str(self.record)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.devices.append(device)
        assert line_of(device.stdout) == "ready\n"
        return device

    def bundle(self, device: str) -> bytes:
        return (self.folder / device / f"{self.entry.sha256}.bundle").read_bytes()

    def close(self) -> None:
        for device in self.devices:
            device.kill()
            device.communicate()
        for depot in self.depots:
            depot.close()


def line_of(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline()


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


@pytest.fixture(params=["mosquitto", "nats-server"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    kind = str(request.param)
    try:
        broker = embedded_broker.start(tmp_path / "broker", kind=kind)
    except ConfigError as error:
        pytest.skip(str(error))
    with broker:
        place = Site(tmp_path, broker)
        yield place
        place.close()


def test_one_of_two_is_killed_while_it_sends_and_the_other_goes_on(site: Site) -> None:
    for depot in site.depots:
        until(lambda: depot.says("2 share the bundles now"), "they meet")  # noqa: B023 - at once
    names = [f"pi-{number}" for number in range(3)]
    devices = [site.start_device(name) for name in names]
    for device in devices:
        assert device.stdin is not None
        device.stdin.close()
        device.stdin = None
    for _ in range(4):
        line_of(devices[0].stdout)  # a third of the bundle is here
    doomed, other = sorted(site.depots, key=lambda depot: -depot.sent_bytes)
    assert doomed.sent_bytes > 0
    assert other.sent_bytes == 0, "one serves, the other keeps still"
    doomed.process.kill()
    for device in devices:
        output, _ = device.communicate(timeout=PATIENCE_S)
        assert device.returncode == 0
        assert output.endswith("done\n")
    assert all(site.bundle(name) == DATA for name in names)
    assert other.sent_bytes > 0
    sent_bytes = doomed.sent_bytes + other.sent_bytes
    assert sent_bytes <= PROMISED * site.entry.length
