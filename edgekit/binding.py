"""Carry a table into an ONNX graph's inputs, and its outputs back to the caller.

Knows numpy, no runtime: what a manifest's Binding says, carried out. Used by the device
that serves and by the workstation that measures, so both see the same model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.errors import ProofError, SchemaError
from edgekit.manifest import Binding, OutputRole, TensorInput, TensorOutput
from edgekit.table import NO_DTYPE, Array, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """What a model answers.

    `prediction` is what the original python_function returned: one array, or arrays by
    name. `probabilities` is [rows, classes] in the order of the binding's classes, `score`
    a decision value; both None where the model has none.
    """

    prediction: Array | dict[str, Array]
    probabilities: Array | None = None
    score: Array | None = None


def feeds(binding: Binding, table: Table) -> dict[str, Array]:
    """Return the ONNX inputs, [rows, ...] each, that a checked table stands for.

    Columns of one input are cast to its dtype and laid side by side; a tensor, or a column
    of lists, is cast and brought to the input's rank. SchemaError when a column is missing
    or cannot be cast.
    """
    return {tensor.name: _feed(tensor, table) for tensor in binding.inputs}


def results(binding: Binding, raw: Mapping[str, Array]) -> Predictions:
    """Return what the caller gets for the graph's raw outputs.

    ProofError when the graph gives no such output, or one that cannot become what the
    binding says.
    """
    predictions: dict[str, Array] = {}
    others: dict[OutputRole, Array] = {}
    for output in binding.outputs:
        if output.tensor not in raw:
            raise ProofError(f"model: no output {output.tensor!r}, its binding expects one")
        array = _restore(output, raw[output.tensor])
        if output.role is OutputRole.PREDICTION:
            predictions[output.name] = array
        else:
            others.setdefault(output.role, array)
    lone = len(predictions) == 1 and "" in predictions
    return Predictions(
        prediction=predictions[""] if lone else predictions,
        probabilities=others.get(OutputRole.PROBABILITY),
        score=others.get(OutputRole.SCORE),
    )


def _feed(tensor: TensorInput, table: Table) -> Array:
    missing = [name for name in tensor.columns if name not in table]
    if missing:
        raise SchemaError(f"Model is missing inputs {missing}.")
    columns = [_cast(tensor, name, np.asarray(table[name])) for name in tensor.columns]
    if len(columns) == 1 and (columns[0].ndim > 1 or len(tensor.shape) == 1):
        return _ranked(columns[0], tensor.shape)
    return _ranked(_packed(tensor, columns), tensor.shape)


def _packed(tensor: TensorInput, columns: Sequence[Array]) -> Array:
    """Lay columns side by side; nobody may have checked their shapes before."""
    shapes = {column.shape for column in columns}
    if len(shapes) > 1 or shapes == {()}:
        raise SchemaError(
            f"columns {', '.join(tensor.columns)}: of shapes"
            f" {', '.join(str(column.shape) for column in columns)}, lists of one length"
            " are expected"
        )
    return np.ascontiguousarray(np.stack(columns, axis=1))


def _cast(tensor: TensorInput, name: str, column: Array) -> Array:
    if _holds_lists(column):
        column = _stacked(name, column)
    if tensor.dtype == "str":
        return _texts(name, column)
    try:
        return column.astype(tensor.dtype, copy=False)
    except NO_DTYPE as error:
        raise SchemaError(
            f"column {name}: {column.dtype} cannot become {tensor.dtype}: {error}"
        ) from error


def _holds_lists(column: Array) -> bool:
    return bool(
        column.dtype == object
        and column.size
        and isinstance(column.flat[0], list | tuple | np.ndarray)
    )


def _stacked(name: str, column: Array) -> Array:
    """Lay cells that are lists of one shape out as [rows, ...]."""
    try:
        return np.array(column.tolist())
    except ValueError as error:
        raise SchemaError(
            f"column {name}: its lists are of different lengths, the model takes one shape"
        ) from error


def _texts(name: str, column: Array) -> Array:
    for number, value in enumerate(column.flat):
        if not isinstance(value, str):
            raise SchemaError(
                f"column {name}: row {number} holds {value!r}, a text is expected"
            )
    return column.astype(object, copy=False)


def _ranked(array: Array, shape: tuple[int, ...]) -> Array:
    if array.ndim == len(shape):
        return array
    if not array.ndim:
        raise SchemaError(f"input: a lone value, rows of {shape[1:]} are expected")
    try:
        return array.reshape((array.shape[0], *shape[1:]))
    except ValueError as error:
        raise SchemaError(
            f"input of shape {array.shape}: it does not fit the model's {shape}"
        ) from error


def _restore(output: TensorOutput, raw: Array) -> Array:
    try:
        array = _ranked(np.asarray(raw), output.shape)
        kind = object if output.dtype == "str" else output.dtype
        return array.astype(kind, copy=False)
    except (SchemaError, *NO_DTYPE) as error:
        raise ProofError(
            f"model: output {output.tensor!r} cannot become {output.dtype} of shape"
            f" {output.shape}: {error}"
        ) from error
