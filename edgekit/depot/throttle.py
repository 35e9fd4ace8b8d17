"""Keep a sender below a number of bytes a second. Knows no clock: time is an argument."""

BURST_S = 0.25


class Throttle:
    """A bucket that fills at `bytes_per_s` and holds a quarter of a second's worth.

    A sending may overdraw it, and is paid back before the next.
    """

    def __init__(self, bytes_per_s: float | None) -> None:
        self._bytes_per_s = bytes_per_s
        self._saved = 0.0
        self._at: float | None = None

    def wait_s(self, now: float) -> float:
        """Return how long to wait before the next sending."""
        if self._bytes_per_s is None:
            return 0.0
        passed_s = 0.0 if self._at is None else now - self._at
        most = BURST_S * self._bytes_per_s
        self._saved = min(most, self._saved + passed_s * self._bytes_per_s)
        self._at = now
        return max(0.0, -self._saved / self._bytes_per_s)

    def spend(self, count: int) -> None:
        """Note that `count` bytes were sent."""
        if self._bytes_per_s is not None:
            self._saved -= count
