"""What models compute at this moment, and which run of one never ends. Knows no models.

onnxruntime cannot be told to stop, and goes on answering others while one run hangs. So
runs are timed; whoever finds one overdue ends the process
(docs/adr/0038-a-run-that-never-ends-ends-the-worker.md).
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_SLACK = 10.0  # times slower than alone, where a hot board throttles or others compute
_CONFIRM_S = 5.0  # between two looks that find a run late; pings come every 10 s


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    """A run of the bundle `sha256` that has taken `for_s` of at most `allowed_s`.

    Both are of its share of the time where that was found too long, else by the clock.
    """

    model: str
    sha256: str
    for_s: float
    allowed_s: float

    @property
    def reason(self) -> str:
        """What to tell people."""
        return (
            f"{self.model}: a request has been computed for {self.for_s:.0f} s, up to"
            f" {self.allowed_s:.0f} s are expected"
        )


@dataclass(slots=True, eq=False)
class _Run:
    model: str
    sha256: str
    began_s: float
    began_share_s: float
    expected_s: float
    most_s: float = 0.0  # expected of all that ran at the same time, at the worst moment
    late_since_s: float | None = None  # the first look that found it so


class Runs:
    """Those of one process; any thread may use it. `limit_s` is what every run may take.

    A run may take ten times longer than it and all beside it were expected to, besides: a
    queue of honest requests shares the processor, and one of many rows takes its time. Nor
    may its share of the time, each moment divided by how many ran, be ten times longer
    than it was expected to take alone: what a crowd excuses ends when the crowd has gone.
    """

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_s = limit_s
        self._clock = clock
        self._lock = threading.Lock()
        self._runs: set[_Run] = set()
        self._share_s = 0.0  # of a run that had been there from the first, at `_at_s`
        self._at_s = clock()

    @contextmanager
    def computing(self, model: str, sha256: str, expected_s: float) -> Iterator[None]:
        """Time what the block computes, which alone should take `expected_s`."""
        with self._lock:
            now_s = self._pass()
            run = _Run(
                model=model,
                sha256=sha256,
                began_s=now_s,
                began_share_s=self._share_s,
                expected_s=expected_s,
            )
            self._runs.add(run)
            together_s = sum(one.expected_s for one in self._runs)
            for one in self._runs:
                one.most_s = max(one.most_s, together_s)
        try:
            yield
        finally:
            with self._lock:
                self._pass()
                self._runs.discard(run)

    def overdue(self) -> Overdue | None:
        """Return a run that was late some seconds ago, too, or None.

        One look is not enough, and neither are two at once: to a process that was stopped
        for a while, or a machine that slept, everything it was doing looks late, and the
        pings that waited are answered one after the other.
        """
        with self._lock:
            now_s = self._pass()
            for run in self._runs:
                found = self._late(run, now_s)
                if found is None:
                    run.late_since_s = None
                elif run.late_since_s is None:
                    run.late_since_s = now_s
                elif now_s - run.late_since_s >= _CONFIRM_S:
                    return found
        return None

    def _pass(self) -> float:
        """Let the time since the last call pass, and return what it is now."""
        now_s = self._clock()
        self._share_s += (now_s - self._at_s) / max(1, len(self._runs))
        self._at_s = now_s
        return now_s

    def _late(self, run: _Run, now_s: float) -> Overdue | None:
        """Return a run that took too long by the clock, or of its share of it."""
        found = (
            (now_s - run.began_s, run.most_s),
            (self._share_s - run.began_share_s, run.expected_s),
        )
        for for_s, expected_s in found:
            allowed_s = self._limit_s + _SLACK * expected_s
            if for_s > allowed_s:
                return Overdue(
                    model=run.model, sha256=run.sha256, for_s=for_s, allowed_s=allowed_s
                )
        return None
