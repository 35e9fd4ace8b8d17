"""A table with row and column labels, from JSON rows or from arrays. Knows no signature.

It is built as MLflow's data frames are (pandas 3). Left out on purpose, and refused with
a sentence: an index that repeats a single row, and `data` that is an object or a scalar.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import RequestError, SchemaError
from edgekit.schema.column import Column, Origin, dtype_name, objects
from edgekit.schema.policy import Limits

_NO_ROWS = "objects by name are no rows here; dataframe_records are expected"

Label = Hashable
Wanted = Callable[[Sequence[Label]], Sequence[Label]]  # which of the labels are needed


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Labels of all columns in order, and those columns that somebody wanted.

    `index` labels the rows where the caller did.
    """

    labels: tuple[Label, ...]
    rows: int
    columns: Mapping[Label, Column]
    index: Sequence[Label] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A value as numpy holds it, and as the caller sent it (nested lists, or the same).

    Values of columns of lists and objects may also be those, and Python's own scalars.
    """

    value: Any
    origin: Any


def from_records(records: object, wanted: Wanted, limits: Limits) -> Frame:
    """Build from `dataframe_records`, a list of objects."""
    if not isinstance(records, list):
        kind = "dictionary" if isinstance(records, dict) else f"type {type(records)}"
        raise RequestError(
            "Invalid input. Dataframe records format must be a list of records."
            f" Got {kind}."
        )
    try:
        return _from_rows(records, None, wanted, limits)
    except (ValueError, TypeError) as cause:
        raise _unusable("records", cause) from cause


def from_split(split: object, wanted: Wanted, limits: Limits) -> Frame:
    """Build from `dataframe_split`: data, optionally columns and index."""
    if not isinstance(split, dict):
        kind = "list" if isinstance(split, list) else f"type {type(split)}"
        raise RequestError(
            f"Invalid input. Dataframe split format must be a dictionary. Got {kind}."
        )
    if "data" not in split or split.keys() - {"columns", "data", "index"}:
        raise RequestError(
            "Invalid input. Dataframe split format must have 'data' field and optionally"
            f" 'columns' and 'index' fields. Got {set(split)}.'"
        )
    try:
        rows = _listed(split["data"], "data")
        columns = split.get("columns")
        labels = None if columns is None else _listed(columns, "columns")
        index = _index(split.get("index"), len(rows))
        return replace(_from_rows(rows, labels, wanted, limits), index=index)
    except (ValueError, TypeError) as cause:
        raise _unusable("split", cause) from cause


def _unusable(form: str, cause: Exception) -> RequestError:
    return RequestError(
        f"Invalid input. Provided dataframe_{form} field is not a valid dataframe"
        f" representation in '{form}' format. Error: '{cause}'"
    )


def _listed(value: object, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{name} must be a list, {type(value).__name__} was passed")
    return value


def _index(index: object, rows: int) -> list[Any] | None:
    if index is None:
        return None
    labels = _listed(index, "index")
    if len(labels) != rows:
        raise ValueError(f"index of {len(labels)} labels for {rows} rows")
    return labels


def _from_rows(
    rows: list[Any], labels: list[Any] | None, wanted: Wanted, limits: Limits
) -> Frame:
    if len(rows) > limits.rows:
        raise RequestError(f"request: {len(rows)} rows, up to {limits.rows} are allowed")
    if rows and isinstance(rows[0], dict):
        return _from_objects(rows, labels, wanted, limits)
    if rows and isinstance(rows[0], list):
        lists = [_cells(row) for row in rows]
        names = _labels(labels, max(map(len, lists)))
        at = {label: i for i, label in enumerate(names)}
        return _build(
            names, len(rows), wanted, limits, lambda label: _nth(lists, at[label])
        )
    names = _labels(labels, 1 if rows else len(labels or ()))
    return _build(names, len(rows), wanted, limits, lambda _: rows)


def _from_objects(
    rows: list[Any], labels: list[Any] | None, wanted: Wanted, limits: Limits
) -> Frame:
    if not all(isinstance(row, dict) for row in rows):
        odd = next(row for row in rows if not isinstance(row, dict))
        raise TypeError(f"'{type(odd).__name__}' object is not iterable")
    names = labels or list(dict.fromkeys(chain.from_iterable(rows)))
    return _build(
        _labels(names, len(names)),
        len(rows),
        wanted,
        limits,
        lambda label: [row.get(label, np.nan) for row in rows],
    )


def _cells(row: object) -> list[Any]:
    if not isinstance(row, list | dict):
        raise TypeError(f"object of type '{type(row).__name__}' has no len()")
    return list(row)


def _nth(rows: list[list[Any]], i: int) -> list[Any]:
    return [row[i] if i < len(row) else None for row in rows]


def _labels(labels: list[Any] | None, width: int) -> tuple[Label, ...]:
    if labels is None:
        return tuple(range(width))
    if len(labels) != width:
        raise ValueError(f"{len(labels)} columns passed, passed data had {width} columns")
    if len(set(labels)) != len(labels):
        raise ValueError(f"columns {labels} are not unique")
    return tuple(labels)


def refuse_wide(columns: int, limits: Limits) -> None:
    """Raise RequestError for more columns than a small machine should look at."""
    if columns > limits.columns:
        raise RequestError(
            f"request: {columns} columns, up to {limits.columns} are allowed"
        )


def _build(
    labels: tuple[Label, ...],
    rows: int,
    wanted: Wanted,
    limits: Limits,
    cells: Callable[[Label], list[Any]],
) -> Frame:
    refuse_wide(len(labels), limits)
    chosen = wanted(labels)
    if rows * len(chosen) > limits.cells:
        raise RequestError(
            f"request: {rows} rows of {len(chosen)} columns, up to {limits.cells} values"
            " are allowed"
        )
    columns = {label: Column.from_list(cells(label)) for label in chosen}
    return Frame(labels=labels, rows=rows, columns=columns)


def from_named(named: Mapping[str, Converted], wanted: Wanted) -> Frame:
    """Build from arrays by name; scalars are repeated beside arrays."""
    if any(isinstance(one.value, dict) for one in named.values()):
        raise SchemaError(f"inputs: {_NO_ROWS}")
    lengths = {len(one.value) for one in named.values() if _is_listed(one.value)}
    if len(lengths) > 1:
        raise no_frame("All arrays must be of the same length")
    if named and not lengths:
        raise no_frame("If using all scalar values, you must pass an index")
    rows = lengths.pop() if lengths else 0
    chosen = set(wanted(tuple(named)))
    columns: dict[Label, Column] = {
        label: _column(one, rows)
        for label, one in named.items()
        if label in chosen or _is_listed(one.value)  # an array must be usable anyway
    }
    return Frame(labels=tuple(named), rows=rows, columns=columns)


def no_frame(fact: str) -> SchemaError:
    """Return MLflow's refusal of arrays that make no table."""
    return SchemaError(
        "This model contains a column-based signature, which suggests a DataFrame input."
        f" There was an error casting the input data to a DataFrame: {fact}"
    )


def from_table(table: Mapping[str, NDArray[Any]]) -> Frame:
    """Build from columns [rows, ...] in memory; rows of more dimensions are cells."""
    lengths = {len(array) if array.ndim else 0 for array in table.values()}
    if len(lengths) > 1 or any(not array.ndim for array in table.values()):
        raise no_frame("All arrays must be of the same length")
    columns: dict[Label, Column] = {
        name: Column.from_array(array if array.ndim == 1 else objects(list(array)), array)
        for name, array in table.items()
    }
    return Frame(labels=tuple(table), rows=max(lengths, default=0), columns=columns)


def _is_listed(value: object) -> bool:
    return isinstance(value, list) or bool(isinstance(value, np.ndarray) and value.ndim)


def _column(one: Converted, rows: int) -> Column:
    if isinstance(one.value, list):
        return Column.from_list(one.value, one.origin)
    if np.ndim(one.value) == 0:
        value = one.value[()] if isinstance(one.value, np.ndarray) else one.value
        cell = Column.from_list([value])
        return Column(
            values=np.repeat(cell.values, rows),
            dtype=cell.dtype,
            origin=[one.origin] * rows,
        )
    return _array_column(one.value, one.origin)


def _array_column(array: NDArray[Any], origin: Origin) -> Column:
    if array.ndim > 1:  # cells that are lists; no column type takes them
        return Column.from_list(array.tolist(), origin)
    return Column.from_array(array, origin)


def from_converted_rows(rows: Sequence[Mapping[str, Converted]], wanted: Wanted) -> Frame:
    """Build from objects whose values are converted one by one."""
    labels = tuple(dict.fromkeys(chain.from_iterable(rows)))
    absent = Converted(value=np.nan, origin=np.nan)
    columns: dict[Label, Column] = {}
    for label in wanted(labels):
        cells = [row.get(str(label), absent) for row in rows]
        origin = [cell.origin for cell in cells]
        columns[label] = Column.from_list([cell.value for cell in cells], origin)
    return Frame(labels=labels, rows=len(rows), columns=columns)


def from_bare(bare: Converted) -> Frame:
    """Build from one array without names, or from one scalar."""
    if isinstance(bare.value, list):
        return _from_rows(bare.value, None, lambda labels: labels, Limits())
    if isinstance(bare.value, dict):
        raise SchemaError(f"inputs: {_NO_ROWS}")
    if bare.value is None:
        raise SchemaError("Expected input to be DataFrame. Found: NoneType")
    if not isinstance(bare.value, np.ndarray):
        column = Column.from_list([bare.value], [bare.origin])
        return Frame(labels=(0,), rows=1, columns={0: column})
    array = bare.value
    if array.ndim == 1:
        column = _block_column(array, bare.origin)
        return Frame(labels=(0,), rows=len(array), columns={0: column})
    if array.ndim != 2:  # noqa: PLR2004 - rows and columns
        raise SchemaError(f"Must pass 2-d input. shape={array.shape}")
    columns: dict[Label, Column] = {}
    for i in range(array.shape[1]):
        origin = [row[i] for row in bare.origin]
        columns[i] = _block_column(array[:, i], origin)
    return Frame(labels=tuple(columns), rows=len(array), columns=columns)


def _block_column(array: NDArray[Any], origin: Origin) -> Column:
    if array.dtype.kind == "S":  # a frame keeps the dtype of a whole array of bytes
        return Column(values=array, dtype=dtype_name(array.dtype), origin=origin)
    return Column.from_array(array, origin)
