# noqa: INP001 - a script, not a package
"""Measure what a running agent takes: memory of its processes, time to its first answer.

    python -m benchmarks.agent_memory [--json]

It starts the real `edgekit-agent run` on a temporary folder that already holds a small
model (no broker answers: a device serves from its disk first), asks for predictions, and
reads /proc. Needs the agent's own dependencies only; the model is built by hand.
"""

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from edgekit import bundle
from edgekit.errors import EdgekitError
from edgekit.manifest import (
    MODEL_NAME,
    Binding,
    Footprint,
    Manifest,
    ModelIdentity,
    OutputRole,
    RuntimeNeeds,
    Signature,
    TensorInput,
    TensorOutput,
    Tolerance,
)
from edgekit_agent import client, memory
from edgekit_agent.rules.record import Phase, Record, Release
from edgekit_agent.storage import bundles
from edgekit_agent.storage.store import Store

REQUESTS = 200
SETTLE_S = 5.0
IDLE_S = 10.0
PATIENCE_S = 60.0
ROWS = json.dumps({"inputs": [[1.0] * 20]}).encode()
_MB = 2**20

# y = x + x on 20 floats: the ONNX protobuf of one Add node, opset 17, written by hand
# because the device's dependencies cannot write ONNX.
_WITH_LENGTH = 2  # protobuf's wire type of texts and messages


def _field(number: int, content: bytes | int) -> bytes:
    """Encode one protobuf field (a message or text, or a small number)."""
    if isinstance(content, int):
        return _varint(number << 3) + _varint(content)
    return _varint(number << 3 | _WITH_LENGTH) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def tiny_model() -> bytes:
    """Return the ONNX file of y = x + x, x float [n, 20]."""
    dims = _field(1, _field(2, b"n")) + _field(1, _field(1, 20))
    tensor = _field(1, 1) + _field(2, dims)
    value = {n: _field(1, n) + _field(2, _field(1, tensor)) for n in (b"x", b"y")}
    node = _field(1, b"x") + _field(1, b"x") + _field(2, b"y") + _field(4, b"Add")
    graph = _field(1, node) + _field(2, b"g") + _field(11, value[b"x"])
    graph += _field(12, value[b"y"])
    return _field(1, 8) + _field(7, graph) + _field(8, _field(2, 17))


def with_ballast(model: bytes, size: int) -> bytes:
    """Return `tiny_model` with a tensor of so many bytes that nothing uses."""
    uint8 = 2
    ballast = _field(2, uint8) + _field(8, b"ballast") + _field(9, os.urandom(size))
    dims = _varint(1 << 3) + _varint(size)
    return model + _field(7, _field(5, dims + ballast))  # messages of one field are merged


def tiny_bundle() -> tuple[bytes, Manifest]:
    """Return a bundle of the model, as the release tool packs it."""
    model = tiny_model()
    manifest = Manifest(
        model=ModelIdentity(name="tiny", version="1", run_id="", source_sha256="0" * 64),
        flavor="fp32",
        files={MODEL_NAME: bundle.describe(model)},
        runtime=RuntimeNeeds(opsets={"": 17}, ir_version=8, min_onnxruntime="1.16"),
        footprint=Footprint(
            model_bytes=len(model),
            peak_rss_bytes=0,
            load_us=0,
            one_row_p50_us=0,
            one_row_p95_us=0,
            measured_on="",
        ),
        signature=Signature(
            inputs=[
                {"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 20]}}
            ]
        ),
        binding=Binding(
            inputs=(TensorInput(name="x", dtype="float32", columns=("",), shape=(-1, 20)),),
            outputs=(
                TensorOutput(
                    name="",
                    tensor="y",
                    role=OutputRole.PREDICTION,
                    dtype="float32",
                    shape=(-1, 20),
                ),
            ),
        ),
        tolerance=Tolerance(rtol=0.0, atol=0.0),
    )
    return bundle.pack(manifest, {MODEL_NAME: model}), manifest


def prepare(folder: Path, name: str, data: bytes, serving: str = "") -> Path:
    """Lay out a device that has fetched and proven a bundle; return its agent.toml.

    `serving` are lines of the table [serving].
    """
    digest = hashlib.sha256(data).hexdigest()
    store = Store(folder / "state")
    store.prepare()
    packed = store.incoming / digest
    packed.write_bytes(data)
    bundles.add(store, digest, packed)
    packed.unlink()
    current = Release(version="1", flavor="fp32", sha256=digest, rollout=1)
    store.save(Record(model=name, stage="production", phase=Phase.SERVING, current=current))
    path = folder / "agent.toml"
    path.write_text(
        f"""
        format = 1
        fleet = "benchmark"
        device = "one"
        board = "this-machine"
        state_dir = "{folder}/state"
        runtime_dir = "{folder}"
        root = '{{"signed": {{"_type": "root", "x-edgekit-fleet": "benchmark"}}}}'
        [serving]
        {serving}
        [broker]
        url = "mqtt://127.0.0.1:1"
        [limits]
        model_ram_mb = 512
        model_flash_mb = 64
        [[models]]
        name = "{name}"
        stage = "production"
        """,
        encoding="utf-8",
    )
    return path


def as_on_a_device(folder: Path) -> dict[str, str]:
    """Return an environment without dnspython, which no device has.

    A workstation may have it for other reasons, and paho-mqtt imports it where it is: 4 MB.
    """
    hidden = folder / "hidden"
    hidden.mkdir(exist_ok=True)
    (hidden / "dns.py").write_text("raise ModuleNotFoundError('hidden')\n", "ascii")
    path = os.pathsep.join(filter(None, (str(hidden), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}


@contextlib.contextmanager
def running(config: Path) -> Iterator[int]:
    """Run the agent; yield its process id."""
    command = [sys.executable, "-m", "edgekit_agent.cli", "run", "--config", str(config)]
    with subprocess.Popen(  # noqa: S603 - our own module
        command, env=as_on_a_device(config.parent), stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process.pid
        finally:
            process.terminate()


def first_answer_s(socket: Path) -> float:
    """Return how long it took until the first prediction came."""
    began_s = time.monotonic()
    while True:
        try:
            client.predict(socket, "tiny", ROWS)
        except EdgekitError:
            if time.monotonic() - began_s > PATIENCE_S:
                raise
            time.sleep(0.01)
        else:
            return time.monotonic() - began_s


def children(pid: int) -> list[int]:
    """Return the process ids of a process's children."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text("ascii").split()]


def cpu_s(pid: int) -> float:
    """Return the processor time a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(folder: Path) -> dict[str, float]:
    """Return the figures, each with its unit in its name."""
    config = prepare(folder, "tiny", tiny_bundle()[0])
    socket = folder / "agent.sock"
    with running(config) as pid:
        start_s = first_answer_s(socket)
        times_us = []
        for _ in range(REQUESTS):
            began_ns = time.perf_counter_ns()
            client.predict(socket, "tiny", ROWS)
            times_us.append((time.perf_counter_ns() - began_ns) / 1000)
        time.sleep(SETTLE_S)
        (worker,) = children(pid)
        used_s = cpu_s(pid) + cpu_s(worker)
        time.sleep(IDLE_S)
        idle_s = cpu_s(pid) + cpu_s(worker) - used_s
        return {
            "supervisor_rss_mb": round(memory.rss_bytes(pid) / _MB, 1),
            "worker_rss_mb": round(memory.rss_bytes(worker) / _MB, 1),
            "start_to_first_answer_s": round(start_s, 2),
            "one_row_over_http_p50_us": round(statistics.median(times_us)),
            "idle_cpu_percent": round(100 * idle_s / IDLE_S, 2),
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.agent_memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--json", action="store_true", dest="as_json", help="one JSON object"
    )
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ek-"))
    try:
        figures = measure(folder)
    finally:
        shutil.rmtree(folder)
    if options.as_json:
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    for name, value in figures.items():
        sys.stdout.write(f"{name:28} {value}\n")


if __name__ == "__main__":
    main()
