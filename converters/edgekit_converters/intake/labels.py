"""True answers beside the samples, in the form that the model answers in."""

import numpy as np

from edgekit.errors import ConversionError
from edgekit.table import Array


def as_answers(labels: Array | None, prediction: Array) -> Array | None:
    """Return labels [rows] in the form of a prediction: texts beside texts, numbers so.

    ConversionError when a label is missing, or is a text where the model answers numbers.
    """
    if labels is None:
        return None
    if any(label is None or label != label for label in labels.flat):  # noqa: PLR0124 - NaN
        raise ConversionError("target: some rows have no label; leave those rows out")
    if prediction.dtype == object:
        return np.array([str(label) for label in labels.flat], dtype=object)
    try:
        numbers = labels.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ConversionError(
            f"target: labels are texts ({error}), the model answers {prediction.dtype}"
        ) from error
    whole = prediction.dtype.kind in "biu" and bool((numbers == np.floor(numbers)).all())
    return numbers.astype(prediction.dtype) if whole else numbers
