"""A signature of columns, and the tables it admits. Knows no JSON text and no bytes.

The rules are those of MLflow 3.17 (`_enforce_schema` in mlflow/models/utils.py): columns by
name in the signature's order, extra ones dropped; without names only counted, and then
called "0", "1", ... by edgekit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from edgekit.errors import SchemaError
from edgekit.schema import frame as frames
from edgekit.schema import loss
from edgekit.schema.admission import admit
from edgekit.schema.arrays import Data
from edgekit.schema.casting import cast_column
from edgekit.schema.frame import Converted, Frame, Label, Wanted
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
        columns = {
            label: cast_column(label, frame.columns[label], spec.type)
            for spec, label in self._pairs(frame.labels)
        }
        return replace(frame, columns=columns)

    def check(self, data: Data, *, exact: bool) -> Admitted:
        """Admit data in the signature's types, or raise SchemaError.

        With `exact`, a column that MLflow altered on the way is refused as well.
        """
        frame = _framed(data, self.wanted)
        notes = self._refuse_missing(frame.labels)
        admitted = [
            (spec, label, admit(label, frame.columns[label], spec.type))
            for spec, label in self._pairs(frame.labels)
        ]
        table: dict[str, NDArray[Any]] = {}
        for position, (spec, label, column) in enumerate(admitted):
            name = str(position) if spec.name is None else spec.name
            table[name] = (
                loss.exact_column(label, column, spec.type) if exact else column.values
            )
        return Admitted(table=table, notes=notes)

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


def _framed(data: Data, wanted: Wanted) -> Frame:
    try:
        match data:
            case Frame():
                return data
            case Converted():
                return frames.from_bare(data)
            case Mapping():
                return frames.from_named(data, wanted)
            case _:
                return frames.from_converted_rows(data, wanted)
    except ValueError as cause:
        raise frames.no_frame(str(cause)) from cause
