"""Values inside lists and objects, brought into their types. Knows no columns and no JSON.

The rules and sentences are MLflow 3.17's (`_enforce_type` in mlflow/models/utils.py), and
so is what they do on the way: lists of text are laid out as numpy's text, which writes
numbers and None out; instants in a list become whole nanoseconds.
"""

import math
from collections.abc import Callable
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import SchemaError
from edgekit.schema.admission import admit
from edgekit.schema.column import Column, objects
from edgekit.schema.datatypes import (
    AnyType,
    ArrayType,
    ColumnType,
    DataType,
    MapType,
    ObjectType,
)

_QUOTED = 1000  # characters of the caller's own value in a sentence
_NATIVE: dict[ColumnType, type] = {
    ColumnType.BOOLEAN: bool,
    ColumnType.LONG: int,
    ColumnType.DOUBLE: float,
    ColumnType.STRING: str,
}
_LONG = np.iinfo(np.int64)


def enforce(value: object, kind: DataType, *, required: bool) -> object:
    """Return the value in its type, or raise SchemaError.

    Objects and lists are built anew where something in them changes. What is not required
    may be None, and so may the elements of its lists and maps.
    """
    match kind:
        case AnyType():
            return value
        case ColumnType():
            return _scalar(value, kind, required=required)
        case ArrayType():
            return _array(value, kind, required=required)
        case ObjectType():
            return _object(value, kind, required=required)
        case MapType():
            return _map(value, kind, required=required)
    assert_never(kind)


def _scalar(value: object, kind: ColumnType, *, required: bool) -> object:
    if not required and (value is None or (isinstance(value, float) and math.isnan(value))):
        return None
    if not np.isscalar(value):
        raise SchemaError(f"Expected data to be scalar, got {type(value).__name__}")
    column = _column([value])
    try:
        return admit("", column, kind).values[0]
    except SchemaError as cause:
        raise SchemaError(
            f"Failed to enforce schema of data `{_quoted(value)}` with dtype `{kind.label}`"
        ) from cause


def _array(value: object, kind: ArrayType, *, required: bool) -> object:
    free = not required or isinstance(kind.items, AnyType)
    if free and value is None:
        return value
    if isinstance(value, np.ndarray):
        return _laid_out(value, kind, required=required)
    if not isinstance(value, list):
        raise SchemaError(
            f"Expected data to be list or numpy array, got {type(value).__name__}"
        )
    if not isinstance(kind.items, ColumnType):
        return [enforce(one, kind.items, required=required) for one in value]
    if not value or _is_native(value, kind.items):
        return value
    column = admit("", _column(value), kind.items)
    return _numpy(column, kind.items).tolist()


def _column(values: list[Any]) -> Column:
    try:
        return Column.from_list(values)
    except ValueError as cause:  # half a surrogate pair, which MLflow fails on as well
        raise SchemaError(str(cause)) from cause


def _laid_out(array: NDArray[Any], kind: ArrayType, *, required: bool) -> object:
    if not array.ndim:
        raise SchemaError("len() of unsized object")
    if not len(array):
        return array
    if isinstance(kind.items, ColumnType):
        if array.ndim > 1:
            raise SchemaError(
                f"Data must be 1-dimensional, got ndarray of shape {array.shape} instead"
            )
        return _numpy(admit("", Column.from_array(array), kind.items), kind.items)
    inner = [enforce(one, kind.items, required=required) for one in array]
    try:
        return np.array(inner)
    except ValueError as cause:
        raise SchemaError(str(cause)) from cause


def _is_native(values: list[Any], kind: ColumnType) -> bool:
    """Whether a list holds Python's own values of the type, which nothing would change."""
    if {*map(type, values)} != {_NATIVE.get(kind)}:
        return False
    if kind is ColumnType.LONG:
        return bool(_LONG.min <= min(values) and max(values) <= _LONG.max)
    if kind is ColumnType.STRING:
        return not any(text.endswith("\0") for text in values)
    return True


def _numpy(column: Column, kind: ColumnType) -> NDArray[Any]:
    """Lay admitted values out as MLflow does, text without its room for the longest."""
    match kind:
        case ColumnType.STRING:
            return _each(column, lambda value: _as_numpy(value, np.str_), str)
        case ColumnType.BINARY:
            return _each(column, lambda value: _as_numpy(value, np.bytes_), bytes)
        case _:
            try:
                return column.values.astype(kind.dtype, copy=False)
            except (ValueError, TypeError, OverflowError) as cause:
                raise SchemaError(str(cause)) from cause


def _each(
    column: Column, convert: Callable[[object], Any], kind: type[str] | type[bytes]
) -> NDArray[Any]:
    values = column.values.tolist()
    if column.is_text and any(isinstance(v, float) for v in values):
        # Beside a missing text, pandas lays texts out in room for one character each.
        values = [("nan" if isinstance(v, float) else v)[:1] for v in values]
    try:
        return objects(
            [v if type(v) is kind and not _ends(v) else convert(v) for v in values]
        )
    except (ValueError, TypeError) as cause:
        raise SchemaError(str(cause)) from cause


def _ends(value: str | bytes) -> bool:
    return value.endswith("\0") if isinstance(value, str) else value.endswith(b"\0")


def _as_numpy(value: object, kind: type[np.generic]) -> object:
    return objects([value]).astype(kind)[0].item()


def _object(value: object, kind: ObjectType, *, required: bool) -> object:
    if not required and _is_left_out(value):
        return value
    if not isinstance(value, dict):
        raise SchemaError(
            f"Failed to enforce schema of '{_quoted(value)}' with type '{kind}'."
            f" Expected data to be dictionary, got {type(value).__name__}"
        )
    known = kind.properties
    needed = {name for name, one in known.items() if one.required}
    if missing := sorted(needed - value.keys()):
        raise SchemaError(f"Missing required properties: {_set(missing)}")
    if invalid := sorted(value.keys() - known.keys(), key=str):
        raise SchemaError(
            f"Invalid properties not defined in the schema found: {_set(invalid)}"
        )
    return {name: _property(name, one, kind) for name, one in value.items()}


def _property(name: str, value: object, kind: ObjectType) -> object:
    wanted = kind.properties[name]
    try:
        return enforce(value, wanted.type, required=wanted.required)
    except SchemaError as cause:
        raise SchemaError(
            f"Failed to enforce schema for key `{name}`. Expected type"
            f" {wanted.type.label}, received type {type(value).__name__}"
        ) from cause


def _map(value: object, kind: MapType, *, required: bool) -> object:
    free = not required or isinstance(kind.values, AnyType)
    if free and _is_left_out(value):
        return value
    if not isinstance(value, dict):
        raise SchemaError(f"Expected data to be a dict, got {type(value).__name__}")
    if not all(isinstance(name, str) for name in value):
        raise SchemaError("Expected all keys in the map type data are string type.")
    return {n: enforce(one, kind.values, required=required) for n, one in value.items()}


def _is_left_out(value: object) -> bool:
    """Whether MLflow finds `value == {}`: numpy says so of an array of one empty object."""
    if isinstance(value, np.ndarray):
        return value.size == 1 and value.flat[0] == {}
    return value is None or value == {}


def _set(names: list[str]) -> str:
    return f"{{{', '.join(map(repr, names))}}}"


def _quoted(value: object) -> str:
    text = str(value)
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}..."
