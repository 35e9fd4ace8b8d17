"""Whether a model's answer keeps its output schema. Knows no request and no model.

MLflow records this schema and never looks at it again. Here it is a guard against a graph
or a binding that answers something else: names, rank, lengths, and numbers where numbers
are due. Widths are not compared (a float64 serves a float), for models log them loosely.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ProofError
from edgekit.schema.datatypes import ColumnType, DataType
from edgekit.schema.spec import ColumnSpec, TensorSpec

Answer: TypeAlias = NDArray[Any] | Mapping[str, NDArray[Any]]

_WHOLE = frozenset({ColumnType.INTEGER, ColumnType.LONG, ColumnType.BOOLEAN})
_NUMBERS = _WHOLE | {ColumnType.FLOAT, ColumnType.DOUBLE}


@dataclass(frozen=True, slots=True)
class OutputSchema:
    """The outputs of one signature: columns or tensors, as MLflow logged them."""

    specs: Sequence[ColumnSpec | TensorSpec]

    def check(self, answer: Answer) -> None:
        """Return if the answer fits, or raise ProofError with the first thing that is off.

        A lone array answers for a lone output, whatever that is called, and for columns
        without names: [rows] for one of them, [rows, columns] for several.
        """
        if isinstance(answer, np.ndarray):
            self._check_lone(answer)
            return
        if self.specs[0].name is None and len(self.specs) != len(answer):
            raise _off(f"{len(answer)} answers, {len(self.specs)} are expected")
        for position, spec in enumerate(self.specs):
            found = (
                list(answer.values())[position]
                if spec.name is None
                else answer.get(spec.name)
            )
            if found is not None:
                _check(spec, found)
            elif isinstance(spec, TensorSpec) or spec.required:
                raise _off(f"{spec.name} is missing among {', '.join(answer) or 'none'}")

    def _check_lone(self, answer: NDArray[Any]) -> None:
        if len(self.specs) == 1:
            _check(self.specs[0], answer)
            return
        width = answer.shape[1] if answer.ndim == 2 else 1  # noqa: PLR2004 - rows, columns
        if width != len(self.specs):
            raise _off(
                f"an array of shape {answer.shape}, {len(self.specs)} columns are expected"
            )
        for position, spec in enumerate(self.specs):
            _check(spec, answer[:, position])


def _check(spec: ColumnSpec | TensorSpec, array: NDArray[Any]) -> None:
    name = "the answer" if spec.name is None else spec.name
    if isinstance(spec, TensorSpec):
        _check_shape(name, spec.shape, array)
        if not _is_alike(spec.dtype.kind, array.dtype.kind):
            raise _off(f"{name} is of {array.dtype}, {spec.dtype} is expected")
        return
    if array.ndim > 2 or (array.ndim == 2 and array.shape[1] != 1):  # noqa: PLR2004
        raise _off(f"{name} has shape {array.shape}, one column is expected")
    if isinstance(spec.type, ColumnType):
        _check_type(name, spec.type, array)


def _check_shape(name: str, shape: tuple[int, ...], array: NDArray[Any]) -> None:
    fits = len(shape) == array.ndim and all(
        want in (-1, have) for want, have in zip(shape, array.shape, strict=True)
    )
    if not fits:
        raise _off(f"{name} has shape {array.shape}, {shape} is expected")


def _check_type(name: str, kind: DataType, array: NDArray[Any]) -> None:
    found = array.dtype.kind
    if kind is ColumnType.STRING and found not in "UO":
        raise _off(f"{name} is of {array.dtype}, string is expected")
    if kind in _NUMBERS and found not in "biuf":
        raise _off(f"{name} is of {array.dtype}, {kind} is expected")
    if kind in _WHOLE and found == "f" and not (np.trunc(array) == array).all():
        raise _off(f"{name} holds fractions or NaN, {kind} is expected")


def _is_alike(wanted: str, found: str) -> bool:
    """Whether two kinds of dtype are both numbers, or both text or bytes or objects."""
    return wanted == "O" or (wanted in "biufc") == (found in "biufc")


def _off(fact: str) -> ProofError:
    return ProofError(f"model: its answer breaks its output schema: {fact}")
