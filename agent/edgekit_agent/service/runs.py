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


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    """A run of the bundle `sha256` that has taken `for_s` of at most `allowed_s`."""

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
    expected_s: float
    most_s: float = 0.0  # expected of all that ran at the same time, at the worst moment
    late: bool = False


class Runs:
    """Those of one process; any thread may use it. `limit_s` is what every run may take.

    A run may take ten times longer than it and all beside it were expected to, besides: a
    queue of honest requests shares the processor, and one of many rows takes its time.
    """

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_s = limit_s
        self._clock = clock
        self._lock = threading.Lock()
        self._runs: set[_Run] = set()

    @contextmanager
    def computing(self, model: str, sha256: str, expected_s: float) -> Iterator[None]:
        """Time what the block computes, which alone should take `expected_s`."""
        began_s = self._clock()
        run = _Run(model=model, sha256=sha256, began_s=began_s, expected_s=expected_s)
        with self._lock:
            self._runs.add(run)
            together_s = sum(one.expected_s for one in self._runs)
            for one in self._runs:
                one.most_s = max(one.most_s, together_s)
        try:
            yield
        finally:
            with self._lock:
                self._runs.discard(run)

    def overdue(self) -> Overdue | None:
        """Return a run that was late the last time, too, or None.

        One look is not enough: to a process that was stopped for a while, or a machine
        that slept, everything it was doing looks late.
        """
        now_s = self._clock()
        with self._lock:
            for run in self._runs:
                allowed_s = self._limit_s + _SLACK * run.most_s
                late = now_s - run.began_s > allowed_s
                if late and run.late:
                    return Overdue(
                        model=run.model,
                        sha256=run.sha256,
                        for_s=now_s - run.began_s,
                        allowed_s=allowed_s,
                    )
                run.late = late
        return None
