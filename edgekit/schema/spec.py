"""The inputs or outputs of a model signature as frozen values. Knows its JSON, no data.

The rules of what makes a signature are MLflow 3.17's (mlflow/types/schema.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.document import Reader
from edgekit.errors import SchemaError
from edgekit.schema.datatypes import ColumnType, DataType, read_type
from edgekit.table import NO_DTYPE

_TENSOR_KINDS = frozenset("biufcUSO")


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnSpec:
    """One column; `name` is None where the signature names none."""

    name: str | None
    type: DataType
    required: bool = True

    def __str__(self) -> str:
        """Return the words MLflow uses in its sentences."""
        need = "required" if self.required else "optional"
        label = f"{self.type} ({need})"
        return label if self.name is None else f"{self.name!r}: {label}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One tensor; -1 in `shape` stands for any length."""

    name: str | None
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        """Return the words MLflow uses in its sentences."""
        label = f"Tensor({self.dtype.name!r}, {self.shape!r})"
        return label if self.name is None else f"{self.name!r}: {label}"


def read_specs(
    entries: Sequence[dict[str, object]],
) -> tuple[ColumnSpec, ...] | tuple[TensorSpec, ...]:
    """Parse a signature's list of inputs or outputs, or raise SchemaError."""
    if not entries:
        raise SchemaError("Creating Schema with empty inputs is not allowed.")
    readers = [
        Reader(table=entry, subject=f"signature: inputs[{i}]", error=SchemaError)
        for i, entry in enumerate(entries)
    ]
    tensors = [reader.text("type") == "tensor" for reader in readers]
    _refuse_mixed_names([entry.get("name") for entry in entries])
    if all(tensors):
        return _tensors(readers)
    if any(tensors):
        raise SchemaError(
            "Creating Schema with a combination of ColSpec and TensorSpec is not supported."
            " Please choose one of ColSpec or TensorSpec"
        )
    return _columns(readers)


def _refuse_mixed_names(names: list[object]) -> None:
    given = [name for name in names if name is not None]
    if given and len(given) != len(names):
        raise SchemaError(
            "Creating Schema with a combination of named and unnamed inputs is not allowed."
            f" Got input names {names}"
        )
    if any(not isinstance(name, str) or not name for name in given):
        raise SchemaError(f"signature: input names {names}, non-empty texts are expected")
    if len(set(given)) != len(given):
        raise SchemaError(f"signature: input names {names}, each may occur once")


def _name(reader: Reader) -> str | None:
    return reader.text("name") if reader.has("name") else None


def _columns(readers: list[Reader]) -> tuple[ColumnSpec, ...]:
    columns = tuple(_column(reader) for reader in readers)
    optional = [reader.table.get("required") is False for reader in readers]
    if columns[0].name is None and any(optional):
        raise SchemaError(
            "Creating Schema with unnamed optional inputs is not supported. Please name all"
            " inputs or make all inputs required."
        )
    return columns


def _column(reader: Reader) -> ColumnSpec:
    """Read one column; MLflow takes one of lists or objects as optional unless told."""
    kind = read_type(reader)
    required = reader.flag("required", default=isinstance(kind, ColumnType))
    return ColumnSpec(name=_name(reader), type=kind, required=required)


def _tensors(readers: list[Reader]) -> tuple[TensorSpec, ...]:
    tensors = tuple(_tensor(reader) for reader in readers)
    if len(tensors) > 1 and tensors[0].name is None:
        raise SchemaError(
            "Creating Schema with multiple unnamed TensorSpecs is not supported. Please"
            " provide names for each TensorSpec."
        )
    return tensors


def _tensor(reader: Reader) -> TensorSpec:
    spec = reader.child("tensor-spec")
    text = spec.text("dtype")
    try:
        dtype = np.dtype(text)
    except NO_DTYPE as cause:
        raise SchemaError(f"{spec.subject}: dtype {text!r}: {cause}") from cause
    if dtype.kind not in _TENSOR_KINDS or (dtype.kind in "US" and dtype.itemsize):
        raise SchemaError(
            f"{spec.subject}: dtype {text!r}, a number, bool, str, bytes or object is"
            " expected, without a size"
        )
    shape = spec.table.get("shape")
    if not isinstance(shape, list | tuple) or not all(
        isinstance(n, int) and not isinstance(n, bool) and n >= -1 for n in shape
    ):
        spec.fail("shape", "a list of whole numbers, -1 for any length,")
    return TensorSpec(name=_name(reader), dtype=dtype, shape=tuple(shape))
