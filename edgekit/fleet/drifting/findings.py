"""Whether what devices see differs from a model's reference profile, column by column.

Pure: adds up the histograms of windows and judges them by
edgekit.telemetry.drift. A column's counts over devices and days are exact sums; nothing
is weighted or estimated.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from edgekit.telemetry.counts import BundleCounts, column_name
from edgekit.telemetry.drift import SHIFT_PSI, Drift, Level, Shift, compare, shift
from edgekit.telemetry.profile import Column, Histogram, NumberColumn, Profile

INPUT, OUTPUT = "input", "output"
MOST_OUTLIERS = 20  # of a column
_SEVERITY = (Level.DRIFT, Level.SHIFT, Level.UNKNOWN, Level.STABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one device counted of one bundle in a window that ended on `day` (UTC)."""

    device: str
    day: str
    counts: BundleCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """How a column differed on one day."""

    day: str
    psi: float
    noise: float
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlier:
    """A device whose values differ from those of all the others together."""

    device: str
    column: str
    psi: float
    noise: float
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnFinding:
    """One column of inputs or outputs, now and in the reference.

    `seen` are its counts now, in the bins of `column`. `needed_rows` is about how many rows
    would tell a shift from chance, None where they do, or where the reference itself has
    too few. `violations` are requests that were refused for this column. `shift` is None
    for categories.
    """

    side: str
    column: Column
    seen: Histogram
    drift: Drift
    shift: Shift | None
    violations: int
    needed_rows: int | None
    days: tuple[Day, ...]

    @property
    def name(self) -> str:
        """The column's name."""
        return self.column.name

    @property
    def missing(self) -> tuple[float, float]:
        """The share of missing values in the reference and now."""
        return _share(self.column.histogram), _share(self.seen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All columns, the worst first; `outliers` likewise.

    `rows` were answered; of `uncounted` of them devices sent no histograms, for want of
    bytes. `refused` requests were refused for no column in particular.
    """

    reference: Profile
    devices: tuple[str, ...]
    rows: int
    uncounted: int
    requests: int
    errors: int
    refused: int
    columns: tuple[ColumnFinding, ...]
    outliers: tuple[Outlier, ...]

    @property
    def level(self) -> Level:
        """The worst of all columns; UNKNOWN without any."""
        return self.columns[0].drift.level if self.columns else Level.UNKNOWN

    def at(self, level: Level) -> tuple[ColumnFinding, ...]:
        """Return the columns of one level."""
        return tuple(one for one in self.columns if one.drift.level is level)


def find(profile: Profile, seen: Iterable[Seen]) -> Findings:
    """Compare what was seen with a profile.

    Counts in other bins than the profile's are rows without histograms: they were made
    with another profile.
    """
    told = list(seen)
    sums = _Sums(profile, told)
    sides = ((INPUT, profile.inputs), (OUTPUT, profile.outputs))
    found = [
        _finding(side, column, sums.of(side, at))
        for side, columns in sides
        for at, column in enumerate(columns)
    ]
    violations = _violations(told)
    known = {_signature_name(one.name) for one in found if one.side == INPUT}
    columns = [_with_violations(one, violations) for one in found]
    return Findings(
        reference=profile,
        devices=tuple(sorted({one.device for one in told})),
        rows=sum(one.counts.rows for one in told),
        uncounted=sum(one.counts.rows for one in told if not sums.counted(one.counts)),
        requests=sum(one.counts.requests for one in told),
        errors=sum(one.counts.errors for one in told),
        refused=sum(n for name, n in violations.items() if name not in known),
        columns=tuple(sorted(columns, key=_worst_first)),
        outliers=tuple(sorted(_outliers(sides, sums), key=lambda one: -one.psi)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sum:
    """The counts of a column: of all, by day, and by device."""

    whole: Histogram
    by_day: Mapping[str, Histogram]
    by_device: Mapping[str, Histogram]


class _Sums:
    """Histograms added up, by side and number of column."""

    def __init__(self, profile: Profile, told: Iterable[Seen]) -> None:
        self._shape = tuple(
            tuple(column.bins + 1 for column in columns)
            for columns in (profile.inputs, profile.outputs)
        )
        days: dict[str, list[Seen]] = defaultdict(list)
        devices: dict[str, list[Seen]] = defaultdict(list)
        for one in told:
            if self.counted(one.counts):
                days[one.day].append(one)
                devices[one.device].append(one)
        self._days = {day: self._added(found) for day, found in sorted(days.items())}
        self._devices = {name: self._added(found) for name, found in devices.items()}
        self._whole = self._summed(self._days.values())

    def counted(self, counts: BundleCounts) -> bool:
        """Whether there are histograms in the profile's bins."""
        shapes = (counts.inputs, counts.outputs)
        return tuple(tuple(map(len, one)) for one in shapes) == self._shape

    def of(self, side: str, at: int) -> _Sum:
        """Return the counts of a column."""
        number = (INPUT, OUTPUT).index(side)
        return _Sum(
            whole=self._whole[number][at],
            by_day={day: found[number][at] for day, found in self._days.items()},
            by_device={name: found[number][at] for name, found in self._devices.items()},
        )

    def _added(self, told: Iterable[Seen]) -> list[list[Histogram]]:
        return self._summed([[*one.counts.inputs], [*one.counts.outputs]] for one in told)

    def _summed(self, parts: Iterable[list[list[Histogram]]]) -> list[list[Histogram]]:
        total = [[[0] * bins for bins in side] for side in self._shape]
        for sides in parts:
            for mine, theirs in zip(total, sides, strict=True):
                for into, histogram in zip(mine, theirs, strict=True):
                    into[:] = map(sum, zip(into, histogram, strict=True))
        return [[tuple(histogram) for histogram in side] for side in total]


def _finding(side: str, column: Column, counted: _Sum) -> ColumnFinding:
    judged = compare(column, counted.whole)
    return ColumnFinding(
        side=side,
        column=column,
        seen=counted.whole,
        drift=judged,
        shift=shift(column, counted.whole) if isinstance(column, NumberColumn) else None,
        violations=0,
        needed_rows=_needed(column, judged) if judged.level is Level.UNKNOWN else None,
        days=tuple(_days(column, counted.by_day)),
    )


def _days(column: Column, by_day: Mapping[str, Histogram]) -> Iterator[Day]:
    for day, seen in by_day.items():
        told = compare(column, seen)
        if told.rows:
            yield Day(day=day, psi=told.psi, noise=told.noise, rows=told.rows)


def _needed(column: Column, judged: Drift) -> int | None:
    """Return about how many rows bring the noise below the least shift that counts."""
    reference = sum(column.histogram)
    if not reference or not judged.rows or math.isinf(judged.noise):
        return None
    quantile = judged.noise / (1 / reference + 1 / judged.rows)
    left = SHIFT_PSI / quantile - 1 / reference
    return math.ceil(1 / left) if left > 0 else None


def _violations(told: Sequence[Seen]) -> dict[str, int]:
    total: dict[str, int] = defaultdict(int)
    for one in told:
        for name, number in one.counts.violations.items():
            total[name] += number
    return total


def _with_violations(one: ColumnFinding, violations: Mapping[str, int]) -> ColumnFinding:
    if one.side == OUTPUT:
        return one
    return replace(one, violations=violations.get(_signature_name(one.name), 0))


def _signature_name(column: str) -> str:
    """Return the signature's name of a column that may be one element of it: x[3]."""
    return column_name(column.partition("[")[0] if column.endswith("]") else column)


def _worst_first(one: ColumnFinding) -> tuple[int, float]:
    return _SEVERITY.index(one.drift.level), -one.drift.psi


def _outliers(
    sides: Iterable[tuple[str, Sequence[Column]]], sums: _Sums
) -> Iterator[Outlier]:
    for side, columns in sides:
        for at, column in enumerate(columns):
            counted = sums.of(side, at)
            yield from _unlike_the_others(column, counted.whole, counted.by_device)


def _unlike_the_others(
    column: Column, whole: Histogram, by_device: Mapping[str, Histogram]
) -> Iterator[Outlier]:
    """Yield the device that differs most, then of those that are left, and so on.

    One that differs much would else make all the others differ from the rest.
    """
    left = dict(by_device)
    for _ in range(min(MOST_OUTLIERS, len(left) - 1)):
        told = {
            name: compare(_others(column, whole, own), own) for name, own in left.items()
        }
        worst = max(told, key=lambda name: told[name].psi)
        drift = told[worst]
        if drift.level is not Level.DRIFT:
            return
        yield Outlier(
            device=worst,
            column=column.name,
            psi=drift.psi,
            noise=drift.noise,
            rows=drift.rows,
        )
        whole = tuple(a - b for a, b in zip(whole, left.pop(worst), strict=True))


def _others(column: Column, whole: Histogram, own: Histogram) -> Column:
    """Return a column whose reference is what all other devices saw."""
    left = tuple(a - b for a, b in zip(whole, own, strict=True))
    return replace(column, counts=left[:-1], missing=left[-1])


def _share(histogram: Histogram) -> float:
    total = sum(histogram)
    return histogram[-1] / total if total else 0.0
