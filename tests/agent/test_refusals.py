"""Each refusal over HTTP counts once, by its reason, at the worker's real listeners."""

import contextlib
import json
import queue
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.schema import Enforcement
from edgekit.telemetry.refusals import Reason, RefusalCounter, Refusals
from edgekit_agent.service import connection as manners
from edgekit_agent.service import conversation, shelf
from edgekit_agent.service.invocations import Handler, LoopbackHandler
from edgekit_agent.service.listener import (
    MAX_CONNECTIONS,
    Listener,
    LoopbackListener,
    UnixListener,
    finish,
)
from edgekit_agent.service.served import Identity, Served
from edgekit_agent.service.shelf import Shelf
from edgekit_agent.storage.store import Store
from tests.agent.answers import statuses
from tests.agent.making import made, stored

ROWS = b'{"dataframe_records": [{"a": 1, "b": 2}]}'
LONG = b"x" * 70_000
MANY = 100_000  # rows, whose answer is more than a socket holds


class Door:
    """A Unix socket and a port in front of one model, and what they refused."""

    def __init__(self, folder: Path, served: Served) -> None:
        self.shelf = Shelf(Enforcement.STRICT)
        self.shelf.put(served)
        self.refusals = RefusalCounter()
        self.path = folder / "agent.sock"
        self.unix = UnixListener(self.path, Handler, self.shelf, refusals=self.refusals)
        self.port = LoopbackListener(0, LoopbackHandler, self.shelf, refusals=self.refusals)

    @contextlib.contextmanager
    def connected(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(self.path))
            yield connection

    def ask(self, request: bytes) -> list[int]:
        """Send bytes and nothing more; return the status of each answer."""
        with self.connected() as connection:
            return _asked(connection, request)

    def ask_at_the_port(self, request: bytes) -> list[int]:
        port = int(self.port.server_address[1])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            return _asked(connection, request)

    def refused(self) -> Refusals:
        return self.refusals.take()


def _asked(connection: socket.socket, request: bytes) -> list[int]:
    connection.sendall(request)
    connection.shutdown(socket.SHUT_WR)
    return _answered(connection)


def _answered(connection: socket.socket) -> list[int]:
    answer = b""
    while block := connection.recv(65_536):
        answer += block
    return statuses(answer)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    store = Store(tmp_path_factory.mktemp("store") / "state")
    store.prepare()
    stored(store, made())
    identity = Identity(model="wine", version="1", flavor="fp32", sha256=made().sha256)
    return Served.load(store, identity)


@pytest.fixture
def door(folder: Path, served: Served) -> Iterator[Door]:
    found = Door(folder, served)
    listeners: list[Listener] = [found.unix, found.port]
    for listener in listeners:
        threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True).start()
    yield found
    for listener in listeners:
        listener.finish(5)


def _soon_refused(door: Door) -> Refusals:
    deadline_s = time.monotonic() + 20
    while not (found := door.refused()) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return found


def post(
    body: bytes = ROWS, *, path: str = "/invocations", kind: str = "application/json"
) -> bytes:
    fields = (f"Content-Type: {kind}", f"Content-Length: {len(body)}")
    return bare(f"POST {path} HTTP/1.1".encode(), *map(str.encode, fields)) + body


def bare(line: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([line, *fields, b"", b""])


POST = b"POST /invocations HTTP/1.1"
REFUSED = [
    (b"hello\r\n\r\n", 400, Reason.HTTP_MALFORMED),
    (bare(POST, b"no field"), 400, Reason.HTTP_MALFORMED),
    (bare(POST, b"Content-Length: 9") + b"{}", 400, Reason.HTTP_MALFORMED),
    (b"GET /ping HTTP/1.1\r\nHost: x\r\n", 400, Reason.HTTP_MALFORMED),
    (b"GET\xa0/ping\x1cHTTP/1.1\r\n\r\n", 400, Reason.HTTP_MALFORMED),
    (bare(b"GET /nothing HTTP/1.1"), 404, Reason.HTTP_PATH),
    (post(path="/nothing"), 404, Reason.HTTP_PATH),
    (post(path="/models/beer/invocations"), 404, Reason.HTTP_MODEL),
    (bare(b"GET /invocations HTTP/1.1"), 405, Reason.HTTP_METHOD),
    (post(path="/ping"), 405, Reason.HTTP_METHOD),
    (bare(b"PUT /invocations HTTP/1.1"), 501, Reason.HTTP_METHOD),
    (bare(POST), 411, Reason.HTTP_LENGTH),
    (bare(POST, b"Transfer-Encoding: chunked") + b"0\r\n\r\n", 411, Reason.HTTP_LENGTH),
    (
        bare(POST, b"Transfer-Encoding:", b"Content-Length: 2") + b"{}",
        411,
        Reason.HTTP_LENGTH,
    ),
    (bare(POST, b"Content-Length: 99999999999"), 413, Reason.HTTP_SIZE),
    (bare(b"POST /" + LONG + b" HTTP/1.1"), 414, Reason.HTTP_SIZE),
    (bare(POST, b"X-Long: " + LONG), 431, Reason.HTTP_SIZE),
    (bare(POST, *[b"X: x"] * 200), 431, Reason.HTTP_SIZE),
    (post(kind="application/x-parquet"), 415, Reason.HTTP_CONTENT),
    (post(kind="text/csv; charset=latin-1"), 415, Reason.HTTP_CONTENT),
    (bare(b"GET /ping HTTP/2.0"), 505, Reason.HTTP_VERSION),
]


@pytest.mark.parametrize(("request_bytes", "status", "reason"), REFUSED)
def test_a_refusal_counts_once_by_its_reason_and_with_no_model(
    door: Door, request_bytes: bytes, status: int, reason: Reason
) -> None:
    assert door.ask(request_bytes) == [status]
    assert door.refused() == {reason: 1}
    assert door.shelf.drain() == []
    assert door.ask(post()) == [200]


def test_what_reached_a_model_counts_there_and_nowhere_else(door: Door) -> None:
    looks = [bare(f"GET /{path} HTTP/1.1".encode()) for path in ("ping", "version")]
    assert door.ask(
        post() + post(b'{"inputs": {"a": [1]}}') + post(b"{") + b"".join(looks)
    ) == [200, 400, 400, 200, 200]
    assert door.refused() == {}
    (counts,) = door.shelf.drain()
    assert (counts.requests, counts.schema_violations) == (3, 2)


def test_all_that_was_sent_was_answered_or_refused(door: Door) -> None:
    for request_bytes, _, _ in REFUSED:
        door.ask(request_bytes)
        door.ask(post())
    (counts,) = door.shelf.drain()
    assert counts.requests == len(REFUSED)
    assert sum(door.refused().values()) == len(REFUSED)


@pytest.mark.parametrize("field", [b"Host: evil.example", b"Host: localhost\r\nOrigin: x"])
def test_a_page_of_another_site_is_counted(door: Door, field: bytes) -> None:
    assert door.ask_at_the_port(bare(b"GET /ping HTTP/1.1", field)) == [403]
    assert door.refused() == {Reason.HTTP_FOREIGN: 1}


@pytest.mark.parametrize(
    ("part", "answer"),
    [(b"POST /invo", []), (POST + b"\r\nX: x\r\n", []), (post()[:-1], [408])],
)
def test_what_does_not_come_whole_in_time_is_counted(
    door: Door, monkeypatch: pytest.MonkeyPatch, part: bytes, answer: list[int]
) -> None:
    monkeypatch.setattr(conversation, "REQUEST_S", 0.2)
    with door.connected() as connection:
        connection.sendall(part)
        assert _answered(connection) == answer
    assert door.refused() == {Reason.HTTP_SLOW: 1}


def test_a_connection_that_breaks_in_a_body_is_counted(door: Door) -> None:
    head = bare(POST, b"Content-Length: 9", b"Expect: 100-continue")
    with door.connected() as connection:
        connection.sendall(head)
        assert connection.recv(1, socket.MSG_PEEK)  # closed with that unread, it breaks
        connection.sendall(b"{")
    assert _soon_refused(door) == {Reason.HTTP_MALFORMED: 1}


def test_a_connection_that_breaks_in_a_head_is_counted(door: Door) -> None:
    with door.connected() as connection:
        connection.sendall(post())
        assert connection.recv(1, socket.MSG_PEEK)
        connection.sendall(b"POST /invo")
    assert _soon_refused(door) == {Reason.HTTP_MALFORMED: 1}


def test_a_connection_that_breaks_between_requests_is_not(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = threading.Event()
    close = door.unix.close_request

    def closed(request: socket.socket) -> None:
        close(request)
        left.set()

    monkeypatch.setattr(door.unix, "close_request", closed)
    with door.connected() as connection:
        connection.sendall(post())
        assert connection.recv(1, socket.MSG_PEEK)
    assert left.wait(20)
    assert door.refused() == {}


def test_a_client_of_http_1_0_is_told_that_its_connection_stays(door: Door) -> None:
    with door.connected() as connection:
        for _ in range(2):
            connection.sendall(bare(b"GET /ping HTTP/1.0", b"Connection: keep-alive"))
            answer = b""
            while not answer.endswith(b"\r\n\r\n\n"):
                answer += connection.recv(65_536)
            assert b"\r\nConnection: keep-alive\r\n" in answer


def test_an_answer_is_sent_before_its_request_counts_as_answered(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ends the process after that cuts nothing off."""
    received = threading.Event()
    answering = door.unix.answering

    @contextlib.contextmanager
    def held() -> Iterator[None]:
        with answering():
            yield
        received.wait(5)

    monkeypatch.setattr(door.unix, "answering", held)
    with door.connected() as connection:
        connection.settimeout(4)
        connection.sendall(post())
        assert statuses(connection.recv(65_536)) == [200]
        received.set()


def test_who_takes_no_answer_is_waited_for_once(
    door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Handler, "timeout", 0.2)
    timeouts: queue.SimpleQueue[float | None] = queue.SimpleQueue()
    monkeypatch.setattr(
        manners, "linger", lambda request: timeouts.put(request.gettimeout())
    )
    column = [1.5] * MANY
    rows = json.dumps({"inputs": {"a": column, "b": column}})
    with door.connected() as connection:
        connection.sendall(post(rows.encode()))
        assert timeouts.get(timeout=20) == 0
    assert caplog.records == []


def test_many_listeners_finish_within_one_time(door: Door) -> None:
    waited: list[float] = []

    class Slow(UnixListener):
        def await_answers(self, wait_s: float) -> None:
            waited.append(wait_s)
            super().await_answers(wait_s)

    slow = [Slow(door.path.with_name(name), Handler, door.shelf) for name in ("one", "two")]
    with contextlib.ExitStack() as held:
        for one in slow:
            threading.Thread(target=one.serve_forever, args=(0.01,), daemon=True).start()
            held.enter_context(one.answering())
        finish(slow, 0.3)
    assert len(waited) == len(slow)
    assert sum(waited) <= 0.3


def test_a_connection_on_which_nothing_is_asked_ends_uncounted(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "REQUEST_S", 0.2)
    with door.connected() as connection:
        connection.sendall(post())
        assert _answered(connection) == [200]
    assert door.refused() == {}


def test_a_model_that_is_being_exchanged_for_too_long_is_counted(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "EXCHANGE_S", 0.01)
    with door.shelf.pause("wine"):
        assert door.ask(post()) == [503]
    assert door.refused() == {Reason.HTTP_EXCHANGE: 1}


def test_connections_beyond_the_bound_are_counted(door: Door) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(MAX_CONNECTIONS):
            held.enter_context(door.connected())
        with door.connected() as connection:
            assert _answered(connection) == [503]
        assert door.refused() == {Reason.HTTP_BUSY: 1}
