"""Count what a model answered, and how fast, in bounded memory. Knows no clock.

Latencies go into buckets whose width grows with the value: a percentile is at most one
eighth (12.5 %) too high, never too low. Windows of the same model can be added.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgekit.document import Reader
from edgekit.errors import TransportError

_STEPS = 8  # buckets for each doubling
MAX_US = 3_600_000_000
_PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


@dataclass(slots=True)
class Latency:
    """How long requests took, in microseconds."""

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
        wanted = share * sum(self.buckets.values())
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= wanted:
                return min(_upper_us(bucket), self.most_us)
        return 0

    def to_table(self) -> dict[str, object]:
        """Return percentiles and the maximum, as telemetry windows hold them."""
        found = {name: self.percentile_us(share) for name, share in _PERCENTILES.items()}
        return {**found, "max": self.most_us}


@dataclass(slots=True)
class Counts:
    """What happened to requests for one bundle since the window began."""

    requests: int = 0
    rows: int = 0
    errors: int = 0
    schema_violations: int = 0
    latency: Latency = field(default_factory=Latency)

    def answered(self, *, rows: int, us: int) -> None:
        """Count a request that got predictions."""
        self.requests += 1
        self.rows += rows
        self.latency.add(us)

    def refused(self) -> None:
        """Count a request whose rows the signature refused."""
        self.requests += 1
        self.schema_violations += 1

    def failed(self) -> None:
        """Count a request on which the model failed."""
        self.requests += 1
        self.errors += 1

    def to_table(self) -> dict[str, object]:
        """Return the JSON object."""
        return {
            "requests": self.requests,
            "rows": self.rows,
            "errors": self.errors,
            "schema_violations": self.schema_violations,
            "latency_us": self.latency.to_table(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What a device did between two moments (UTC), to be sent once.

    Windows are told apart by boot id and sequence number, so a repeated one does not
    count twice.
    """

    device: str
    boot_id: str
    seq: int
    start: str
    end: str
    supervisor_rss_bytes: int
    worker_rss_bytes: int
    models: tuple[Mapping[str, object], ...]

    def to_table(self) -> dict[str, object]:
        """Return the JSON object."""
        return {
            "format": 1,
            "device": self.device,
            "boot_id": self.boot_id,
            "seq": self.seq,
            "start": self.start,
            "end": self.end,
            "supervisor_rss_bytes": self.supervisor_rss_bytes,
            "worker_rss_bytes": self.worker_rss_bytes,
            "models": [dict(model) for model in self.models],
        }


def checked(table: Mapping[str, object]) -> dict[str, object]:
    """Return one model's counts as a worker told them, or raise TransportError."""
    reader = Reader(table=table, subject="worker: stats", error=TransportError)
    latency = reader.child("latency_us")
    return {
        **{key: reader.text(key) for key in ("model", "version", "flavor", "sha256")},
        **{
            key: reader.integer(key)
            for key in ("requests", "rows", "errors", "schema_violations")
        },
        "latency_us": {key: latency.integer(key) for key in (*_PERCENTILES, "max")},
    }


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
