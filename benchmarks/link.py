# noqa: INP001 - a script, not a package
"""How well one device's download fills a link, and what memory it takes.

    python -m benchmarks.link                      # five rounds of 50 MB
    sudo python -m benchmarks.link --far-megabytes 10 --link-mb-s 20

In turn, in each round: raw publish and subscribe of messages of a chunk's size, the
windowed transfer of a depot, and an HTTP server's file, over loopback. Publisher or depot,
broker, HTTP server and device are a process each and share this machine, so that what
counts is also their processor time together. The transfer checks, writes and fsyncs what
it gets; HTTP writes and checks at the end; raw messages are counted only, or checked,
written and fsynced as those of the transfer are. A depot waits 0.2 s for other devices to
join, unless all it knows have; "of strangers" is the transfer to a device that it does not
know yet, so that it waits.

Then, as root, the transfer and HTTP through two network namespaces joined by a link with a
rate and 50 ms each way, without and with 1 % of the packets lost in each direction. Last, a
device's memory during 50 MB.
"""

import argparse
import hashlib
import itertools
import os
import socket
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event, Semaphore
from pathlib import Path

from benchmarks import namespaces
from benchmarks.delivery import TOPICS
from benchmarks.namespaces import Link
from benchmarks.site import CONTEXT, Site, cpu_s, running, session
from edgekit.bundle import chunk_digest
from edgekit.transport import Message
from edgekit_agent.update.fetch import fetch_bundle
from edgekit_agent.update.partial import Partial
from edgekit_agent.update.updater import SESSION

ONE_WAY_S = 0.05
_READ_BYTES = 64 * 1024
_WAIT_S = 60.0
_RAW_IN_FLIGHT = 64  # messages, as many as the transfer's window


@dataclass(frozen=True, kw_only=True)
class Took:
    """What a transfer took: seconds, and processor time of sender, broker and device."""

    seconds: float
    cpu_s: float = 0.0


def raw(site: Site) -> Took:
    """Measure as many equal messages, without any protocol."""
    return _raw(site, lambda _number, _data: None)


def raw_stored(site: Site) -> Took:
    """Measure the same, where each message is checked and stored as by the transfer."""
    with tempfile.TemporaryDirectory(dir=site.folder) as folder:
        partial = Partial(site.entry, site.index, Path(folder))

        def store(number: int, data: bytes) -> None:
            if hashlib.sha256(data).digest() != chunk_digest(site.index, number):
                raise SystemExit("raw: a chunk is another one")
            partial.add(number, data)
            if number == site.entry.chunks - 1:
                partial.damaged()
                partial.finish()

        return _raw(site, store)


def _raw(site: Site, take: Callable[[int, bytes], None]) -> Took:
    receiver = session(site.broker, "in")
    receiver.subscribe("raw", qos=0)
    room = CONTEXT.Semaphore(0)  # no queue may overrun, at no cost
    ready = CONTEXT.Event()
    sender = CONTEXT.Process(target=_send_raw, args=(site, room, ready))
    sender.start()
    ready.wait()
    pids = (sender.pid or 0, site.broker_pid, os.getpid())
    before, began = sum(map(cpu_s, pids)), time.perf_counter()
    for _ in range(_RAW_IN_FLIGHT):
        room.release()
    got, deadline = 0, time.monotonic() + _WAIT_S
    while got < site.entry.chunks and time.monotonic() < deadline:
        arrival = receiver.receive(1)
        if isinstance(arrival, Message):
            room.release()
            take(got, arrival.payload)
            got += 1
    took_s = time.perf_counter() - began
    cpu = sum(map(cpu_s, pids)) - before
    room.release()  # the sender may go
    receiver.close()
    sender.join()
    return Took(seconds=took_s, cpu_s=cpu)


def _send_raw(site: Site, room: Semaphore, ready: Event) -> None:
    blob = (site.folder / "repository" / "blobs" / site.entry.sha256).read_bytes()
    size, count = site.entry.chunk_bytes, site.entry.chunks
    sender = session(site.broker, "out")
    ready.set()
    for number in range(count):
        room.acquire()
        sender.publish("raw", blob[number * size : (number + 1) * size], qos=0)
    for _ in range(_RAW_IN_FLIGHT + 1):
        room.acquire()  # until all have arrived and its processor time is read
    sender.close()


def windowed(site: Site, name: str = "device") -> Took:
    """Measure the fetching of the bundle by a device."""
    device = session(site.broker, name, SESSION)
    pids = (site.depot_pid, site.broker_pid, os.getpid())
    with tempfile.TemporaryDirectory(dir=site.folder) as folder:
        before, began = sum(map(cpu_s, pids)), time.perf_counter()
        fetch_bundle(device, TOPICS, name, site.entry, site.index, Path(folder))
        took_s = time.perf_counter() - began
        cpu = sum(map(cpu_s, pids)) - before
    device.close()
    return Took(seconds=took_s, cpu_s=cpu)


def over_http(site: Site) -> Took:
    """Measure the file from an HTTP server."""
    began = time.perf_counter()
    digest = hashlib.sha256()
    address = f"{site.http}/{site.entry.sha256}"
    with (
        urllib.request.urlopen(address) as answer,  # noqa: S310 - our own server
        tempfile.TemporaryFile(dir=site.folder) as file,
    ):
        while block := answer.read(_READ_BYTES):
            digest.update(block)
            file.write(block)
    if digest.hexdigest() != site.entry.sha256:
        raise SystemExit("HTTP: the file is another one")
    return Took(seconds=time.perf_counter() - began)


def show_near(megabytes: int, rounds: int) -> None:
    """Print a line for each case over loopback."""
    taken: dict[str, list[Took]] = {}
    strangers = (f"device-{number}" for number in itertools.count())
    with running(megabytes) as site, running(megabytes) as of_strangers:
        windowed(site)  # so that the device is known
        cases: dict[str, Callable[[], Took]] = {
            "raw messages": lambda: raw(site),
            "raw, checked and stored": lambda: raw_stored(site),
            "windowed": lambda: windowed(site),
            "windowed, of strangers": lambda: windowed(of_strangers, next(strangers)),
            "HTTP": lambda: over_http(site),
        }
        for _ in range(rounds):
            for name, case in cases.items():
                taken.setdefault(name, []).append(case())
    for name, found in taken.items():
        ratios = " and ".join(
            f"{_ratio(taken[peer], found):.2f} of {peer}"
            for peer in ("raw messages", "raw, checked and stored")
        )
        speed = megabytes / statistics.median(t.seconds for t in found)
        cpu_ms = 1e3 * statistics.median(t.cpu_s for t in found) / megabytes
        cpu = f", {cpu_ms:.1f} ms of processor a MB" if cpu_ms else ""
        sys.stdout.write(f"{name:24} {speed:6.1f} MB/s, {ratios}{cpu}\n")
        sys.stdout.flush()


def _ratio(peer: Sequence[Took], found: Sequence[Took]) -> float:
    """Return the median share of the peer's speed, round by round."""
    pairs = zip(peer, found, strict=True)
    return statistics.median(p.seconds / f.seconds for p, f in pairs)


def show_far(megabytes: int, rounds: int, link: Link) -> None:
    """Print the speed of HTTP and of the transfer through a link, and their ratio."""
    ends = [socket.socketpair() for _ in range(2)]
    pipes = [CONTEXT.Pipe() for _ in range(2)]
    tell_far, tell_near = (pipe[0] for pipe in pipes)
    far = CONTEXT.Process(target=_far, args=(ends[0][1], pipes[0][1], megabytes))
    near = CONTEXT.Process(target=_near, args=(ends[1][1], pipes[1][1], rounds))
    far.start()
    near.start()
    tell_near.send(tell_far.recv())
    namespaces.join(ends[0][0], ends[1][0], link, tell_near.poll)
    taken: dict[str, list[Took]] = tell_near.recv()
    tell_far.send("done")
    for process in (near, far):
        process.join()
    mb_s = {
        n: megabytes / statistics.median(t.seconds for t in ts) for n, ts in taken.items()
    }
    ratio = _ratio(taken["HTTP"], taken["windowed"])
    sys.stdout.write(
        f"{link.bytes_per_s / 1e6:g} MB/s, {2e3 * link.one_way_s:.0f} ms,"
        f" {link.loss:.0%} lost: HTTP {mb_s['HTTP']:.2f} MB/s, windowed"
        f" {mb_s['windowed']:.2f} MB/s, {ratio:.2f} of HTTP\n"
    )
    sys.stdout.flush()


def _far(end: socket.socket, tell: Connection, megabytes: int) -> None:
    namespaces.enter(namespaces.FAR, end)
    with running(megabytes, host=namespaces.FAR) as site:
        tell.send(site)
        tell.recv()


def _near(end: socket.socket, tell: Connection, rounds: int) -> None:
    namespaces.enter(namespaces.NEAR, end)
    site = tell.recv()
    taken: dict[str, list[Took]] = {"HTTP": [], "windowed": []}
    for _ in range(rounds):
        taken["HTTP"].append(over_http(site))
        taken["windowed"].append(windowed(site))
    tell.send(taken)


def memory_mb(site: Site) -> tuple[float, float]:
    """Return the resident memory of a device's process, idle and at its peak, in MB."""
    here, there = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_fetch_and_tell, args=(site, there))
    process.start()
    idle, peak = here.recv()
    process.join()
    return idle, peak


def _fetch_and_tell(site: Site, tell: Connection) -> None:
    device = session(site.broker, "device", SESSION)
    time.sleep(0.5)
    idle = _status_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # the peak counts from here
    with tempfile.TemporaryDirectory(dir=site.folder) as folder:
        fetch_bundle(device, TOPICS, "device", site.entry, site.index, Path(folder))
    tell.send((idle, _status_mb("VmHWM")))
    device.close()


def _status_mb(field: str) -> float:
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field))) / 1024


def main(arguments: Sequence[str]) -> None:
    """Print a line for each case, then the memory."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.link",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--megabytes", type=int, default=50, metavar="MB")
    parser.add_argument("--far-megabytes", type=int, default=10, metavar="MB")
    parser.add_argument("--link-mb-s", type=float, default=10.0, metavar="MB_PER_S")
    options = parser.parse_args(arguments)
    if options.rounds and options.megabytes:
        show_near(options.megabytes, options.rounds)
    if namespaces.may_enter():
        for loss in (0.0, 0.01):
            rate = options.link_mb_s * 1e6
            link = Link(bytes_per_s=rate, one_way_s=ONE_WAY_S, loss=loss)
            show_far(options.far_megabytes, options.rounds, link)
    else:
        sys.stdout.write("no link with delay and loss: that needs root and /dev/net/tun\n")
    with running(50) as site:
        idle, peak = memory_mb(site)
    sys.stdout.write(f"memory: idle {idle:.1f} MB, peak of 50 MB +{peak - idle:.1f} MB\n")


if __name__ == "__main__":
    main(sys.argv[1:])
