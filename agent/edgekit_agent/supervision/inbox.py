"""What waits for the loop: news of children, arrivals from the broker, the wish to end.

Other threads only put; one takes. Knows what the relay takes for itself, no meaning.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from edgekit.transport import Arrival, Message, Transport
from edgekit_agent.supervision.child import Ended, News, Said

_MAX_ARRIVALS = 64  # that wait here; the transport's own queue is behind it
_RECEIVE_S = 1.0


@dataclass(frozen=True, slots=True)
class Stop:
    """Somebody asked for an orderly end."""


Item = Arrival | News | Stop


class Inbox:
    """Children put into `news`; begin() brings arrivals, a bounded number ahead."""

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._arrivals = threading.BoundedSemaphore(_MAX_ARRIVALS)
        self._over = threading.Event()
        self.news: queue.SimpleQueue[News] = self._items  # type: ignore[assignment]  # it takes more

    def begin(self, transport: Transport, relayed: Callable[[Message], bool]) -> None:
        """Bring what arrives, but for messages that `relayed` takes."""
        pump = threading.Thread(
            target=self._pump, args=(transport, relayed), name="transport", daemon=True
        )
        pump.start()

    def stop(self) -> None:
        """Ask for an orderly end; any thread, or a signal handler, may."""
        self._items.put(Stop())

    def close(self) -> None:
        """Bring no more arrivals."""
        self._over.set()

    def get(self, timeout_s: float) -> Item | None:
        """Return the next item, None where none comes in time."""
        try:
            item = self._items.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if not isinstance(item, Said | Ended | Stop):
            self._arrivals.release()
        return item

    def _pump(self, transport: Transport, relayed: Callable[[Message], bool]) -> None:
        while not self._over.is_set():
            arrival = transport.receive(_RECEIVE_S)
            if arrival is None or (isinstance(arrival, Message) and relayed(arrival)):
                continue
            self._arrivals.acquire()
            self._items.put(arrival)
