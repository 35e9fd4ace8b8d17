"""A signature of tensors, and the arrays it admits. Knows no JSON text and no bytes.

The rules are those of MLflow 3.17 (`_enforce_tensor_schema` in mlflow/models/utils.py): the
dtype is exact, -1 fits any length, batch sizes are not compared between tensors.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import SchemaError
from edgekit.schema import loss
from edgekit.schema.arrays import Data
from edgekit.schema.casting import cast_tensor_column
from edgekit.schema.column import Column
from edgekit.schema.columns import Admitted
from edgekit.schema.frame import Converted, Frame, Label
from edgekit.schema.missing import refuse_missing
from edgekit.schema.spec import TensorSpec

_ONE_COLUMN_SHAPES = ((-1,), (-1, 1))


@dataclass(frozen=True, slots=True)
class TensorSchema:
    """The tensors of one signature: several with names, or one."""

    specs: tuple[TensorSpec, ...]

    @property
    def is_named(self) -> bool:
        """Whether tensors go by name."""
        return self.specs[0].name is not None

    def wanted(self, labels: Sequence[Label]) -> Sequence[Label]:
        """Return those labels of a data frame whose values are needed."""
        if not self.is_named:
            return labels
        present = set(labels)
        return [spec.name for spec in self.specs if spec.name in present]

    def cast(self, frame: Frame) -> Frame:
        """Convert a frame from JSON as MLflow's scoring server does, before enforcement."""
        dtypes: dict[Label, np.dtype[Any]] = {spec.name: spec.dtype for spec in self.specs}
        columns = {
            label: cast_tensor_column(
                label, column, dtypes[label if self.is_named else None]
            )
            for label, column in frame.columns.items()
        }
        return replace(frame, columns=columns)

    def check(self, data: Data, *, exact: bool) -> Admitted:
        """Admit arrays of the signature's dtype and shape, or raise SchemaError.

        With `exact`, a tensor that numpy altered on the way is refused as well.
        """
        if isinstance(data, Converted) and self.is_named and len(self.specs) == 1:
            data = {str(self.specs[0].name): data}
        notes = refuse_missing(_labels(data), self._names()) if self.is_named else ()
        table: dict[str, NDArray[Any]] = {}
        name = ""
        try:
            found = []
            for spec in self.specs:
                name = spec.name or ""
                found.append((name, spec, self._tensor(spec, data)))
            for name, spec, one in found:
                table[name] = (
                    loss.exact_tensor(spec, one.value, one.origin) if exact else one.value
                )
        except SchemaError as refusal:
            refusal.column = name
            raise
        return Admitted(table=table, notes=notes)

    def _names(self) -> list[str]:
        return [str(spec.name) for spec in self.specs]

    def _tensor(self, spec: TensorSpec, data: Data) -> Converted:
        match data:
            case Frame() if spec.name is None:
                return _from_frame(spec, data)
            case Frame():
                return _from_column(spec, data, spec.name)
            case Mapping() if spec.name is not None:
                return _enforced(spec, data[spec.name])
            case Converted():
                return _enforced(spec, data)
        found = dict if isinstance(data, Mapping) else list
        raise SchemaError(
            "This model contains a tensor-based model signature with no input names, which"
            " suggests a numpy array input or a pandas dataframe input with proper column"
            f" values, but an input of type {found} was found."
        )


def _labels(data: Data) -> Sequence[Label]:
    if isinstance(data, Frame):
        return data.labels
    return tuple(data) if isinstance(data, Mapping) else ()


def _enforced(spec: TensorSpec, given: Converted) -> Converted:
    array: NDArray[Any] = given.value
    if spec.dtype.kind == "O" and spec.shape == (-1,):
        return given
    if -1 in spec.shape[1:] and array.ndim == 1 and array.dtype.kind == "O":
        return given  # ragged
    fits = len(spec.shape) == array.ndim and all(
        want in (-1, have) for want, have in zip(spec.shape, array.shape, strict=True)
    )
    if not fits:
        raise SchemaError(
            f"Shape of input {array.shape} does not match expected shape {spec.shape}."
        )
    same = array.dtype == spec.dtype
    if not same and (array.dtype.kind not in "US" or array.dtype.kind != spec.dtype.kind):
        raise SchemaError(
            f"dtype of input {array.dtype} does not match expected dtype {spec.dtype}"
        )
    return given


def _from_frame(spec: TensorSpec, frame: Frame) -> Converted:
    width = len(frame.labels)
    if not frame.rows or not width:
        raise SchemaError("Input DataFrame is empty.")
    columns = [frame.columns[label] for label in frame.labels]
    if width == 1:
        return _from_column(spec, frame, frame.labels[0])
    if spec.shape != (-1, width):
        raise SchemaError(
            "This model contains a model signature with an unnamed input. Since the input"
            " data is a pandas DataFrame containing multiple columns, the input shape must"
            " be of the structure (-1, number_of_dataframe_columns). Instead, the input"
            f" DataFrame passed had {width} columns and an input shape of {spec.shape} with"
            " all values within the DataFrame of scalar type. Please adjust the passed in"
            " DataFrame to match the expected structure"
        )
    origin = [list(row) for row in zip(*(c.origin for c in columns), strict=True)]
    stacked = np.stack([column.values for column in columns], axis=1)
    return _enforced(spec, Converted(value=stacked, origin=origin))


def _from_column(spec: TensorSpec, frame: Frame, label: Label) -> Converted:
    column = frame.columns[label]
    if spec.shape[:1] != (-1,) or -1 in spec.shape[1:]:
        subject = f"input {spec.name}" if spec.name else "the unnamed input"
        raise SchemaError(
            "For pandas dataframe input, the first dimension of shape must be a variable"
            " dimension and other dimensions must be fixed, but in model signature the"
            f" shape of {subject} is {spec.shape}."
        )
    if frame.index is not None and 0 not in frame.index:  # MLflow looks for row 0
        raise SchemaError(f"column {label}: no row has the index 0, one is expected")
    first = column.values[0] if column.values.size else None
    if np.isscalar(first):
        array = _from_scalars(spec, column)
    elif isinstance(first, list) and first and np.isscalar(first[0]):
        array = _from_lists(spec, column)
    else:
        raise SchemaError(
            "Because the model signature requires tensor spec input, the input pandas"
            " dataframe values should be either scalar value, python list containing scalar"
            " values or numpy array containing scalar values, other types are not"
            " supported."
        )
    return Converted(value=array, origin=column.origin)


def _from_scalars(spec: TensorSpec, column: Column) -> NDArray[Any]:
    if spec.shape not in _ONE_COLUMN_SHAPES:
        raise SchemaError(
            f"The input pandas dataframe column '{spec.name}' contains scalar values, which"
            " requires the shape to be (-1,) or (-1, 1), but got tensor spec shape of"
            f" {spec.shape}."
        )
    return _numpy(
        lambda: np.array(column.values, dtype=spec.dtype).reshape(spec.shape), None
    )


def _from_lists(spec: TensorSpec, column: Column) -> NDArray[Any]:
    refusal = (
        f"The value in the Input DataFrame column '{spec.name}' could not be converted to"
        f" the expected shape of: '{spec.shape}'. Ensure that each of the input list"
        " elements are of uniform length and that the data can be coerced to the tensor"
        f" type '{spec.dtype}'"
    )

    def stacked() -> NDArray[Any]:
        rows = np.vstack(column.values.tolist()).reshape(spec.shape)
        with np.errstate(over="ignore", invalid="ignore"):
            return rows.astype(spec.dtype)

    array = _numpy(stacked, refusal)
    if len(array) != len(column.values):
        raise SchemaError(refusal)
    return array


def _numpy(make: Callable[[], NDArray[Any]], refusal: str | None) -> NDArray[Any]:
    try:
        return make()
    except (ValueError, TypeError, OverflowError) as cause:
        raise SchemaError(refusal or str(cause)) from cause
