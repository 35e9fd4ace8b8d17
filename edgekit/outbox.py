"""Know what was handed to the network and has not left yet. Knows no broker.

It bounds the bytes of QoS 0 messages that wait for a slow network, and lets a closing
session wait until its QoS 1 messages are acknowledged.
"""

import threading
import time
from collections.abc import Callable

MAX_WAITING_BYTES = 2**20  # at QoS 0; a dozen chunks keep any link busy
_GLANCE_S = 0.05


class Outbox:
    """Message identifiers between publication and departure (QoS 0) or answer (QoS 1).

    A message may depart before its publisher has noted it: then the departure is kept
    until the note comes. No lock is held while foreign code runs.
    """

    def __init__(self, *, max_bytes: int = MAX_WAITING_BYTES) -> None:
        self._max_bytes = max_bytes
        self._waiting: dict[int, tuple[int, int]] = {}  # mid -> qos, bytes
        self._departed_early: set[int] = set()
        self._bytes = 0
        self._session = 0
        self._changed = threading.Condition()

    @property
    def session(self) -> int:
        """A number that changes when the session is lost."""
        return self._session

    def published(self, mid: int, *, qos: int, size: int, session: int) -> None:
        """Note a message that was published while `session` was the current one."""
        with self._changed:
            if mid in self._departed_early:
                self._departed_early.discard(mid)
            elif qos or session == self._session:
                self._waiting[mid] = (qos, size)
                self._bytes += 0 if qos else size

    def departed(self, mid: int) -> None:
        """Note that a message left (QoS 0) or was acknowledged (QoS 1)."""
        with self._changed:
            if mid in self._waiting:
                self._forget(mid)
            else:
                self._departed_early.add(mid)
            if 2 * self._bytes <= self._max_bytes or not self._waiting:
                self._changed.notify_all()

    def session_lost(self) -> None:
        """Forget the QoS 0 messages that died with the session."""
        with self._changed:
            self._session += 1
            for mid in [m for m, (qos, _) in self._waiting.items() if qos == 0]:
                self._forget(mid)
            self._departed_early.clear()
            self._changed.notify_all()

    def wait_for_room(self, give_up: Callable[[], bool]) -> bool:
        """Wait until a QoS 0 message may be published; False when `give_up()` says so.

        Once it is full, until half of it has left: to be woken for each message costs more
        than the message.
        """
        with self._changed:
            if self._bytes < self._max_bytes:
                return True
            while 2 * self._bytes > self._max_bytes:
                if give_up():
                    return False
                self._changed.wait(_GLANCE_S)
            return True

    def wait_until_empty(self, timeout_s: float) -> bool:
        """Wait until everything has left; False when it has not in time."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._waiting, max(0.0, deadline - time.monotonic())
            )

    def _forget(self, mid: int) -> None:
        qos, size = self._waiting.pop(mid)
        self._bytes -= 0 if qos else size
