"""Surfaces on the device itself: its socket, its rows, its owner's hooks."""

import contextlib
import json
import logging
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from edgekit.errors import SchemaError
from edgekit.manifest import Signature
from edgekit.schema import Enforcement, Schema
from edgekit_agent import client
from edgekit_agent.rules.hook import MAX_OUTPUT_CHARS
from edgekit_agent.service.invocations import Handler, LoopbackHandler
from edgekit_agent.service.listener import LoopbackListener, UnixListener
from edgekit_agent.service.served import Identity, Served
from edgekit_agent.service.shelf import Shelf
from edgekit_agent.storage.store import Store
from edgekit_agent.supervision.hook import (
    LEAST_AGAIN_S,
    MOST_AGAIN_S,
    Running,
)
from tests.agent.answers import statuses
from tests.agent.making import made, stored
from tests.fuzz.files import SIGNATURES
from tests.fuzz.surface import Form, Surface

FLAT = Signature(
    inputs=[
        {"type": "double", "name": "a", "required": True},
        {"type": "boolean", "name": "b", "required": False},
        {"type": "string", "name": "c", "required": False},
        {"type": "binary", "name": "d", "required": False},
    ]
)
UNNAMED = Signature(inputs=[{"type": "double", "required": True}] * 2)
ROW = {"a": 1, "b": "2020-01-01", "c": [0.5], "d": {"x": {"k": "v"}}}
SPLIT = {"columns": ["a", "b"], "index": [0], "data": [[1, True]]}
BODIES = tuple(
    json.dumps(body).encode()
    for body in (
        {"dataframe_records": [ROW], "params": {"k": 4, "s": ["b"]}},
        {"dataframe_split": SPLIT},
        {"inputs": {"x": [[1.0, 2.0]], "y": [1, 2, 3]}},
        {"instances": [{"a": 1.5, "c": "t", "d": "aGk="}]},
    )
)
TABLES = (b"a,b,c\n1.5,true,x\n2,,\n", b'"a","c"\r\n1e3,"q ""q"", \xc3\xa9"\r\n')
SCORED = (
    ("/invocations", "application/json", b'{"inputs": {"a": [1], "b": [2]}}'),
    ("/models/wine/invocations?x", "text/csv; charset=utf-8", b"a,b\n1,2\n"),
)
REQUESTS = (
    *(
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
        for path, kind, body in SCORED
    ),
    b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\nGET /version HTTP/1.0\r\n\r\n",
)


@cache
def _schemas() -> Sequence[Schema]:
    return tuple(map(Schema.from_signature, (FLAT, UNNAMED, *SIGNATURES, Signature())))


def _scored(parse: Callable[..., object]) -> Callable[[bytes], None]:
    """Return an entry that has every kind of signature judge rows, in every mode."""

    def entry(body: bytes) -> None:
        for schema in _schemas():
            for mode in Enforcement:
                with contextlib.suppress(SchemaError):
                    parse(schema, body, mode=mode)

    return entry


@cache
def _place() -> Path:
    return Path(tempfile.mkdtemp(prefix="ek-"))


class _Defects(logging.Handler):
    """Collects what the agent logs as a defect of its own."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record.getMessage())


@dataclass(frozen=True)
class _Counter:
    """A shelf with one model behind both kinds of listener; nothing runs by itself."""

    shelf: Shelf = field(default_factory=lambda: Shelf(Enforcement.STRICT))

    @classmethod
    @cache
    def open(cls) -> "_Counter":
        found = cls()
        store = Store(_place() / "state")
        store.prepare()
        stored(store, made())
        identity = Identity(model="wine", version="1", flavor="fp32", sha256=made().sha256)
        found.shelf.put(Served.load(store, identity))
        return found

    @cache  # noqa: B019 - one, for as long as the process lives
    def listeners(self) -> tuple[UnixListener, LoopbackListener]:
        return (
            UnixListener(_place() / "sock", Handler, self.shelf),
            LoopbackListener(0, LoopbackHandler, self.shelf),
        )

    def asked(self, request: bytes) -> None:
        """Answer all that one connection brings; nothing but answers may come back."""
        defects = _Defects()
        logger = logging.getLogger("edgekit_agent")
        logger.addHandler(defects)
        try:
            for listener in self.listeners():
                self._exchange(listener, request)
        finally:
            logger.removeHandler(defects)
        assert not defects.found

    def _exchange(self, listener: UnixListener | LoopbackListener, request: bytes) -> None:
        ours, theirs = socket.socketpair()
        answer: list[bytes] = []
        with ours, theirs:
            asking = threading.Thread(target=_ask, args=(ours, request, answer))
            asking.start()
            try:
                listener.finish_request(theirs, ("local", 0))
            except OSError:  # the client is gone: no event
                pass
            finally:
                theirs.shutdown(socket.SHUT_RDWR)
                asking.join(20)
        assert not asking.is_alive(), "no end of the answer"
        found = statuses(b"".join(answer))
        assert 500 not in found
        at_the_door = sum(listener.refusals.take().values())
        at_the_model = sum(one.errors + one.schema_violations for one in self.shelf.drain())
        refused = sum(status >= 400 for status in found)
        assert refused == at_the_door + at_the_model, "refused, and not counted, or twice"


def _ask(connection: socket.socket, request: bytes, answer: list[bytes]) -> None:
    try:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
    except OSError:  # it had enough, and answers why
        pass
    try:
        while block := connection.recv(65_536):
            answer.append(block)
    except OSError:
        pass


def _hooked(output: bytes) -> None:
    """A hook that prints these bytes."""
    said, hook = _place() / "said", _place() / "pre-activate"
    said.write_bytes(output)
    if not hook.exists():
        hook.write_text(f"#!/bin/sh\nexec cat {said}\n", "ascii")
        hook.chmod(0o755)
    told = Running(hook, {"PATH": os.defpath}).wait(20)
    assert len(told.output) <= MAX_OUTPUT_CHARS
    assert told.reason.isprintable()
    assert LEAST_AGAIN_S <= told.again_s <= MOST_AGAIN_S


SURFACES = (
    Surface(
        name="rows-json",
        entry=_scored(Schema.parse),
        seeds=lambda: BODIES,
        form=Form.JSON,
        examples=150,
    ),
    Surface(
        name="rows-csv", entry=_scored(Schema.parse_csv), seeds=lambda: TABLES, examples=100
    ),
    Surface(
        name="http",
        entry=lambda data: _Counter.open().asked(data),
        seeds=lambda: REQUESTS,
        examples=100,
    ),
    Surface(
        name="typed-rows",
        entry=client.payload,
        seeds=lambda: [b'[{"a": 1}]', b"[[1, 2]]"],
        refusals=(SchemaError,),
        form=Form.JSON,
        examples=30,
    ),
    Surface(
        name="hook",
        entry=_hooked,
        seeds=lambda: [b"not in season\nRetry-After: 600\n", "é\n".encode() * 5000],
        examples=10,
    ),
)
