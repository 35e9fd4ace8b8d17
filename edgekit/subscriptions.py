"""The topics a session wants: asked for, answered, asked for again. Knows no broker."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from edgekit.refused import Refused

MAX_FILTERS_A_REQUEST = 8  # AWS IoT Core refuses a SUBSCRIBE with more

Ask = Callable[[list[tuple[str, int]]], int | None]
"""Sends filters and qualities; returns the message's number, None when it cannot."""


class Subscriptions:
    """Filters with their quality of service. Any thread may call any method."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._wanted: dict[str, int] = {}
        self._asked: dict[int, dict[str, int]] = {}  # by message number, not answered yet
        self._refused = Refused()
        self._lock = threading.Lock()

    def want(self, filters: Mapping[str, int]) -> None:
        """Have filters asked for in every session from now on."""
        with self._lock:
            self._wanted.update(filters)

    def forget(self, filters: Iterable[str]) -> None:
        """Ask for filters no more."""
        with self._lock:
            for topic in filters:
                self._wanted.pop(topic, None)
            self._refused.granted(filters)

    def session_began(self) -> None:
        """Ask for all that is wanted: a new session has none of it."""
        with self._lock:
            self._asked.clear()
            self._refused = Refused()
            wanted = dict(self._wanted)
        self.ask_for(wanted)

    def ask_for(self, filters: Mapping[str, int]) -> None:
        """Ask for filters in this session, now."""
        wanted = list(filters.items())
        for at in range(0, len(wanted), MAX_FILTERS_A_REQUEST):
            part = wanted[at : at + MAX_FILTERS_A_REQUEST]
            with self._lock:  # its answer may be here before this returns
                number = self._ask(part)
                if number is not None:
                    self._asked[number] = dict(part)

    def ask_again(self, now: float) -> None:
        """Ask for what was refused, when it is time."""
        with self._lock:
            wanted = self._refused.due(now)
        self.ask_for(wanted)

    def answered(self, number: int, granted: Sequence[bool], now: float) -> int:
        """Take a message's answer in, filter by filter; return how many refusals are news.

        When one is, so are all of that answer.
        """
        with self._lock:
            asked = self._asked.pop(number, {})
            answers = zip(asked.items(), granted, strict=False)
            refused = {topic: qos for (topic, qos), fine in answers if not fine}
            self._refused.granted(asked.keys() - refused.keys())
            fresh = bool(refused) and self._refused.note(refused, now)
        return len(refused) if fresh else 0
