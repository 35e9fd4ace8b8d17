"""Whether typed values may enter a column of the signature. Knows no JSON and no names.

These are the rules of MLflow 3.17's python_function (`_enforce_mlflow_datatype` in
mlflow/models/utils.py), with its sentences: only widening conversions are made.
"""

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import SchemaError
from edgekit.schema import instant
from edgekit.schema.column import Column, dtype_name, is_missing, objects
from edgekit.schema.datatypes import ColumnType

_MISSING_INTEGERS_HINT = (
    " Hint: the type mismatch is likely caused by missing values. Integer columns in python"
    " can not represent missing values and are therefore encoded as floats. The best way to"
    " avoid this problem is to infer the model schema based on a realistic data sample"
    " (training dataset) that includes missing values. Alternatively, you can declare"
    " integer columns as doubles (float64) whenever these columns may have missing values."
    " See `Handling Integers With Missing Values"
    " <https://www.mlflow.org/docs/latest/models.html#handling-integers-with-missing-values>`_"
    " for more details."
)
_WIDEST_INTEGER_FOR_DOUBLE = 6  # bytes; int64 does not fit into float64's 53 bits


def admit(name: object, column: Column, kind: ColumnType) -> Column:
    """Return the column in the signature's type, or raise SchemaError."""
    if kind in (ColumnType.STRING, ColumnType.BINARY):
        if column.is_text or column.is_object:
            return column  # MLflow looks no further
        if kind is ColumnType.BINARY and column.values.dtype.kind == "S":
            return column.holding(column.values.astype(object))
        raise incompatible(name, column.dtype, kind)
    column = column.inferred()
    if column.dtype == dtype_name(kind.dtype):
        return column
    if column.is_object:
        return _admit_objects(name, column, kind)
    if not column.is_text:
        if kind is ColumnType.DATETIME and column.values.dtype.kind == "M":
            return _admit_instants(column)
        if _widens(column.values, kind.dtype):
            return column.holding(column.values.astype(kind.dtype))
    raise incompatible(name, column.dtype, kind, hint=_hint(column, kind))


def incompatible(
    name: object, source: str, kind: ColumnType, *, hint: str = ""
) -> SchemaError:
    """Return MLflow's refusal of a column."""
    return SchemaError(
        f"Incompatible input types for column {name}."
        f" Can not safely convert {source} to {kind.dtype}.{hint}"
    )


def _widens(values: NDArray[Any], target: np.dtype[Any]) -> bool:
    source = values.dtype
    if source.kind == target.kind:
        return source.itemsize <= target.itemsize
    if source.kind == "u" and target.kind == "i":
        return source.itemsize < target.itemsize
    if source == np.int64 and target.kind == "f":
        return bool(np.isin(values, (0, 1)).all())
    narrow = source.kind in "iu" and source.itemsize <= _WIDEST_INTEGER_FOR_DOUBLE
    return narrow and target == np.float64


def _hint(column: Column, kind: ColumnType) -> str:
    if column.dtype != "float64" or kind.dtype.kind != "i":
        return ""
    known = column.values[~np.isnan(column.values)]
    whole = np.isfinite(known).all() and (known == np.trunc(known)).all()
    return _MISSING_INTEGERS_HINT if known.size < column.values.size and whole else ""


def _admit_instants(column: Column) -> Column:
    if column.zone is not None:
        raise SchemaError(
            "Please ensure that the input data of datetime column only contains"
            " timezone-naive datetime objects. Error: Cannot use .astype to convert from"
            " timezone-aware dtype to timezone-naive dtype. Use obj.tz_localize(None) or"
            " obj.tz_convert('UTC').tz_localize(None) instead."
        )
    try:
        return column.holding(instant.to_ns(column.values))
    except ValueError as cause:
        raise SchemaError(str(cause)) from cause


def _admit_objects(name: object, column: Column, kind: ColumnType) -> Column:
    if kind is ColumnType.BOOLEAN:
        return column  # MLflow leaves None beside True
    if kind is ColumnType.DATETIME:
        return column.holding(_instants(column.values))
    if kind is ColumnType.DOUBLE:
        return column.holding(_numbers(name, column.values))
    raise incompatible(name, column.dtype, kind)


def _instants(values: NDArray[Any]) -> NDArray[Any]:
    for value in values:
        aware = isinstance(value, dt.datetime) and value.tzinfo is not None
        if aware or not (isinstance(value, dt.date | np.datetime64) or is_missing(value)):
            raise SchemaError(f"{type(value)} is not convertible to datetime")
    known = [None if is_missing(value) else np.datetime64(value) for value in values]
    try:
        return instant.to_ns(np.array(known, "datetime64[us]"))
    except ValueError as cause:
        raise SchemaError(str(cause)) from cause


def _numbers(name: object, values: NDArray[Any]) -> NDArray[Any]:
    """Read objects as float64, or as int64 where all are whole and none is missing.

    Unlike MLflow, no text is read as a number beside numbers.
    """
    try:
        numbers = [_number(value, row) for row, value in enumerate(values)]
    except ValueError as cause:
        raise SchemaError(
            f"Failed to convert column {name} from type object to DataType.double."
        ) from cause
    if any(isinstance(number, float) for number in numbers):
        return np.array(numbers, np.float64)
    for dtype in (np.int64, np.uint64):
        try:
            return np.array(numbers, dtype)
        except OverflowError:
            continue
    return objects(numbers)


def _number(value: object, row: int) -> float:
    if is_missing(value):
        return math.nan
    if isinstance(value, float | np.floating | Decimal):
        return float(value)
    if isinstance(value, int | np.integer | np.bool_):
        return int(value)
    if isinstance(value, str | bytes):
        raise ValueError(f"Unable to parse string at position {row}")  # noqa: TRY004 - as numpy
    raise SchemaError(f"Invalid object type at position {row}")
