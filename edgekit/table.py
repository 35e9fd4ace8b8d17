"""Model input and output as named arrays. Knows no schema and no files."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]  # any dtype: signatures allow numbers, texts, booleans

Table: TypeAlias = Mapping[str, Array]
"""Signature column name -> 1-D array [rows] (texts: dtype object); for a tensor
signature, tensor name ("" if unnamed) -> array [rows, ...]."""

# What numpy raises for a text that names no type: some it reads as a piece of Python.
NO_DTYPE = (TypeError, ValueError, SyntaxError)


def rows(table: Table) -> int:
    """Return how many rows a table has: the first array's first dimension, 0 if none."""
    return next((int(np.shape(column)[0]) for column in table.values()), 0)


def take(table: Table, numbers: list[int]) -> dict[str, Array]:
    """Return some rows of a table, in the order asked for."""
    return {name: np.asarray(column)[numbers] for name, column in table.items()}
