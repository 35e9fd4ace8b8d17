"""Findings in words, for the terminal and the page. Pure."""

import itertools

from edgekit.fleet.drifting.findings import ColumnFinding, Findings, Outlier
from edgekit.telemetry.drift import Level, Shift
from edgekit.telemetry.profile import CategoryColumn, NumberColumn

VERDICTS = {
    Level.STABLE: "stable",
    Level.SHIFT: "shifted",
    Level.DRIFT: "drifted",
    Level.UNKNOWN: "too few rows",
}
_LEAST_MIX = 0.005  # a share of a label that is worth a word
_MOST_LABELS = 6


def lead(found: Findings) -> str:
    """Return the one sentence that somebody needs who has time for one."""
    if not found.rows:
        return "No rows were counted: nothing can be said."
    drifted, shifted = found.at(Level.DRIFT), found.at(Level.SHIFT)
    if drifted or shifted:
        parts = [
            f"{_names(columns)} {VERDICTS[columns[0].drift.level]}"
            for columns in (drifted, shifted)
            if columns
        ]
        return f"{'; '.join(parts)}, of {len(found.columns)} columns."
    few = found.at(Level.UNKNOWN)
    if few:
        return (
            f"Calm, as far as can be told: of {len(few)} of {len(found.columns)} columns"
            f" there are too few rows{_wanted(few)}."
        )
    return f"Calm: all {len(found.columns)} columns are as in the reference data."


def counted(found: Findings) -> str:
    """Say what was compared with what."""
    reference = found.reference
    devices = len(found.devices)
    told = (
        f"{found.rows:,} rows from {devices} device{'' if devices == 1 else 's'}, against"
        f" {reference.rows:,} reference rows ({reference.source})"
    )
    if found.uncounted:
        told += f"; of {found.uncounted:,} rows the devices sent no histograms"
    if found.refused:
        told += f"; {found.refused:,} requests were refused as a whole"
    return told


def moved(shift: Shift | None) -> str:
    """Say how far the median moved; "" where a column has none."""
    if shift is None:
        return ""
    if shift.median_iqr is None:
        return f"{shift.median_bins:+.1f} bins"
    return f"{shift.median_iqr:+.2f} IQR"


def missing(one: ColumnFinding) -> str:
    """Say how many values are missing; "" where none are, now and before."""
    before, now = one.missing
    return f"{now:.1%} (was {before:.1%})" if before or now else ""


def needed(one: ColumnFinding) -> str:
    """Say how many rows would do, where there are too few."""
    if one.drift.level is not Level.UNKNOWN:
        return ""
    if one.needed_rows is None:
        few = "the reference has too few rows"
        return few if one.drift.rows else "no rows"
    return f"about {one.needed_rows:,} rows are needed"


def mix(one: ColumnFinding) -> str:
    """Say how often each label is answered now, beside the reference; "" for numbers."""
    column = one.column
    if not isinstance(column, CategoryColumn):
        return ""
    shares = [
        (name, before, now)
        for name, before, now in zip(
            bin_names(column),
            shares_of(column.counts),
            shares_of(one.seen[:-1]),
            strict=True,
        )
        if max(before, now) >= _LEAST_MIX
    ]
    shown = sorted(shares, key=lambda share: -share[2])[:_MOST_LABELS]
    return ", ".join(f"{name} {now:.1%} (was {before:.1%})" for name, before, now in shown)


def outlier(one: Outlier) -> str:
    """Say where a device is not as the others."""
    return (
        f"{one.device} differs from the fleet in column {one.column} (PSI {one.psi:.2f},"
        f" chance up to {one.noise:.2f}, {one.rows:,} rows)"
    )


def bin_names(column: NumberColumn | CategoryColumn) -> tuple[str, ...]:
    """Return the name of each bin, the missing aside."""
    if isinstance(column, CategoryColumn):
        return (*column.values, "others")
    edges = [f"{edge:.4g}" for edge in column.edges]
    if not edges:
        return ("any",)
    between = [f"{low} to {high}" for low, high in itertools.pairwise(edges)]
    return (f"up to {edges[0]}", *between, f"above {edges[-1]}")


def bins(one: ColumnFinding) -> tuple[tuple[str, float, float], ...]:
    """Return name, share in the reference and share now of each bin; with the missing."""
    names = (*bin_names(one.column), "missing")
    found = zip(names, shares_of(one.column.histogram), shares_of(one.seen), strict=True)
    shown = tuple(found)
    return shown if any(shown[-1][1:]) else shown[:-1]


def shares_of(counts: tuple[int, ...]) -> tuple[float, ...]:
    """Return counts as shares of their sum, zeros of none."""
    total = sum(counts)
    return tuple(count / total if total else 0.0 for count in counts)


def _names(columns: tuple[ColumnFinding, ...]) -> str:
    shown = ", ".join(one.name for one in columns[:3])
    more = len(columns) - 3
    return f"{shown} and {more} more" if more > 0 else shown


def _wanted(few: tuple[ColumnFinding, ...]) -> str:
    known = [one.needed_rows for one in few if one.needed_rows is not None]
    return f", about {max(known):,} are needed" if known else ""
