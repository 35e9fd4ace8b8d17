"""Decide when the worker is started, asked whether it lives, and killed.

Pure: (watch, now) to (watch, order). Knows no process.
"""

from dataclasses import dataclass, replace
from enum import StrEnum


class Condition(StrEnum):
    """What is known of the worker."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"


class Order(StrEnum):
    """What to do with it."""

    START = "start"
    PING = "ping"
    KILL = "kill"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the worker may be silent, and take for one load.

    It answers pings while it loads: onnxruntime lets other threads run. Time in which
    nobody looked for more than half of `silent_s` does not count: the agent was stopped, or
    the machine, and the worker most likely with it. After its first death it is started
    again at once, then after ever longer delays, until one has lived for `calm_s`.
    """

    start_s: float = 120.0
    ping_s: float = 10.0
    silent_s: float = 30.0
    load_s: float = 300.0
    again_s: float = 1.0
    again_most_s: float = 60.0
    calm_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """One worker after another, over time (seconds that never jump)."""

    condition: Condition = Condition.DOWN
    since_s: float = 0.0  # of the condition; when DOWN, not started again before
    heard_s: float = 0.0
    asked_s: float = 0.0
    loading: int = 0
    loading_since_s: float = 0.0
    deaths: int = 0  # in a row
    looked_s: float = 0.0

    @classmethod
    def after(cls, deaths: int, now_s: float, patience: Patience) -> "Watch":
        """Return the watch where so many workers in a row took the agent with them."""
        return cls(deaths=deaths - 1).died(now_s, patience) if deaths else cls()

    def hurried(self, now_s: float) -> "Watch":
        """Start the next worker now: it will load something else than the one that died."""
        return replace(self, since_s=now_s) if self.condition is Condition.DOWN else self

    def calm(self, now_s: float, patience: Patience) -> bool:
        """Whether the worker has been up for so long that its next death is a first one."""
        return self.condition is Condition.UP and now_s - self.since_s >= patience.calm_s

    def answering(self, now_s: float, patience: Patience) -> bool:
        """Whether the worker, once up, answered one of the last two pings."""
        up = self.condition is Condition.UP
        return not up or now_s - self.heard_s <= 2 * patience.ping_s

    def due(self, now_s: float, patience: Patience) -> tuple["Watch", Order | None]:
        """Return what to do now, if anything."""
        now = replace(self._excused(now_s, patience), looked_s=now_s)
        match now.condition:
            case Condition.DOWN if now_s >= now.since_s:
                started = replace(now, condition=Condition.STARTING, since_s=now_s)
                return started, Order.START
            case Condition.STARTING if now_s - now.since_s > patience.start_s:
                return now, Order.KILL
            case Condition.UP:
                return _alive(now, now_s, patience)
            case _:
                return now, None

    def ready(self, now_s: float) -> "Watch":
        """Note that it said it is ready."""
        return replace(
            self, condition=Condition.UP, since_s=now_s, heard_s=now_s, asked_s=now_s
        )

    def heard(self, now_s: float) -> "Watch":
        """Note a sign of life."""
        return replace(self, heard_s=now_s)

    def load_asked(self, now_s: float) -> "Watch":
        """Note that it was told to load a model, after what it loads already."""
        since_s = self.loading_since_s if self.loading else now_s
        return replace(self, loading=self.loading + 1, loading_since_s=since_s)

    def load_ended(self, now_s: float) -> "Watch":
        """Note that it has loaded a model, or could not; the next load begins."""
        return replace(self, loading=max(0, self.loading - 1), loading_since_s=now_s)

    def died(self, now_s: float, patience: Patience) -> "Watch":
        """Note its end, and plan the next start."""
        deaths = 0 if self.calm(now_s, patience) else self.deaths
        delay_s = patience.again_s * 2.0 ** min(deaths - 1, 30) if deaths else 0.0
        delay_s = min(delay_s, patience.again_most_s)
        return Watch(since_s=now_s + delay_s, deaths=deaths + 1)

    def _excused(self, now_s: float, patience: Patience) -> "Watch":
        """Return the watch with all that runs out moved by the time nobody looked."""
        gap_s = now_s - self.looked_s
        if gap_s <= patience.silent_s / 2:
            return self
        starting = self.condition is Condition.STARTING
        return replace(
            self,
            since_s=min(now_s, self.since_s + gap_s) if starting else self.since_s,
            heard_s=min(now_s, self.heard_s + gap_s),
            loading_since_s=min(now_s, self.loading_since_s + gap_s),
        )


def _alive(watch: Watch, now_s: float, patience: Patience) -> tuple[Watch, Order | None]:
    stuck = watch.loading and now_s - watch.loading_since_s > patience.load_s
    if stuck or now_s - watch.heard_s > patience.silent_s:
        return watch, Order.KILL
    if now_s - watch.asked_s >= patience.ping_s:
        return replace(watch, asked_s=now_s), Order.PING
    return watch, None
