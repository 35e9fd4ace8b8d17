"""What MLflow's scoring server makes of a JSON column. Knows no tables and no strictness.

The server casts before it enforces (`cast_df_types_according_to_schema` in
mlflow/utils/proto_json_utils.py): 3.9 becomes 3, "false" becomes True, 2**31 wraps. What
that alters is judged elsewhere (edgekit.schema.loss).
"""

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import RequestError, SchemaError
from edgekit.schema import instant, nesting
from edgekit.schema.column import Column, objects
from edgekit.schema.datatypes import AnyType, ColumnType, Nested

_CAST_FAILURES = (ValueError, TypeError, OverflowError, IndexError)


def cast_column(name: object, column: Column, kind: ColumnType) -> Column:
    """Cast to a column type of the signature, or raise RequestError."""
    try:
        match kind:
            case ColumnType.STRING:
                return column if column.is_text else _to_objects(column)
            case ColumnType.BINARY:
                return column.holding(objects([_decoded(v) for v in column.values]))
            case ColumnType.DATETIME:
                return instant.from_column(column)
            case _:
                return column.holding(_cast(column.values, kind.dtype))
    except _CAST_FAILURES as cause:
        raise _failure(name, kind.frame_name, repr(cause)) from cause


def cast_nested(name: object, column: Column, kind: Nested, *, required: bool) -> Column:
    """Enforce the type of every cell, or raise RequestError."""
    if isinstance(kind, AnyType):
        return column
    try:
        cells = [nesting.enforce(v, kind, required=required) for v in column.cells]
    except SchemaError as cause:
        told = f"MlflowException({str(cause)!r})"
        raise _failure(name, str(kind), told) from cause
    return Column.from_list(cells, column.origin)


def cast_tensor_column(name: object, column: Column, dtype: np.dtype[Any]) -> Column:
    """Cast to a tensor's dtype, or raise RequestError; cells that are lists wait."""
    try:
        if dtype.kind == "S":
            return column.holding(objects([bytes(v, "utf8") for v in column.values]))
        if isinstance(_first(column.values), list):
            return column
        if dtype.kind == "O":
            return column if column.is_text else _to_objects(column)
        if dtype.kind == "U":
            return column if column.is_text else _to_text(column)
        return column.holding(_cast(column.values, dtype))
    except _CAST_FAILURES as cause:
        raise _failure(name, str(dtype), repr(cause)) from cause


def _failure(name: object, target: str, cause: str) -> RequestError:
    return RequestError(
        "Invalid input. Data is not compatible with model signature. Failed to convert"
        f" column {name} to type '{target}'. Error: '{cause}'"
    )


def _first(values: NDArray[Any]) -> object:
    if not values.size:
        raise IndexError("single positional indexer is out-of-bounds")
    first: object = values[0]
    return first


def _decoded(value: str) -> bytes:
    return base64.decodebytes(bytes(value, "utf8"))


def _to_objects(column: Column) -> Column:
    return column.holding(column.values.astype(object))


def _to_text(column: Column) -> Column:
    return column.holding(objects([str(value) for value in column.values.tolist()]))


def _cast(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if values.dtype == dtype:
        return values
    if values.dtype.kind == "f" and dtype.kind in "iu":
        if not np.isfinite(values).all():
            raise ValueError("Cannot convert non-finite values (NA or inf) to integer")
        if dtype.kind == "u" and (values < 0).any():
            raise ValueError(f"Cannot losslessly cast from {values.dtype} to {dtype}")
    with np.errstate(invalid="ignore", over="ignore"):
        return values.astype(dtype)
