"""Subscriptions that a broker refused, and when to ask again. Knows no broker, no clock."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_FIRST_S, _MOST_S = 1.0, 60.0


@dataclass(slots=True)
class Refused:
    """Filters that the broker refused, to be asked for again: a cluster may be busy.

    A broker whose access rules refuse them is asked once a minute at most.
    """

    filters: dict[str, int] = field(default_factory=dict)
    tries: int = 0
    due_s: float = 0.0

    def note(self, filters: Mapping[str, int], now_s: float) -> bool:
        """Put filters off; True when these are news."""
        fresh = not filters.keys() <= self.filters.keys()
        self.filters.update(filters)
        self.due_s = now_s + min(_MOST_S, _FIRST_S * 2.0 ** min(self.tries, 30))
        self.tries += 1
        return fresh

    def granted(self, filters: Iterable[str]) -> None:
        """Forget what is granted now, or wanted no more."""
        for topic in filters:
            self.filters.pop(topic, None)
        if not self.filters:
            self.tries = 0

    def due(self, now_s: float) -> dict[str, int]:
        """Return what is to be asked for now; it is not due again before it is noted."""
        if not self.filters or now_s < self.due_s:
            return {}
        self.due_s = now_s + _MOST_S
        return dict(self.filters)
