"""What was counted of one bundle's requests; two of them add up exactly. Pure.

docs/formats/telemetry.md is its page.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from edgekit.durations import MAX_BUCKETS, MAX_US, percentile_us
from edgekit.errors import TransportError
from edgekit.telemetry.positional import Row, pairs
from edgekit.telemetry.profile import MAX_COLUMNS, MAX_VALUES, Histogram

MAX_VIOLATED = MAX_COLUMNS + 1  # columns by name, and "" for requests as a whole
MAX_NAME_CHARS = 200
_MAX_BINS = MAX_VALUES + 2
_DIGEST_CHARS = 64

K = TypeVar("K", bound=str | int)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleCounts:
    """What became of the requests to one bundle, and how their values were distributed.

    `violations` counts refused requests by the column for which they were refused, "" where
    it was for none of them. `durations` are buckets of edgekit.durations, of answered
    requests. `inputs` and `outputs` are one histogram for each column of the bundle's
    profile, in its order; none where the bundle has no profile.
    """

    model: str
    version: str
    flavor: str
    sha256: str
    requests: int = 0
    rows: int = 0
    errors: int = 0
    violations: Mapping[str, int] = field(default_factory=dict)
    durations: Mapping[int, int] = field(default_factory=dict)
    most_us: int = 0
    inputs: tuple[Histogram, ...] = ()
    outputs: tuple[Histogram, ...] = ()

    @property
    def schema_violations(self) -> int:
        """Requests whose rows the signature refused."""
        return sum(self.violations.values())

    def percentile_us(self, share: float) -> int:
        """Return a time that this share of the answered requests did not exceed."""
        return percentile_us(self.durations, self.most_us, share)

    def plus(self, other: "BundleCounts") -> "BundleCounts":
        """Return the sum; TransportError where histograms have different bins."""
        return replace(
            self,
            requests=self.requests + other.requests,
            rows=self.rows + other.rows,
            errors=self.errors + other.errors,
            violations=_sum(self.violations, other.violations),
            durations=_sum(self.durations, other.durations),
            most_us=max(self.most_us, other.most_us),
            inputs=self._histograms(self.inputs, other.inputs),
            outputs=self._histograms(self.outputs, other.outputs),
        )

    def to_row(self) -> list[object]:
        """Return the positional JSON: equal counts give equal rows."""
        return [
            self.model,
            self.version,
            self.flavor,
            self.sha256,
            self.requests,
            self.rows,
            self.errors,
            [[name, self.violations[name]] for name in sorted(self.violations)],
            pairs(self.durations),
            self.most_us,
            [list(histogram) for histogram in self.inputs],
            [list(histogram) for histogram in self.outputs],
        ]

    @classmethod
    def from_row(cls, row: Row) -> "BundleCounts":
        """Parse, or raise TransportError."""
        digest = row.text(3, most=_DIGEST_CHARS)
        if len(digest) != _DIGEST_CHARS or set(digest) - set("0123456789abcdef"):
            row.fail(3, "a SHA-256 digest of 64 lower-case hexadecimal digits")
        return cls(
            model=row.text(0, most=MAX_NAME_CHARS),
            version=row.text(1, most=MAX_NAME_CHARS),
            flavor=row.text(2, most=MAX_NAME_CHARS),
            sha256=digest,
            requests=row.integer(4),
            rows=row.integer(5),
            errors=row.integer(6),
            violations=_violations(row),
            durations=row.row(8).counts(most=MAX_BUCKETS - 1),
            most_us=row.integer(9, most=MAX_US),
            inputs=_histograms(row, 10),
            outputs=_histograms(row, 11),
        )

    def _histograms(
        self, one: tuple[Histogram, ...], other: tuple[Histogram, ...]
    ) -> tuple[Histogram, ...]:
        if not one or not other:
            return one or other
        if list(map(len, one)) != list(map(len, other)):
            raise TransportError(
                f"telemetry: histograms of {self.model} {self.sha256[:12]} have different"
                " bins, those of its profile are expected"
            )
        return tuple(
            tuple(a + b for a, b in zip(mine, theirs, strict=True))
            for mine, theirs in zip(one, other, strict=True)
        )


def column_name(name: str) -> str:
    """Return a column's name as windows hold it: short, and printable."""
    return "".join(c if c.isprintable() else "?" for c in name)[:MAX_NAME_CHARS]


def _sum(one: Mapping[K, int], other: Mapping[K, int]) -> dict[K, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in (*one, *other)}


def _violations(row: Row) -> dict[str, int]:
    entries = row.rows(7)
    found = {e.text(0, most=MAX_NAME_CHARS): e.integer(1) for e in entries}
    if not len(entries) == len(found) <= MAX_VIOLATED:
        row.fail(7, f"up to {MAX_VIOLATED} columns, each once,")
    return found


def _histograms(row: Row, place: int) -> tuple[Histogram, ...]:
    entries = row.rows(place)
    if len(entries) > MAX_COLUMNS or _longest(entries) > _MAX_BINS:
        row.fail(place, f"up to {MAX_COLUMNS} columns of up to {_MAX_BINS} bins")
    return tuple(entry.integers() for entry in entries)


def _longest(entries: Iterable[Row]) -> int:
    return max((len(entry.items) for entry in entries), default=0)
