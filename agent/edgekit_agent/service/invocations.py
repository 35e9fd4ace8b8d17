"""Answer MLflow's scoring protocol over HTTP/1.1. Knows no ONNX and no sockets.

    POST /invocations                  where one model is served
    POST /models/NAME/invocations      NAME percent-encoded
    GET  /ping, /health                200 once a model answers, 404 before
    GET  /version                      of edgekit

Status codes and sentences are those of `mlflow models serve` where it has any.
"""

import json
import logging
from http import HTTPStatus
from typing import cast
from urllib.parse import unquote

from edgekit import __version__
from edgekit.errors import ProofError, SchemaError
from edgekit.schema import encode_refusal
from edgekit.statement import slug
from edgekit.telemetry.refusals import Reason
from edgekit_agent.service.content import UnsupportedContentError, content
from edgekit_agent.service.conversation import REQUEST_S, Conversation
from edgekit_agent.service.listener import Listener
from edgekit_agent.service.served import Identity
from edgekit_agent.service.shelf import ExchangingError, UnknownModelError

log = logging.getLogger(__name__)

_MAX_LENGTH_DIGITS = 18
_JSON = "application/json"
UNEXPECTED = (
    "Encountered an unexpected error while evaluating the model. Verify that the serialized"
    " input Dataframe is compatible with the model for inference."
)
# What a head is refused for, by the status that it gets.
_UNREAD = {
    HTTPStatus.REQUEST_URI_TOO_LONG: Reason.HTTP_SIZE,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: Reason.HTTP_SIZE,
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: Reason.HTTP_VERSION,
}
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
_READ_PATHS = frozenset({"/ping", "/health", "/version"})


class Handler(Conversation):
    """One connection of a Unix socket."""

    disable_nagle_algorithm = False  # a Unix socket has none

    @property
    def _server(self) -> Listener:
        return cast("Listener", self.server)

    def is_welcome(self) -> bool:
        """Whether the request may have come from a program of this device."""
        return True

    def answer(self) -> None:
        """Health and version, or predictions."""
        match self.head.method:
            case "GET":
                self._look()
            case "POST":
                self._score()
            case method:
                message = f"request: {method}; GET or POST is expected"
                self._break_off(Reason.HTTP_METHOD, HTTPStatus.NOT_IMPLEMENTED, message)

    def misunderstood(self, status: HTTPStatus, message: str) -> None:
        """Say what the head should have been."""
        reason = _UNREAD.get(status, Reason.HTTP_MALFORMED)
        self._break_off(reason, status, message)

    def abandoned(self, *, late: bool) -> None:
        """Count a head that never came whole."""
        self._server.refusals.add(Reason.HTTP_SLOW if late else Reason.HTTP_MALFORMED)

    def _look(self) -> None:
        if self.head.get("Content-Length").strip("0") or self.head.has("Transfer-Encoding"):
            self.hang_up()  # a body that nobody reads is not the next request
        if not self._is_let_in():
            return
        path = self.head.path
        match path:
            case "/ping" | "/health":
                up = bool(self._server.shelf.names)
                status = HTTPStatus.OK if up else HTTPStatus.NOT_FOUND
                self.reply(status, b"\n", kind=_JSON)
            case "/version":
                self.reply(HTTPStatus.OK, __version__.encode(), kind=_JSON)
            case _ if _scored(path) is not None:
                self._refuse_method("POST")
            case _:
                self._refuse_path()

    def _score(self) -> None:
        body = self._body()
        if body is not None and self._is_let_in():
            with self._server.answering():
                self._route(self.head.path, body)

    def _is_let_in(self) -> bool:
        if self.is_welcome():
            return True
        host = self.head.get("Host")
        message = f"Host {host}: localhost is expected, this port serves its own machine"
        status, code = HTTPStatus.FORBIDDEN, "PERMISSION_DENIED"
        self._refuse(Reason.HTTP_FOREIGN, status, code, message)
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
            form = content(self.head.get("Content-Type"))
            response, identity = self._server.shelf.answer(model, body, form)
        except UnsupportedContentError as error:
            self._server.refusals.add(Reason.HTTP_CONTENT)
            text = str(error).encode()
            self.reply(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, text, kind="text/plain")
        except UnknownModelError as error:
            status, code = HTTPStatus.NOT_FOUND, "RESOURCE_DOES_NOT_EXIST"
            self._refuse(Reason.HTTP_MODEL, status, code, str(error))
        except ExchangingError as error:
            status, code = HTTPStatus.SERVICE_UNAVAILABLE, "TEMPORARILY_UNAVAILABLE"
            self._refuse(Reason.HTTP_EXCHANGE, status, code, str(error))
        except SchemaError as error:
            self.reply(HTTPStatus.BAD_REQUEST, encode_refusal(error), kind=_JSON)
        except ProofError as error:
            log.warning("a request failed: %s", error)
            self._say(HTTPStatus.BAD_REQUEST, "BAD_REQUEST", UNEXPECTED)
        else:
            headers = _identity(identity)
            self.reply(HTTPStatus.OK, response, kind=_JSON, headers=headers)

    def _body(self) -> bytes | None:
        """Read the body, or refuse the request and the rest of the connection."""
        length = self.head.get("Content-Length")
        limit = self._server.limits.body_bytes
        if not _is_length(length) or self.head.has("Transfer-Encoding"):
            reason = "request: a Content-Length is expected"
            self._break_off(Reason.HTTP_LENGTH, HTTPStatus.LENGTH_REQUIRED, reason)
            return None
        if int(length) > limit:
            reason = f"request: {length} bytes, up to {limit} are allowed"
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            self._break_off(Reason.HTTP_SIZE, status, reason)
            return None
        try:
            body = self.read(int(length))
        except TimeoutError:
            reason = f"request: its {length} bytes did not come within {REQUEST_S:g} s"
            self._break_off(Reason.HTTP_SLOW, HTTPStatus.REQUEST_TIMEOUT, reason)
            return None
        except OSError:  # the connection broke; nobody waits for an answer
            self.hang_up()
            self._server.refusals.add(Reason.HTTP_MALFORMED)
            return None
        if len(body) < int(length):
            reason = f"request: {length} bytes were promised, {len(body)} came"
            self._break_off(Reason.HTTP_MALFORMED, HTTPStatus.BAD_REQUEST, reason)
            return None
        return body

    def _break_off(self, reason: Reason, status: HTTPStatus, message: str) -> None:
        """Refuse a request that was not read: what follows it cannot be told from it."""
        self.hang_up()
        self._refuse(reason, status, "BAD_REQUEST", message)

    def _refuse_path(self) -> None:
        message = (
            f"{self.head.method} {self.head.target}: no such endpoint; POST /invocations,"
            " POST /models/NAME/invocations, GET /ping, /health or /version"
        )
        status, code = HTTPStatus.NOT_FOUND, "ENDPOINT_NOT_FOUND"
        self._refuse(Reason.HTTP_PATH, status, code, message)

    def _refuse_method(self, allowed: str) -> None:
        asked = f"{self.head.method} {self.head.target}"
        message = f"{asked}: Method Not Allowed; {allowed} is expected"
        status = HTTPStatus.METHOD_NOT_ALLOWED
        self._refuse(Reason.HTTP_METHOD, status, "BAD_REQUEST", message, Allow=allowed)

    def _refuse(
        self, reason: Reason, status: HTTPStatus, code: str, message: str, **headers: str
    ) -> None:
        """Answer, and count, a request that no model is asked."""
        self._server.refusals.add(reason)
        self._say(status, code, message, **headers)

    def _say(self, status: HTTPStatus, code: str, message: str, **headers: str) -> None:
        body = json.dumps({"error_code": code, "message": message}).encode()
        self.reply(status, body, kind=_JSON, headers=headers)


class LoopbackHandler(Handler):
    """One connection of a port on loopback, which a browser can reach too."""

    disable_nagle_algorithm = True

    def is_welcome(self) -> bool:
        """Refuse what a page from elsewhere may make a browser send (DNS rebinding)."""
        host = self.head.get("Host")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        return name.lower() in _LOCAL_HOSTS and not self.head.has("Origin")


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
