"""Cast one sample column to its signature type without losing anything. Knows no files.

Missing numbers stay NaN where the type has it; everything else that does not fit is an
error that names the column and the row.
"""

import numpy as np

from edgekit.errors import ConversionError
from edgekit.table import Array
from edgekit_converters.intake.inputs import TEXT, Field

_TRUTHS = {"true": True, "false": False}


def cast(column: Array, field: Field) -> Array:
    """Return a column [rows] in the field's dtype (texts as objects)."""
    if field.dtype == TEXT:
        return _texts(column, field)
    if field.dtype == "bool":
        return _truths(column, field)
    numbers = _numbers(column, field)
    if np.dtype(field.dtype).kind == "f":
        return numbers.astype(field.dtype)
    return _whole(numbers, field)


def _texts(column: Array, field: Field) -> Array:
    for row, value in enumerate(column):
        if not isinstance(value, str):
            raise _refused(field, row, value, "a text")
    return column.astype(object)


def _truths(column: Array, field: Field) -> Array:
    if column.dtype == bool:
        return column
    return np.array([_truth(value, row, field) for row, value in enumerate(column)])


def _truth(value: object, row: int, field: Field) -> bool:
    known = _TRUTHS.get(value.lower()) if isinstance(value, str) else value
    if isinstance(known, (bool, np.bool_)):
        return bool(known)
    if isinstance(known, (int, float, np.number)) and known in {0, 1}:
        return bool(known)
    raise _refused(field, row, value, "true or false")


def _numbers(column: Array, field: Field) -> Array:
    if column.dtype.kind in "biuf":
        return column
    values = [_number(value, row, field) for row, value in enumerate(column)]
    whole = all(isinstance(value, int) for value in values)
    return np.array(values, dtype=np.int64 if whole else np.float64)


def _number(value: object, row: int, field: Field) -> float:
    if value is None:
        return float("nan")
    if isinstance(value, (bool, int, float, np.number)):
        return value.item() if isinstance(value, np.generic) else value
    try:
        return float(str(value))
    except ValueError as error:
        raise _refused(field, row, value, "a number") from error


def _whole(numbers: Array, field: Field) -> Array:
    limits = np.iinfo(field.dtype)
    if numbers.dtype.kind == "f":
        wrong = ~np.isfinite(numbers) | (numbers != np.floor(numbers))
        wrong |= (numbers < float(limits.min)) | (numbers >= float(limits.max) + 1)
    elif numbers.dtype.kind == "b":
        wrong = np.zeros(len(numbers), dtype=bool)
    else:
        wrong = (numbers < limits.min) | (numbers > limits.max)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise _refused(field, row, numbers[row], f"a whole number ({field.dtype})")
    return numbers.astype(field.dtype)


def _refused(field: Field, row: int, value: object, expected: str) -> ConversionError:
    return ConversionError(
        f"samples: column {field.name or '(unnamed)'}, row {row}: {value},"
        f" {expected} is expected"
    )
