"""Answer MLflow's scoring protocol over HTTP on a Unix socket. Knows no ONNX.

    POST /invocations                  where one model is served
    POST /models/NAME/invocations      NAME percent-encoded
    GET  /ping, /health                200 once a model answers, 404 before
    GET  /version                      of edgekit

Status codes and sentences are those of `mlflow models serve` where it has any.
"""

import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any, cast
from urllib.parse import unquote

from edgekit import __version__
from edgekit.errors import ProofError, SchemaError
from edgekit.schema import Limits, encode_refusal
from edgekit.statement import slug
from edgekit_agent.service.shelf import Identity, Shelf, UnknownModelError

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 32
IDLE_S = 30.0
SOCKET_MODE = 0o660
_GLANCE_S = 0.01
_JSON = "application/json"
_UNEXPECTED = (
    "Encountered an unexpected error while evaluating the model. Verify that the input is"
    " compatible with the model for inference."
)


class InvocationServer(ThreadingMixIn, UnixStreamServer):
    """A thread for each connection, so many at most; the others are told to come back."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, path: Path, shelf: Shelf, limits: Limits | None = None) -> None:
        self.shelf = shelf
        self.limits = limits or Limits()
        self._path = path
        self._answering = 0
        self._counting = threading.Lock()
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(str(path), _Handler, bind_and_activate=False)
        self.server_bind()
        self.server_activate()

    def server_bind(self) -> None:
        """Appear at the path in one step, in place of a predecessor's socket."""
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        beside.unlink(missing_ok=True)
        self.socket.bind(str(beside))
        beside.chmod(SOCKET_MODE)
        beside.replace(self._path)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's own types
        """Start a thread, or refuse when there are enough."""
        if not self._slots.acquire(blocking=False):
            _refuse_connection(cast("socket.socket", request))
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the system has no thread left
            self._slots.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's own types
        """Serve one connection and free its place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Count a request from its body to the last byte of its answer."""
        with self._counting:
            self._answering += 1
        try:
            yield
        finally:
            with self._counting:
                self._answering -= 1

    def finish(self, wait_s: float) -> None:
        """Accept no more connections; return when nothing is being answered."""
        self.shutdown()
        deadline_s = time.monotonic() + wait_s
        while self._answering and time.monotonic() < deadline_s:
            time.sleep(_GLANCE_S)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - socketserver's own types
        """A client that went away is no event; anything else is a defect worth a trace."""
        failure = sys.exception()
        if not isinstance(failure, OSError):
            log.error("a request ended in a defect of the agent", exc_info=failure)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = f"edgekit-agent/{__version__}"
    sys_version = ""
    timeout = IDLE_S
    disable_nagle_algorithm = False  # a Unix socket has none

    @property
    def _server(self) -> InvocationServer:
        return cast("InvocationServer", self.server)

    def do_GET(self) -> None:
        """Health and version."""
        match self.path.partition("?")[0]:
            case "/ping" | "/health":
                up = bool(self._server.shelf.names)
                status = HTTPStatus.OK if up else HTTPStatus.NOT_FOUND
                self._reply(status, b"\n", kind=_JSON)
            case "/version":
                self._reply(HTTPStatus.OK, __version__.encode(), kind="text/plain")
            case _:
                self._refuse_path()

    def do_POST(self) -> None:
        """Predictions."""
        body = self._body()
        if body is not None:
            with self._server.answering():
                self._route(body)

    def _route(self, body: bytes) -> None:
        match self.path.partition("?")[0].strip("/").split("/"):
            case ["invocations"]:
                self._answer(None, body)
            case ["models", name, "invocations"]:
                self._answer(unquote(name), body)
            case _:
                self._refuse_path()

    def _answer(self, model: str | None, body: bytes) -> None:
        kind = self.headers.get("Content-Type", "")
        if kind.partition(";")[0].strip().lower() != _JSON:
            text = (
                "This predictor only supports the following content types:"
                f" Types: ['{_JSON}']. Got '{kind}'."
            )
            self._reply(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, text.encode(), kind="text/plain")
            return
        try:
            response, identity = self._server.shelf.answer(model, body)
        except UnknownModelError as error:
            self._refuse(HTTPStatus.NOT_FOUND, "RESOURCE_DOES_NOT_EXIST", str(error))
        except SchemaError as error:
            self._reply(HTTPStatus.BAD_REQUEST, encode_refusal(error), kind=_JSON)
        except ProofError as error:
            log.warning("a request failed: %s", error)
            self._refuse(HTTPStatus.BAD_REQUEST, "BAD_REQUEST", _UNEXPECTED)
        else:
            self._reply(HTTPStatus.OK, response, kind=_JSON, identity=identity)

    def _body(self) -> bytes | None:
        """Read the body, or refuse the request and the rest of the connection."""
        length = self.headers.get("Content-Length", "")
        limit = self._server.limits.body_bytes
        if not length.isdecimal() or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            reason = "request: a Content-Length is expected"
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "BAD_REQUEST", reason)
            return None
        if int(length) > limit:
            self.close_connection = True
            reason = f"request: {length} bytes, up to {limit} are allowed"
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "BAD_REQUEST", reason)
            return None
        return self.rfile.read(int(length))

    def _refuse_path(self) -> None:
        message = (
            f"{self.command} {self.path}: no such endpoint; POST /invocations,"
            " POST /models/NAME/invocations, GET /ping, /health or /version"
        )
        self._refuse(HTTPStatus.NOT_FOUND, "ENDPOINT_NOT_FOUND", message)

    def _refuse(self, status: HTTPStatus, code: str, message: str) -> None:
        body = json.dumps({"error_code": code, "message": message}).encode()
        self._reply(status, body, kind=_JSON)

    def _reply(
        self,
        status: HTTPStatus,
        body: bytes,
        *,
        kind: str,
        identity: Identity | None = None,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if identity is not None:
            self.send_header("X-Edgekit-Model", slug(identity.model))
            self.send_header("X-Edgekit-Version", _header(identity.version))
            self.send_header("X-Edgekit-Flavor", _header(identity.flavor))
            self.send_header("X-Edgekit-Digest", f"sha256:{identity.sha256}")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        """A Unix socket's client has no address."""
        return "local"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Requests are counted, not logged."""
        log.debug(format, *args)


def _header(text: str) -> str:
    return "".join(c if " " < c < "\x7f" else "?" for c in text)


def _refuse_connection(connection: socket.socket) -> None:
    body = b'{"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "too many connections"}'
    head = (
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
        f"Content-Type: {_JSON}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection.settimeout(1.0)
    try:
        connection.sendall(head.encode() + body)
    except OSError:
        log.debug("a refused connection was already gone")
