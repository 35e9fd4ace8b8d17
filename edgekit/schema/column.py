"""One column as a data frame holds it. Knows type inference, no signature.

MLflow's verdicts speak of the types that its data frames infer (pandas 3), so the same
inference is made here: whole numbers become int64, or uint64 when too large, or float64
beside a missing value; text becomes "str"; anything mixed stays "object".
"""

import datetime as dt
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import NoneType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Origin = Sequence[object] | NDArray[Any]

TEXT = "str"
OBJECT = "object"
_AWARE = "datetime64[ns, "
_INT64 = np.iinfo(np.int64)
_UINT64_MAX = int(np.iinfo(np.uint64).max)
_FRAME_UNITS = frozenset({"s", "ms", "us", "ns"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Values [N], the dtype as a data frame prints it, and what they were made from.

    Text is an object array of str with NaN where it is missing. `origin` has the same
    length: the caller's own values, by which strict enforcement judges what was altered.
    """

    values: NDArray[Any]
    dtype: str
    origin: Origin

    @property
    def is_text(self) -> bool:
        """Whether every value is a str or missing, and at least one is a str."""
        return self.dtype == TEXT

    @property
    def is_object(self) -> bool:
        """Whether the values are of no common type."""
        return self.dtype == OBJECT

    @property
    def cells(self) -> list[Any]:
        """The values one by one, as a data frame gives them; instants stay numpy's."""
        return list(self.values) if self.values.dtype.kind in "mM" else self.values.tolist()

    @property
    def zone(self) -> str | None:
        """The time zone of instants that carry one ("UTC", "UTC+02:00")."""
        return self.dtype[len(_AWARE) : -1] if self.dtype.startswith(_AWARE) else None

    @classmethod
    def from_list(cls, values: list[Any], origin: Origin | None = None) -> Self:
        """Infer the type of a list, as when a frame is built from rows."""
        array, dtype = _inferred(values)
        return cls(values=array, dtype=dtype, origin=values if origin is None else origin)

    @classmethod
    def from_array(cls, array: NDArray[Any], origin: Origin | None = None) -> Self:
        """Take a one-dimensional array, as when a frame is built from arrays.

        Numbers in an object array are not looked at yet: see `inferred`.
        """
        values, dtype = _framed(array)
        return cls(values=values, dtype=dtype, origin=array if origin is None else origin)

    @classmethod
    def aware(cls, values: NDArray[Any], zone: str, origin: Origin) -> Self:
        """Return instants that carry a time zone."""
        return cls(values=values, dtype=f"{_AWARE}{zone}]", origin=origin)

    def inferred(self) -> "Column":
        """Look into an object column for a common type."""
        if not self.is_object:
            return self
        return Column.from_list(self.values.tolist(), self.origin)

    def holding(self, values: NDArray[Any], dtype: str | None = None) -> "Column":
        """Return converted values of the same origin."""
        return Column(
            values=values, dtype=dtype or dtype_name(values.dtype), origin=self.origin
        )


@lru_cache(maxsize=64)
def dtype_name(dtype: np.dtype[Any]) -> str:
    """Return a dtype as numpy prints it, which takes numpy some microseconds."""
    return str(dtype)


def is_missing(value: object) -> bool:
    """Whether a value counts as missing: None, NaN or NaT."""
    if value is None:
        return True
    if isinstance(value, float | np.floating):
        return math.isnan(value)
    return isinstance(value, np.datetime64) and bool(np.isnat(value))


def objects(values: Sequence[object]) -> NDArray[Any]:
    """Return an object array [N] whose cells are the values, lists included."""
    return np.fromiter(values, dtype=object, count=len(values))


def text(values: Sequence[object]) -> NDArray[Any]:
    """Return an object array of str, NaN where the value is not a str.

    Raises ValueError for text that has no UTF-8, as half a surrogate pair.
    """
    texts = [str(v) if isinstance(v, str) else math.nan for v in values]
    "".join(t for t in texts if isinstance(t, str)).encode()
    return objects(texts)


def _framed(array: NDArray[Any]) -> tuple[NDArray[Any], str]:
    match array.dtype.kind:
        case "U":
            return text(array.tolist()), TEXT
        case "S":
            return array.astype(object), OBJECT
        case "M" | "m" if np.datetime_data(array.dtype)[0] not in _FRAME_UNITS:
            coarse = array.astype(f"{array.dtype.kind}8[s]")
            return coarse, dtype_name(coarse.dtype)
        case "O":
            values = array.tolist()
            if (found := _as_text(values) or _as_instants(values)) is not None:
                return found
    return array, dtype_name(array.dtype)


_Inference = tuple[NDArray[Any], str] | None


def _inferred(values: list[Any]) -> tuple[NDArray[Any], str]:
    rules: tuple[Callable[[list[Any]], _Inference], ...] = (
        _as_one_type,
        _as_numbers,
        _as_text,
        _as_instants,
    )
    for rule in rules:
        if (found := rule(values)) is not None:
            return found
    return objects(values), OBJECT


def _as_one_type(values: list[Any]) -> _Inference:
    kinds = set(map(type, values))
    if len(kinds) != 1:
        return None
    kind = kinds.pop()
    if issubclass(kind, bool | float | np.number | np.bool_):
        array = np.array(values)
        return array, dtype_name(array.dtype)
    return None


def _as_numbers(values: list[Any]) -> _Inference:
    kinds = set(map(type, values))
    if not kinds - {NoneType}:
        return None
    if any(issubclass(k, bool) or not issubclass(k, _NUMBER) for k in kinds):
        return None
    whole = [int(v) for v in values if isinstance(v, int | np.integer)]
    least, most = min(whole, default=0), max(whole, default=0)
    if most > _UINT64_MAX or least < _INT64.min or (most > _INT64.max and least < 0):
        return None
    if len(whole) < len(values):
        return np.array([math.nan if v is None else v for v in values], float), "float64"
    dtype = "int64" if most <= _INT64.max else "uint64"
    return np.array(whole, dtype), dtype


_NUMBER = (int, float, np.integer, np.floating, NoneType)


def _as_text(values: list[Any]) -> _Inference:
    kinds = set(map(type, values))
    if not any(issubclass(kind, str) for kind in kinds):
        return None
    if len(kinds) > 1 and not all(isinstance(v, str) or is_missing(v) for v in values):
        return None
    return text(values), TEXT


def _as_instants(values: list[Any]) -> _Inference:
    kinds = set(map(type, values))
    if not kinds & {np.datetime64, dt.datetime}:
        return None
    if not all(_is_naive_instant(v) or is_missing(v) for v in values):
        return None
    array = np.array([None if is_missing(v) else v for v in values], "datetime64")
    return _framed(array)


def _is_naive_instant(value: object) -> bool:
    if type(value) is dt.datetime:
        return value.tzinfo is None
    return type(value) is np.datetime64
