"""True answers beside the samples, in the form that the model answers in."""

import numpy as np

from edgekit.errors import ConversionError
from edgekit.table import Array


def as_answers(labels: Array | None, prediction: Array) -> Array | None:
    """Return labels [rows] in the form of a prediction: texts beside texts, numbers so.

    Texts stay texts where the model answers numbers: probabilities have names, too.
    ConversionError when a label is missing, or there is more than one a row.
    """
    if labels is None:
        return None
    if labels.ndim > 1 and labels.size == len(labels):
        labels = labels.reshape(-1)
    if labels.ndim != 1:
        raise ConversionError(
            f"target: labels of shape {labels.shape}, one for each row is expected"
        )
    missing = sum(_is_missing(label) for label in labels.tolist())
    if missing:
        raise ConversionError(
            f"target: {missing} of {len(labels)} rows have no label; leave those rows out"
        )
    texts = np.array([str(label) for label in labels.tolist()], dtype=object)
    if prediction.dtype == object:
        return texts
    try:
        numbers = labels.astype(np.float64)
    except (TypeError, ValueError):
        return texts
    whole = prediction.dtype.kind in "biu" and bool((numbers == np.floor(numbers)).all())
    return numbers.astype(prediction.dtype) if whole else numbers


def _is_missing(label: object) -> bool:
    """Whether it is None, not a number or infinite, or pandas's own mark of nothing."""
    if isinstance(label, float):
        return not np.isfinite(label)
    return label is None or str(label) in {"<NA>", "NaT"}
