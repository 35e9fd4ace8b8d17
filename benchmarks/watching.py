# noqa: INP001 - a module of scripts, not a package
"""Who watches one device for long: the operator's book, and a gauge of what it takes."""

import contextlib
import statistics
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edgekit.address import BrokerAddress
from edgekit.fleet.book import Book, Device
from edgekit.fleet.watch import Listener
from edgekit.mqtt import MqttTransport, SessionOptions
from tests.e2e.household import DEVICE, MODEL, STAGE, Household

SAMPLE_S = 1.0
_MB = 2**20
_KB = 2**10


class Ear:
    """The operator's side: a book that hears what the device tells."""

    def __init__(self, house: Household) -> None:
        self.path = house.folder / "fleet.db"
        self._house = house
        self._over = threading.Event()
        device = Device(
            name=DEVICE,
            board="generic-x86-64",
            models=((MODEL, STAGE),),
            enrolled_by="benchmark",
            enrolled_at=datetime.now(UTC),
        )
        with Book(self.path) as book:
            book.enroll(device)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        self._over.set()
        self._thread.join()

    def requests(self) -> int:
        """Return how many requests the book knows of."""
        with Book(self.path) as book:
            return sum(
                bundle.requests
                for counted in book.windows(DEVICE)
                for bundle in counted.window.bundles
            )

    def _listen(self) -> None:
        transport = MqttTransport.connect(
            BrokerAddress(url=self._house.broker.url),
            client_id="ear",
            options=SessionOptions(patient=True),
        )
        with Book(self.path) as book:
            listener = Listener(
                transport=transport,
                topics=self._house.topics,
                book=book,
                now=lambda: datetime.now(UTC),
                monotonic=time.monotonic,
            )
            for _ in listener.follow(pause_s=0.2):
                if self._over.is_set():
                    break
        transport.close()


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The device at one moment: its supervisor and, where there is one, its worker."""

    rss_mb: float
    files: int
    kept: int
    kept_kb: float
    threads: int


class Gauge:
    """Samples of the agent, one a second, until stop()."""

    def __init__(self, house: Household) -> None:
        self.samples: list[Sample] = []
        self._house = house
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """Take no more samples."""
        self._over.set()
        self._thread.join()

    def quarter(self, which: int) -> list[Sample]:
        """Return a quarter of the samples, 0 to 3."""
        length = len(self.samples) // 4
        return self.samples[which * length : (which + 1) * length]

    def _run(self) -> None:
        while not self._over.wait(SAMPLE_S):
            with contextlib.suppress(OSError, ValueError):  # something has just ended
                self.samples.append(self._sample())

    def _sample(self) -> Sample:
        worker = self._house.worker()
        pids = [self._house.processes["agent"].pid, *([worker] if worker else [])]
        kept = [file.stat() for file in (self._house.folder / "state").rglob("*")]
        status = "".join(Path(f"/proc/{pid}/status").read_text("ascii") for pid in pids)
        words = [line.split() for line in status.splitlines()]
        return Sample(
            rss_mb=sum(int(w[1]) for w in words if w[0] == "VmRSS:") * _KB / _MB,
            threads=sum(int(w[1]) for w in words if w[0] == "Threads:"),
            files=sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids),
            kept=len(kept),
            kept_kb=sum(one.st_size for one in kept) / _KB,
        )


# Smaller growth than this, of the median from the second quarter to the last, is none:
# the share of the figure, and so many of its unit.
SLACK = {
    "rss_mb": (0.03, 1.0),
    "files": (0.0, 2.0),
    "kept": (0.0, 4.0),
    "kept_kb": (0.05, 64.0),
    "threads": (0.0, 2.0),
}


def growth(gauge: Gauge) -> dict[str, tuple[float, float]]:
    """Return the medians of the second and the last quarter of every figure."""
    return {
        name: (
            statistics.median(getattr(sample, name) for sample in gauge.quarter(1)),
            statistics.median(getattr(sample, name) for sample in gauge.quarter(3)),
        )
        for name in SLACK
    }
