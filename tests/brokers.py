"""A real mosquitto for tests, with users, TLS, and sudden death."""

import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgekit.address import BrokerAddress
from edgekit.mqtt import Backoff, LastWill, MqttTransport, SessionOptions
from edgekit.transport import Arrival, Connected, Disconnected, Message, Transport

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
QUICK = SessionOptions(backoff=Backoff(first_s=0.05, most_s=0.2), connect_timeout_s=5)


def require_mosquitto() -> None:
    if MOSQUITTO is None:
        pytest.skip("no mosquitto on the path; `apt install mosquitto` provides it")


@dataclass
class Mosquitto:
    """One mosquitto process on a port that stays the same over restarts."""

    folder: Path
    lines: tuple[str, ...] = ("allow_anonymous true",)
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def address(self) -> BrokerAddress:
        return BrokerAddress(url=self.url)

    def start(self) -> None:
        require_mosquitto()
        assert MOSQUITTO is not None
        self.port = self.port or free_port()
        config = self.folder / "mosquitto.conf"
        text = [f"listener {self.port} 127.0.0.1", "set_tcp_nodelay true", "user root"]
        config.write_text("\n".join([*text, *self.lines]) + "\n")
        with (self.folder / "mosquitto.log").open("ab") as log:
            self.process = subprocess.Popen(
                [MOSQUITTO, "-c", str(config)], stdout=log, stderr=log
            )
        self._await_listening()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def connect(self, client_id: str, will: LastWill | None = None) -> MqttTransport:
        return MqttTransport.connect(
            self.address, client_id=client_id, will=will, options=QUICK
        )

    def _await_listening(self) -> None:
        for _ in range(250):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        pytest.fail((self.folder / "mosquitto.log").read_text())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def next_message(transport: Transport, topic: str, timeout_s: float = 5) -> Message:
    """Return the next message on a topic; fail when none comes."""
    deadline = time.monotonic() + timeout_s
    while (left := deadline - time.monotonic()) > 0:
        arrival = transport.receive(left)
        if isinstance(arrival, Message) and arrival.topic == topic:
            return arrival
    pytest.fail(f"nothing arrived on {topic}")


def next_news(
    transport: Transport, kind: type[Connected | Disconnected], timeout_s: float = 10
) -> Arrival:
    """Return the next arrival of a kind; fail when none comes."""
    deadline = time.monotonic() + timeout_s
    while (left := deadline - time.monotonic()) > 0:
        arrival = transport.receive(left)
        if isinstance(arrival, kind):
            return arrival
    pytest.fail(f"no {kind.__name__}")
