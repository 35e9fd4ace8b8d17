"""Tell devices which of their telemetry windows are kept, some at a time.

One that does not arrive costs a repetition: the device sends those windows again.
"""

import logging
from collections import defaultdict

from edgekit.errors import TransportError
from edgekit.telemetry.taken import Range, messages
from edgekit.telemetry.window import Window
from edgekit.transport import Transport
from edgekit.wire import Topics

log = logging.getLogger(__name__)

PATIENCE_S = 1.0


class Acknowledgements:
    """What was kept and not yet told. Used by one thread."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], set[Range]] = defaultdict(set)
        self._due_s: float | None = None

    def note(self, window: Window, now_s: float) -> None:
        """Remember a window that is kept, new or known before."""
        self._kept[window.device, window.boot_id].add((window.first, window.last))
        if self._due_s is None:
            self._due_s = now_s + PATIENCE_S

    def due(self, now_s: float) -> bool:
        """Whether something has waited for long enough."""
        return self._due_s is not None and now_s >= self._due_s

    def send(self, transport: Transport, topics: Topics) -> None:
        """Tell all of it."""
        kept, self._kept, self._due_s = self._kept, defaultdict(set), None
        for (device, boot_id), windows in kept.items():
            for message in messages(boot_id, windows):
                try:
                    transport.publish(topics.taken(device), message.encode(), qos=1)
                except TransportError as error:
                    log.warning("taken: not told to %s: %s", device, error)
                    return
