"""The types a column may have: scalars, and lists and objects of them. Knows no data.

The rules of what makes a type are MLflow 3.17's (mlflow/types/schema.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

import numpy as np

from edgekit.document import Reader
from edgekit.errors import SchemaError

MAX_DEPTH = 32  # as deep as a request may be
_VECTOR = "sparkml_vector"


class ColumnType(Enum):
    """MLflow's scalar types: (name in a signature, numpy dtype, dtype in a data frame)."""

    BOOLEAN = ("boolean", "bool", "bool")
    INTEGER = ("integer", "int32", "int32")
    LONG = ("long", "int64", "int64")
    FLOAT = ("float", "float32", "float32")
    DOUBLE = ("double", "float64", "float64")
    STRING = ("string", "str", "<class 'object'>")
    BINARY = ("binary", "bytes", "<class 'object'>")
    DATETIME = ("datetime", "datetime64[ns]", "datetime64[ns]")

    def __init__(self, label: str, numpy_name: str, frame_name: str) -> None:
        self.label = label
        self.dtype: np.dtype[Any] = np.dtype(numpy_name)
        self.frame_name = frame_name

    def __str__(self) -> str:
        """Return the word MLflow uses in its sentences."""
        return self.label

    @classmethod
    def named(cls, label: str) -> "ColumnType":
        """Return the type that a signature calls `label`, or raise SchemaError."""
        for known in cls:
            if known.label == label:
                return known
        raise SchemaError(
            f"Unsupported type '{label}', expected instance of DataType or one of"
            f" {[known.label for known in cls]}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyType:
    """Whatever JSON holds; nothing is checked."""

    label = "any"

    def __str__(self) -> str:
        """Return the word MLflow uses in its sentences."""
        return "Any"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayType:
    """A list of values of one type; `is_vector` where Spark ML wrote it."""

    items: "DataType"
    is_vector: bool = False

    @property
    def label(self) -> str:
        """The name in a signature."""
        return _VECTOR if self.is_vector else "array"

    def __str__(self) -> str:
        """Return the words MLflow uses in its sentences."""
        return "SparkML vector" if self.is_vector else f"Array({self.items})"


@dataclass(frozen=True, slots=True, kw_only=True)
class MapType:
    """An object of any names, whose values are of one type."""

    values: "DataType"

    label = "map"

    def __str__(self) -> str:
        """Return the words MLflow uses in its sentences."""
        # MLflow prints a scalar type here by Enum's own str()
        scalar = isinstance(self.values, ColumnType)
        return f"Map(str -> {'DataType.' if scalar else ''}{self.values})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One name of an object."""

    type: "DataType"
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectType:
    """An object of the names in `properties` and no others."""

    properties: Mapping[str, Property]

    label = "object"

    def __str__(self) -> str:
        """Return the words MLflow uses in its sentences."""
        parts = (
            f"{name}: {one.type} ({'required' if one.required else 'optional'})"
            for name, one in sorted(self.properties.items())
        )
        return f"{{{', '.join(parts)}}}"


Nested: TypeAlias = AnyType | ArrayType | MapType | ObjectType
DataType: TypeAlias = ColumnType | Nested

VECTOR = ArrayType(items=ColumnType.DOUBLE, is_vector=True)


def read_type(reader: Reader, *, depth: int = 0) -> DataType:
    """Parse the type of a column, of an item or of a property, or raise SchemaError."""
    if depth > MAX_DEPTH:
        raise SchemaError(
            f"signature: types more than {MAX_DEPTH} deep; flatter ones are expected"
        )
    match reader.text("type"):
        case "array":
            return ArrayType(items=read_type(reader.child("items"), depth=depth + 1))
        case "map":
            return _map(reader.child("values"), depth=depth + 1)
        case "object":
            return read_object(reader, depth=depth)
        case "any":
            return AnyType()
        case "sparkml_vector":
            return VECTOR
        case label:
            return ColumnType.named(label)


def read_object(reader: Reader, *, depth: int = 0) -> ObjectType:
    """Parse the properties of an object, or raise SchemaError."""
    properties = reader.named("properties")
    if not properties:
        raise SchemaError("Creating Object with empty properties is not allowed.")
    return ObjectType(
        properties={
            name: _property(one, depth=depth + 1) for name, one in properties.items()
        }
    )


def _map(values: Reader, *, depth: int) -> MapType | ArrayType:
    if values.text("type") == _VECTOR:
        return VECTOR  # so MLflow reads it
    return MapType(values=read_type(values, depth=depth))


def _property(reader: Reader, *, depth: int) -> Property:
    kind = read_type(reader, depth=depth)
    if reader.text("type") == _VECTOR:
        raise SchemaError("Expected values to be instance of Property")
    return Property(type=kind, required=reader.flag("required", default=True))
