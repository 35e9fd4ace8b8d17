"""What a model takes, column by column or tensor by tensor. Knows MLflow's type names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.document import Reader
from edgekit.errors import ConversionError
from edgekit.manifest import Signature

TEXT = "str"
_DTYPES: Mapping[str, str] = {  # MLflow's column types
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": TEXT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One column ([rows]) or tensor ([rows, ...]); "" is the name of a lone one."""

    name: str
    dtype: str  # numpy's name, or "str"
    shape: tuple[int, ...] = (-1,)

    @property
    def numeric(self) -> bool:
        """Whether it holds numbers or truth values."""
        return self.dtype != TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """All that a model takes: either columns of a table, or tensors."""

    fields: tuple[Field, ...]
    tensors: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the signature's order."""
        return tuple(field.name for field in self.fields)

    def schema(self) -> list[dict[str, object]]:
        """Return them as MLflow's signature lists them."""
        return [_tensor_entry(f) if self.tensors else _entry(f) for f in self.fields]


def from_signature(signature: Signature) -> Inputs | None:
    """Return what a signature asks for, None if it is silent about inputs.

    ConversionError for types that an ONNX graph cannot take.
    """
    if not signature.inputs:
        return None
    tensors = [entry.get("type") == "tensor" for entry in signature.inputs]
    if any(tensors) != all(tensors):
        raise ConversionError("signature: columns and tensors are mixed in its inputs")
    fields = tuple(_tensor(e) if all(tensors) else _column(e) for e in signature.inputs)
    names = [field.name for field in fields]
    if len(set(names)) != len(names):
        raise ConversionError(
            "signature: several inputs share a name or have none;"
            " log the model with a DataFrame of named columns"
        )
    return Inputs(fields=fields, tensors=all(tensors))


def columns(names: Sequence[str]) -> Inputs:
    """Return double columns: what a model without a signature takes by name."""
    fields = tuple(Field(name=name, dtype="float64") for name in names)
    return Inputs(fields=fields, tensors=False)


def matrix(width: int, dtype: str = "float64") -> Inputs:
    """Return one unnamed tensor [rows, width]."""
    return Inputs(fields=(Field(name="", dtype=dtype, shape=(-1, width)),), tensors=True)


def _column(entry: Mapping[str, object]) -> Field:
    reader = Reader(table=entry, subject="signature: inputs", error=ConversionError)
    name = reader.text("name", "")
    kind = reader.text("type")
    if kind not in _DTYPES:
        raise ConversionError(
            f"signature: column {name or '(unnamed)'} is of type {kind}; a model on a"
            f" device takes {', '.join(_DTYPES)}"
        )
    return Field(name=name, dtype=_DTYPES[kind])


def _tensor(entry: Mapping[str, object]) -> Field:
    reader = Reader(table=entry, subject="signature: inputs", error=ConversionError)
    spec = reader.child("tensor-spec")
    shape = spec.table.get("shape")
    if not isinstance(shape, list) or not all(isinstance(n, int) for n in shape):
        spec.fail("shape", "a list of whole numbers")
    return Field(
        name=reader.text("name", ""),
        dtype=_tensor_dtype(spec.text("dtype")),
        shape=tuple(shape),
    )


def _tensor_dtype(name: str) -> str:
    if name in {"str", "object", "string"}:
        return TEXT
    try:
        dtype = np.dtype(name)
    except TypeError as error:
        raise ConversionError(f"signature: tensor of unknown dtype {name}") from error
    if dtype.kind not in "biuf":
        raise ConversionError(f"signature: tensor of dtype {name}, numbers are expected")
    return dtype.name


def _entry(field: Field) -> dict[str, object]:
    types = {dtype: kind for kind, dtype in _DTYPES.items()}
    return {"name": field.name, "type": types[field.dtype], "required": True}


def _tensor_entry(field: Field) -> dict[str, object]:
    spec = {"dtype": field.dtype, "shape": list(field.shape)}
    named: dict[str, object] = {"name": field.name} if field.name else {}
    return {**named, "type": "tensor", "tensor-spec": spec}
