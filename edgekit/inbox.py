"""Bound what has arrived and waits to be received. Knows no broker.

A device with 256 MB must not be filled by a publisher: QoS 1 messages beyond the bounds
make their bringer wait, which the broker feels as back-pressure. QoS 0 messages are
dropped, as any broker would, unless `patience_s` lets them wait, too: while the receiver
takes something at least so often. Whoever fetches is a little late then, and loses nothing.
"""

import threading
import time
from collections import deque

from edgekit.transport import Arrival, Message

MAX_MESSAGES = 1000
MAX_BYTES = 8 * 2**20


class Inbox:
    """A queue of arrivals between the thread that brings and the one that receives."""

    def __init__(
        self,
        *,
        max_messages: int = MAX_MESSAGES,
        max_bytes: int = MAX_BYTES,
        patience_s: float = 0.0,
    ) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._patience_s = patience_s
        self._waiting: deque[Arrival] = deque()
        self._bytes = 0
        self._closed = False
        self._blocked = 0
        self._untouched_since_s = 0.0
        self._changed = threading.Condition()
        self.dropped = 0

    @property
    def blocked(self) -> bool:
        """Whether a message waits for room."""
        return self._blocked > 0

    def offer(self, message: Message, *, qos: int) -> bool:
        """Take a message in; False when it was dropped (full at QoS 0, or closed)."""
        with self._changed:
            self._blocked += 1
            has_room = self._await_room(message, patient=qos > 0)
            self._blocked -= 1
            if self._closed:
                return False
            if not has_room:
                self.dropped += 1
                return False
            self._bytes += len(message.payload)
            self._append(message)
            return True

    def tell(self, arrival: Arrival) -> None:
        """Take in news of the session, which are few and never dropped."""
        with self._changed:
            self._append(arrival)

    def take(self, timeout_s: float) -> Arrival | None:
        """Return the next arrival, or None when none comes within `timeout_s` seconds."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not self._waiting:
                left = deadline - time.monotonic()
                if left <= 0 or self._closed:
                    return None
                self._changed.wait(left)
            arrival = self._waiting.popleft()
            self._untouched_since_s = time.monotonic()
            if isinstance(arrival, Message):
                self._bytes -= len(arrival.payload)
            self._changed.notify_all()
            return arrival

    def close(self) -> None:
        """Let nobody wait any longer, and take nothing in."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _await_room(self, message: Message, *, patient: bool) -> bool:
        while not (self._closed or self._has_room(message)):
            left_s = self._untouched_since_s + self._patience_s - time.monotonic()
            if not patient and left_s <= 0:
                return False
            self._changed.wait(None if patient else left_s)
        return True

    def _has_room(self, message: Message) -> bool:
        if not self._waiting:
            return True
        return (
            len(self._waiting) < self._max_messages
            and self._bytes + len(message.payload) <= self._max_bytes
        )

    def _append(self, arrival: Arrival) -> None:
        if not self._waiting:
            self._untouched_since_s = time.monotonic()
        self._waiting.append(arrival)
        self._changed.notify_all()
