"""Parameters of a request beside its rows: types, defaults. Knows no rows.

The rules are MLflow 3.17's (`ParamSpec` and `_enforce_param_datatype`): a whole number may
become a float, nothing else changes its type; what is not in the signature is ignored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgekit.document import Reader
from edgekit.errors import SchemaError
from edgekit.schema import nesting
from edgekit.schema.datatypes import ColumnType, ObjectType, read_object

_PYTHON_TYPES: Mapping[ColumnType, type] = {
    ColumnType.BOOLEAN: bool,
    ColumnType.INTEGER: int,
    ColumnType.LONG: int,
    ColumnType.FLOAT: float,
    ColumnType.DOUBLE: float,
    ColumnType.STRING: str,
}
_FLOATS = frozenset({ColumnType.FLOAT, ColumnType.DOUBLE})


@dataclass(frozen=True, slots=True, kw_only=True)
class ParamSpec:
    """One parameter; `listed` where its value is a one-dimensional list."""

    name: str
    type: ColumnType | ObjectType
    default: Any
    listed: bool

    def __str__(self) -> str:
        """Return the words MLflow uses in its sentences."""
        shape = " (shape: (-1,))" if self.listed else ""
        return f"{self.name!r}: {self.type} (default: {self.default}){shape}"

    def accept(self, value: object) -> object:
        """Return the value in the parameter's type, or raise SchemaError."""
        if self.listed and not (isinstance(value, list) and _dimensions(value) == 1):
            raise SchemaError(
                f"Value must be a 1D array with shape (-1,) for param {self}, received"
                f" {type(value).__name__} with ndim {_dimensions(value)}"
            )
        try:
            if isinstance(self.type, ObjectType):
                nesting.enforce(value, self.type, required=True)
                return value  # MLflow checks an object and keeps the caller's own
            if isinstance(value, list) and self.listed:
                return [_scalar(one, self.type) for one in value]
            return _scalar(value, self.type)
        except (SchemaError, ValueError) as cause:
            raise SchemaError(
                f"Failed to validate type and shape for {self}, error: {cause}"
            ) from cause


def _dimensions(value: object) -> int:
    """Return how deep a value is, or raise SchemaError where numpy makes no array of it."""
    try:
        return np.array(value).ndim
    except ValueError as cause:
        raise SchemaError(f"param of lists in lists: {cause}") from cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """Parameters for the model, and what was ignored in words."""

    params: dict[str, object]
    notes: tuple[str, ...] = ()


def read_params(entries: Sequence[dict[str, object]]) -> tuple[ParamSpec, ...]:
    """Parse a signature's list of parameters, or raise SchemaError."""
    return tuple(
        _param(Reader(table=entry, subject=f"signature: params[{i}]", error=SchemaError))
        for i, entry in enumerate(entries)
    )


def _param(reader: Reader) -> ParamSpec:
    key = "type" if reader.table.get("type") else "dtype"  # MLflow 2.x wrote dtype
    kind = _type(reader, reader.text(key))
    shape = reader.table.get("shape")
    if kind is ColumnType.BINARY or "default" not in reader.table:
        reader.fail("type and default", "a type other than binary, and a default")
    is_list = isinstance(shape, list | tuple) and list(shape) == [-1]
    if shape is not None and not (is_list and isinstance(kind, ColumnType)):
        reader.fail("shape", "null, or [-1] for a list of scalars,")
    spec = ParamSpec(
        name=reader.text("name"),
        type=kind,
        default=reader.table["default"],
        listed=shape is not None,
    )
    return replace(spec, default=spec.accept(spec.default))


def _type(reader: Reader, label: str) -> ColumnType | ObjectType:
    return read_object(reader) if label == "object" else ColumnType.named(label)


def accept(specs: Sequence[ParamSpec] | None, given: object) -> Accepted:
    """Check the parameters of a request and fill in defaults, or raise SchemaError."""
    if specs is None:
        return _ignored(given)
    given = {} if given is None else given
    if not isinstance(given, dict):
        raise SchemaError(
            f"Parameters must be a dictionary. Got type '{type(given).__name__}'."
        )
    params: dict[str, object] = {}
    invalid: list[tuple[str, str]] = []
    for spec in specs:
        try:
            params[spec.name] = (
                spec.accept(given[spec.name]) if spec.name in given else spec.default
            )
        except SchemaError as refusal:
            invalid.append((spec.name, str(refusal)))
    if invalid:
        found = ", ".join(repr(entry) for entry in invalid)
        raise SchemaError(f"Invalid parameters found: {{{found}}}")
    return Accepted(params=params, notes=_unknown(specs, given))


def _ignored(given: object) -> Accepted:
    if given is None or given == {}:
        return Accepted(params={})
    info = (
        f"Ignoring provided params: {list(given)}"
        if isinstance(given, dict)
        else "Ignoring invalid params (not a dictionary)."
    )
    note = (
        "`params` can only be specified at inference time if the model signature defines a"
        f" params schema. This model does not define a params schema. {info}"
    )
    return Accepted(params={}, notes=(note,))


def _unknown(specs: Sequence[ParamSpec], given: Mapping[str, object]) -> tuple[str, ...]:
    known = [spec.name for spec in specs]
    unknown = [name for name in given if name not in known]
    if not unknown:
        return ()
    note = (
        f"Unrecognized params {unknown} are ignored for inference."
        f" Supported params are: {known}."
        " To enable them, please add corresponding schema in ModelSignature."
    )
    return (note,)


def _scalar(value: object, kind: ColumnType) -> object:
    if value is None:
        return None
    label = f"DataType.{kind.label}"
    if kind is ColumnType.DATETIME:
        return _instant(value, label)
    if not np.isscalar(value):
        raise SchemaError(f"Value must be a scalar for type `{label}`, got `{value}`")
    python = _PYTHON_TYPES[kind]
    if type(value) is python or (kind in _FLOATS and type(value) is int):
        return python(value)
    raise SchemaError(
        f"Can not safely convert `{type(value)}` to `{label}` for value `{value!s}`"
    )


def _instant(value: object, label: str) -> object:
    try:
        instant = np.datetime64(value).item()  # type: ignore[call-overload]  # any JSON value
    except ValueError as cause:
        raise SchemaError(
            f"Failed to convert value `{value}` from type `{type(value)}` to `{label}`"
        ) from cause
    if isinstance(instant, int):
        raise SchemaError(
            f"Failed to convert value to `{label}`. It must be convertible to"
            f" datetime.date/datetime, got `{value}`"
        )
    return instant
