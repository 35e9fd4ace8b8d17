"""How long a search may take, and whether the user has stopped it. Knows no model.

What a search returns depends on the time only if the time ran out, which is remembered.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STOPPING = "stopping: the candidates so far are kept (once more ends without them)"


class Budget:
    """The seconds that all builders of one conversion share."""

    def __init__(
        self, seconds: float, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.seconds = seconds
        self.stopped = False
        self._now = now
        self._until = now() + seconds

    def stop(self) -> None:
        """Let every search end as soon as it asks."""
        self.stopped = True

    def left_s(self) -> float:
        """Return how many seconds are left, 0 when none are or the user stopped it."""
        return 0.0 if self.stopped else max(0.0, self._until - self._now())

    def spent(self) -> bool:
        """Whether nothing more is to be begun."""
        return self.left_s() == 0

    def share(self, parts: int) -> "Share":
        """Return one of `parts` equal shares of what is left, beginning now."""
        return Share(self, self.left_s() / parts)

    @property
    def why(self) -> str:
        """Say why it is spent."""
        if self.stopped:
            return "the search was stopped"
        return f"the {self.seconds:g} s of the search were used up"


class Share:
    """What one builder may take of a budget."""

    def __init__(self, budget: Budget, seconds: float) -> None:
        self._budget = budget
        self._least_left_s = budget.left_s() - seconds
        self.ran_out = False

    def spent(self) -> bool:
        """Whether the builder has to end; a yes is remembered as `ran_out`."""
        if self._budget.spent() or self._budget.left_s() <= self._least_left_s:
            self.ran_out = True
        return self.ran_out


@contextmanager
def stopped_by_interrupt(budget: Budget, progress: Callable[[str], None]) -> Iterator[None]:
    """Let the first Ctrl-C stop the budget; the second does what it did before.

    Does nothing outside the main thread, which alone hears signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        budget.stop()
        with suppress(RuntimeError):  # the interrupted line was a message itself
            progress(STOPPING)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
