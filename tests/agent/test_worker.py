"""The real worker process: what it answers, and what it survives."""

import http.client
import json
import queue
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.errors import ConfigError, SchemaError, TransportError
from edgekit.manifest import MODEL_NAME
from edgekit.telemetry.counts import BundleCounts
from edgekit.telemetry.positional import Row
from edgekit_agent import client, memory
from edgekit_agent.storage.store import Store
from edgekit_agent.supervision.child import Child, Ended, News, Said
from tests.agent.making import Made, made, stored

pytestmark = pytest.mark.slow

ROWS = b'{"dataframe_records": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}'


class Hands:
    """Drives a worker as the supervisor does."""

    def __init__(
        self, store: Store, socket_path: Path, enforcement: str = "strict"
    ) -> None:
        self.store = store
        self.socket = socket_path
        self.inbox: queue.SimpleQueue[News] = queue.SimpleQueue()
        self.child = Child(
            "edgekit_agent.service.worker",
            "--state-dir",
            str(store.tuf.parent),
            "--socket",
            str(socket_path),
            "--enforcement",
            enforcement,
            inbox=self.inbox,
            expendable=500,
        )
        self.ready = self.next()

    def next(self) -> dict[str, object]:
        news = self.inbox.get(timeout=30)
        assert isinstance(news, Said), news
        return news.document

    def counted(self, do: str = "stats") -> list[BundleCounts]:
        self.child.say(do=do)
        found = []
        while (told := self.next())["event"] == "counted":
            row = Row.of(told["counts"], subject="counted")
            found.append(BundleCounts.from_row(row))
        assert told["event"] == "stats"
        return found

    def load(self, what: Made, *, overlap: bool = True) -> dict[str, object]:
        stored(self.store, what)
        return self.load_stored(what, overlap=overlap)

    def load_stored(self, what: Made, *, overlap: bool = True) -> dict[str, object]:
        identity = what.manifest.model
        self.child.say(
            do="load",
            model=identity.name,
            version=identity.version,
            flavor=what.manifest.flavor,
            sha256=what.sha256,
            overlap=overlap,
        )
        return self.next()

    def predict(self, body: bytes = ROWS, model: str = "wine") -> list[float]:
        found = json.loads(client.predict(self.socket, model, body).body)["predictions"]
        assert isinstance(found, list)
        return found

    def raw(
        self, method: str, path: str, body: bytes = b"", kind: str = "application/json"
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.socket))
        connection.request(method, path, body, {"Content-Type": kind})
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        return response.status, answer


@pytest.fixture
def hands(store: Store, folder: Path) -> Iterator[Hands]:
    found = Hands(store, folder / "agent.sock")
    yield found
    found.child.kill()
    found.child.wait(5)


def test_a_stored_bundle_is_loaded_and_answers(hands: Hands) -> None:
    assert hands.ready["event"] == "ready"
    told = hands.load(made(version="7"))
    assert (told["event"], told["sha256"]) == ("loaded", made(version="7").sha256)
    assert hands.predict() == [6.0, 14.0]
    found = client.predict(hands.socket, "wine", ROWS)
    assert (found.version, found.flavor, found.sha256) == (
        "7",
        "fp32",
        made(version="7").sha256,
    )


def test_health_is_known_before_and_after_a_model(hands: Hands) -> None:
    assert hands.raw("GET", "/ping")[0] == 404
    hands.load(made())
    assert hands.raw("GET", "/ping") == (200, b"\n")
    assert hands.raw("GET", "/health")[0] == 200
    assert hands.raw("GET", "/version")[0] == 200


def test_csv_is_answered_too(hands: Hands) -> None:
    hands.load(made())
    status, body = hands.raw("POST", "/invocations", b"a,b\n1,2\n3,4\n", "text/csv")
    assert (status, json.loads(body)) == (200, {"predictions": [6.0, 14.0]})


def test_a_body_that_waits_is_asked_for_and_a_refused_one_is_not(hands: Hands) -> None:
    hands.load(made())
    head = b"POST /invocations HTTP/1.1\r\nContent-Type: application/json\r\n"
    for length, first in ((len(ROWS), b"HTTP/1.1 100 "), (10**12, b"HTTP/1.1 413 ")):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(hands.socket))
            waits = b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % length
            connection.sendall(head + waits)
            assert connection.recv(4096).startswith(first)
            if length == len(ROWS):
                connection.sendall(ROWS)
                assert connection.recv(4096).endswith(b'{"predictions": [6.0, 14.0]}')


def test_a_body_that_nobody_reads_is_not_taken_for_a_request(hands: Hands) -> None:
    hands.load(made())
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(hands.socket))
        inner = b"GET /version HTTP/1.1\r\n\r\n"
        head = b"GET /ping HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(inner)
        connection.sendall(head + inner)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while block := connection.recv(4096):
            answer += block
        assert answer.count(b"HTTP/1.1 ") == 1


def test_rows_that_do_not_fit_get_mlflows_sentence(hands: Hands) -> None:
    hands.load(made())
    with pytest.raises(SchemaError, match=r"Model is missing inputs \['b'\]\."):
        hands.predict(b'{"dataframe_records": [{"a": 1}]}')
    status, body = hands.raw("POST", "/invocations", b'{"dataframe_records": [{"a": 1}]}')
    assert status == 400
    assert json.loads(body)["error_code"] == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize(
    ("path", "body", "kind", "status"),
    [
        ("/invocations", b"{", "application/json", 400),
        ("/invocations", b"[]", "application/json", 400),
        ("/invocations", b"a\n1", "text/csv", 400),
        ("/invocations", b"a,b\n1,2", "text/parquet", 415),
        ("/invocations", ROWS, "application/json; charset=latin-1", 415),
        ("/ping", b"", "application/json", 405),
        ("/invocations", ROWS, "", 415),
        ("/models/beer/invocations", ROWS, "application/json", 404),
        ("/elsewhere", ROWS, "application/json", 404),
        ("/models/%2e%2e%2fwine/invocations", ROWS, "application/json", 404),
    ],
)
def test_bad_requests_are_refused_and_the_next_is_served(
    hands: Hands, path: str, body: bytes, kind: str, status: int
) -> None:
    hands.load(made())
    assert hands.raw("POST", path, body, kind)[0] == status
    assert hands.predict() == [6.0, 14.0]


@pytest.mark.parametrize(
    "request_head",
    [
        b"POST /invocations HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nContent-Length: 2\xb2\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"\x00\xff\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_hostile_requests_cost_one_connection(hands: Hands, request_head: bytes) -> None:
    hands.load(made())
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(hands.socket))
        connection.sendall(request_head)
        answer = connection.recv(4096)
        assert b" 4" in answer.split(b"\r\n", 1)[0] or b"Bad request" in answer
    assert hands.predict() == [6.0, 14.0]


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": {"a": 1, "b": 2}}',
        b'{"inputs": {"a": [1], "b": [2, 3]}}',
        b'{"instances": {"a": [[1]], "b": [2]}}',
        b'{"inputs": "x"}',
        b'{"inputs": 1}',
    ],
)
def test_without_enforcement_what_does_not_fit_is_answered_too(
    store: Store, folder: Path, body: bytes
) -> None:
    found = Hands(store, folder / "agent.sock", "off")
    try:
        found.load(made())
        assert found.raw("POST", "/invocations", body)[0] == 400
        assert found.predict() == [6.0, 14.0]
    finally:
        found.child.kill()
        found.child.wait(5)


def test_more_connections_than_places_are_told_to_come_back(hands: Hands) -> None:
    hands.load(made())
    open_ones = []
    for _ in range(32):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(hands.socket))
        open_ones.append(connection)
    assert hands.raw("GET", "/ping")[0] == 503  # they are accepted in their order
    assert hands.raw("POST", "/invocations", b" " * 10_000_000)[0] == 503
    with pytest.raises(TransportError, match="too many connections"):
        hands.predict()
    for connection in open_ones:
        connection.close()
    deadline = time.monotonic() + 10
    while hands.raw("GET", "/ping")[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_models_are_served_by_name(hands: Hands) -> None:
    hands.load(made())
    hands.load(made(model="a b/ö", scale=10.0))
    assert hands.predict(model="a b/ö") == [30.0, 70.0]
    assert hands.predict(model="wine") == [6.0, 14.0]
    with pytest.raises(ConfigError, match="a b/ö, wine"):
        hands.predict(model="beer")
    assert hands.raw("POST", "/invocations", ROWS)[0] == 404


@pytest.mark.parametrize("overlap", [True, False], ids=["beside", "instead"])
def test_a_swap_under_load_loses_no_request(hands: Hands, *, overlap: bool) -> None:
    old, new = made(version="1", scale=2.0), made(version="2", scale=3.0)
    hands.load(old)
    stored(hands.store, new)
    answers: list[list[float]] = []
    failures: list[str] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            try:
                answers.append(hands.predict())
            except (TransportError, SchemaError, ConfigError) as error:
                failures.append(str(error))

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for swap in range(10):
        time.sleep(0.05)
        told = hands.load_stored(new if swap % 2 == 0 else old, overlap=overlap)
        assert told["event"] == "loaded"
        assert bool(told["pause_ms"]) is not overlap
    ended.set()
    for asker in askers:
        asker.join()
    assert failures == []
    assert {tuple(answer) for answer in answers} == {(6.0, 14.0), (9.0, 21.0)}


def test_memory_after_many_swaps_is_that_after_the_first(hands: Hands) -> None:
    old, new = made(padding_bytes=20_000_000), made(scale=3.0, padding_bytes=20_000_000)
    stored(hands.store, old)
    stored(hands.store, new)
    sizes = []
    for swap in range(13):
        hands.load_stored(new if swap % 2 == 0 else old)
        hands.predict()
        sizes.append(memory.rss_bytes(hands.child.pid))
    assert max(sizes[1:]) < 1.1 * sizes[0]


@pytest.mark.parametrize("overlap", [True, False], ids=["beside", "instead"])
def test_a_damaged_bundle_keeps_the_old_model_serving(
    hands: Hands, *, overlap: bool
) -> None:
    hands.load(made())
    new = made(version="2", scale=3.0)
    digest = stored(hands.store, new)
    path = hands.store.bundle(digest) / MODEL_NAME
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    told = hands.load_stored(new, overlap=overlap)
    assert (told["event"], told["error"]) == ("load-failed", "StoreError")
    assert hands.predict() == [6.0, 14.0]


@pytest.mark.parametrize("overlap", [True, False], ids=["beside", "instead"])
def test_an_unloadable_model_keeps_the_old_one_serving(
    hands: Hands, *, overlap: bool
) -> None:
    hands.load(made())
    told = hands.load(made(version="2", opset=99), overlap=overlap)
    assert (told["event"], told["error"]) == ("load-failed", "ProofError")
    assert hands.predict() == [6.0, 14.0]


def test_where_neither_loads_any_more_the_worker_starts_afresh(hands: Hands) -> None:
    """It would answer nothing, and be thought to serve what it served."""
    hands.load(made())
    (hands.store.bundle(made().sha256) / MODEL_NAME).write_bytes(b"")
    stored(hands.store, made(version="2", opset=99))
    new = made(version="2", opset=99)
    with pytest.raises(AssertionError, match="exit code 1"):
        hands.load_stored(new, overlap=False)


def test_what_was_answered_is_counted_once(hands: Hands) -> None:
    hands.load(made())
    hands.predict()
    with pytest.raises(SchemaError):
        hands.predict(b'{"dataframe_records": [{"a": 1}]}')
    hands.load(made(version="2", scale=3.0))
    hands.predict()
    told = hands.counted()
    assert [(one.version, one.requests, one.rows) for one in told] == [
        ("1", 2, 2),
        ("2", 1, 2),
    ]
    assert [one.violations for one in told] == [{"b": 1}, {}]
    assert hands.counted() == []


def test_the_last_words_of_an_orderly_end_are_what_was_counted(hands: Hands) -> None:
    hands.load(made())
    hands.predict()
    assert [one.requests for one in hands.counted(do="stop")] == [1]


def test_an_orderly_stop_answers_what_it_is_answering(hands: Hands) -> None:
    hands.load(made())
    hands.predict()
    assert len(hands.counted(do="stop")) == 1
    assert isinstance(hands.inbox.get(timeout=10), Ended)


def test_a_worker_does_not_outlive_its_supervisor(hands: Hands) -> None:
    process = hands.child._process  # noqa: SLF001 - stands for the supervisor's death
    assert process.stdin is not None
    process.stdin.close()
    assert isinstance(hands.inbox.get(timeout=10), Ended)


def test_a_new_worker_takes_over_the_socket_of_a_killed_one(
    hands: Hands, store: Store
) -> None:
    hands.child.kill()
    hands.inbox.get(timeout=10)
    second = Hands(store, hands.socket)
    try:
        second.load(made())
        assert second.predict() == [6.0, 14.0]
    finally:
        second.child.kill()
        second.child.wait(5)


@pytest.mark.parametrize(
    ("enforcement", "accepted"), [("strict", False), ("mlflow", True), ("off", True)]
)
def test_the_configured_enforcement_is_used(
    store: Store, folder: Path, enforcement: str, *, accepted: bool
) -> None:
    found = Hands(store, folder / "agent.sock", enforcement)
    try:
        found.load(made())
        body = b'{"dataframe_records": [{"a": 12345678901234567890123, "b": 2}]}'
        if accepted:
            assert found.predict(body) == [pytest.approx(2 * 12345678901234567890123)]
        else:
            with pytest.raises(SchemaError):
                found.predict(body)
    finally:
        found.child.kill()
        found.child.wait(5)
