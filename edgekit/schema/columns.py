"""A signature of columns, and the tables it admits. Knows no JSON text and no bytes.

The rules are those of MLflow 3.17 (`_enforce_schema` in mlflow/models/utils.py): columns by
name in the signature's order, extra ones dropped; without names only counted, and then
called "0", "1", ... by edgekit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import SchemaError
from edgekit.schema import frame as frames
from edgekit.schema import loss, nesting
from edgekit.schema.admission import admit
from edgekit.schema.arrays import Data
from edgekit.schema.casting import cast_column, cast_nested
from edgekit.schema.column import Column
from edgekit.schema.datatypes import ArrayType, ColumnType, DataType, ObjectType
from edgekit.schema.frame import Converted, Frame, Label
from edgekit.schema.missing import refuse_missing
from edgekit.schema.spec import ColumnSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """Arrays by input name in the signature's order, and what was ignored in words."""

    table: dict[str, NDArray[Any]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ColumnSchema:
    """The columns of one signature, all named or none."""

    specs: tuple[ColumnSpec, ...]

    @property
    def is_named(self) -> bool:
        """Whether columns go by name rather than by position."""
        return self.specs[0].name is not None

    def wanted(self, labels: Sequence[Label]) -> Sequence[Label]:
        """Return those labels whose values are needed."""
        return [label for _, label in self._pairs(labels)]

    def cast(self, frame: Frame) -> Frame:
        """Convert a frame from JSON as MLflow's scoring server does, before enforcement."""
        columns: dict[Label, Column] = {}
        for spec, label in self._pairs(frame.labels):
            try:
                columns[label] = self._cast(label, frame.columns[label], spec)
            except SchemaError as refusal:
                refusal.column = str(label)
                raise
        return replace(frame, columns=columns)

    def _cast(self, label: Label, column: Column, spec: ColumnSpec) -> Column:
        if isinstance(spec.type, ColumnType):
            return cast_column(label, column, spec.type)
        required = spec.required and self.is_named  # MLflow looks for the name
        return cast_nested(label, column, spec.type, required=required)

    def check(self, data: Data, *, exact: bool) -> Admitted:
        """Admit data in the signature's types, or raise SchemaError.

        With `exact`, a column that MLflow altered on the way is refused as well.
        """
        frame = self._framed(data)
        notes = self._refuse_missing(frame.labels)
        pairs = self._pairs(frame.labels)
        table: dict[str, NDArray[Any]] = {}
        admitted: list[Column] = []
        name = ""
        try:
            for position, (spec, label) in enumerate(pairs):
                name = str(position) if spec.name is None else spec.name
                admitted.append(self._admit(label, frame.columns[label], spec))
            for position, (spec, label) in enumerate(pairs):
                name = str(position) if spec.name is None else spec.name
                column = admitted[position]
                table[name] = _exact(label, column, spec.type) if exact else column.values
        except SchemaError as refusal:
            refusal.column = name
            raise
        return Admitted(table=table, notes=notes)

    def _admit(self, label: Label, column: Column, spec: ColumnSpec) -> Column:
        if isinstance(spec.type, ColumnType):
            return admit(label, column, spec.type)
        required = spec.required or not self.is_named  # as MLflow has it without names
        cells = [nesting.enforce(v, spec.type, required=required) for v in column.cells]
        return Column.from_list(cells, column.origin)

    def _framed(self, data: Data) -> Frame:
        try:
            match data:
                case Frame():
                    return data
                case Converted():
                    return frames.from_bare(data)
                case Mapping() if self._is_one_row(data):
                    return frames.from_converted_rows([data], self.wanted)
                case Mapping():
                    return frames.from_named(data, self.wanted)
                case _:
                    return frames.from_converted_rows(data, self.wanted)
        except (ValueError, TypeError) as cause:
            raise frames.no_frame(str(cause)) from cause

    def _is_one_row(self, data: Mapping[str, Converted]) -> bool:
        """Whether MLflow takes values by name as one row, lists in cells."""
        if any(isinstance(spec.type, ArrayType | ObjectType) for spec in self.specs):
            return True
        return all(
            isinstance(one.value, str | float | int | np.generic | None)
            or (isinstance(one.value, list) and all(isinstance(v, str) for v in one.value))
            for one in data.values()
        )

    def _pairs(self, labels: Sequence[Label]) -> list[tuple[ColumnSpec, Label]]:
        if not self.is_named:
            return list(zip(self.specs, labels, strict=False))
        present = set(labels)
        return [(spec, spec.name) for spec in self.specs if spec.name in present]

    def _refuse_missing(self, labels: Sequence[Label]) -> tuple[str, ...]:
        if self.is_named:
            required = [str(spec.name) for spec in self.specs if spec.required]
            optional = [str(spec.name) for spec in self.specs if not spec.required]
            return refuse_missing(labels, required, optional)
        if len(labels) < len(self.specs):
            raise SchemaError(
                "Model inference is missing inputs. The model signature declares"
                f" {len(self.specs)} inputs  but the provided value only has"
                f" {len(labels)} inputs. Note: the inputs were not named in the signature"
                " so we can only verify their count."
            )
        return ()


def _exact(label: Label, column: Column, kind: DataType) -> NDArray[Any]:
    if isinstance(kind, ColumnType):
        return loss.exact_column(label, column, kind)
    return loss.exact_nested(label, column, kind)
