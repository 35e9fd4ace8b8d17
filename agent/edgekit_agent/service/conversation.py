"""One connection that speaks HTTP/1.1: requests in, answers out, one after the other.

Knows heads and deadlines; what a request means is the subclass's.
"""

import io
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from socketserver import StreamRequestHandler
from types import MappingProxyType

from edgekit import __version__
from edgekit_agent.service import connection, head
from edgekit_agent.service.head import Head, HeadError

REQUEST_S = 30.0  # for the head of a request, and again for its body
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_NONE: Mapping[str, str] = MappingProxyType({})


class Conversation(StreamRequestHandler, ABC):
    """One client; `answer` is called for each request, whose head is in `head`."""

    timeout = REQUEST_S  # for each piece of an answer to be taken
    wbufsize = -1  # head and body leave together
    head: Head

    @abstractmethod
    def answer(self) -> None:
        """Answer the request in `head`: read its body, and call `reply` once."""

    @abstractmethod
    def misunderstood(self, status: HTTPStatus, message: str) -> None:
        """Answer what is no head with `reply`, the last time on this connection."""

    @abstractmethod
    def abandoned(self, *, late: bool) -> None:
        """Notice a head that began and did not end: in time, or at all.

        Nobody waits for an answer.
        """

    def setup(self) -> None:
        """Read with a deadline for each request, not for each byte."""
        super().setup()
        self.rfile.close()
        self._raw = connection.Deadlined(self.connection)
        self.rfile = io.BufferedReader(self._raw)
        self._goes_on = True

    def handle(self) -> None:
        """Answer until the client, or an answer, ends it."""
        try:
            while self._goes_on and self._next():
                pass
        except TimeoutError:  # nobody takes the answer
            self.connection.settimeout(0)  # nor will anybody wait for it again

    def finish(self) -> None:
        """Close, with what a client did not take by now unsent."""
        with suppress(OSError):
            super().finish()

    def read(self, size: int) -> bytes:
        """Return the body, less of it where the client ends; TimeoutError in time."""
        if self.head.waits:
            self.wfile.write(_CONTINUE)
            self.wfile.flush()
        self._raw.allow(REQUEST_S)
        return self.rfile.read(size)

    def hang_up(self) -> None:
        """Let the next answer be the last."""
        self._goes_on = False

    def reply(
        self,
        status: HTTPStatus,
        body: bytes,
        *,
        kind: str,
        headers: Mapping[str, str] = _NONE,
    ) -> None:
        """Send an answer of the media type `kind`, to its last byte."""
        lines = [
            f"HTTP/1.1 {status:d} {status.phrase}",
            f"Server: edgekit-agent/{__version__}",
            f"Date: {time.strftime('%a, %d %b %Y %H:%M:%S GMT', time.gmtime())}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        if not self._goes_on:
            lines.append("Connection: close")
        elif self.head.old:
            lines.append("Connection: keep-alive")
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("iso-8859-1") + body)
        self.wfile.flush()

    def _next(self) -> bool:
        """Answer one request; False when none comes."""
        self._raw.allow(REQUEST_S)
        try:
            found = head.read(self.rfile)
        except HeadError as error:
            self._goes_on = False
            self.misunderstood(error.status, str(error))
            return True
        except OSError as error:
            if self._raw.cut_off:
                self.abandoned(late=isinstance(error, TimeoutError))
            return False
        if found is None:
            return False
        self.head = found
        self._goes_on = found.persistent
        self.answer()
        return True
