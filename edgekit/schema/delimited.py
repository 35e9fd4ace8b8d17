"""Comma-separated text as a table. Knows the signature's column types, no enforcement.

It is read as MLflow's scoring server reads it (`pandas.read_csv` with the signature's
dtypes): a header, blank lines skipped, words that stand for missing values, more cells than
columns name the rows. Numbers are rounded correctly, which pandas leaves off by a last bit
now and then. Text after a closing quote is refused, though pandas takes it.
"""

import csv
import io
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import RequestError
from edgekit.schema.column import Column, objects
from edgekit.schema.datatypes import ColumnType
from edgekit.schema.frame import Frame, Label, Wanted, refuse_wide
from edgekit.schema.policy import Limits

_MISSING = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND"}
    | {"1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
)
_TRUTH = {"true": True, "false": False}
_WHOLE = re.compile(r"[ \t]*[+-]?\d+[ \t]*", re.ASCII)
_NUMBER = re.compile(
    r"[ \t]*[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf|infinity)[ \t]*",
    re.ASCII | re.IGNORECASE,
)
_INT64, _UINT64 = np.iinfo(np.int64), np.iinfo(np.uint64)


def from_text(
    body: bytes, types: Mapping[Label, ColumnType], wanted: Wanted, limits: Limits
) -> Frame:
    """Build a table of those columns that are wanted, or raise RequestError.

    `types` are by label, or by position where the signature has no names. Columns without
    a type get the one that their cells suggest.
    """
    if len(body) > limits.body_bytes:
        raise RequestError(
            f"request: {len(body)} bytes, up to {limits.body_bytes} are allowed"
        )
    try:
        text = body.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as cause:
        raise RequestError(
            "Invalid input. Ensure that input is a valid UTF-8 encoded string."
            f" Error: '{cause!r}'"
        ) from cause
    try:
        labels, ahead, rows = _read(text, limits)
        if not rows:
            _refuse_types_beyond(ahead + len(labels), types)
        for position in range(ahead):  # what names the rows must be readable too
            _column([row[position] for row in rows], position, types.get(position))
        at = {label: ahead + number for number, label in enumerate(labels)}
        columns: dict[Label, Column] = {}
        for label in wanted(labels):
            position = at[label]
            kind = types.get(label, types.get(position))
            columns[label] = _column([row[position] for row in rows], position, kind)
    except (csv.Error, ValueError) as cause:
        raise unusable(str(cause)) from cause
    return Frame(labels=labels, rows=len(rows), columns=columns)


def unusable(fact: str) -> RequestError:
    """Return MLflow's refusal of text that makes no table."""
    return RequestError(
        "Failed to parse input as a Pandas DataFrame. Ensure that the input is a valid"
        " CSV-formatted Pandas DataFrame produced using the `pandas.DataFrame.to_csv()`"
        f" method. Error: '{fact}'"
    )


def _refuse_types_beyond(width: int, types: Mapping[Label, ColumnType]) -> None:
    """Fail as pandas does where there are no rows, and types by position for more cells."""
    if any(isinstance(position, int) and position >= width for position in types):
        raise ValueError("list index out of range")


def _refuse_many(rows: int, width: int, limits: Limits) -> None:
    if rows > limits.rows or rows * width > limits.cells:
        raise RequestError(
            f"request: {rows} rows or more of {width} columns, up to {limits.rows} rows and"
            f" {limits.cells} values are allowed"
        )


def _read(text: str, limits: Limits) -> tuple[tuple[Label, ...], int, list[list[str]]]:
    """Return the header, how many cells of a row come ahead of it, and the rows.

    pandas takes cells that the first row has too many for names of the rows.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    lines = (line for line in reader if not _is_blank(line))
    header = next(lines, None)
    if header is None:
        raise ValueError("No columns to parse from file")
    refuse_wide(len(header), limits)
    labels = _labels(header)
    first = next(lines, None)
    if first is None:
        return labels, 0, []
    ahead = max(0, len(first) - len(labels))
    width = ahead + len(labels)
    rows: list[list[str]] = []
    for line in (first, *lines):
        if len(line) > width:
            raise ValueError(
                f"Error tokenizing data. C error: Expected {width} fields in line"
                f" {reader.line_num}, saw {len(line)}"
            )
        _refuse_many(len(rows) + 1, width, limits)  # before they are filled up
        rows.append(line + [""] * (width - len(line)))
    return labels, ahead, rows


def _is_blank(line: list[str]) -> bool:
    return not line or (len(line) == 1 and bool(line[0]) and not line[0].strip(" \t"))


def _labels(header: list[str]) -> tuple[Label, ...]:
    """Name the columns as pandas does, each once."""
    labels: dict[str, None] = {}
    seen: dict[str, int] = {}
    for position, given in enumerate(header):
        label = name = given or f"Unnamed: {position}"
        while label in labels:
            seen[name] = seen.get(name, 0) + 1
            label = f"{name}.{seen[name]}"
        labels[label] = None
    return tuple(labels)


def _column(cells: list[str], position: int, kind: ColumnType | None) -> Column:
    match kind:
        case ColumnType.STRING | ColumnType.BINARY:
            values = [np.nan if cell in _MISSING else cell for cell in cells]
            sent = [np.nan if cell == "" else cell for cell in cells]
            return Column(values=objects(values), dtype="object", origin=sent)
        case ColumnType.DATETIME if cells:
            raise ValueError(
                "the dtype datetime64[ns] is not supported for parsing, pass this column"
                " using parse_dates instead"
            )
        case None:
            return _suggested(cells)
    if not cells:
        return Column.from_array(np.empty(0, kind.dtype))
    found = _suggested(cells)
    return found.holding(_cast(found, position, kind))


def _suggested(cells: list[str]) -> Column:
    known = [cell for cell in cells if cell not in _MISSING]
    lower = {cell.lower() for cell in known}
    if known and lower <= _TRUTH.keys():
        read = [_TRUTH.get(cell.lower(), np.nan) for cell in cells]
        return Column.from_list(read)
    if all(map(_WHOLE.fullmatch, known)) and len(known) == len(cells) and cells:
        return _whole([int(cell) for cell in cells], cells)
    if all(map(_NUMBER.fullmatch, known)) and cells:
        numbers = [np.nan if cell in _MISSING else float(cell) for cell in cells]
        return Column.from_array(np.array(numbers, np.float64))
    return Column.from_list([np.nan if cell in _MISSING else cell for cell in cells])


def _whole(numbers: list[int], cells: list[str]) -> Column:
    least, most = min(numbers), max(numbers)
    if _INT64.min <= least and most <= _INT64.max:
        return Column.from_array(np.array(numbers, np.int64))
    if least >= 0 and most <= _UINT64.max:
        return Column.from_array(np.array(numbers, np.uint64))
    return Column.from_list(cells)


def _cast(column: Column, position: int, kind: ColumnType) -> NDArray[Any]:
    """Return the numbers in the type, if each keeps its value."""
    values = column.values
    missing = bool(
        column.is_object or (values.dtype.kind == "f" and np.isnan(values).any())
    )
    if missing and kind.dtype.kind in "bi":
        what = "Bool" if kind is ColumnType.BOOLEAN else "Integer"
        raise ValueError(f"{what} column has NA values in column {position}")
    if column.is_text:
        texts = [value for value in values if isinstance(value, str)]
        odd = next((text for text in texts if not _NUMBER.fullmatch(text)), None)
        if odd is not None:
            raise ValueError(f"could not convert string to float: {odd!r}")
        if kind.dtype.kind != "f":
            raise ValueError(f"could not convert whole numbers to {kind.dtype}")
        values = np.array([float(text) for text in texts])  # beyond 64 bits
    with np.errstate(invalid="ignore", over="ignore"):
        cast: NDArray[Any] = values.astype(kind.dtype)
    if kind.dtype.kind in "bi" and not np.array_equal(cast, values):
        raise ValueError(
            f"cannot safely convert passed user dtype of {kind.dtype} for {column.dtype}"
            f" dtyped data in column {position}"
        )
    return cast
