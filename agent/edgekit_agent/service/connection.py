"""The manners of one connection: its deadline, its end, and being told to come back.

Knows sockets and the one answer that is given before a request is read; no models.
"""

import contextlib
import io
import logging
import socket
import time
from typing import Any

log = logging.getLogger(__name__)

LINGER_S = 2.0  # for a client to take its answer, and to stop sending
LINGER_BYTES = 256 * 1024 * 1024
_BLOCK_BYTES = 64 * 1024
_BODY = b'{"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "too many connections"}'
_COME_BACK = (
    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    f"Content-Type: application/json\r\nContent-Length: {len(_BODY)}\r\n\r\n"
).encode() + _BODY


class Deadlined(io.RawIOBase):
    """Reads from a connection until a deadline, however slowly the bytes drip in.

    `cut_off` tells whether a deadline passed, or the connection broke, after the first byte
    that it was for.
    """

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection
        self._deadline_s = 0.0
        self._begun = False
        self.cut_off = False

    def allow(self, time_s: float) -> None:
        """Begin anew: `time_s` from now on."""
        self._deadline_s = time.monotonic() + time_s
        self._begun = False

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - io's own type
        """Read what there is; TimeoutError when the deadline passes first."""
        try:
            got = self._receive(buffer)
        except OSError:
            self.cut_off = self._begun
            raise
        self._begun = True
        return got

    def _receive(self, buffer: Any) -> int:  # noqa: ANN401 - io's own type
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the request took too long")
        usual_s = self._connection.gettimeout()
        self._connection.settimeout(left_s)
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(usual_s)


def say_come_back(connection: socket.socket) -> None:
    """Answer 503 without waiting; a fresh socket has room for it."""
    connection.settimeout(0)
    try:
        connection.sendall(_COME_BACK)
    except OSError:
        log.debug("a refused connection was already gone")


def linger(connection: socket.socket) -> None:
    """Send nothing more, and read what still comes until it ends, or for too long.

    A socket closed with unread bytes in it breaks the pipe of a client that is still
    sending, and many a client never looks at the answer then.
    """
    deadline_s = time.monotonic() + LINGER_S
    left_bytes = LINGER_BYTES
    with contextlib.suppress(OSError):  # the client is gone, or takes too long
        connection.shutdown(socket.SHUT_WR)
        while left_bytes > 0 and (left_s := deadline_s - time.monotonic()) > 0:
            connection.settimeout(left_s)
            got = connection.recv(_BLOCK_BYTES)
            if not got:
                return
            left_bytes -= len(got)
