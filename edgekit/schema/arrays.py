"""Arrays from the `inputs` and `instances` of a request. Knows the signature's dtypes only.

This is the form that MLflow took over from TensorFlow Serving (`parse_tf_serving_input` in
mlflow/utils/proto_json_utils.py): every value becomes an array of its input's dtype, with
numpy's own conversions. What they alter is judged elsewhere (edgekit.schema.loss).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgekit.errors import RequestError, SchemaError
from edgekit.schema import nesting
from edgekit.schema.datatypes import ArrayType, ColumnType
from edgekit.schema.frame import Converted, Frame
from edgekit.schema.policy import Limits
from edgekit.schema.spec import ColumnSpec, TensorSpec

Spec = ColumnSpec | TensorSpec
Data = Frame | Converted | Mapping[str, Converted] | Sequence[Mapping[str, Converted]]

_CAST_FAILURES = (ValueError, TypeError, OverflowError)


def from_inputs(content: object, specs: Sequence[Spec], limits: Limits) -> Data:
    """Convert `inputs`: values by name, a list of objects, or one bare value."""
    _check_rows(content, limits)
    refuse_wide_text(content, limits)
    by_name = {spec.name: spec for spec in specs if spec.name is not None}
    if specs and not by_name and not (isinstance(content, list) or np.isscalar(content)):
        raise RequestError(
            "Invalid input. Failed to parse input data. This model contains an un-named "
            " model signature which expects a single n-dimensional array or a single value"
            f" as input, however, an input of type {type(content)} was found."
        )
    if isinstance(content, dict):
        return {name: convert(v, by_name.get(name)) for name, v in content.items()}
    if not isinstance(content, list):
        return _bare_scalar(content, specs)
    if len(by_name) == 1 and not any(isinstance(row, dict) for row in content):
        return {name: convert(content, spec) for name, spec in by_name.items()}
    if all(isinstance(row, dict) for row in content):
        return [{n: convert(v, by_name.get(n)) for n, v in row.items()} for row in content]
    return convert(content, specs[0] if specs else None)


def from_instances(content: object, specs: Sequence[Spec], limits: Limits) -> Data:
    """Convert `instances`: a list of objects becomes arrays by name."""
    _check_rows(content, limits)
    refuse_wide_text(content, limits)
    if isinstance(content, list) and content and isinstance(content[0], dict):
        data: Data = _from_objects(content, specs)
    else:
        data = from_inputs(content, specs, limits)
    if isinstance(data, Mapping):
        _check_lengths(data, specs)
    return data


def convert(value: object, spec: Spec | None) -> Converted:
    """Convert one JSON value to an array, or a column's single value to a scalar."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            if spec is None:
                return Converted(value=np.array(value), origin=value)
            if isinstance(spec, TensorSpec):
                return Converted(value=np.array(value, dtype=spec.dtype), origin=value)
            if not isinstance(spec.type, ColumnType):
                return Converted(value=_nested(value, spec), origin=value)
            if isinstance(value, list):
                array = np.array(value, spec.type.dtype)
                return Converted(value=array, origin=value)
            return Converted(value=np.array([value], spec.type.dtype)[0], origin=value)
    except (SchemaError, *_CAST_FAILURES) as cause:
        raise RequestError(f"Invalid input. {cause}") from cause


def _nested(value: object, spec: ColumnSpec) -> object:
    """Enforce a type of lists or objects; MLflow makes arrays of lists."""
    found = nesting.enforce(value, spec.type, required=spec.required)
    return np.array(found) if isinstance(spec.type, ArrayType) else found


def _bare_scalar(content: object, specs: Sequence[Spec]) -> Converted:
    spec = specs[0] if specs else None
    try:
        return convert(content, spec)
    except RequestError as cause:
        raise RequestError(
            f"Invalid input. Failed to convert data `{content}` to type `{spec}` defined in"
            " the model signature."
        ) from cause


def _from_objects(rows: list[Any], specs: Sequence[Spec]) -> dict[str, Converted]:
    by_name = {spec.name: spec for spec in specs if spec.name is not None}
    if not all(isinstance(row, dict) for row in rows):
        return _one_by_one(rows, by_name)
    columns: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    if columns.keys() <= by_name.keys() and not _holds_lists(columns, by_name):
        try:
            return {name: convert(vs, by_name[name]) for name, vs in columns.items()}
        except RequestError:
            pass  # one by one names the first value in the order of the rows
    return _one_by_one(rows, by_name)


def _holds_lists(columns: Mapping[str, list[Any]], by_name: Mapping[str, Spec]) -> bool:
    if any(_is_nested(by_name[name]) for name in columns):
        return True
    return any(isinstance(v, list | dict) for values in columns.values() for v in values)


def _is_nested(spec: Spec) -> bool:
    return isinstance(spec, ColumnSpec) and not isinstance(spec.type, ColumnType)


def _one_by_one(rows: list[Any], by_name: Mapping[str, Spec]) -> dict[str, Converted]:
    """Convert in the order of the rows: the first value to fail is the one named."""
    parts: dict[str, list[Converted]] = {}
    for row in rows:
        if not isinstance(row, dict):
            raise _no_json(f"'{type(row).__name__}' object has no attribute 'items'")
        for name, value in row.items():
            parts.setdefault(name, []).append(convert(value, by_name.get(name)))
    try:
        return {
            name: Converted(
                value=np.array([one.value for one in cells]),
                origin=[one.origin for one in cells],
            )
            for name, cells in parts.items()
        }
    except _CAST_FAILURES as cause:
        raise _no_json(repr(cause)) from cause


def _no_json(fact: str) -> RequestError:
    return RequestError(
        "Invalid input. Ensure that the input is a valid JSON-formatted string.\n"
        f"Error: {fact}"
    )


def _check_rows(content: object, limits: Limits) -> None:
    parts = list(content.values()) if isinstance(content, dict) else [content]
    for part in parts:
        if isinstance(part, list) and len(part) > limits.rows:
            raise RequestError(
                f"request: {len(part)} rows, up to {limits.rows} are allowed"
            )


def refuse_wide_text(content: object, limits: Limits) -> None:
    """Raise RequestError where numpy would need too much for text.

    An array of text gives every element the room of the longest one: a single long text
    among many short ones can fill a device's memory.
    """
    elements, longest = 0, 0
    parts = [content]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            parts.extend(part.values())
        elif isinstance(part, list):
            elements += len(part)
            longest = max(longest, *(len(p) for p in part if isinstance(p, str)), 0)
            parts.extend(p for p in part if isinstance(p, list | dict))
        elif isinstance(part, str):
            longest = max(longest, len(part))
    needed = elements * longest * np.dtype("U1").itemsize
    if needed > limits.text_bytes:
        raise RequestError(
            f"request: text of {needed} bytes when laid out as an array, up to"
            f" {limits.text_bytes} are allowed"
        )


def _check_lengths(data: Mapping[str, Converted], specs: Sequence[Spec]) -> None:
    required = [s.name for s in specs if isinstance(s, TensorSpec) or _is_counted(s)]
    named = any(spec.name is not None for spec in specs)
    lengths = set()
    for name, one in data.items():
        if isinstance(one.value, np.ndarray | list) and (name in required or not named):
            if isinstance(one.value, np.ndarray) and one.value.ndim == 0:
                raise _no_json("TypeError('len() of unsized object')")
            lengths.add(len(one.value))
    if len(lengths) > 1:
        raise RequestError(
            "Invalid input. The length of values for each input/column name are not the"
            " same"
        )


def _is_counted(spec: ColumnSpec) -> bool:
    return spec.required and not isinstance(spec.type, ArrayType)
