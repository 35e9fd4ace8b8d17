"""Two servers of MLflow's scoring protocol, one model: MLflow's own, and the agent's."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgekit.schema import Enforcement
from edgekit_agent.service.invocations import Handler, LoopbackHandler
from edgekit_agent.service.listener import LoopbackListener
from edgekit_agent.service.served import Identity, Served
from edgekit_agent.service.shelf import Shelf
from edgekit_agent.storage.store import Store
from tests.agent.making import Made, stored
from tests.contract import schema_oracle

START_S = 240.0
_SAVE = """
import json
import sys

import mlflow
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import Schema


class Doubled(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        total = {total}
        return 2.0 * total.astype("float32").astype("float64")


mlflow.pyfunc.save_model(
    sys.argv[1],
    python_model=Doubled(),
    signature=ModelSignature(inputs=Schema.from_json(sys.argv[2])),
    pip_requirements=["mlflow"],
)
"""


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    kind: str
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Case:
    """A request; `differs` says why the bodies, or the status, are not MLflow's."""

    body: bytes
    kind: str | None = "application/json"
    method: str = "POST"
    path: str = "/invocations"
    differs: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.kind} {self.body[:60]!r}"


def rows(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def ask(port: int, case: Case) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        headers = {} if case.kind is None else {"Content-Type": case.kind}
        connection.request(case.method, case.path, case.body or None, headers)
        response = connection.getresponse()
        kind = response.getheader("Content-Type", "").partition(";")[0]
        return Answer(status=response.status, kind=kind, body=response.read())
    finally:
        connection.close()


def comparable(answer: Answer) -> object:
    """The answer without a request's data, and without other libraries' own words."""
    if answer.status == 200 or answer.kind != "application/json":
        return answer.body
    document = json.loads(answer.body)
    message = re.sub(r"(?s)^Failed to predict data .*? Error: ", "", document["message"])
    message = re.sub(r"(?s)^Failed to enforce schema of data .* Error: ", "", message)
    return document["error_code"], schema_oracle.comparable(message)


@contextmanager
def mlflow_serving(
    folder: Path, inputs: list[dict[str, object]], total: str
) -> Iterator[int]:
    """Serve a model with this signature with MLflow; yield its port.

    `total` is Python for what is doubled, one number a row of `model_input`.
    """
    script, said = _SAVE.format(total=total), json.dumps(inputs)
    save = [sys.executable, "-c", script, "model", said]
    subprocess.run(save, cwd=folder, check=True)
    port = _free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", "model"]
    bin_folder = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    server = subprocess.Popen(
        [*command, "--port", str(port), "--env-manager", "local", "--workers", "1"],
        cwd=folder,
        env={**os.environ, "PATH": bin_folder},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, server)
        yield port
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    ends_s = time.monotonic() + START_S
    while time.monotonic() < ends_s:
        assert server.poll() is None, "mlflow models serve ended"
        with contextlib.suppress(OSError):
            if ask(port, Case(method="GET", path="/ping", body=b"")).status == 200:
                return
        time.sleep(0.2)
    raise AssertionError("mlflow models serve does not answer")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(
    folder: Path, what: Made, mode: Enforcement, handler: type[Handler] = LoopbackHandler
) -> Iterator[int]:
    """Serve a bundle as the agent does, on a port of loopback; yield it."""
    store = Store(folder / "state")
    store.prepare()
    stored(store, what)
    shelf = Shelf(mode)
    identity = Identity(model="wine", version="1", flavor="fp32", sha256=what.sha256)
    shelf.put(Served.load(store, identity))
    listener = LoopbackListener(0, handler, shelf)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    try:
        yield listener.server_address[1]
    finally:
        listener.finish(5)
