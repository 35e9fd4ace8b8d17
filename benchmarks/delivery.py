# noqa: INP001 - a script, not a package
"""How long N devices take to get one bundle over a real broker, and what the depot sends.

    python -m benchmarks.delivery                     # 1, 10 and 50 receivers, 20 MB
    python -m benchmarks.delivery --receivers 10 --loss 0.05 --json

The broker (mosquitto if installed, else the embedded one), the depot and the receivers
share this machine over loopback; receivers are spread over processes, several to each.
Loss is injected at each receiver, before it looks at a chunk, with a fixed seed. "Least",
beside the measured ratio of bytes sent to bundle bytes, is what repair without mixtures
must cost on average: each chunk is sent until the last of N receivers has it.
docs/benchmarks.md holds figures, and says what they mean.
"""

import argparse
import json
import multiprocessing
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path

from edgekit import embedded_broker
from edgekit.bundle import chunk_index, describe
from edgekit.depot.server import Depot
from edgekit.mqtt import BrokerAddress, MqttTransport
from edgekit.statement import CHUNK_BYTES, BundleEntry, ReleaseRecord
from edgekit.transport import Arrival, Message, Transport
from edgekit.wire import Topics
from edgekit_agent.update.fetch import fetch_bundle
from edgekit_agent.update.updater import SESSION

TOPICS = Topics(fleet="benchmark")
PROCESSES = 5
DEADLINE_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """One line of the table."""

    receivers: int
    megabytes: int
    loss: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one case took."""

    receivers: int
    megabytes: int
    loss: float
    median_s: float
    last_s: float
    depot_ratio: float
    least_ratio: float
    depot_rss_mb: float
    broker: str
    broker_rss_mb: float


class Lossy:
    """A transport that loses chunks on their last centimetre."""

    def __init__(self, inner: Transport, loss: float, seed: int) -> None:
        self._inner = inner
        self._loss = loss
        self._random = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self.subscribe = inner.subscribe
        self.unsubscribe = inner.unsubscribe
        self.publish = inner.publish
        self.close = inner.close

    @property
    def dropped(self) -> int:
        """How many messages were dropped for want of room."""
        return self._inner.dropped

    def receive(self, timeout_s: float) -> Arrival | None:
        """Return the next arrival that is not lost."""
        arrival = self._inner.receive(timeout_s)
        if isinstance(arrival, Message) and self._random.random() < self._loss:
            return None
        return arrival


def main(arguments: Sequence[str]) -> None:
    """Run the cases and print a line for each."""
    options = _parse(arguments)
    for loss in options.loss:
        for receivers in options.receivers:
            case = Case(receivers=receivers, megabytes=options.megabytes, loss=loss)
            _show(measure(case), as_json=options.json)


def measure(case: Case) -> Outcome:
    """Run one case in a folder of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        entry, index = _make_repository(folder / "repository", case.megabytes)
        with embedded_broker.start(folder / "broker") as broker:
            times, depot, depot_rss_mb = _run(case, broker.url, folder, entry, index)
            broker_rss_mb = _rss_mb(broker.process.pid)
    return Outcome(
        **asdict(case),
        median_s=times[len(times) // 2],
        last_s=times[-1],
        depot_ratio=depot.served.chunk_bytes / entry.length,
        least_ratio=least_ratio(case.receivers, case.loss),
        depot_rss_mb=depot_rss_mb,
        broker=broker.kind,
        broker_rss_mb=broker_rss_mb,
    )


def least_ratio(receivers: int, loss: float) -> float:
    """Return the expected sendings of a chunk until the last of N receivers has it."""
    return 1 + sum(1 - (1 - loss**tries) ** receivers for tries in range(1, 200))


def _run(
    case: Case, url: str, folder: Path, entry: BundleEntry, index: bytes
) -> tuple[list[float], Depot, float]:
    """Return the receivers' times in order, the depot, and this process's memory."""
    stop = threading.Event()
    transport = MqttTransport.connect(BrokerAddress(url=url), client_id="depot")
    depot = Depot(transport, TOPICS, folder / "repository")
    server = threading.Thread(target=depot.serve, args=(stop,))
    server.start()
    context = multiprocessing.get_context("spawn")
    shares = [
        range(at, case.receivers, PROCESSES) for at in range(min(PROCESSES, case.receivers))
    ]
    barrier = context.Barrier(len(shares))
    times = context.Queue()
    work = (url, folder, entry, index, case.loss, barrier, times)
    processes = [context.Process(target=_receive, args=(s, *work)) for s in shares]
    for process in processes:
        process.start()
    taken = sorted(times.get(timeout=DEADLINE_S) for _ in range(case.receivers))
    for process in processes:
        process.join()
    stop.set()
    server.join()
    transport.close()
    return taken, depot, _rss_mb(os.getpid())


def _receive(  # noqa: PLR0913, PLR0917 - what a spawned process is given
    share: range,
    url: str,
    folder: Path,
    entry: BundleEntry,
    index: bytes,
    loss: float,
    barrier: Barrier,
    times: "multiprocessing.Queue[float]",
) -> None:
    """Fetch as the receivers of one share, each in a thread, all at once."""
    sessions = [_connect(url, number) for number in share]
    barrier.wait()

    def fetch(number: int, session: MqttTransport) -> None:
        store = folder / f"device-{number}"
        store.mkdir()
        lossy = Lossy(session, loss, seed=number)
        start = time.monotonic()
        fetch_bundle(lossy, TOPICS, f"d{number}", entry, index, store)
        times.put(time.monotonic() - start)

    threads = [
        threading.Thread(target=fetch, args=(number, session))
        for number, session in zip(share, sessions, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for session in sessions:
        session.close()


def _connect(url: str, number: int) -> MqttTransport:
    address = BrokerAddress(url=url)
    return MqttTransport.connect(address, client_id=f"d{number}", options=SESSION)


def _make_repository(folder: Path, megabytes: int) -> tuple[BundleEntry, bytes]:
    """Write a bundle of random bytes as the release tool would; no signatures."""
    data = random.Random(0).randbytes(megabytes * 10**6)  # noqa: S311 - repeatable
    index = chunk_index(data)
    entry = BundleEntry(
        flavor="fp32",
        sha256=describe(data).sha256,
        length=len(data),
        chunk_bytes=CHUNK_BYTES,
        index_sha256=describe(index).sha256,
        unpacked_bytes=len(data),
        peak_rss_bytes=0,
        min_onnxruntime="1.20",
        one_row_p95_us=0,
    )
    record = ReleaseRecord(
        model="m", version="1", run_id="r", source_sha256="0" * 64, bundles=(entry,)
    )
    records = folder / "files" / "targets" / "models" / "m"
    records.mkdir(parents=True)
    (records / "record.1.json").write_bytes(record.to_json())
    (folder / "files" / "timestamp.json").write_text("{}")
    (folder / "blobs").mkdir()
    (folder / "blobs" / entry.sha256).write_bytes(data)
    return entry, index


def _rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    kib = next(line.split()[1] for line in status.splitlines() if "VmRSS" in line)
    return int(kib) / 1024


def _show(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(asdict(outcome)) + "\n")
    else:
        sys.stdout.write(
            f"{outcome.receivers:3d} receivers, {outcome.megabytes} MB, loss"
            f" {outcome.loss:.0%}: median {outcome.median_s:.2f} s, last"
            f" {outcome.last_s:.2f} s; depot sent {outcome.depot_ratio:.2f} x (least"
            f" {outcome.least_ratio:.2f}); {outcome.broker} takes"
            f" {outcome.broker_rss_mb:.0f} MB\n"
        )
    sys.stdout.flush()


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.delivery",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--receivers",
        type=int,
        nargs="+",
        default=[1, 10, 50],
        metavar="N",
        help="how many fetch at once, one case for each (default: 1 10 50)",
    )
    parser.add_argument(
        "--loss",
        type=float,
        nargs="+",
        default=[0.0, 0.05],
        metavar="SHARE",
        help="share of chunks lost at each receiver, from 0 to 0.9 (default: 0 0.05)",
    )
    parser.add_argument(
        "--megabytes", type=int, default=20, metavar="MB", help="the bundle (default: 20)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a case")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
