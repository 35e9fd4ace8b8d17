"""The head of an HTTP/1.1 request: read it, or say why not. Knows no sockets and no paths.

Python's own server reads heads with the parser of e-mail, which brings TLS along: 2.7 MB
of the process that serves, for a dozen lines of RFC 9112.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from io import BufferedIOBase

MAX_LINE_BYTES = 65_536
MAX_FIELDS = 100
_VERSION = re.compile(r"HTTP/(\d)\.(\d)")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_OLD = "1.0"
_BLANKS = " \t"  # and nothing else that Unicode has for one (RFC 9110, 5.6.3)
_CUT = "it ended in its head; an empty line is expected"


class HeadError(Exception):
    """A head that is not understood; `status` is what to answer, the text why."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(f"request: {reason}")
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a request says of itself. Names of fields are in lower case."""

    method: str
    target: str
    persistent: bool = True  # whether another request may follow on this connection
    old: bool = False  # of HTTP/1.0, whose clients are told that the connection stays
    fields: Mapping[str, str]

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def waits(self) -> bool:
        """Whether its body is sent only when it is asked for."""
        return not self.old and self.get("Expect").lower() == "100-continue"

    def has(self, name: str) -> bool:
        """Whether a field came, be it empty."""
        return name.lower() in self.fields

    def get(self, name: str) -> str:
        """Return a field, "" without one; what came several times, joined by commas."""
        return self.fields.get(name.lower(), "")


def read(stream: BufferedIOBase) -> Head | None:
    """Read one head; None where the stream ends instead.

    Raises HeadError for what is none, or is larger than anybody needs.
    """
    line = _line(stream, HTTPStatus.REQUEST_URI_TOO_LONG)
    if line == "":  # of a client that ended its last body with one
        line = _line(stream, HTTPStatus.REQUEST_URI_TOO_LONG)
    if line is None:
        return None
    method, target, version = _request(line)
    fields = _fields(stream)
    old = version == _OLD
    options = {
        one.strip(_BLANKS) for one in fields.get("connection", "").lower().split(",")
    }
    persistent = "close" not in options and (not old or "keep-alive" in options)
    return Head(method=method, target=target, persistent=persistent, old=old, fields=fields)


def _request(line: str) -> tuple[str, str, str]:
    """Return method, target and version of a request line."""
    method, _, rest = line.partition(" ")
    target, _, version = rest.partition(" ")
    found = _VERSION.fullmatch(version)
    if found is None or not target or not _NAME.fullmatch(method):
        raise HeadError(HTTPStatus.BAD_REQUEST, "its first line is METHOD PATH HTTP/1.1")
    if found[1] != "1":
        status = HTTPStatus.HTTP_VERSION_NOT_SUPPORTED
        raise HeadError(status, f"{version}; HTTP/1.1 is expected")
    return method, target, f"{found[1]}.{found[2]}"


def _fields(stream: BufferedIOBase) -> dict[str, str]:
    """Return the fields up to the empty line."""
    fields: dict[str, str] = {}
    for _ in range(MAX_FIELDS + 1):
        line = _line(stream, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if line is None:
            raise HeadError(HTTPStatus.BAD_REQUEST, _CUT)
        if line == "":
            return fields
        name, colon, value = line.partition(":")
        if not colon or not _NAME.fullmatch(name):
            raise HeadError(HTTPStatus.BAD_REQUEST, "NAME: VALUE is expected in its head")
        key, text = name.lower(), value.strip(_BLANKS)
        fields[key] = f"{fields[key]}, {text}" if key in fields else text
    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    raise HeadError(status, f"up to {MAX_FIELDS} fields are expected in its head")


def _line(stream: BufferedIOBase, too_long: HTTPStatus) -> str | None:
    """Return one line without its end; None where the stream ends before it."""
    line = stream.readline(MAX_LINE_BYTES + 1)
    if len(line) > MAX_LINE_BYTES:
        raise HeadError(too_long, f"lines of up to {MAX_LINE_BYTES} bytes are expected")
    if not line:
        return None
    if not line.endswith(b"\n"):
        raise HeadError(HTTPStatus.BAD_REQUEST, _CUT)
    return line[:-1].removesuffix(b"\r").decode("iso-8859-1")
