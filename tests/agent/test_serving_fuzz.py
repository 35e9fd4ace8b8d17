"""Garbage over HTTP, from hypothesis: every request gets a clear answer, and is counted.

The listener and the shelf are the worker's own, in this process; a defect of the agent
would show in its log.
"""

import json
import logging
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.manifest import Signature
from edgekit.schema import Enforcement, Schema
from edgekit_agent.service.content import Content
from edgekit_agent.service.head import Head
from edgekit_agent.service.invocations import Handler, LoopbackHandler
from edgekit_agent.service.listener import Listener, LoopbackListener, UnixListener
from edgekit_agent.service.served import Identity, Served
from edgekit_agent.service.shelf import Shelf
from edgekit_agent.storage.store import Store
from tests.agent.answers import statuses
from tests.agent.making import made, stored

pytestmark = pytest.mark.slow

often = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
SIGNATURES: dict[str, Signature] = {
    "doubles": made().manifest.signature,
    "mixed": Signature(
        inputs=[
            {"type": "long", "name": "a", "required": True},
            {"type": "datetime", "name": "b", "required": False},
            {"type": "boolean", "name": "c", "required": False},
            {"type": "binary", "name": "d", "required": False},
        ],
        params=[{"name": "k", "type": "long", "default": 3, "shape": None}],
    ),
    "nested": Signature(
        inputs=[
            {"type": "array", "items": {"type": "double"}, "name": "a"},
            {
                "type": "object",
                "properties": {"x": {"type": "map", "values": {"type": "string"}}},
                "name": "b",
                "required": False,
            },
        ]
    ),
    "unnamed": Signature(inputs=[{"type": "double", "required": True}] * 2),
    "tensor": Signature(
        inputs=[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}]
    ),
    "text": Signature(
        inputs=[
            {
                "type": "tensor",
                "name": "a",
                "tensor-spec": {"dtype": "str", "shape": [-1]},
            }
        ]
    ),
    "nothing": Signature(),
}
MODELS = st.sampled_from(list(SIGNATURES))
MODES = st.sampled_from(list(Enforcement))
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(["1", "2020-01-01", "9999-12-31", "0001-01-01", "aGk=", "\ud800"]),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", "b", "c", "x", ""]), inner, max_size=3),
    ),
    max_leaves=8,
)
ROWS = st.lists(st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4), max_size=3)
SPLITS = st.fixed_dictionaries(
    {"data": st.one_of(VALUES, st.lists(st.lists(VALUES, max_size=3), max_size=3))},
    optional={"columns": VALUES, "index": VALUES},
)
BODIES = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda document: json.dumps(document).encode(),
        st.one_of(
            VALUES,
            st.fixed_dictionaries(
                {},
                optional={
                    "dataframe_records": st.one_of(ROWS, VALUES),
                    "dataframe_split": st.one_of(SPLITS, VALUES),
                    "instances": st.one_of(ROWS, VALUES),
                    "inputs": st.one_of(ROWS, VALUES),
                    "params": VALUES,
                },
            ),
            st.fixed_dictionaries({"dataframe_records": ROWS}, optional={"params": VALUES}),
            st.fixed_dictionaries({"dataframe_split": SPLITS}),
            st.fixed_dictionaries({"inputs": VALUES}),
            st.fixed_dictionaries({"instances": VALUES}),
        ),
    ),
)
TABLES = st.one_of(
    st.binary(max_size=40),
    st.lists(
        st.sampled_from([*"ab,\"'\n\r\t 01.-eE\0", "NA", "nan", "True"]), max_size=30
    ).map(lambda parts: "".join(parts).encode()),
    st.text("ab,1.\n", max_size=30).map(lambda rows: f"a,b\n{rows}".encode()),
)
TOKENS = st.text(st.characters(min_codepoint=33, max_codepoint=255), max_size=12)
HEADS = st.builds(
    lambda method, path, version, headers: (
        f"{method} {path} {version}\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in headers)
        + "\r\n"
    ).encode("latin-1"),
    st.one_of(st.sampled_from(["GET", "POST", "PUT", "HEAD"]), TOKENS),
    st.one_of(
        st.sampled_from(["/invocations", "/ping", "/models/doubles/invocations", "*"]),
        TOKENS,
    ),
    st.one_of(st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2.0"]), TOKENS),
    st.lists(
        st.tuples(
            st.one_of(
                st.sampled_from(
                    ["Content-Length", "Content-Type", "Transfer-Encoding", "Expect"]
                ),
                TOKENS,
            ),
            st.one_of(st.sampled_from(["0", "5", "application/json", "chunked"]), TOKENS),
        ),
        max_size=4,
    ),
)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ek-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def served(place: Path) -> Served:
    store = Store(place / "state")
    store.prepare()
    stored(store, made())
    identity = Identity(model="doubles", version="1", flavor="fp32", sha256=made().sha256)
    return Served.load(store, identity)


def shelf_of(served: Served, mode: Enforcement) -> Shelf:
    shelf = Shelf(mode)
    for model, signature in SIGNATURES.items():
        identity = replace(served.identity, model=model)
        schema = Schema.from_signature(signature)
        shelf.put(replace(served, identity=identity, schema=schema))
    return shelf


@pytest.fixture(scope="module")
def shelves(served: Served) -> dict[Enforcement, Shelf]:
    return {mode: shelf_of(served, mode) for mode in Enforcement}


@pytest.fixture(scope="module")
def listeners(
    place: Path, shelves: dict[Enforcement, Shelf]
) -> Iterator[dict[Enforcement, Listener]]:
    found: dict[Enforcement, Listener] = {
        mode: UnixListener(place / f"{mode}.sock", Handler, shelf)
        for mode, shelf in shelves.items()
    }
    for listener in found.values():
        threading.Thread(target=listener.serve_forever, daemon=True).start()
    yield found
    for listener in found.values():
        listener.finish(5)
        listener.server_close()


def exchange(path: Path, request: bytes) -> bytes:
    """Send bytes and nothing more; return all that comes back."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while block := connection.recv(65536):
            answer += block
        return answer


def scored(path: Path, model: str, body: bytes, content: Content) -> tuple[int, bytes]:
    head = (
        f"POST /models/{model}/invocations HTTP/1.1\r\nContent-Type: {content}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    top, _, rest = exchange(path, head.encode() + body).partition(b"\r\n\r\n")
    return int(top.split()[1]), rest


def refusals(listener: Listener) -> int:
    """How often it has refused something since the last look."""
    return sum(listener.refusals.take().values())


def totals(shelf: Shelf) -> dict[str, int]:
    told = shelf.drain()
    return {
        "requests": sum(one.requests for one in told),
        "errors": sum(one.errors for one in told),
        "schema_violations": sum(one.schema_violations for one in told),
    }


@pytest.fixture
def defects(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.ERROR, "edgekit_agent")
    yield
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.usefixtures("defects")
@pytest.mark.parametrize(("bodies", "content"), [(BODIES, "json"), (TABLES, "csv")])
def test_whatever_is_scored_gets_predictions_or_a_sentence_and_is_counted(
    place: Path,
    shelves: dict[Enforcement, Shelf],
    listeners: dict[Enforcement, Listener],
    bodies: st.SearchStrategy[bytes],
    content: str,
) -> None:
    kind = Content.CSV if content == "csv" else Content.JSON

    @often
    @given(MODES, MODELS, bodies)
    def ask(mode: Enforcement, model: str, body: bytes) -> None:
        totals(shelves[mode])
        status, answer = scored(place / f"{mode}.sock", model, body, kind)
        counted = totals(shelves[mode])
        assert counted["requests"] == 1
        assert refusals(listeners[mode]) == 0
        document = json.loads(answer)
        if status == 200:
            assert "predictions" in document
            assert counted["errors"] == counted["schema_violations"] == 0
            return
        assert status == 400
        assert document["error_code"] in ("BAD_REQUEST", "INVALID_PARAMETER_VALUE")
        assert document["message"].strip()
        assert "Traceback" not in document["message"]
        assert counted["errors"] + counted["schema_violations"] == 1

    ask()


@pytest.mark.usefixtures("defects")
@often
@given(MODES, st.one_of(HEADS, st.binary(max_size=60)), st.binary(max_size=20))
def test_whatever_is_sent_is_answered_and_counted_and_the_next_request_served(
    place: Path,
    listeners: dict[Enforcement, Listener],
    mode: Enforcement,
    head: bytes,
    body: bytes,
) -> None:
    path, listener = place / f"{mode}.sock", listeners[mode]
    totals(listener.shelf)
    found = statuses(exchange(path, head + body))
    assert found or not (head + body).strip(b"\r\n")
    assert 500 not in found
    at_the_model = totals(listener.shelf)
    refused = at_the_model["errors"] + at_the_model["schema_violations"]
    assert sum(status >= 400 for status in found) == refusals(listener) + refused
    good = b'{"dataframe_records": [{"a": 1, "b": 2}]}'
    assert scored(path, "doubles", good, Content.JSON) == (200, b'{"predictions": [6.0]}')


@pytest.mark.usefixtures("defects")
@often
@given(TOKENS, st.booleans())
def test_only_this_machines_names_are_let_in_at_a_port(
    host: str,
    origin: bool,  # noqa: FBT001 - drawn
) -> None:
    handler = object.__new__(LoopbackHandler)
    fields = {"host": host, **({"origin": "http://example.org"} if origin else {})}
    handler.head = Head(method="GET", target="/ping", fields=fields)
    name, _, port = host.rpartition(":")
    local = (name if port.isdecimal() and name else host).lower() in (
        "localhost",
        "127.0.0.1",
        "[::1]",
    )
    assert handler.is_welcome() == (local and not origin)


@pytest.mark.usefixtures("defects")
def test_a_page_of_another_site_gets_nothing_from_a_port(served: Served) -> None:
    listener = LoopbackListener(0, LoopbackHandler, shelf_of(served, Enforcement.STRICT))
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    good = b'{"inputs": {"a": [1], "b": [2]}}'

    def status(*headers: str) -> int:
        lines = "".join(f"{header}\r\n" for header in headers)
        head = (
            "POST /models/doubles/invocations HTTP/1.1\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(good)}\r\nConnection: close\r\n{lines}\r\n"
        )
        port = int(listener.server_address[1])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(head.encode() + good)
            return int(connection.recv(4096).split()[1])

    try:
        assert status("Host: localhost:80") == 200
        assert status("Host: 127.0.0.1") == 200
        assert status("Host: evil.example:8080") == 403
        assert status("Host: localhost", "Origin: http://evil.example") == 403
        assert status() == 403
    finally:
        listener.finish(5)
        listener.server_close()
