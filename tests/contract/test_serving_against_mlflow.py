"""The agent's HTTP beside a real `mlflow models serve`: each request is asked of both."""

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

import pytest

from edgekit.schema import Enforcement
from edgekit_agent.service.invocations import Handler, LoopbackHandler
from edgekit_agent.service.listener import LoopbackListener
from edgekit_agent.service.served import Identity, Served
from edgekit_agent.service.shelf import Shelf
from edgekit_agent.storage.store import Store
from tests.agent.making import made, stored
from tests.contract import schema_oracle

pytestmark = pytest.mark.slow

START_S = 120.0
MODEL = """
import json
import sys

import mlflow
from mlflow.models import ModelSignature
from mlflow.types import Schema


class Doubled(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        total = model_input["a"].to_numpy() + model_input["b"].to_numpy()
        return 2.0 * total.astype("float32").astype("float64")


inputs = [{"name": n, "type": "double", "required": True} for n in ("a", "b")]
mlflow.pyfunc.save_model(
    sys.argv[1],
    python_model=Doubled(),
    signature=ModelSignature(inputs=Schema.from_json(json.dumps(inputs))),
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


def ask(port: int, case: Case) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        headers = {} if case.kind is None else {"Content-Type": case.kind}
        connection.request(case.method, case.path, case.body or None, headers)
        response = connection.getresponse()
        kind = response.getheader("Content-Type", "").partition(";")[0]
        return Answer(status=response.status, kind=kind, body=response.read())
    finally:
        connection.close()


@pytest.fixture(scope="module")
def mlflow_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("mlflow")
    subprocess.run([sys.executable, "-c", MODEL, "model"], cwd=folder, check=True)
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
        try:
            if ask(port, Case(method="GET", path="/ping", body=b"")).status == 200:
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError("mlflow models serve does not answer")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(folder: Path, mode: Enforcement, handler: type[Handler]) -> Iterator[int]:
    """Serve the same model as MLflow does, on a port of loopback."""
    store = Store(folder / "state")
    store.prepare()
    what = made()
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
        listener.server_close()


@pytest.fixture(params=[Enforcement.MLFLOW, Enforcement.STRICT])
def edgekit_port(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[int]:
    with serving(tmp_path, request.param, LoopbackHandler) as port:
        yield port


def comparable(answer: Answer) -> object:
    """The answer without a request's data, and without other libraries' own words."""
    if answer.status == 200 or answer.kind != "application/json":
        return answer.body
    document = json.loads(answer.body)
    message = re.sub(r"(?s)^Failed to predict data .*? Error: ", "", document["message"])
    message = re.sub(r"(?s)^Failed to enforce schema of data .* Error: ", "", message)
    return document["error_code"], schema_oracle.comparable(message)


def rows(**fields: object) -> bytes:
    return json.dumps(fields).encode()


SPLIT = {"columns": ["b", "a"], "data": [[1, 2], [0.5, -1e3]]}
SAME = [
    Case(body=rows(dataframe_split=SPLIT)),
    Case(body=rows(dataframe_split=SPLIT), kind="application/json; charset=UTF-8"),
    Case(body=rows(dataframe_split={**SPLIT, "index": [5, 7]})),
    Case(body=rows(dataframe_records=[{"a": 1, "b": 2}, {"b": None, "a": 0.1}])),
    Case(body=rows(dataframe_records=[{"a": "1.5", "b": 2, "extra": "x"}])),
    Case(body=rows(instances=[{"a": 1, "b": 2}, {"a": 3, "b": 4}])),
    Case(body=rows(inputs={"a": [1, 2], "b": [3, 4]})),
    Case(body=rows(inputs={"a": 1, "b": 2})),
    Case(body=rows(inputs=[{"a": 1, "b": 2}])),
    Case(body=rows(dataframe_split=SPLIT, params={"unknown": 1})),
    Case(body=rows(dataframe_split=SPLIT, other=1)),
    Case(body=b"a,b\n1,2\n3,4.5\n", kind="text/csv"),
    Case(body=b",b,a\n0,1,2\n", kind="text/csv; charset=utf-8"),
    Case(body=rows(dataframe_records=[{"a": 1}])),
    Case(body=rows(dataframe_records=[{"a": 1, "x": 2}])),
    Case(body=rows(dataframe_records=[{"a": "abc", "b": 2}])),
    Case(body=rows(dataframe_records={"a": 1, "b": 2})),
    Case(body=rows(dataframe_records=5)),
    Case(body=rows(dataframe_split=[1])),
    Case(body=rows(dataframe_split={"columns": ["a"]})),
    Case(body=rows(inputs={"a": ["x"], "b": [1]})),
    Case(body=rows(instances=[{"a": 1, "b": 2}, {"a": 1}])),
    Case(body=rows(inputs=[1, 2])),
    Case(body=rows(a=[1])),
    Case(body=rows()),
    Case(body=rows(instances=[], inputs=[])),
    Case(body=b"{"),
    Case(body=b""),
    Case(body=b"[1]"),
    Case(body=b"5"),
    Case(body=b'"text"'),
    Case(body=b"\xff"),
    Case(body=b"\xff", kind="text/csv"),
    Case(body=b"a\n1\n", kind="text/csv"),
    Case(body=b"a,b\nx,1\n", kind="text/csv"),
    Case(body=b"a,b\n1,2\n1,2,3\n", kind="text/csv"),
    Case(body=b"", kind="text/csv"),
    Case(body=rows(dataframe_split=SPLIT), kind="application/json; charset=latin-1"),
    Case(body=rows(dataframe_split=SPLIT), kind="application/json; format=pandas-split"),
    Case(body=b"", method="GET", path="/ping"),
    Case(body=b"", method="GET", path="/health"),
]
OTHER_WORDS = [
    Case(body=b"", method="GET", path="/version", differs="edgekit's own version"),
    Case(body=b"x", kind="text/plain", differs="no Parquet among the types"),
    Case(body=b"", method="GET", path="/invocations", differs="an error_code"),
    Case(body=b"x", path="/ping", differs="an error_code"),
    Case(body=b"x", path="/elsewhere", differs="an error_code"),
]


@pytest.mark.parametrize("case", SAME, ids=str)
def test_status_and_body_are_those_of_mlflow(
    mlflow_port: int, edgekit_port: int, case: Case
) -> None:
    theirs, ours = ask(mlflow_port, case), ask(edgekit_port, case)
    assert (ours.status, ours.kind) == (theirs.status, theirs.kind)
    assert comparable(ours) == comparable(theirs)


@pytest.mark.parametrize("case", OTHER_WORDS, ids=str)
def test_the_status_is_mlflows_where_the_words_are_not(
    mlflow_port: int, edgekit_port: int, case: Case
) -> None:
    theirs, ours = ask(mlflow_port, case), ask(edgekit_port, case)
    assert ours.status == theirs.status
    assert ours.body != theirs.body, case.differs


@pytest.mark.parametrize(
    ("body", "values"),
    [
        (rows(dataframe_records=[{"a": 2**53 + 1, "b": 0}]), "would become"),
        (rows(dataframe_records=[{"a": True, "b": 0}]), None),
    ],
)
def test_strict_refuses_only_what_mlflow_alters(
    mlflow_port: int, tmp_path: Path, body: bytes, values: str | None
) -> None:
    theirs = ask(mlflow_port, Case(body=body))
    assert theirs.status == 200
    with serving(tmp_path, Enforcement.STRICT, LoopbackHandler) as port:
        ours = ask(port, Case(body=body))
    if values is None:
        assert ours == theirs
    else:
        assert ours.status == 400
        assert values in json.loads(ours.body)["message"]
