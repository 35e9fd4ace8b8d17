"""What MLflow would alter or lose on the way in. Knows the values before and after.

Strict enforcement accepts a conversion only if the value that arrives compares equal to
the value that was sent: 3.0 is a long, 3.9 is none; "1.5" is a double; null is a missing
double or instant, and no boolean. Rounding a decimal fraction to the width of a float is
what that type means; rounding a whole number is a loss.
"""

import base64
import math
import reprlib
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import SchemaError
from edgekit.schema import instant
from edgekit.schema.admission import incompatible
from edgekit.schema.column import Column, Origin, is_missing
from edgekit.schema.datatypes import AnyType, ColumnType, Nested
from edgekit.schema.spec import TensorSpec

_EXACT_IN_DOUBLE = 2**53


def exact_column(label: object, column: Column, kind: ColumnType) -> NDArray[Any]:
    """Return the values [N] in the type's own dtype, or raise for the first altered one.

    String and binary columns come as object arrays of str or bytes, missing values kept.
    """
    after = _in_own_dtype(label, column, kind)
    row = _first_altered_of(kind, column.origin, after)
    if row is None:
        return after
    before = column.origin[row]
    source = Column.from_list([before]).dtype
    raise SchemaError(
        f"{incompatible(label, source, kind)} {_fact(f'Row {row}', before, after[row])}"
    )


def exact_nested(label: object, column: Column, kind: Nested) -> NDArray[Any]:
    """Return cells [N] of lists or objects, or raise for the first altered one."""
    for row, (before, after) in enumerate(zip(column.origin, column.cells, strict=True)):
        if not isinstance(kind, AnyType) and not _cell_kept(before, after):
            raise SchemaError(
                f"Incompatible input types for column {label}. Can not safely convert to"
                f" {kind}. {_fact(f'Row {row}', before, after)}"
            )
    return column.values


def _cell_kept(before: object, after: object) -> bool:
    match before:
        case dict():
            return (
                isinstance(after, dict)
                and before.keys() == after.keys()
                and all(_cell_kept(one, after[name]) for name, one in before.items())
            )
        case list() | np.ndarray():
            return (
                isinstance(after, list | np.ndarray)
                and len(before) == len(after)
                and all(map(_cell_kept, before, after))
            )
        case str():
            return bool(before == after) or before.encode() == after
    if is_missing(before):
        return is_missing(after)
    return type(before == after) in (bool, np.bool_) and bool(before == after)


def _in_own_dtype(label: object, column: Column, kind: ColumnType) -> NDArray[Any]:
    """Convert the objects that MLflow lets through, such as None beside True."""
    if kind in (ColumnType.STRING, ColumnType.BINARY):
        return column.values
    try:
        return column.values.astype(kind.dtype, copy=False)
    except (ValueError, TypeError, OverflowError) as cause:
        raise incompatible(label, column.dtype, kind) from cause


def exact_tensor(spec: TensorSpec, tensor: NDArray[Any], origin: object) -> NDArray[Any]:
    """Return the tensor, or raise SchemaError for the first altered element."""
    if spec.dtype.kind == "O":
        return tensor
    if tensor.dtype.kind == "O":  # ragged; MLflow lets it through
        raise SchemaError(
            f"dtype of input {tensor.dtype} does not match expected dtype {spec.dtype}"
        )
    if origin is tensor:
        return tensor
    before, after = _flat(origin), tensor.ravel()
    at = 0 if len(before) != after.size else _first_altered(before, after)
    if at is not None:
        label = "the unnamed input" if spec.name is None else f"input {spec.name}"
        raise SchemaError(
            f"Incompatible values for {label}. Can not safely convert to {spec.dtype}."
            f" {_fact(f'Element {at}', before[at], after[at])}"
        )
    return tensor


def _fact(place: str, before: object, after: object) -> str:
    fact = f"{place} holds {_short(before)}"
    unchanged = type(before) is type(after) and _cell_kept(before, after)
    return f"{fact}." if unchanged else f"{fact}, which would become {_short(after)}."


def _short(value: object) -> str:
    return reprlib.repr(value.item() if isinstance(value, np.generic) else value)


def _first_altered_of(kind: ColumnType, before: Origin, after: NDArray[Any]) -> int | None:
    match kind:
        case ColumnType.STRING:
            pairs = zip(before, after, strict=True)
            return _first_false(_text_or_missing_kept(sent, got) for sent, got in pairs)
        case ColumnType.BINARY:
            pairs = zip(before, after, strict=True)
            return _first_false(_bytes_kept(sent, got) for sent, got in pairs)
        case ColumnType.DATETIME:
            pairs = zip(before, after, strict=True)
            return _first_false(_instant_kept(sent, got) for sent, got in pairs)
        case _:
            return _first_altered(before, after)


def _first_false(kept: Iterable[bool]) -> int | None:
    return next((row for row, whole in enumerate(kept) if not whole), None)


def _text_or_missing_kept(before: object, after: object) -> bool:
    if is_missing(before):
        return is_missing(after)
    return isinstance(before, str) and before == after


def _bytes_kept(before: object, after: object) -> bool:
    if is_missing(before) and is_missing(after):
        return True
    if not isinstance(after, bytes):
        return False
    if isinstance(before, bytes):
        return bytes(before) == bytes(after)
    if not isinstance(before, str):
        return False
    coded = base64.b64encode(after).decode()
    return before.encode() == after or "".join(before.split()) == coded


def _instant_kept(before: object, after: np.datetime64) -> bool:
    if is_missing(before):
        return bool(np.isnat(after))
    if isinstance(before, str):
        try:
            read = instant.from_column(Column.from_list([before]))
        except ValueError:
            return False
        return read.zone is None and _same_instant(read.values[0], after)
    if isinstance(before, int | float):
        return False  # seconds or nanoseconds? a number does not say
    return _same_instant(np.datetime64(before, "ns"), after)  # type: ignore[call-overload]


def _same_instant(one: np.datetime64, other: np.datetime64) -> bool:
    return bool(one == other) or bool(np.isnat(one) and np.isnat(other))


def _first_altered(before: Origin, after: NDArray[Any]) -> int | None:
    """Return where the first number or truth value was altered."""
    whole = _all_equal(before, after)
    if whole:
        return None
    pairs = zip(before, after.tolist(), strict=True)
    coarse = after.dtype.kind == "f" and after.dtype.itemsize < np.float64().itemsize
    return _first_false(_kept(sent, got, coarse=coarse) for sent, got in pairs)


def _all_equal(before: Origin, after: NDArray[Any]) -> bool:
    """Compare at once where that is exact; False leaves it to one by one."""
    if isinstance(before, np.ndarray):
        sent = before
    else:
        kinds = set(map(type, before))
        if len(kinds) != 1 or not kinds <= {int, float, bool}:
            return not before
        if kinds == {float} and after.dtype == np.float64:
            return True  # numpy's own reading of such a list
        sent = np.array(before)
        if kinds == {int} and sent.dtype.kind == "f":
            return False  # int64 and uint64 side by side: numpy has rounded them here, too
    if sent.dtype.kind not in "biuf" or after.dtype.kind not in "biuf":
        return False
    if sent.dtype == after.dtype:
        return True
    small = np.abs(sent[np.isfinite(sent)].astype(np.float64)) < _EXACT_IN_DOUBLE
    return bool(small.all()) and np.array_equal(
        sent, after, equal_nan=sent.dtype.kind == "f"
    )


def _kept(before: object, after: object, *, coarse: bool) -> bool:
    """Whether `after` (a Python value) is `before`; `coarse` floats may round fractions."""
    match before:
        case np.generic():
            return _kept(before.item(), after, coarse=coarse)
        case None:
            return isinstance(after, float) and math.isnan(after)
        case str():
            return _text_kept(before, after, coarse=coarse)
        case int():
            return isinstance(after, int | float) and before == after
        case float() | Decimal():
            return isinstance(after, int | float) and _fraction_kept(
                float(before), after, coarse=coarse
            )
    return False


def _text_kept(before: str, after: object, *, coarse: bool) -> bool:
    match after:
        case bool() | str():
            return before == after
        case bytes():
            return before.encode() == after
    read = _spelled(before, whole=isinstance(after, int))
    return read is not None and _kept(read, after, coarse=coarse)


def _fraction_kept(before: float, after: float, *, coarse: bool) -> bool:
    if math.isnan(before):
        return math.isnan(after)
    if coarse and isinstance(after, float):
        return math.isinf(after) == math.isinf(before) and (after == 0) == (before == 0)
    return before == after


def _spelled(text: str, *, whole: bool) -> float | None:
    try:
        return int(text) if whole else float(text)
    except ValueError:
        return None


def _flat(origin: object) -> Sequence[object]:
    """Return the elements of nested lists of one shape."""
    if isinstance(origin, np.ndarray):
        return origin.ravel().tolist()
    if not isinstance(origin, list):
        return [origin]
    elements: NDArray[Any] = np.array(origin, dtype=object)
    return elements.ravel().tolist()
