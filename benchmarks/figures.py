# noqa: INP001 - a script, not a package
"""Hold a running agent against the figures it was built for: memory, load, times.

    python -m benchmarks.figures [--runs 5] [--idle 60] [--json]

It starts the real `edgekit-agent run` on temporary folders that already hold a model of
100 kB (no broker answers: a device serves from its disk first), asks for predictions, kills
it, and reads /proc. For the failed proof it founds a whole fleet with a broker. Medians of
several runs. As root the page cache is dropped before a cold start.

Resident size (RSS) counts a library's pages in every process that uses them, "each page
once" once for all processes of the agent: what a machine has to have that runs nothing
else. The unique size (USS) leaves out what anybody else on this machine uses, too.
"""

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.agent_memory import (
    ROWS,
    children,
    cpu_s,
    first_answer_s,
    prepare,
    running,
    tiny_bundle,
)
from edgekit import bundle
from edgekit.errors import EdgekitError
from edgekit.manifest import MODEL_NAME, Manifest, OutputRole, TensorOutput
from edgekit_agent import client
from edgekit_agent.rules.record import Record, Release
from edgekit_agent.storage import bundles
from edgekit_agent.storage.store import Store
from tests.agent.making import made
from tests.e2e.household import household

MODEL = "tiny"
COLUMNS = 20
REQUESTS = 300
SETTLE_S = 3.0
GLANCE_S = 0.002
PATIENCE_S = 60.0
SHARED = 'process = "shared"'
_MB = 2**20
_KB = 2**10
_FILE = 4  # the word of a mapping's first line, after its addresses, that names a file
_DROP = Path("/proc/sys/vm/drop_caches")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A figure, the most it may be, and what it is."""

    name: str
    most: float
    unit: str


TARGETS = {
    "supervisor_rss_mb": Target(name="supervisor, RSS", most=35, unit="MB"),
    "two_processes_rss_mb": Target(name="supervisor and worker, RSS", most=95, unit="MB"),
    "two_processes_once_mb": Target(
        name="supervisor and worker, each page once", most=95, unit="MB"
    ),
    "one_process_rss_mb": Target(name="one process, RSS", most=75, unit="MB"),
    "idle_percent": Target(name="idle, two processes", most=0.5, unit="% of a core"),
    "idle_one_process_percent": Target(
        name="idle, one process", most=0.5, unit="% of a core"
    ),
    "cold_start_s": Target(name="cold start to the first answer", most=2, unit="s"),
    "cold_start_one_process_s": Target(name="cold start, one process", most=2, unit="s"),
    "failed_proof_s": Target(
        name="longest wait for an answer while a proof fails", most=1, unit="s"
    ),
    "failed_check_s": Target(
        name="the device's own check failed, to the previous version's answer",
        most=1,
        unit="s",
    ),
    "crash_s": Target(
        name="third crash, to the previous version's answer", most=1, unit="s"
    ),
    "crash_one_process_s": Target(
        name="third crash, one process, from its restart on", most=1, unit="s"
    ),
}


def heavy_model(version: int) -> bytes:
    """Return the ONNX file of y = x w, x float [n, 20], w of 100 kB."""
    outputs = 100_000 // 4 // COLUMNS
    weights = np.random.default_rng(version).random((COLUMNS, outputs), np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "heavy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, COLUMNS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, outputs])],
        [numpy_helper.from_array(weights, "w")],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, ir_version=8, opset_imports=opsets)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def packed(version: int) -> bytes:
    """Return the bundle of a version of the model."""
    _, tiny = tiny_bundle()
    model = heavy_model(version)
    output = TensorOutput(
        name="",
        tensor="y",
        role=OutputRole.PREDICTION,
        dtype="float32",
        shape=(-1, 100_000 // 4 // COLUMNS),
    )
    manifest: Manifest = replace(
        tiny,
        model=replace(tiny.model, version=str(version)),
        files={MODEL_NAME: bundle.describe(model)},
        binding=replace(tiny.binding, outputs=(output,)),
    )
    return bundle.pack(manifest, {MODEL_NAME: model})


@contextmanager
def folder() -> Iterator[Path]:
    """A folder with a short path, for sockets."""
    path = Path(tempfile.mkdtemp(prefix="ek-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def on_probation(home: Path, serving: str, **changes: object) -> Path:
    """Lay out a device that serves version 2 since a moment; return its agent.toml."""
    config = prepare(home, MODEL, packed(1), serving)
    store = Store(home / "state")
    digest = hashlib.sha256(second := packed(2)).hexdigest()
    file = store.incoming / digest
    file.write_bytes(second)
    bundles.add(store, digest, file)
    file.unlink()
    path = next((home / "state" / "models").glob("*/state.json"))
    record = Record.from_json(_unsealed(path), subject=str(path))
    current = Release(version="2", flavor="fp32", sha256=digest, rollout=2)
    fields = {"current": current, "previous": record.current, "probation": True, **changes}
    store.save(replace(record, **fields))  # type: ignore[arg-type]  # Record's own fields
    return config


def _unsealed(path: Path) -> bytes:
    table = json.loads(path.read_bytes())
    table.pop("crc32", None)
    return json.dumps(table).encode()


# --- memory and load -------------------------------------------------------------------


def sizes_mb(pids: list[int]) -> dict[str, float]:
    """Return the resident and unique size of some processes, and each page once."""
    resident, unique = 0, 0
    clean: dict[tuple[str, str], int] = {}  # of each piece of a file, where it is most
    dirty = 0
    for pid in pids:
        for piece, told in _mappings(pid):
            resident += told["Rss:"]
            unique += told["Private_Clean:"] + told["Private_Dirty:"]
            own = told["Anonymous:"]
            dirty += own
            clean[piece] = max(clean.get(piece, 0), told["Rss:"] - own)
    once = dirty + sum(clean.values())
    sizes = {"rss": resident, "once": once, "uss": unique}
    return {name: size * _KB / _MB for name, size in sizes.items()}


def _mappings(pid: int) -> Iterator[tuple[tuple[str, str], dict[str, int]]]:
    """Yield the mappings of a process: (file, offset), and its figures in KB."""
    piece, told = ("", ""), dict[str, int]()
    for line in Path(f"/proc/{pid}/smaps").read_text("utf-8", "replace").splitlines():
        name, *words = line.split()
        if not name.endswith(":"):
            if told:
                yield piece, told
            piece, told = (words[4] if len(words) > _FILE else "", words[1]), {}
        elif words[0].isdecimal():
            told[name] = int(words[0])
    yield piece, told


@dataclass(frozen=True, kw_only=True)
class AtWork:
    """One agent: sizes of its processes together and of the resident one in MB."""

    together: dict[str, float]
    own_rss_mb: float
    start_cpu_s: float  # processor time until the first answer
    idle_percent: float


def at_work(serving: str, idle_s: float) -> AtWork:
    """Let an agent answer, and look at it at work and at rest."""
    with folder() as home, running(prepare(home, MODEL, packed(1), serving)) as pid:
        first_answer_s(home / "agent.sock")
        start_cpu_s = sum(map(cpu_s, [pid, *children(pid)]))
        for _ in range(REQUESTS):
            client.predict(home / "agent.sock", MODEL, ROWS)
        time.sleep(SETTLE_S)
        pids = [pid, *children(pid)]
        together, own = sizes_mb(pids), sizes_mb([pid])["rss"]
        used_s = sum(map(cpu_s, pids))
        time.sleep(idle_s)
        idle = 100 * (sum(map(cpu_s, pids)) - used_s) / idle_s
        return AtWork(
            together=together, own_rss_mb=own, start_cpu_s=start_cpu_s, idle_percent=idle
        )


# --- times -----------------------------------------------------------------------------


def cold_start_s(serving: str) -> float:
    """Return the time from the start of the process to the first answer."""
    with folder() as home:
        config = prepare(home, MODEL, packed(1), serving)
        drop_page_cache()
        with running(config):
            return first_answer_s(home / "agent.sock")


def drop_page_cache() -> None:
    """Have the next start read its files from the disk, where this user may."""
    os.sync()
    with contextlib.suppress(OSError):
        _DROP.write_text("3", "ascii")


def failed_proof_s() -> float:
    """Return the longest time between answers while a wrong version is refused."""
    with household(MODEL) as house:
        house.release(made(model=MODEL, version="1"), 1)
        house.start_agent()
        house.until(lambda: house.serves("1", MODEL), "version 1 is served")
        over, waits = threading.Event(), [0.0]
        asker = threading.Thread(target=_ask, args=(lambda: house.ask(MODEL), over, waits))
        asker.start()
        wrong = made(model=MODEL, version="2", scale=3.0, golden_scale=2.0)
        house.release(wrong, 2)
        refused = "rejected"
        house.until(lambda: house.trouble(MODEL).get("kind") == refused, "it is refused")
        over.set()
        asker.join()
        return max(waits)


def _ask(ask: Callable[[], object], over: threading.Event, waits: list[float]) -> None:
    answered_s = time.monotonic()
    while not over.is_set():
        with contextlib.suppress(EdgekitError):
            ask()
            waits.append(time.monotonic() - answered_s)
            answered_s = time.monotonic()


def failed_check_s(serving: str = "") -> float:
    """Return the time from the hook's refusal to an answer of the version before."""
    with folder() as home:
        config = on_probation(home, serving, unconfirmed=True)
        hooks = home / "hooks"
        hooks.mkdir()
        noted = home / "noted"
        hook = hooks / "post-activate"
        hook.write_text(f"#!/bin/sh\nsleep 1\ntouch {noted}\nexit 1\n", "ascii")
        hook.chmod(0o755)
        text = config.read_text("utf-8")
        config.write_text(f'{text}\n[hooks]\ndir = "{hooks}"\n', "utf-8")
        with running(config):
            version(home, "2")
            while not noted.exists():
                time.sleep(GLANCE_S)
            began_s = time.monotonic()
            version(home, "1")
            return time.monotonic() - began_s


def crash_s() -> float:
    """Return the time from the third crash of the worker to the previous version."""
    with folder() as home, running(on_probation(home, "", crashes=2)) as pid:
        version(home, "2")
        (worker,) = children(pid)
        began_s = time.monotonic()
        os.kill(worker, signal.SIGKILL)
        version(home, "1")
        return time.monotonic() - began_s


def crash_one_process_s() -> float:
    """Return the time from the start of the next process to the previous version."""
    with folder() as home:
        config = on_probation(home, SHARED, crashes=2)
        with running(config) as pid:
            version(home, "2")
            os.kill(pid, signal.SIGKILL)
        began_s = time.monotonic()
        with running(config):
            version(home, "1")
            return time.monotonic() - began_s


def version(home: Path, wanted: str) -> None:
    """Wait until a version answers."""
    ends_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends_s:
        with contextlib.suppress(EdgekitError):
            if client.predict(home / "agent.sock", MODEL, ROWS).version == wanted:
                return
        time.sleep(GLANCE_S)
    raise SystemExit(f"figures: version {wanted} never answered")


# --- all of it -------------------------------------------------------------------------


def measure(runs: int, idle_s: float) -> dict[str, list[float]]:
    """Return every figure, one number for each run."""
    found: dict[str, list[float]] = {}
    for turn in range(runs):
        rest_s = idle_s if turn == 0 else SETTLE_S  # load at rest is measured once
        two, one = at_work("", rest_s), at_work(SHARED, rest_s)
        figures = {
            "supervisor_rss_mb": two.own_rss_mb,
            **{f"two_processes_{kind}_mb": size for kind, size in two.together.items()},
            **{f"one_process_{kind}_mb": size for kind, size in one.together.items()},
            "start_cpu_s": two.start_cpu_s,
            "start_one_process_cpu_s": one.start_cpu_s,
            "cold_start_s": cold_start_s(""),
            "cold_start_one_process_s": cold_start_s(SHARED),
            "failed_proof_s": failed_proof_s(),
            "failed_check_s": failed_check_s(),
            "crash_s": crash_s(),
            "crash_one_process_s": crash_one_process_s(),
        }
        if turn == 0:
            figures["idle_percent"] = two.idle_percent
            figures["idle_one_process_percent"] = one.idle_percent
        for name, value in figures.items():
            found.setdefault(name, []).append(value)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.figures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--idle", type=float, default=60.0, help="seconds at rest")
    parser.add_argument("--json", action="store_true", dest="as_json")
    options = parser.parse_args()
    found = measure(options.runs, options.idle)
    medians = {name: round(statistics.median(all_), 3) for name, all_ in found.items()}
    if options.as_json:
        sys.stdout.write(json.dumps({"medians": medians, "runs": found}) + "\n")
        return
    sys.stdout.write(
        "| what | target | found | smallest and largest |\n|---|--:|--:|--:|\n"
    )
    for name, median in medians.items():
        target = TARGETS.get(name)
        told = target.name if target else name.replace("_", " ")
        most = f"{target.most:g} {target.unit}" if target else ""
        missed = " (missed)" if target and median > target.most else ""
        ends = f"{min(found[name]):.2f} to {max(found[name]):.2f}"
        sys.stdout.write(f"| {told} | {most} | {median:.2f}{missed} | {ends} |\n")


if __name__ == "__main__":
    main()
