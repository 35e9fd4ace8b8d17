"""Sparse ONNX tensors to dense ones, within bounds. Knows numpy."""

import math

import numpy as np
from onnx import SparseTensorProto, TensorProto, numpy_helper

from edgekit.errors import ConversionError

MAX_ELEMENTS = 64 * 2**20  # of a dense tensor that few numbers may ask for
_PAIRS = 2  # an index is one number, or one for each dimension


def dense(name: str, sparse: SparseTensorProto) -> TensorProto:
    """Return the same tensor with its zeros; ConversionError when that is out of bounds."""
    called = sparse.values.name
    size = math.prod(sparse.dims)
    if not 0 <= size <= MAX_ELEMENTS or any(length < 0 for length in sparse.dims):
        raise ConversionError(
            f"{name}: sparse tensor {called} declares {size} numbers, at most"
            f" {MAX_ELEMENTS} are expected"
        )
    try:
        values = numpy_helper.to_array(sparse.values)
        indices = numpy_helper.to_array(sparse.indices)
        filled = np.zeros(size, dtype=values.dtype)
        if indices.ndim == _PAIRS:
            indices = np.ravel_multi_index(tuple(indices.T), tuple(sparse.dims))
        filled[indices] = values
    except (IndexError, ValueError, TypeError) as error:
        raise ConversionError(f"{name}: sparse tensor {called}: {error}") from error
    return numpy_helper.from_array(filled.reshape(tuple(sparse.dims)), called)
