"""Sockets that programs of this device ask at: one of Unix, one of TCP on loopback.

They keep connections within bounds and end in order. What a request means is the handler's.
"""

import contextlib
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from socketserver import (
    BaseRequestHandler,
    BaseServer,
    TCPServer,
    ThreadingMixIn,
    UnixStreamServer,
)
from typing import Any, cast

from edgekit.errors import ConfigError
from edgekit.schema import Limits
from edgekit.telemetry.refusals import Reason, RefusalCounter
from edgekit_agent.service import connection
from edgekit_agent.service.shelf import Shelf

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 32
MAX_LEAVING = 32  # connections that are told to come back, at the same time
SOCKET_MODE = 0o660
LOOPBACK = "127.0.0.1"
BIND_S = 10.0  # for a predecessor to leave its port
_BIND_PAUSE_S = 0.1


class Listener(ThreadingMixIn, BaseServer):
    """A thread for each connection, so many at most; the others are told to come back.

    `refusals` counts what is refused before a model is asked, here and by the handler.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    shelf: Shelf
    limits: Limits
    refusals: RefusalCounter

    def _prepare(
        self, shelf: Shelf, refusals: RefusalCounter | None, limits: Limits | None
    ) -> None:
        self.shelf = shelf
        self.refusals = refusals or RefusalCounter()
        self.limits = limits or Limits()
        self._answering = 0
        self._counting = threading.Condition()
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._leaving = threading.BoundedSemaphore(MAX_LEAVING)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's own types
        """Start a thread, or refuse when there are enough."""
        if not self._slots.acquire(blocking=False):
            self._refuse(cast("socket.socket", request))
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the system has no thread left
            self._slots.release()
            self._say_come_back(request)
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
        self._say_come_back(request)
        if not self._leaving.acquire(blocking=False):
            self.close_request(request)
            return
        try:
            threading.Thread(target=self._see_off, args=(request,), daemon=True).start()
        except RuntimeError:
            self._leaving.release()
            self.close_request(request)

    def _say_come_back(self, request: socket.socket) -> None:
        self.refusals.add(Reason.HTTP_BUSY)
        connection.say_come_back(request)

    def _see_off(self, request: socket.socket) -> None:
        try:
            self.shutdown_request(request)
        finally:
            self._leaving.release()

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
        self.stop_accepting()
        self.await_answers(wait_s)

    def stop_accepting(self) -> None:
        """Accept no more connections."""
        self.shutdown()
        self.server_close()

    def await_answers(self, wait_s: float) -> None:
        """Return when nothing is being answered, or after that long."""
        with self._counting:
            self._counting.wait_for(lambda: not self._answering, wait_s)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - socketserver's own types
        """A client that went away is no event; anything else is a defect worth a trace."""
        failure = sys.exception()
        if not isinstance(failure, OSError):
            log.error("a request ended in a defect of the agent", exc_info=failure)


def finish(listeners: Sequence[Listener], wait_s: float) -> None:
    """Finish all of them, within one time."""
    ends_s = time.monotonic() + wait_s
    for listener in listeners:
        listener.stop_accepting()
    for listener in listeners:
        listener.await_answers(max(0.0, ends_s - time.monotonic()))


class UnixListener(Listener, UnixStreamServer):
    """Listens at a path; who may open it is a matter of the folder's rights."""

    def __init__(
        self,
        path: Path,
        handler: type[BaseRequestHandler],
        shelf: Shelf,
        *,
        refusals: RefusalCounter | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._prepare(shelf, refusals, limits)
        self._path = path
        UnixStreamServer.__init__(self, str(path), handler, bind_and_activate=False)
        self.server_bind()
        self.server_activate()

    def server_bind(self) -> None:
        """Appear at the path in one step, in place of a predecessor's socket."""
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        beside.unlink(missing_ok=True)
        self.socket.bind(str(beside))
        beside.chmod(SOCKET_MODE)
        beside.replace(self._path)


class LoopbackListener(Listener, TCPServer):
    """Listens on a port of the loopback interface: every program of the device may ask.

    Port 0 takes a free one; `server_address` tells which.
    """

    allow_reuse_address = True

    def __init__(
        self,
        port: int,
        handler: type[BaseRequestHandler],
        shelf: Shelf,
        *,
        refusals: RefusalCounter | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._prepare(shelf, refusals, limits)
        TCPServer.__init__(self, (LOOPBACK, port), handler, bind_and_activate=False)
        self._bind_soon(port)
        self.server_activate()

    def _bind_soon(self, port: int) -> None:
        """Bind, if need be when a predecessor has gone; or raise ConfigError."""
        ends_s = time.monotonic() + BIND_S
        while True:
            try:
                self.server_bind()
            except OSError as error:
                if time.monotonic() > ends_s:
                    raise ConfigError(
                        f"serving: port {port} of {LOOPBACK}: {error.strerror}; one that"
                        " is free is expected"
                    ) from error
                time.sleep(_BIND_PAUSE_S)
            else:
                return
