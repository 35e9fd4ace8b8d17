# noqa: INP001 - a script's part, not a package
"""A broker, a depot and an HTTP server, each a process, and a bundle that both serve."""

import functools
import getpass
import http.server
import multiprocessing
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path

from benchmarks.delivery import TOPICS, _make_repository
from edgekit.depot.server import BLOBS, Depot
from edgekit.mqtt import BrokerAddress, MqttTransport, SessionOptions
from edgekit.statement import BundleEntry

CONTEXT = multiprocessing.get_context("spawn")  # a process has its own interpreter lock
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

_MOSQUITTO = """\
listener {port} {host}
allow_anonymous true
user {user}
set_tcp_nodelay true
max_queued_messages 1000
max_inflight_messages 100
max_packet_size 131072
log_dest none
"""


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where everything is, and the process numbers of what serves."""

    folder: Path
    broker: str
    http: str
    entry: BundleEntry
    index: bytes
    broker_pid: int
    depot_pid: int


@contextmanager
def running(megabytes: int, *, host: str = "127.0.0.1") -> Iterator[Site]:
    """Serve a bundle of random bytes."""
    program = shutil.which("mosquitto", path=f"{os.defpath}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise SystemExit("mosquitto is not installed: apt install mosquitto")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        entry, index = _make_repository(folder / "repository", megabytes)
        port, web, stop = _free_port(host), _free_port(host), CONTEXT.Event()
        config = folder / "mosquitto.conf"
        config.write_text(
            _MOSQUITTO.format(port=port, host=host, user=getpass.getuser()), "ascii"
        )
        url, repository = f"mqtt://{host}:{port}", folder / "repository"
        with ExitStack() as ending:
            broker = subprocess.Popen(  # noqa: S603 - found above
                [program, "-c", str(config)], stderr=subprocess.DEVNULL
            )
            ending.callback(broker.wait)
            ending.callback(broker.terminate)
            _await_listening(host, port)
            depot = _started(ending, _serve_depot, url, repository, stop)
            ending.callback(stop.set)
            _started(ending, _serve_http, (host, web), repository / BLOBS, stop)
            ending.callback(stop.set)
            _await_listening(host, web)
            time.sleep(1)  # until the depot has published its metadata
            yield Site(
                folder=folder,
                broker=url,
                http=f"http://{host}:{web}",
                entry=entry,
                index=index,
                broker_pid=broker.pid,
                depot_pid=depot.pid or 0,
            )


def session(url: str, name: str, options: SessionOptions | None = None) -> MqttTransport:
    """Connect as `name`."""
    address = BrokerAddress(url=url)
    return MqttTransport.connect(address, client_id=f"link-{name}", options=options)


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _started(
    ending: ExitStack, target: Callable[..., None], *arguments: object
) -> BaseProcess:
    process = CONTEXT.Process(target=target, args=arguments)
    process.start()
    ending.callback(process.join)
    return process


def _serve_depot(url: str, repository: Path, stop: Event) -> None:
    transport = session(url, "depot")
    depot = Depot(transport, TOPICS, repository)
    ended = threading.Event()

    def wait() -> None:
        stop.wait()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    depot.serve(ended)
    transport.close()


def _serve_http(address: tuple[str, int], folder: Path, stop: Event) -> None:
    handler = functools.partial(_Quiet, directory=folder)
    server = http.server.ThreadingHTTPServer(address, handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stop.wait()
    server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _await_listening(host: str, port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"nobody listens on {host}:{port}")
