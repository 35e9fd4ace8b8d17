"""Tell devices what became of their telemetry windows, some at a time.

One that does not arrive costs a repetition: the device sends those windows again.
"""

import logging
from collections import defaultdict
from dataclasses import dataclass, field

from edgekit.errors import TransportError
from edgekit.fleet.heard import Heard
from edgekit.telemetry.taken import Range, Taken, messages, unreadable
from edgekit.transport import Transport
from edgekit.wire import Topics

log = logging.getLogger(__name__)

PATIENCE_S = 1.0


@dataclass(slots=True)
class _Answer:
    """What one device is to be told."""

    taken: dict[str, set[Range]] = field(default_factory=lambda: defaultdict(set))
    unread: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)

    def messages(self) -> list[Taken]:
        by_life = (messages(boot_id, ranges) for boot_id, ranges in self.taken.items())
        told = [one for of_life in by_life for one in of_life]
        return [*told, *unreadable(self.unread, self.refused)]


class Acknowledgements:
    """What was heard and not yet answered. Used by one thread."""

    def __init__(self) -> None:
        self._answers: dict[str, _Answer] = defaultdict(_Answer)
        self._due_s: float | None = None

    def note(self, heard: Heard, now_s: float) -> None:
        """Remember a window that is kept, new or known before, or refused for ever."""
        answer = self._answers[heard.device]
        match heard:
            case Heard(window=window, kept=True) if window is not None:
                answer.taken[window.boot_id].add((window.first, window.last))
            case Heard(kept=True):
                answer.unread.add(heard.sha256)
            case Heard(refused=reason) if reason:
                answer.refused[heard.sha256] = reason
            case _:
                return
        if self._due_s is None:
            self._due_s = now_s + PATIENCE_S

    def due(self, now_s: float) -> bool:
        """Whether something has waited for long enough."""
        return self._due_s is not None and now_s >= self._due_s

    def send(self, transport: Transport, topics: Topics) -> None:
        """Tell all of it."""
        answers, self._answers, self._due_s = self._answers, defaultdict(_Answer), None
        for device, answer in answers.items():
            for message in answer.messages():
                try:
                    transport.publish(topics.taken(device), message.encode(), qos=1)
                except TransportError as error:
                    log.warning("taken: not told to %s: %s", device, error)
                    return
