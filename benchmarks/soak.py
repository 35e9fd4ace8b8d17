# noqa: INP001 - a script, not a package
"""Exchange models for a long time under load: memory, files, lost requests, pauses.

    python -m benchmarks.soak [--swaps 100] [--ballast-mb 20] [--json]

It drives the real worker as the supervisor does: two versions of a model in turn, beside
each other and instead of each other, while four threads ask without a pause. Every answer
must be one of the two versions', whole. Needs the agent's own dependencies only.
"""

import argparse
import hashlib
import json
import os
import queue
import shutil
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.agent_memory import tiny_bundle, tiny_model, with_ballast
from edgekit import bundle
from edgekit.errors import EdgekitError
from edgekit.manifest import MODEL_NAME
from edgekit_agent import client
from edgekit_agent.storage import bundles
from edgekit_agent.storage.store import Store
from edgekit_agent.supervision.child import Child, News, Said

ASKERS = 4
ROWS = json.dumps({"inputs": [[1.0] * 20]}).encode()
PATIENCE_S = 60.0
_MB = 2**20


@dataclass
class Asked:
    """What the askers saw; only whole numbers and lists are shared between threads."""

    versions: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    longest_s: float = 0.0
    over: threading.Event = field(default_factory=threading.Event)

    def ask(self, socket: Path) -> None:
        """Ask until it is over."""
        while not self.over.is_set():
            began_s = time.monotonic()
            try:
                self.versions.append(client.predict(socket, "tiny", ROWS).version)
            except EdgekitError as error:
                self.failures.append(str(error))
            self.longest_s = max(self.longest_s, time.monotonic() - began_s)


class Worker:
    """The process that serves, told what the supervisor tells it."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "agent.sock"
        self._inbox: queue.SimpleQueue[News] = queue.SimpleQueue()
        state = ("--state-dir", str(folder / "state"), "--socket", str(self.socket))
        recent = ("--recent-rows", "200", "--recent-bytes", "262144")
        module = "edgekit_agent.service.worker"
        self._child = Child(module, *state, *recent, inbox=self._inbox, expendable=0)
        self._heard()

    def load(self, sha256: str, version: str, *, overlap: bool) -> int:
        """Exchange the model, and return the pause in milliseconds."""
        self._child.say(
            do="load",
            model="tiny",
            version=version,
            flavor="fp32",
            sha256=sha256,
            overlap=overlap,
        )
        told = self._heard()
        if told["event"] != "loaded":
            raise SystemExit(f"soak: {told}")
        return int(str(told["pause_ms"]))

    @property
    def rss_bytes(self) -> int:
        """Its resident size."""
        return self._child.rss_bytes

    @property
    def files(self) -> int:
        """How many files it has open."""
        return len(os.listdir(f"/proc/{self._child.pid}/fd"))  # noqa: PTH208 - names only

    def end(self) -> None:
        """End it."""
        self._child.say(do="stop")
        self._child.wait(PATIENCE_S)

    def _heard(self) -> dict[str, object]:
        news = self._inbox.get(timeout=PATIENCE_S)
        if not isinstance(news, Said):
            raise SystemExit(f"soak: the worker ended: {news.how}")
        return news.document


def stored(store: Store, version: str, ballast_bytes: int) -> str:
    """Put one version of the model into the store and return its digest."""
    model = with_ballast(tiny_model(), ballast_bytes)
    _, plain = tiny_bundle()
    identity = replace(plain.model, version=version)
    files = {MODEL_NAME: bundle.describe(model)}
    data = bundle.pack(replace(plain, model=identity, files=files), {MODEL_NAME: model})
    digest = hashlib.sha256(data).hexdigest()
    path = store.incoming / digest
    path.write_bytes(data)
    bundles.add(store, digest, path)
    path.unlink()
    return digest


def soak(
    folder: Path, *, swaps: int, ballast_bytes: int, overlap: bool
) -> dict[str, float]:
    """Return the figures of one way to exchange models."""
    store = Store(folder / "state")
    store.prepare()
    versions = [(stored(store, str(n), ballast_bytes), str(n)) for n in (1, 2)]
    worker = Worker(folder)
    worker.load(*versions[0], overlap=overlap)
    asked = Asked()
    askers = [
        threading.Thread(target=asked.ask, args=(worker.socket,)) for _ in range(ASKERS)
    ]
    for asker in askers:
        asker.start()
    pauses, sizes = [], []
    for swap in range(1, swaps + 1):
        pauses.append(worker.load(*versions[swap % 2], overlap=overlap))
        sizes.append(worker.rss_bytes)
        if swap == 1:
            files = worker.files
    asked.over.set()
    for asker in askers:
        asker.join()
    left = worker.files
    worker.end()
    return {
        "swaps": swaps,
        "requests": len(asked.versions),
        "lost": len(asked.failures),
        "wrong": sum(version not in {"1", "2"} for version in asked.versions),
        "longest_wait_ms": round(1000 * asked.longest_s),
        "pause_p50_ms": statistics.median(pauses),
        "pause_max_ms": max(pauses),
        "rss_after_first_mb": round(sizes[0] / _MB, 1),
        "rss_after_last_mb": round(sizes[-1] / _MB, 1),
        "rss_max_mb": round(max(sizes) / _MB, 1),
        "open_files_after_first": files,
        "open_files_after_last": left,
    }


def main() -> None:
    """Measure both ways and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--ballast-mb", type=int, default=20)
    parser.add_argument("--json", action="store_true", dest="as_json")
    options = parser.parse_args()
    figures = {}
    for name, overlap in (("beside", True), ("instead", False)):
        folder = Path(tempfile.mkdtemp(prefix="ek-"))
        try:
            figures[name] = soak(
                folder,
                swaps=options.swaps,
                ballast_bytes=options.ballast_mb * _MB,
                overlap=overlap,
            )
        finally:
            shutil.rmtree(folder)
    if options.as_json:
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    sys.stdout.write(f"{'':28} {'beside':>10} {'instead':>10}\n")
    for name in figures["beside"]:
        both = (figures["beside"][name], figures["instead"][name])
        sys.stdout.write(f"{name:28} {both[0]:>10} {both[1]:>10}\n")


if __name__ == "__main__":
    main()
