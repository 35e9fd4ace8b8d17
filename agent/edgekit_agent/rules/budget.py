"""How many bytes telemetry may still take. Pure: time is an argument, in seconds.

A bucket that fills all day: a quarter of a day's bytes fit into it, three quarters flow in
over a day, so that no 24 hours see more than the day's bytes, and one window. A fresh one
holds a sixteenth of what fits, or an agent that is restarted often would send too much, and
one that just started nothing.
"""

from dataclasses import dataclass, replace

_DAY_S = 86_400.0
_HELD = 1 / 4
_FIRST = 1 / 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What is left at a moment; less than nothing after a window longer than that."""

    bytes_a_day: int
    left: float
    at_s: float

    @classmethod
    def begin(cls, bytes_a_day: int, now_s: float) -> "Budget":
        """Return what a process that starts may send."""
        left = bytes_a_day * _HELD * _FIRST
        return cls(bytes_a_day=bytes_a_day, left=left, at_s=now_s)

    def at(self, now_s: float) -> "Budget":
        """Return it with what has flowed in until now."""
        held = self.bytes_a_day * _HELD
        flowed = self.bytes_a_day * (1 - _HELD) * max(0.0, now_s - self.at_s) / _DAY_S
        return replace(self, left=min(held, self.left + flowed), at_s=now_s)

    def affords(self, size: int) -> bool:
        """Whether so many bytes may be sent; what never fits goes when it is full."""
        return self.left >= min(size, self.bytes_a_day * _HELD)

    def spend(self, size: int) -> "Budget":
        """Return it with so many bytes less."""
        return replace(self, left=self.left - size)
