"""Requests for predictions that come over the broker, passed on to the worker's socket.

Knows neither models nor schemas: what the worker answers over HTTP is what is published.
One request is under way at a time and few wait; who asks beyond that is told to come back.
Nothing here holds up the supervisor's loop, whose messages share the connection.
"""

import json
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from edgekit.errors import TransportError
from edgekit.telemetry.refusals import Reason, RefusalCounter
from edgekit.transport import Message, Transport
from edgekit.wire import MAX_PAYLOAD_BYTES, Asked, Topics
from edgekit_agent import client

log = logging.getLogger(__name__)

FORMAT = 1
MAX_WAITING = 16
STALE_S = 10.0  # who asked so long ago has given up
_ROOM_BYTES = 2048  # of an answer, for everything but its body
_BUSY = "too many requests wait here; ask again in a second"
_COME_BACK = (HTTPStatus.SERVICE_UNAVAILABLE, "REQUEST_LIMIT_EXCEEDED")
_REFUSED = {
    Reason.ASK_BUSY: _COME_BACK,
    Reason.ASK_LATE: _COME_BACK,
    Reason.ASK_UNANSWERED: _COME_BACK,
    Reason.ASK_SIZE: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "BAD_REQUEST"),
}
_LATE = f"the request waited {STALE_S:g} s for its turn; ask again"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    asked: Asked
    body: bytes
    since_s: float


class Relay:
    """Answers what is asked under one device's topic. Offer from one thread."""

    def __init__(  # noqa: PLR0913 - what it stands between
        self,
        topics: Topics,
        device: str,
        *,
        transport: Transport,
        socket: Path,
        refusals: RefusalCounter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topics = topics
        self._device = device
        self._transport = transport
        self._socket = socket
        self._refusals = refusals
        self._clock = clock
        self._waiting: queue.Queue[_Waiting] = queue.Queue(MAX_WAITING)

    def start(self) -> None:
        """Ask for requests, at QoS 0: a flood of them is dropped, not piled up."""
        self._transport.subscribe(self._topics.asks(self._device), qos=0)
        threading.Thread(target=self._run, name="relay", daemon=True).start()

    def offer(self, message: Message) -> bool:
        """Take a message if it is a request; True if it was one."""
        asked = self._topics.asked(self._device, message.topic)
        if asked is None:
            return False
        if message.retained:
            self._refusals.add(Reason.ASK_RETAINED)
            log.warning("%s: retained, a request is not; ignored", message.topic)
            return True
        try:
            self._waiting.put_nowait(
                _Waiting(asked=asked, body=message.payload, since_s=self._clock())
            )
        except queue.Full:
            self._say(asked, self._refusal(Reason.ASK_BUSY, _BUSY))
        return True

    def _run(self) -> None:
        while True:
            one = self._waiting.get()
            if self._clock() - one.since_s > STALE_S:
                self._say(one.asked, self._refusal(Reason.ASK_LATE, _LATE))
                continue
            self._say(one.asked, self._answer(one))

    def _answer(self, one: _Waiting) -> bytes:
        try:
            reply = client.invoke(self._socket, one.asked.model, one.body)
        except TransportError as error:
            return self._refusal(Reason.ASK_UNANSWERED, str(error))
        if len(reply.body) > MAX_PAYLOAD_BYTES - _ROOM_BYTES:
            return self._refusal(
                Reason.ASK_SIZE,
                f"the answer has {len(reply.body)} bytes, up to"
                f" {MAX_PAYLOAD_BYTES - _ROOM_BYTES} go in a message; ask for fewer rows",
            )
        return _envelope(
            reply.status,
            reply.body,
            version=reply.version,
            flavor=reply.flavor,
            sha256=reply.sha256,
        )

    def _refusal(self, reason: Reason, message: str) -> bytes:
        """Count a request that gets no answer of the worker's, and return what it gets."""
        self._refusals.add(reason)
        status, code = _REFUSED[reason]
        body = json.dumps({"error_code": code, "message": message}).encode()
        return _envelope(status, body, version="", flavor="", sha256="")

    def _say(self, asked: Asked, payload: bytes) -> None:
        topic = self._topics.answer(self._device, asked.correlation)
        try:
            self._transport.publish(topic, payload, qos=0)
        except TransportError as error:
            log.debug("an answer is not published: %s", error)


def _envelope(status: int, body: bytes, **identity: str) -> bytes:
    """Wrap a body that is JSON already, NaN included, without reading it."""
    head = json.dumps({"format": FORMAT, "status": int(status), **identity})
    return head[:-1].encode() + b', "body": ' + body + b"}"
