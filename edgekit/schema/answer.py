"""Answers of the scoring protocol as JSON bytes. Knows predictions and refusals, no HTTP.

The encoding is that of MLflow 3.17's scoring server (`predictions_to_json`): the token NaN
for what is not a number, bytes in base64 lines, instants finer than microseconds as whole
nanoseconds since 1970.
"""

import base64
import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import RequestError, SchemaError


def encode_predictions(
    prediction: NDArray[Any] | Mapping[str, NDArray[Any]], *, framed: bool = False
) -> bytes:
    """Return `{"predictions": ...}` for an array, or for arrays by name.

    `framed`: the model was asked with a data frame, for which MLflow's models answer with
    one: an object a row, where the arrays have one number of elements.
    """
    content: object
    if isinstance(prediction, np.ndarray):
        content = prediction.tolist()
    elif framed and len({array.size for array in prediction.values()}) == 1:
        flat = (array.reshape(-1).tolist() for array in prediction.values())
        content = [
            dict(zip(prediction, row, strict=True)) for row in zip(*flat, strict=True)
        ]
    else:
        content = {name: array.tolist() for name, array in prediction.items()}
    return json.dumps({"predictions": content}, default=_plain).encode()


def encode_refusal(refusal: SchemaError) -> bytes:
    """Return the body that goes with HTTP status 400."""
    malformed = isinstance(refusal, RequestError)
    code = "BAD_REQUEST" if malformed else "INVALID_PARAMETER_VALUE"
    return json.dumps({"error_code": code, "message": str(refusal)}).encode()


def _plain(value: object) -> object:
    match value:
        case np.generic():
            return value.item()
        case np.ndarray():
            return value.tolist()
        case bytes() | bytearray():
            return base64.encodebytes(value).decode("ascii")
        case dt.date() | dt.time():
            return value.isoformat()
    raise TypeError(f"predictions: {type(value).__name__} has no JSON form")
