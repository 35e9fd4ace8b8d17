# noqa: INP001 - a script, not a package
"""Measure serving beside `mlflow models serve`, and in a program beside onnxruntime alone.

    python -m benchmarks.serving [--seconds S] [--json]

One ONNX model (a row of 20 doubles, one number) is saved with MLflow and served by `mlflow
models serve`, and packed as a bundle and served by the real `edgekit-agent run`, one after
the other on this machine. The same client asks both over kept connections. Needs mlflow,
onnx and the agent.
"""

import argparse
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks.agent_memory import children, prepare, running, tiny_bundle
from edgekit import bundle, golden
from edgekit.golden import Golden
from edgekit.manifest import (
    GOLDEN_NAME,
    MODEL_NAME,
    Binding,
    Manifest,
    OutputRole,
    Signature,
    TensorInput,
    TensorOutput,
)
from edgekit_agent import memory
from edgekit_agent.model import Model

COLUMNS = tuple(f"c{i}" for i in range(20))
CONNECTIONS = 4
START_S = 300.0
CALLS = 5000
REPEATS = 7
_MB = 2**20
_INPUTS = [{"type": "double", "name": name, "required": True} for name in COLUMNS]
_SAVE = """
import json, sys
import mlflow, onnx
from mlflow.models import ModelSignature
from mlflow.types import Schema

signature = ModelSignature(inputs=Schema.from_json(sys.argv[3]))
mlflow.onnx.save_model(
    onnx.load(sys.argv[1]), sys.argv[2], signature=signature, save_as_external_data=False
)
"""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One server: milliseconds, answers a second, resident megabytes of its processes."""

    server: str
    start_s: float
    one_row_p50_ms: float
    one_row_p95_ms: float
    hundred_rows_p50_ms: float
    answers_per_s: float
    rss_mb: float


def linear_model() -> bytes:
    """Return the ONNX file of y = x w, x float [n, 20]."""
    weights = np.random.default_rng(0).random((len(COLUMNS), 1), np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, len(COLUMNS)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [numpy_helper.from_array(weights, "w")],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, ir_version=8, opset_imports=opsets)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def packed(model: bytes) -> tuple[bytes, Manifest]:
    """Return the bundle of the model."""
    _, tiny = tiny_bundle()
    table = {name: np.zeros(1) for name in COLUMNS}
    known = Golden(inputs=table, outputs={"y": np.zeros((1, 1), np.float32)})
    members = {MODEL_NAME: model, GOLDEN_NAME: golden.encode(known)}
    manifest = replace(
        tiny,
        files={name: bundle.describe(content) for name, content in members.items()},
        signature=Signature(inputs=list(_INPUTS)),
        binding=Binding(
            inputs=(
                TensorInput(
                    name="x", dtype="float32", columns=COLUMNS, shape=(-1, len(COLUMNS))
                ),
            ),
            outputs=(
                TensorOutput(
                    name="y",
                    tensor="y",
                    role=OutputRole.PREDICTION,
                    dtype="float32",
                    shape=(-1, 1),
                ),
            ),
        ),
    )
    return bundle.pack(manifest, members), manifest


def device(folder: Path, model: bytes, port: int) -> Path:
    """Lay out a device that has fetched the model; return its agent.toml."""
    data, _ = packed(model)
    return prepare(folder, "linear", data, f"port = {port}")


class Client:
    """One kept connection to a server's port."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(self, body: bytes) -> bytes:
        """Return the answer; raise OSError or RuntimeError for anything but predictions."""
        kind = {"Content-Type": "application/json"}
        self._connection.request("POST", "/invocations", body, kind)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status != http.HTTPStatus.OK:
            raise RuntimeError(f"status {response.status}: {answer[:200]!r}")
        return answer


def rows(count: int) -> bytes:
    """Return a request of so many rows."""
    data = np.random.default_rng(1).random((count, len(COLUMNS))).tolist()
    return json.dumps({"dataframe_split": {"columns": COLUMNS, "data": data}}).encode()


def first_answer(port: int) -> bytes:
    """Return the first prediction, as soon as there is one."""
    ends_s = time.monotonic() + START_S
    while True:
        try:
            return Client(port).ask(rows(1))
        except (OSError, RuntimeError, http.client.HTTPException):
            if time.monotonic() > ends_s:
                raise
            time.sleep(0.02)


def times_ms(port: int, body: bytes, seconds: float) -> list[float]:
    """Ask on one connection for a while."""
    client, found = Client(port), []
    ends_s = time.monotonic() + seconds
    while time.monotonic() < ends_s:
        began_ns = time.perf_counter_ns()
        client.ask(body)
        found.append((time.perf_counter_ns() - began_ns) / 1e6)
    return found


def answers_per_s(port: int, seconds: float) -> float:
    """Ask on several connections at once for a while."""
    body, counts = rows(1), [0] * CONNECTIONS
    ends_s = time.monotonic() + seconds

    def ask(number: int) -> None:
        client = Client(port)
        while time.monotonic() < ends_s:
            client.ask(body)
            counts[number] += 1

    askers = [threading.Thread(target=ask, args=(n,)) for n in range(CONNECTIONS)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    return sum(counts) / seconds


def measured(
    server: str, port: int, began_s: float, pid: int, seconds: float
) -> tuple[Figures, bytes]:
    """Return a running server's figures, and what it answers."""
    answer = first_answer(port)
    start_s = time.monotonic() - began_s
    times_ms(port, rows(1), seconds / 4)  # the first hundreds are slower
    one, hundred = times_ms(port, rows(1), seconds), times_ms(port, rows(100), seconds)
    figures = Figures(
        server=server,
        start_s=round(start_s, 1),
        one_row_p50_ms=round(statistics.median(one), 2),
        one_row_p95_ms=round(sorted(one)[int(0.95 * len(one))], 2),
        hundred_rows_p50_ms=round(statistics.median(hundred), 2),
        answers_per_s=round(answers_per_s(port, seconds)),
        rss_mb=round(sum(memory.rss_bytes(one) for one in family(pid)) / _MB, 1),
    )
    return figures, answer


def family(pid: int) -> list[int]:
    """Return the process ids of a process and of all that descend from it."""
    return [pid, *(one for child in children(pid) for one in family(child))]


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def mlflow_serving(folder: Path, model: bytes, port: int) -> Iterator[int]:
    """Serve the model with MLflow; yield the process id."""
    (folder / "model.onnx").write_bytes(model)
    save = [sys.executable, "-c", _SAVE, "model.onnx", "saved", json.dumps(_INPUTS)]
    subprocess.run(save, cwd=folder, check=True, stderr=subprocess.DEVNULL)  # noqa: S603 - our own script
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "saved"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(  # noqa: S603 - our own command
        [*command, "--port", str(port), "--env-manager", "local", "--workers", "1"],
        cwd=folder,
        env={**os.environ, "PATH": path},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def least_us(call: Callable[[], object]) -> float:
    """Return the processor time of one call, the least of some runs.

    Both calls stay in this thread, so other work on the machine does not count.
    """
    found = []
    for _ in range(REPEATS):
        began_ns = time.thread_time_ns()
        for _ in range(CALLS):
            call()
        found.append((time.thread_time_ns() - began_ns) / CALLS / 1000)
    return min(found)


def in_process(folder: Path, model: bytes) -> dict[str, float]:
    """Return microseconds of one row in a program: onnxruntime alone, and the model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
    row = dict(zip(COLUMNS, np.random.default_rng(1).random(len(COLUMNS)), strict=True))
    plain = {name: float(value) for name, value in row.items()}
    array = np.array([list(plain.values())], np.float32)
    with Model("linear", state_dir=folder / "state", interval_s=60) as linear:
        raw_us = least_us(lambda: session.run(None, {"x": array}))
        model_us = least_us(lambda: linear.predict(plain))
    return {
        "onnxruntime_us": round(raw_us, 1),
        "model_predict_us": round(model_us, 1),
        "overhead_us": round(model_us - raw_us, 1),
    }


def compare(folder: Path, seconds: float) -> tuple[list[Figures], dict[str, float]]:
    """Measure both servers, refuse figures of answers that differ, then the program."""
    model = linear_model()
    port = free_port()
    settings = device(folder, model, port)
    began_s = time.monotonic()
    with running(settings) as pid:
        ours, mine = measured("edgekit-agent", port, began_s, pid, seconds)
    port = free_port()
    began_s = time.monotonic()
    with mlflow_serving(folder, model, port) as pid:
        theirs, other = measured("mlflow models serve", port, began_s, pid, seconds)
    if json.loads(mine) != json.loads(other):
        raise RuntimeError(f"the answers differ: {mine[:200]!r}, {other[:200]!r}")
    return [ours, theirs], in_process(folder, model)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="for each figure")
    parser.add_argument("--json", action="store_true", dest="as_json", help="JSON lines")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ek-"))
    try:
        servers, program = compare(folder, options.seconds)
    finally:
        shutil.rmtree(folder)
    tables = [vars(figures) for figures in servers]
    if options.as_json:
        sys.stdout.write("".join(json.dumps(t) + "\n" for t in [*tables, program]))
        return
    for name in tables[0]:
        cells = "".join(f"{table[name]!s:>22}" for table in tables)
        sys.stdout.write(f"{name:22}{cells}\n")
    for name, value in program.items():
        sys.stdout.write(f"{name:22}{value:>22}\n")


if __name__ == "__main__":
    main()
