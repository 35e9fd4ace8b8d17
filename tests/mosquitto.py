"""A real mosquitto under a given configuration, and an ear on a connection."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.mqtt import MqttTransport
from edgekit.transport import Message


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def serving(configuration: Path, port: int) -> Iterator[None]:
    """mosquitto, listening on the port that the configuration names."""
    program = shutil.which("mosquitto", path="/usr/bin:/usr/sbin:/usr/local/sbin")
    assert program, "mosquitto is not installed: sudo apt-get install mosquitto"
    log = configuration.with_suffix(".log")
    with log.open("wb") as stream:
        running = subprocess.Popen([program, "-c", configuration], stderr=stream)
        try:
            until = time.monotonic() + 10
            while not _listening(port):
                assert running.poll() is None, log.read_text()
                assert time.monotonic() < until
                time.sleep(0.05)
            yield
        finally:
            running.terminate()
            running.wait()


def heard(listener: MqttTransport, *, for_s: float = 1.0) -> set[str]:
    """The payloads that arrive within a while."""
    until, found = time.monotonic() + for_s, set()
    while (left := until - time.monotonic()) > 0:
        arrival = listener.receive(left)
        if isinstance(arrival, Message):
            found.add(arrival.payload.decode())
    return found


def _listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
