"""Read a file of rows as a table: CSV, JSON lines or Parquet. Knows no model.

Bounded in bytes and rows; what is damaged, nested or ambiguous is refused with what was
found. Nothing is repaired, but for the mark and the separators that spreadsheets write.
"""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from edgekit.errors import ConversionError

SUFFIXES = (".csv", ".jsonl", ".ndjson", ".json", ".parquet")
MAX_ROWS = 1_000_000
MAX_BYTES = 2 * 2**30  # of a file, and of a Parquet file's columns unpacked
_START_CHARACTERS = 2**20  # in which the names and the first row must be
_SEPARATORS = (",", ";", "\t", "|")
_ENCODING = "utf-8-sig"  # with the mark at the beginning that spreadsheets write
_DAMAGED = (MemoryError, OSError, RecursionError, TypeError, ValueError, csv.Error)
_SHOWN = 60  # characters of a damaged line


def read(path: Path, texts: Sequence[str] = ()) -> pd.DataFrame:
    """Return the table; the columns `texts` are not taken for numbers.

    ConversionError for a file that is no table, or of more than MAX_BYTES or MAX_ROWS.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ConversionError(
            f"{path.name}: {size:,} bytes, at most {MAX_BYTES:,} are read; some ten"
            " thousand rows are enough"
        )
    try:
        frame = _read(path, texts)
    except _DAMAGED as error:
        raise ConversionError(
            f"{path.name}: cannot be read as a table: {_first_line(error)}"
        ) from error
    except ImportError as error:
        raise ConversionError(f"{path.name}: {error}; pip install pyarrow") from error
    frame.columns = frame.columns.map(str)
    _check(path.name, frame)
    return frame


def _read(path: Path, texts: Sequence[str]) -> pd.DataFrame:
    if path.suffix == ".csv":
        return _read_csv(path, texts)
    if path.suffix == ".parquet":
        return _read_parquet(path)
    return _read_json(path)


def _read_csv(path: Path, texts: Sequence[str]) -> pd.DataFrame:
    separator, header, first = _begin(path)
    if len(first) > len(header):
        raise ConversionError(
            f"{path.name}: its first row has {len(first)} values, the line of names"
            f" {len(header)}"
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise ConversionError(f"{path.name}: several columns are called {twice[0]}")
    if header and all(_is_number(name) for name in header):
        raise ConversionError(
            f"{path.name}: its first line holds numbers ({', '.join(header[:4])}), the"
            " names of the columns are expected there"
        )
    return pd.read_csv(
        path,
        sep=separator,
        dtype=dict.fromkeys(texts, str),
        encoding=_ENCODING,
        nrows=MAX_ROWS + 1,
        index_col=False,
    )


def _begin(path: Path) -> tuple[str, list[str], list[str]]:
    """Return the separator that makes most columns of the names, them and the first row."""
    with path.open(encoding=_ENCODING, newline="") as file:
        start = file.read(_START_CHARACTERS)
    if "\0" in start:
        raise ValueError("it holds bytes that no text has")
    parsed = {mark: _two_lines(start, mark) for mark in _SEPARATORS}
    best = max(_SEPARATORS, key=lambda mark: len(parsed[mark][0]))
    header, first = parsed[best]
    return best, header, first


def _two_lines(start: str, separator: str) -> tuple[list[str], list[str]]:
    lines = csv.reader(io.StringIO(start, newline=""), delimiter=separator)
    header, first = next(lines, []), next(lines, [])
    return [name.strip() for name in header], first


def _read_parquet(path: Path) -> pd.DataFrame:
    # Only where such a file is read.
    from pyarrow import parquet  # type: ignore[import-untyped]  # noqa: PLC0415 - ships none

    about = parquet.read_metadata(path)
    unpacked = sum(about.row_group(n).total_byte_size for n in range(about.num_row_groups))
    if about.num_rows > MAX_ROWS:
        raise ConversionError(_too_many(path.name, about.num_rows))
    if unpacked > MAX_BYTES:
        raise ConversionError(
            f"{path.name}: {unpacked:,} bytes unpacked, at most {MAX_BYTES:,} are read"
        )
    return pd.read_parquet(path)


def _read_json(path: Path) -> pd.DataFrame:
    """Read one object a line, or one list of objects."""
    text = path.read_text(_ENCODING)
    if text.lstrip().startswith("["):
        rows = json.loads(text)
        return _table(path, [(1, row) for row in rows])
    lines = enumerate(text.splitlines(), start=1)
    return _table(path, [(n, _line(path, n, line)) for n, line in lines if line.strip()])


def _line(path: Path, number: int, line: str) -> object:
    try:
        content: object = json.loads(line)
    except ValueError as error:
        raise ConversionError(
            f"{path.name}: line {number} is not JSON ({error}): {line[:_SHOWN]}"
        ) from error
    return content


def _table(path: Path, rows: Sequence[tuple[int, object]]) -> pd.DataFrame:
    for number, row in rows:
        if not isinstance(row, dict):
            raise ConversionError(
                f"{path.name}: line {number} holds {_kind(row)}, an object with a value"
                " for each column is expected"
            )
    return pd.DataFrame([row for _, row in rows])


def _check(subject: str, frame: pd.DataFrame) -> None:
    if len(frame) > MAX_ROWS:
        raise ConversionError(_too_many(subject, len(frame)))
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise ConversionError(f"{subject}: several columns are called {twice}")


def _too_many(subject: str, rows: int) -> str:
    return f"{subject}: {rows} rows, at most {MAX_ROWS} are taken"


def _kind(value: object) -> str:
    kinds = {list: "a list", str: "a text", type(None): "null"}
    return kinds.get(type(value), "a number")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
