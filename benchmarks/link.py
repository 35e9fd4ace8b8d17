# noqa: INP001 - a script, not a package
"""How well one device's download fills a link, and what memory it takes.

    python -m benchmarks.link                      # three rounds of 20 MB
    python -m benchmarks.link --rounds 5 --link-mb-s 20

In turn, in each round: raw publish and subscribe of messages of a chunk's size, the
windowed transfer of a depot, and an HTTP server's file, over the same loopback; then the
latter two through a proxy that lets so many megabytes a second pass and holds them for 50
ms each way, without and with 1 % of the messages lost at the device. Sender, broker and
receiver share this machine. The transfer checks, writes and fsyncs what it gets; HTTP
writes and checks at the end; raw messages are counted only, or checked, written and
fsynced as those of the transfer are. Last, a device's memory during 50 MB.
"""

import argparse
import functools
import hashlib
import http.server
import multiprocessing
import socket
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.delivery import TOPICS, Lossy, _make_repository
from edgekit import embedded_broker
from edgekit.bundle import chunk_digest
from edgekit.depot.server import Depot
from edgekit.mqtt import BrokerAddress, MqttTransport
from edgekit.statement import BundleEntry
from edgekit.transport import Message
from edgekit_agent.update.fetch import fetch_bundle
from edgekit_agent.update.partial import Partial

ONE_WAY_S = 0.05
LOSS = 0.01
_READ_BYTES = 64 * 1024
_WAIT_S = 60.0
_RAW_IN_FLIGHT = 32  # messages, as many as the transfer's window


@dataclass(frozen=True, kw_only=True)
class Site:
    """A broker, a depot, an HTTP server, and the bundle that both serve."""

    folder: Path
    broker: str
    http: str
    entry: BundleEntry
    index: bytes


class SlowLink:
    """A TCP proxy to `target` with a rate and a delay in each direction."""

    def __init__(self, target: tuple[str, int], bytes_per_s: float) -> None:
        self._target = target
        self._bytes_per_s = bytes_per_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            for source, sink in ((near, far), (far, near)):
                sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _Pipe(source, sink, self._bytes_per_s)


class _Pipe:
    """One direction: what is read now leaves after the delay, no faster than the rate."""

    def __init__(
        self, source: socket.socket, sink: socket.socket, bytes_per_s: float
    ) -> None:
        self._source, self._sink = source, sink
        self._bytes_per_s = bytes_per_s
        self._on_the_way: deque[tuple[float, bytes]] = deque()
        self._news = threading.Condition()
        for work in (self._read, self._write):
            threading.Thread(target=work, daemon=True).start()

    def _read(self) -> None:
        free_at, data = 0.0, b"-"
        while data:
            try:
                data = self._source.recv(_READ_BYTES)
            except OSError:
                data = b""
            now = time.monotonic()
            free_at = max(free_at, now) + len(data) / self._bytes_per_s
            with self._news:
                self._on_the_way.append((free_at + ONE_WAY_S, data))
                self._news.notify()
            time.sleep(max(0.0, free_at - now))

    def _write(self) -> None:
        data = b"-"
        while data:
            with self._news:
                self._news.wait_for(lambda: self._on_the_way)
                at, data = self._on_the_way.popleft()
            time.sleep(max(0.0, at - time.monotonic()))
            try:
                self._sink.sendall(data) if data else self._sink.shutdown(socket.SHUT_WR)
            except OSError:
                return


def raw(site: Site) -> float:
    """Return the seconds that as many equal messages take, without any protocol."""
    return _raw(site, lambda _number, _data: None)


def raw_stored(site: Site) -> float:
    """Return the same, where each message is checked and stored as by the transfer."""
    with tempfile.TemporaryDirectory(dir=site.folder) as folder:
        partial = Partial(site.entry, site.index, Path(folder))

        def store(number: int, data: bytes) -> None:
            if hashlib.sha256(data).digest() != chunk_digest(site.index, number):
                raise SystemExit("raw: a chunk is another one")
            partial.add(number, data)
            if number == site.entry.chunks - 1:
                partial.commit()
                partial.damaged()

        return _raw(site, store)


def _raw(site: Site, take: Callable[[int, bytes], None]) -> float:
    blob = (site.folder / "repository" / "blobs" / site.entry.sha256).read_bytes()
    size, count = site.entry.chunk_bytes, site.entry.chunks
    receiver, sender = _session(site.broker, "in"), _session(site.broker, "out")
    room = threading.Semaphore(_RAW_IN_FLIGHT)  # no queue may overrun, at no cost
    receiver.subscribe("raw", qos=0)
    time.sleep(0.2)
    began = time.perf_counter()

    def send() -> None:
        for number in range(count):
            room.acquire()
            payload = blob[number * size : (number + 1) * size]
            sender.publish("raw", payload, qos=0)

    threading.Thread(target=send, daemon=True).start()
    got, deadline = 0, time.monotonic() + _WAIT_S
    while got < count and time.monotonic() < deadline:
        arrival = receiver.receive(1)
        if isinstance(arrival, Message):
            room.release()
            take(got, arrival.payload)
            got += 1
    took_s = time.perf_counter() - began
    receiver.close()
    sender.close()
    return took_s


def windowed(site: Site, broker: str = "", loss: float = 0.0) -> float:
    """Return the seconds that fetching the bundle takes."""
    session = _session(broker or site.broker, "device")
    with tempfile.TemporaryDirectory(dir=site.folder) as folder:
        began = time.perf_counter()
        lossy = Lossy(session, loss, seed=1)
        fetch_bundle(lossy, TOPICS, "device", site.entry, site.index, Path(folder))
        took_s = time.perf_counter() - began
    session.close()
    return took_s


def over_http(site: Site, url: str = "") -> float:
    """Return the seconds that the file takes from an HTTP server."""
    began = time.perf_counter()
    digest = hashlib.sha256()
    address = f"{url or site.http}/{site.entry.sha256}"
    with (
        urllib.request.urlopen(address) as answer,  # noqa: S310 - our own server
        tempfile.TemporaryFile(dir=site.folder) as file,
    ):
        while block := answer.read(_READ_BYTES):
            digest.update(block)
            file.write(block)
    if digest.hexdigest() != site.entry.sha256:
        raise SystemExit("HTTP: the file is another one")
    return time.perf_counter() - began


@contextmanager
def running(megabytes: int) -> Iterator[Site]:
    """Serve a bundle of random bytes over both."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        entry, index = _make_repository(folder / "repository", megabytes)
        handler = functools.partial(_Quiet, directory=folder / "repository" / "blobs")
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with embedded_broker.start(folder / "broker") as broker:
            stop, session = threading.Event(), _session(broker.url, "depot")
            depot = Depot(session, TOPICS, folder / "repository")
            serving = threading.Thread(target=depot.serve, args=(stop,))
            serving.start()
            time.sleep(1)
            yield Site(
                folder=folder,
                broker=broker.url,
                http=f"http://127.0.0.1:{server.server_port}",
                entry=entry,
                index=index,
            )
            stop.set()
            serving.join()
            session.close()
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def memory_mb(site: Site) -> tuple[float, float]:
    """Return the resident memory of a device's process, idle and at its peak, in MB."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_fetch_and_tell, args=(site, there))
    process.start()
    idle, peak = here.recv()
    process.join()
    return idle, peak


def _fetch_and_tell(site: Site, tell: Connection) -> None:
    session = _session(site.broker, "device")
    time.sleep(0.5)
    idle = _status_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # the peak counts from here
    with tempfile.TemporaryDirectory(dir=site.folder) as folder:
        fetch_bundle(session, TOPICS, "device", site.entry, site.index, Path(folder))
    tell.send((idle, _status_mb("VmHWM")))
    session.close()


def _status_mb(field: str) -> float:
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field))) / 1024


def _session(url: str, name: str) -> MqttTransport:
    return MqttTransport.connect(BrokerAddress(url=url), client_id=f"link-{name}")


def _rounds(site: Site, rounds: int, link_mb_s: float) -> dict[str, list[float]]:
    broker, http_at = urlsplit(site.broker), urlsplit(site.http)
    rate = link_mb_s * 1e6
    mqtt = SlowLink((broker.hostname or "", broker.port or 1883), rate)
    web = SlowLink((http_at.hostname or "", http_at.port or 80), rate)
    slow = f"mqtt://127.0.0.1:{mqtt.port}"
    cases: dict[str, Callable[[], float]] = {
        "raw messages": lambda: raw(site),
        "raw, checked and stored": lambda: raw_stored(site),
        "windowed": lambda: windowed(site),
        "HTTP": lambda: over_http(site),
        "windowed, 100 ms": lambda: windowed(site, slow),
        "windowed, 100 ms, 1 % lost": lambda: windowed(site, slow, LOSS),
        "HTTP, 100 ms": lambda: over_http(site, f"http://127.0.0.1:{web.port}"),
    }
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            taken[name].append(case())
    mqtt.close()
    web.close()
    return taken


def main(arguments: Sequence[str]) -> None:
    """Print a line for each case, then the memory."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.link",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--megabytes", type=int, default=20, metavar="MB")
    parser.add_argument("--link-mb-s", type=float, default=10.0, metavar="MB_PER_S")
    options = parser.parse_args(arguments)
    with running(options.megabytes) as site:
        taken = _rounds(site, options.rounds, options.link_mb_s)
    for name, seconds in taken.items():
        slow = "ms" in name
        link = [options.megabytes / options.link_mb_s] * len(seconds)
        peers = link if slow else taken["raw, checked and stored"]
        ratios = [p / s for p, s in zip(peers, seconds, strict=True)]
        speed = options.megabytes / statistics.median(seconds)
        of = "the link" if slow else "raw, checked and stored"
        sys.stdout.write(
            f"{name:28} {speed:6.1f} MB/s, {statistics.median(ratios):.2f} of {of}\n"
        )
    with running(50) as site:
        idle, peak = memory_mb(site)
    sys.stdout.write(f"memory: idle {idle:.1f} MB, peak of 50 MB +{peak - idle:.1f} MB\n")


if __name__ == "__main__":
    main(sys.argv[1:])
