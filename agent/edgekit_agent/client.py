"""Ask the local agent for predictions. Knows HTTP on a Unix socket, no model.

For the command, and for programs on the device that would rather not speak HTTP.
"""

import contextlib
import http.client
import json
import socket
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import ConfigError, EdgekitError, SchemaError, TransportError
from edgekit.statement import slug

TIMEOUT_S = 60.0
_JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What the model answered: the body as it came, and which bundle it came from."""

    body: bytes
    version: str
    flavor: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the agent answered, good or bad; who answered is empty in a refusal."""

    status: int
    body: bytes
    version: str
    flavor: str
    sha256: str


class _UnixConnection(http.client.HTTPConnection):
    """HTTP to a path instead of a port."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(str(self._path))


def predict(path: Path, model: str, body: bytes) -> Prediction:
    """Return the predictions for a scoring request in JSON.

    Raises SchemaError with the model's own sentence, ConfigError for a model that is not
    served, TransportError when no agent answers on the socket at `path`.
    """
    reply = invoke(path, model, body)
    if reply.status != http.HTTPStatus.OK:
        raise _refusal(reply.status, reply.body)
    return Prediction(
        body=reply.body,
        version=reply.version,
        flavor=reply.flavor,
        sha256=reply.sha256,
    )


def invoke(path: Path, model: str, body: bytes) -> Reply:
    """Pass a scoring request in JSON on, and return whatever the agent answers.

    Raises TransportError when no agent answers on the socket at `path`.
    """
    status, headers, answer = _request(
        path, "POST", f"/models/{slug(model)}/invocations", body
    )
    return Reply(
        status=status,
        body=answer,
        version=headers.get("X-Edgekit-Version", ""),
        flavor=headers.get("X-Edgekit-Flavor", ""),
        sha256=headers.get("X-Edgekit-Digest", "").removeprefix("sha256:"),
    )


def answers(path: Path) -> bool:
    """Whether an agent serves on the socket at `path`."""
    try:
        _request(path, "GET", "/version", None)
    except TransportError:
        return False
    return True


def payload(text: bytes) -> bytes:
    """Return a scoring request for what a person typed.

    A JSON list of objects stands for `dataframe_records`, any other list for `instances`;
    an object is taken as a request already. SchemaError when it is no JSON.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"input: not JSON: {error}") from error
    if not isinstance(document, list):
        return text
    records = bool(document) and all(isinstance(row, dict) for row in document)
    key = "dataframe_records" if records else "instances"
    return json.dumps({key: document}).encode()


def _request(
    path: Path, method: str, target: str, body: bytes | None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = _UnixConnection(path)
    try:
        with contextlib.suppress(BrokenPipeError):  # refused early: the answer says why
            connection.request(method, target, body, {"Content-Type": _JSON})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise TransportError(
            f"{path}: no agent answers there: {reason}; is `edgekit-agent run` running?"
        ) from error
    finally:
        connection.close()


def _refusal(status: int, answer: bytes) -> EdgekitError:
    try:
        message = str(json.loads(answer)["message"])
    except (ValueError, KeyError, TypeError):
        message = answer.decode("utf-8", "replace")
    match status:
        case http.HTTPStatus.NOT_FOUND:
            return ConfigError(message)
        case http.HTTPStatus.BAD_REQUEST | http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return SchemaError(message)
    return TransportError(f"agent: status {status}: {message}")
