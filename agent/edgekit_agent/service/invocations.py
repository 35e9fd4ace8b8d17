"""Answer MLflow's scoring protocol over HTTP on a Unix socket. Knows no ONNX.

    POST /invocations                  where one model is served
    POST /models/NAME/invocations      NAME percent-encoded
    GET  /ping, /health                200 once a model answers, 404 before
    GET  /version                      of edgekit

Status codes and sentences are those of `mlflow models serve` where it has any.
"""

import contextlib
import io
import json
import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
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
from edgekit_agent.service import connection
from edgekit_agent.service.shelf import Identity, Shelf, UnknownModelError

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 32
MAX_REFUSALS = 32  # connections that are told to come back, at the same time
REQUEST_S = 30.0  # for the head of a request, and again for its body
SOCKET_MODE = 0o660
_MAX_LENGTH_DIGITS = 18
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
        self._counting = threading.Condition()
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._refusals = threading.BoundedSemaphore(MAX_REFUSALS)
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
            self._refuse(cast("socket.socket", request))
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the system has no thread left
            self._slots.release()
            connection.say_come_back(request)
            self.close_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's own types
        """Serve one connection and free its place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - socketserver's own type
        """Close a connection once its client has read the answer."""
        connection.linger(request)
        self.close_request(request)

    def _refuse(self, request: socket.socket) -> None:
        """Tell a client to come back, and wait for it elsewhere than in the accept loop."""
        connection.say_come_back(request)
        if not self._refusals.acquire(blocking=False):
            self.close_request(request)
            return
        try:
            threading.Thread(target=self._see_off, args=(request,), daemon=True).start()
        except RuntimeError:
            self._refusals.release()
            self.close_request(request)

    def _see_off(self, request: socket.socket) -> None:
        try:
            self.shutdown_request(request)
        finally:
            self._refusals.release()

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Count a request from its body to the last byte of its answer."""
        with self._counting:
            self._answering += 1
        try:
            yield
        finally:
            with self._counting:
                self._answering -= 1
                self._counting.notify_all()

    def finish(self, wait_s: float) -> None:
        """Accept no more connections; return when nothing is being answered."""
        self.shutdown()
        with self._counting:
            self._counting.wait_for(lambda: not self._answering, wait_s)

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
    timeout = REQUEST_S  # for each piece of an answer to be taken
    disable_nagle_algorithm = False  # a Unix socket has none

    @property
    def _server(self) -> InvocationServer:
        return cast("InvocationServer", self.server)

    def setup(self) -> None:
        """Read with a deadline for each request, not for each byte."""
        super().setup()
        self.rfile.close()
        self._raw = connection.Deadlined(self.connection)
        self.rfile = io.BufferedReader(self._raw)

    def handle_one_request(self) -> None:
        """Answer one request; its head must come in time."""
        self._raw.allow(REQUEST_S)
        super().handle_one_request()

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
        if not _is_length(length) or "Transfer-Encoding" in self.headers:
            reason = "request: a Content-Length is expected"
            self._break_off(HTTPStatus.LENGTH_REQUIRED, reason)
            return None
        if int(length) > limit:
            reason = f"request: {length} bytes, up to {limit} are allowed"
            self._break_off(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)
            return None
        self._raw.allow(REQUEST_S)
        try:
            body = self.rfile.read(int(length))
        except TimeoutError:
            reason = f"request: its {length} bytes did not come within {REQUEST_S:g} s"
            self._break_off(HTTPStatus.REQUEST_TIMEOUT, reason)
            return None
        if len(body) < int(length):
            reason = f"request: {length} bytes were promised, {len(body)} came"
            self._break_off(HTTPStatus.BAD_REQUEST, reason)
            return None
        return body

    def _break_off(self, status: HTTPStatus, reason: str) -> None:
        """Refuse a request that was not read: what follows it cannot be told from it."""
        self.close_connection = True
        self._refuse(status, "BAD_REQUEST", reason)

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


def _is_length(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MAX_LENGTH_DIGITS


def _header(text: str) -> str:
    return "".join(c if " " < c < "\x7f" else "?" for c in text)
