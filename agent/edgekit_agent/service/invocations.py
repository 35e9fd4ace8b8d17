"""Answer MLflow's scoring protocol over HTTP/1.1. Knows no ONNX and no sockets.

    POST /invocations                  where one model is served
    POST /models/NAME/invocations      NAME percent-encoded
    GET  /ping, /health                200 once a model answers, 404 before
    GET  /version                      of edgekit

Status codes and sentences are those of `mlflow models serve` where it has any.
"""

import io
import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from types import MappingProxyType
from typing import cast
from urllib.parse import unquote

from edgekit import __version__
from edgekit.errors import ProofError, SchemaError
from edgekit.schema import encode_refusal
from edgekit.statement import slug
from edgekit_agent.service import connection
from edgekit_agent.service.content import UnsupportedContentError, content
from edgekit_agent.service.listener import Listener
from edgekit_agent.service.served import Identity
from edgekit_agent.service.shelf import ExchangingError, UnknownModelError

log = logging.getLogger(__name__)

REQUEST_S = 30.0  # for the head of a request, and again for its body
_MAX_LENGTH_DIGITS = 18
_JSON = "application/json"
UNEXPECTED = (
    "Encountered an unexpected error while evaluating the model. Verify that the serialized"
    " input Dataframe is compatible with the model for inference."
)


_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
_READ_PATHS = frozenset({"/ping", "/health", "/version"})


class Handler(BaseHTTPRequestHandler):
    """One connection of a Unix socket."""

    protocol_version = "HTTP/1.1"
    server_version = f"edgekit-agent/{__version__}"
    sys_version = ""
    timeout = REQUEST_S  # for each piece of an answer to be taken
    disable_nagle_algorithm = False  # a Unix socket has none
    wbufsize = -1  # head and body leave together

    @property
    def _server(self) -> Listener:
        return cast("Listener", self.server)

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

    def is_welcome(self) -> bool:
        """Whether the request may have come from a program of this device."""
        return True

    def do_GET(self) -> None:
        """Health and version."""
        if not self._is_let_in():
            return
        path = self.path.partition("?")[0]
        match path:
            case "/ping" | "/health":
                up = bool(self._server.shelf.names)
                status = HTTPStatus.OK if up else HTTPStatus.NOT_FOUND
                self._reply(status, b"\n", kind=_JSON)
            case "/version":
                self._reply(HTTPStatus.OK, __version__.encode(), kind=_JSON)
            case _ if _scored(path) is not None:
                self._refuse_method("POST")
            case _:
                self._refuse_path()

    def do_POST(self) -> None:
        """Predictions."""
        body = self._body()
        if body is not None and self._is_let_in():
            with self._server.answering():
                self._route(self.path.partition("?")[0], body)

    def _is_let_in(self) -> bool:
        if self.is_welcome():
            return True
        host = self.headers.get("Host", "")
        message = f"Host {host}: localhost is expected, this port serves its own machine"
        self._refuse(HTTPStatus.FORBIDDEN, "PERMISSION_DENIED", message)
        return False

    def _route(self, path: str, body: bytes) -> None:
        model = _scored(path)
        if model is not None:
            self._answer(model or None, body)
        elif path in _READ_PATHS:
            self._refuse_method("GET")
        else:
            self._refuse_path()

    def _answer(self, model: str | None, body: bytes) -> None:
        try:
            form = content(self.headers.get("Content-Type", ""))
            response, identity = self._server.shelf.answer(model, body, form)
        except UnsupportedContentError as error:
            text = str(error).encode()
            self._reply(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, text, kind="text/plain")
        except UnknownModelError as error:
            self._refuse(HTTPStatus.NOT_FOUND, "RESOURCE_DOES_NOT_EXIST", str(error))
        except ExchangingError as error:
            status = HTTPStatus.SERVICE_UNAVAILABLE
            self._refuse(status, "TEMPORARILY_UNAVAILABLE", str(error))
        except SchemaError as error:
            self._reply(HTTPStatus.BAD_REQUEST, encode_refusal(error), kind=_JSON)
        except ProofError as error:
            log.warning("a request failed: %s", error)
            self._refuse(HTTPStatus.BAD_REQUEST, "BAD_REQUEST", UNEXPECTED)
        else:
            headers = _identity(identity)
            self._reply(HTTPStatus.OK, response, kind=_JSON, headers=headers)

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

    def _refuse_method(self, allowed: str) -> None:
        message = f"{self.command} {self.path}: Method Not Allowed; {allowed} is expected"
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "BAD_REQUEST", message, Allow=allowed)

    def _refuse(self, status: HTTPStatus, code: str, message: str, **headers: str) -> None:
        body = json.dumps({"error_code": code, "message": message}).encode()
        self._reply(status, body, kind=_JSON, headers=headers)

    def _reply(
        self,
        status: HTTPStatus,
        body: bytes,
        *,
        kind: str,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        """Every client is on this device."""
        return "local"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Requests are counted, not logged."""
        log.debug(format, *args)


class LoopbackHandler(Handler):
    """One connection of a port on loopback, which a browser can reach too."""

    disable_nagle_algorithm = True

    def is_welcome(self) -> bool:
        """Refuse what a page from elsewhere may make a browser send (DNS rebinding)."""
        host = self.headers.get("Host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        return name.lower() in _LOCAL_HOSTS and "Origin" not in self.headers


def _scored(path: str) -> str | None:
    """Return the model that a path asks for predictions, "" for the only one, or None."""
    match path.strip("/").split("/"):
        case ["invocations"]:
            return ""
        case ["models", name, "invocations"] if name:
            return unquote(name)
    return None


def _identity(identity: Identity) -> dict[str, str]:
    return {
        "X-Edgekit-Model": slug(identity.model),
        "X-Edgekit-Version": _header(identity.version),
        "X-Edgekit-Flavor": _header(identity.flavor),
        "X-Edgekit-Digest": f"sha256:{identity.sha256}",
    }


def _is_length(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MAX_LENGTH_DIGITS


def _header(text: str) -> str:
    return "".join(c if " " < c < "\x7f" else "?" for c in text)
