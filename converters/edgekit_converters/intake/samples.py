"""The rows that flavors are compared on: a file of them, or the model's own example.

Matches them to the model's inputs and casts them to its types. Knows pandas and the file
formats, no framework; a row is never dropped or repaired silently.
"""

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from edgekit.errors import ConversionError
from edgekit.table import Array, rows
from edgekit_converters import tables
from edgekit_converters.intake import frames
from edgekit_converters.intake.casting import cast
from edgekit_converters.intake.inputs import TEXT, Field, Inputs
from edgekit_converters.intake.source import InputExample

MAX_EXAMPLE_BYTES = 256 * 2**20
_HOW = "pass a file with --samples (CSV, JSON lines, Parquet, .npy or .npz)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Rows in the model's own types, and the true answers beside them, if there are."""

    table: dict[str, Array]
    labels: Array | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFile:
    """A file of rows; its columns `aside` are not the model's, whatever it takes."""

    path: Path
    aside: tuple[str, ...] = ()


def from_file(
    path: Path, inputs: Inputs, target: str | None, *, aside: Sequence[str] = ()
) -> Samples:
    """Read a sample file; ConversionError if it does not hold what the model takes."""
    _check_file(path)
    if path.suffix in frames.SUFFIXES:
        frame = _read_frame(path, inputs)
        _demand(path.name, aside, list(frame.columns))
        return _from_frame(path.name, frame.drop(columns=list(aside)), inputs, target)
    if path.suffix == ".npz":
        arrays = tables.load_npz(path)
        _demand(path.name, aside, list(arrays))
        own = {name: array for name, array in arrays.items() if name not in aside}
        return _from_arrays(path.name, own, inputs, target)
    if path.suffix == ".npy":
        if target is not None:
            raise ConversionError(
                f"{path.name}: an .npy file has no column {target}; put the labels"
                " beside the tensors in an .npz file"
            )
        return _from_arrays(path.name, {"": tables.load_npy(path)}, inputs, None)
    raise ConversionError(
        f"{path.name}: samples of an unknown format; {', '.join(frames.SUFFIXES)}, .npy or"
        " .npz is expected"
    )


def names(path: Path) -> tuple[str, ...]:
    """Return the names of a sample file's columns or arrays; "" for an .npy file's."""
    _check_file(path)
    if path.suffix in frames.SUFFIXES:
        return tuple(_read_frame(path, None).columns)
    return tuple(tables.load_npz(path)) if path.suffix == ".npz" else ("",)


def column(path: Path, name: str) -> Array:
    """Return one column of a sample file, [rows]; ConversionError if it has none."""
    _check_file(path)
    if path.suffix in frames.SUFFIXES:
        frame = _read_frame(path, None)
        _demand(path.name, [name], list(frame.columns))
        return frame[name].to_numpy()
    arrays = tables.load_npz(path) if path.suffix == ".npz" else {}
    _demand(path.name, [name], list(arrays))
    return arrays[name]


def from_example(example: InputExample | None, inputs: Inputs) -> Samples:
    """Read the input example that was logged with the model."""
    if example is None:
        raise ConversionError(f"samples: the model has no input example; {_HOW}")
    content = _read_json(example.path)
    name = example.path.name
    if isinstance(content, dict) and list(content) == ["inputs"]:
        content = content["inputs"]  # as MLflow 1 wrote tensors
    if not inputs.tensors:
        return _from_frame(name, _example_frame(name, content), inputs, None)
    if example.type == "dataframe":
        return _from_frame(name, _example_frame(name, content), inputs, None)
    arrays = content if isinstance(content, dict) else {"": content}
    try:
        named = {str(key): np.asarray(value) for key, value in arrays.items()}
    except ValueError as error:
        raise ConversionError(f"{name}: ragged rows: {error}") from error
    return _from_arrays(name, named, inputs, None)


def read(
    file: SampleFile | None,
    example: InputExample | None,
    inputs: Inputs,
    target: str | None,
) -> Samples:
    """Read the sample file, or else the model's own example (which has no target)."""
    if file is not None:
        return from_file(file.path, inputs, target, aside=file.aside)
    if target is not None:
        raise ConversionError(
            f"target {target}: the model's input example holds no true labels; {_HOW}"
        )
    return from_example(example, inputs)


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise ConversionError(f"{path}: no such sample file")


def _read_frame(path: Path, inputs: Inputs | None) -> pd.DataFrame:
    fields = inputs.fields if inputs is not None else ()
    return frames.read(path, [field.name for field in fields if not field.numeric])


def _read_json(path: Path) -> object:
    if path.stat().st_size > MAX_EXAMPLE_BYTES:
        raise ConversionError(f"{path.name}: more than {MAX_EXAMPLE_BYTES} bytes; {_HOW}")
    try:
        content: object = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ConversionError(f"{path.name}: not JSON: {error}; {_HOW}") from error
    return content


def _example_frame(name: str, content: object) -> pd.DataFrame:
    try:
        if isinstance(content, dict) and isinstance(content.get("data"), list):
            return pd.DataFrame(content["data"], columns=content.get("columns"))
        if isinstance(content, dict) and not any(
            isinstance(value, list) for value in content.values()
        ):
            return pd.DataFrame([content])
        if isinstance(content, (dict, list)):
            return pd.DataFrame(content)
    except ValueError as error:
        raise ConversionError(f"{name}: not a table of rows: {error}; {_HOW}") from error
    raise ConversionError(f"{name}: not a table of rows; {_HOW}")


def _from_frame(
    subject: str, frame: pd.DataFrame, inputs: Inputs, target: str | None
) -> Samples:
    frame.columns = frame.columns.map(str)
    labels = None
    if target is not None:
        _demand(subject, [target], list(frame.columns))
        labels = frame[target].to_numpy()
        frame = frame.drop(columns=target)
    _check_rows(subject, len(frame))
    if inputs.tensors:
        return Samples(table=_packed(subject, frame, inputs), labels=labels)
    _demand(subject, inputs.names, list(frame.columns))
    found = {f.name: cast(frame[f.name].to_numpy(), f) for f in inputs.fields}
    return Samples(table=found, labels=labels)


def _packed(subject: str, frame: pd.DataFrame, inputs: Inputs) -> dict[str, Array]:
    """Lay a table's columns side by side for a model that takes one plain matrix."""
    wanted = inputs.fields[0]
    if len(inputs.fields) > 1 or len(wanted.shape) != 2:  # noqa: PLR2004 - a matrix
        raise ConversionError(
            f"{subject}: a table, but the model takes the tensors"
            f" {', '.join(inputs.names)}; pass an .npz file"
        )
    if wanted.shape[1] not in {-1, frame.shape[1]}:
        raise ConversionError(
            f"{subject}: {frame.shape[1]} columns, the model takes {wanted.shape[1]};"
            " leave out the others, or name the column of labels with --target"
        )
    column = [
        cast(frame[name].to_numpy(), Field(name=name, dtype=wanted.dtype))
        for name in frame.columns
    ]
    return {wanted.name: np.stack(column, axis=1)}


def _from_arrays(
    subject: str, named: dict[str, Array], inputs: Inputs, target: str | None
) -> Samples:
    labels = None
    if target is not None:
        _demand(subject, [target], list(named))
        labels = named.pop(target)
        if labels.ndim == 0:
            raise ConversionError(
                f"{subject}: {target} holds a lone value, one for each row is expected"
            )
    if len(named) == 1 and len(inputs.fields) == 1:
        named = dict(zip(inputs.names, named.values(), strict=True))
    elif not inputs.tensors and len(named) == 1:
        named = _split(subject, next(iter(named.values())), inputs)
    _demand(subject, inputs.names, list(named))
    table = {f.name: _fitting(subject, named[f.name], f) for f in inputs.fields}
    sizes = {
        len(array) for array in [*table.values(), *([] if labels is None else [labels])]
    }
    if len(sizes) != 1:
        raise ConversionError(f"{subject}: arrays of {sorted(sizes)} rows, equal expected")
    _check_rows(subject, rows(table))
    return Samples(table=table, labels=labels)


def _split(subject: str, matrix: Array, inputs: Inputs) -> dict[str, Array]:
    if matrix.ndim != 2 or matrix.shape[1] != len(inputs.fields):  # noqa: PLR2004
        raise ConversionError(
            f"{subject}: an array of shape {matrix.shape}, the model takes"
            f" {len(inputs.fields)} columns"
        )
    return {name: matrix[:, n] for n, name in enumerate(inputs.names)}


def _fitting(subject: str, array: Array, field: Field) -> Array:
    wanted = field.shape
    fits = array.ndim == len(wanted) and all(
        want in {-1, got} for want, got in zip(wanted[1:], array.shape[1:], strict=True)
    )
    if not fits:
        raise ConversionError(
            f"{subject}: {field.name or 'the tensor'} has shape {array.shape},"
            f" {wanted} is expected"
        )
    if field.dtype != TEXT and array.dtype.kind not in "biuf":
        raise ConversionError(
            f"{subject}: {field.name or 'the tensor'} holds {array.dtype},"
            f" {field.dtype} is expected"
        )
    return array.astype(object if field.dtype == TEXT else field.dtype)


def _check_rows(subject: str, number: int) -> None:
    if number == 0:
        raise ConversionError(f"{subject}: no rows in it; {_HOW}")
    if number > frames.MAX_ROWS:
        raise ConversionError(
            f"{subject}: {number} rows, at most {frames.MAX_ROWS} are taken"
        )


def _demand(subject: str, names: Sequence[str], found: Sequence[str]) -> None:
    for name in names:
        if name not in found:
            near = [other for other in found if other.casefold() == name.casefold()]
            near += difflib.get_close_matches(name, found, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {_some(found)}"
            raise ConversionError(f"{subject}: no column {name}; {hint}")


def _some(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return f"{shown}, ... ({len(names)} in all)" if len(names) > most else shown or "none"
