"""Instants from what JSON and arrays hold. Knows ISO 8601, no signature and no zone rules.

Instants are numpy datetime64[ns], 1677-09-21 to 2262-04-11. As in MLflow's data frames, the
first text of a column settles the format that all its texts must have. Formats other
than extended ISO 8601 ("01/02/2020", "now") are refused, though MLflow guesses them.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.schema.column import Column, is_missing

_ISO = re.compile(
    r"(?P<date>\d{4}-\d{2}(?P<day>-\d{2})?)"
    r"(?:(?P<sep>[T ])(?P<hour>\d{2})(?P<minute>:\d{2})?(?P<second>:\d{2})?"
    r"(?:\.(?P<fraction>\d+))?(?P<zone>Z|[+-]\d{2}:?\d{2})?)?",
    re.ASCII,
)
_MISSING_TEXTS = frozenset({"", "NaT", "nat", "nan", "NaN", "NAN"})
_MOST_SECONDS = 9_223_372_035  # whole seconds that fit into 64 bits of nanoseconds


def to_ns(values: NDArray[Any]) -> NDArray[Any]:
    """Convert datetime64 of any unit, or raise ValueError where nanoseconds overflow."""
    seconds = values.astype("datetime64[s]")
    beyond = ~np.isnat(seconds) & (abs(seconds.astype(np.int64)) > _MOST_SECONDS)
    if beyond.any():
        raise ValueError(f"Out of bounds nanosecond timestamp: {seconds[beyond][0]}")
    return values.astype("datetime64[ns]")


def from_column(column: Column) -> Column:
    """Read a JSON column as instants: texts, whole nanoseconds since 1970, or missing.

    Raises TypeError or ValueError, as the data frames of MLflow do.
    """
    if column.is_text:
        return _from_texts(column)
    match column.values.dtype.kind:
        case "M":
            return column.holding(to_ns(column.values))
        case "i":
            return column.holding(column.values.astype("datetime64[ns]"))
        case "f":
            return column.holding(_from_floats(column.values))
        case "O" if all(value is None for value in column.values):
            return column.holding(np.full(column.values.shape, "NaT", "datetime64[ns]"))
        case "O":
            odd = next(v for v in column.values if v is not None)
            raise TypeError(f"{type(odd)} is not convertible to datetime")
    raise TypeError(f"dtype {column.dtype} cannot be converted to datetime64[ns]")


def _from_floats(values: NDArray[Any]) -> NDArray[Any]:
    known = np.isfinite(values) & (abs(values) < np.iinfo(np.int64).max)
    whole = np.where(known, values, 0).astype(np.int64).astype("datetime64[ns]")
    return np.where(known, whole, np.datetime64("NaT", "ns"))


def _from_texts(column: Column) -> Column:
    texts = [None if _absent(value) else value.strip() for value in column.values]
    matches = [None if value is None else _match(value) for value in texts]
    known = [match for match in matches if match is not None]
    if len({_format(match) for match in known}) > 1:
        odd = next(m for m in known if _format(m) != _format(known[0]))
        raise ValueError(
            f'time data "{odd.string}" doesn\'t match format "{_format(known[0])}"'
        )
    zones = {match["zone"] for match in known}
    values = _nanoseconds(matches)
    if not zones or zones == {None}:
        return column.holding(values)
    if len(zones) > 1:
        raise ValueError("Mixed timezones detected.")
    zone = zones.pop()
    return Column.aware(values, "UTC" if zone == "Z" else f"UTC{zone}", column.origin)


def _absent(value: object) -> bool:
    return is_missing(value) or value in _MISSING_TEXTS


def _match(value: str) -> re.Match[str]:
    match = _ISO.fullmatch(value)
    if match is None or (match["second"] and not match["minute"]):
        raise ValueError(f"Unknown datetime string format, unable to parse: {value}")
    return match


def _format(match: re.Match[str]) -> str:
    return "".join(
        (
            "%Y-%m",
            "-%d" if match["day"] else "",
            f"{match['sep']}%H" if match["sep"] else "",
            ":%M" if match["minute"] else "",
            ":%S" if match["second"] else "",
            ".%f" if match["fraction"] else "",
            "%z" if match["zone"] else "",
        )
    )


def _nanoseconds(matches: Sequence[re.Match[str] | None]) -> NDArray[Any]:
    bases = ["NaT" if m is None else _to_the_second(m) for m in matches]
    parts = [0 if m is None else _fraction_ns(m["fraction"]) for m in matches]
    values: NDArray[Any] = to_ns(np.array(bases, "datetime64[s]"))
    values += np.array(parts, "timedelta64[ns]")
    return values


def _to_the_second(match: re.Match[str]) -> str:
    parts = (match["date"], match["sep"], match["hour"], match["minute"], match["second"])
    return "".join(part for part in parts if part)


def _fraction_ns(digits: str | None) -> int:
    return int(digits[:9].ljust(9, "0")) if digits else 0
