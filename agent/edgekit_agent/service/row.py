"""One row of doubles, straight into the graph's input. Knows no files and no sessions.

Half of the models on devices take some named doubles, a row at a time. For these, checking
the types of the values is the whole of the signature, and laying them side by side the
whole of the binding: 4 microseconds where the general way takes 200.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np

from edgekit.manifest import Binding
from edgekit.schema import Schema
from edgekit.schema.datatypes import ColumnType
from edgekit.schema.spec import ColumnSpec
from edgekit.table import Array

_DOUBLES = {float}


@dataclass(frozen=True, slots=True, kw_only=True)
class DoublesRow:
    """How a row of a signature of required doubles becomes the one input of a graph."""

    columns: int
    pick: Callable[[Mapping[str, object]], tuple[object, ...]]
    tensor: str
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, schema: Schema, binding: Binding) -> "DoublesRow | None":
        """Return it, or None where the signature or the graph are of another kind."""
        names = {
            spec.name
            for spec in schema.inputs or ()
            if isinstance(spec, ColumnSpec)
            and spec.type is ColumnType.DOUBLE
            and spec.required
        }
        if len(binding.inputs) != 1 or not names:
            return None
        (tensor,) = binding.inputs
        one_matrix = len(tensor.shape) == 2 and tensor.dtype in ("float32", "float64")  # noqa: PLR2004 - rows and columns
        whole = len(names) == len(schema.inputs or ()) and names == set(tensor.columns)
        if not one_matrix or not whole or len(tensor.columns) < 2:  # noqa: PLR2004 - itemgetter's tuple
            return None
        return cls(
            columns=len(names),
            pick=itemgetter(*tensor.columns),
            tensor=tensor.name,
            dtype=np.dtype(tensor.dtype),
        )

    def feeds(self, row: Mapping[str, object]) -> dict[str, Array] | None:
        """Return the graph's input, or None for a row that needs a closer look."""
        if len(row) != self.columns:
            return None
        try:
            values = self.pick(row)
        except KeyError:
            return None
        if {*map(type, values)} != _DOUBLES:
            return None
        return {self.tensor: np.array((values,), self.dtype)}
