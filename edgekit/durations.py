"""How long requests took, in bounded memory: buckets that can be added. Knows no clock.

The width of a bucket grows with the value: a percentile is at most one eighth (12.5 %)
too high, never too low.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

_STEPS = 8  # buckets for each doubling
MAX_US = 3_600_000_000
MAX_BUCKETS = 256  # a bucket's number is below


@dataclass(slots=True)
class Durations:
    """Requests by bucket, in microseconds, and the longest."""

    buckets: dict[int, int] = field(default_factory=dict)
    most_us: int = 0

    def add(self, us: int) -> None:
        """Count one request."""
        us = min(max(us, 0), MAX_US)
        bucket = _bucket(us)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.most_us = max(self.most_us, us)

    def percentile_us(self, share: float) -> int:
        """Return a value that this share of the requests did not exceed, 0 for none."""
        return percentile_us(self.buckets, self.most_us, share)


def percentile_us(buckets: Mapping[int, int], most_us: int, share: float) -> int:
    """Return a value that this share of the counted did not exceed, 0 for none."""
    wanted = share * sum(buckets.values())
    seen = 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen >= wanted:
            return min(_upper_us(bucket), most_us)
    return 0


def _bucket(us: int) -> int:
    """Number the buckets: exact below 8 us, then 8 to each doubling."""
    if us < _STEPS:
        return us
    shift = us.bit_length() - _STEPS.bit_length()
    return (shift + 1) * _STEPS + (us >> shift) - _STEPS


def _upper_us(bucket: int) -> int:
    if bucket < _STEPS:
        return bucket
    shift, step = divmod(bucket, _STEPS)
    return ((step + _STEPS + 1) << (shift - 1)) - 1
