"""What a model's answers mean to a metric: labels, scores or numbers. Pure.

Decided once, from the original's answers, and then applied to every flavor's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from edgekit.binding import Predictions
from edgekit.errors import ConversionError
from edgekit.table import Array
from edgekit_converters.extraction import Task

AUTO = "auto"
RECONSTRUCTION = "reconstruction"
BROKEN = "not a number"  # the label of a row whose probabilities are none
_LABELLED = {Task.CLASSIFICATION, Task.ANOMALY}
_SUM_TOLERANCE = 1e-2
_EVEN_ODDS = 0.5
_MATRIX = 2
_ANOMALY, _NORMAL = "-1", "1"  # as scikit-learn's detectors answer


class Reading(StrEnum):
    """How a label is read from an answer."""

    LABEL = "label"  # it is one; a row with several agrees only if all do
    LIKELIEST = "likeliest"  # the class of the highest probability, or logit
    ODDS = "odds"  # one probability: yes above one half
    NUMBER = "number"  # it has none


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Which number orders the rows, and whether a high one means the positive class.

    `source` is `auto`, `reconstruction`, or the name of an output. Positive is an anomaly
    for detectors (1 beside 0, or -1 beside 1), else the last class.

    auto takes a detector's decision value (low: an anomaly), the probabilities of
    classes, or the only column of the answer; for an answer as wide as the input, and
    true labels of two kinds, the reconstruction's error.
    reconstruction is the mean squared difference of a row's output and its input.
    """

    source: str = AUTO
    high_is_positive: bool = True

    @classmethod
    def parse(cls, text: str) -> "Score":
        """Read [-]NAME; with a minus, low values mean the positive class."""
        name = text.removeprefix("-")
        return cls(source=name, high_is_positive=name == text)


def columns(predictions: Predictions) -> Array:
    """Return the prediction as [rows, columns]; named ones side by side."""
    answer = predictions.prediction
    parts = list(answer.values()) if isinstance(answer, dict) else [answer]
    flat = [np.asarray(part).reshape(len(part), -1) for part in parts]
    if any(part.dtype == object for part in flat):
        flat = [part.astype(object) for part in flat]
    return np.concatenate(flat, axis=1)


def reading(values: Array, *, task: Task, truth: Array | None) -> Reading:
    """Return how labels are read from the original's answers, [rows, columns]."""
    if _is_probabilities(values):
        return Reading.LIKELIEST
    if task in _LABELLED or values.dtype.kind in "OUb":
        return Reading.LABEL
    if is_odds(values) and truth is not None and is_binary(truth):
        return Reading.ODDS
    if truth is not None and _are_numbers_of_columns(truth, values):
        return Reading.LIKELIEST  # logits: the softmax was left to the caller
    return Reading.NUMBER


def labels(values: Array, how: Reading, classes: Sequence[str]) -> Array:
    """Return [rows] labels as texts; BROKEN where a probability is not a number."""
    if how is Reading.LABEL:
        return np.asarray([" ".join(text(value) for value in row) for row in values])
    finite = np.isfinite(values.astype(float)).all(axis=1)
    if how is Reading.ODDS:
        said = (values[:, 0] > _EVEN_ODDS).astype(np.int64).astype(str)
    else:
        best = np.where(np.isfinite(values), values, -np.inf).argmax(axis=1)
        said = np.asarray([classes[n] if classes else str(n) for n in best])
    return np.where(finite, said, BROKEN)


def true_labels(truth: Array, task: Task) -> Array:
    """Return true labels as texts, [rows]; a detector's in scikit-learn's -1 and 1."""
    texts = np.asarray([text(value) for value in truth.ravel()])
    if task is Task.ANOMALY and set(texts.tolist()) <= {"0", "1"} and "0" in texts:
        return np.where(texts == "1", _ANOMALY, _NORMAL)
    return texts


def positives(truth: Array, *, task: Task, classes: Sequence[str], width: int) -> Array:
    """Return [rows, scores]: whether a row's true class is the one that a score is for.

    ConversionError when fewer than two classes are true of any row.
    """
    texts = true_labels(truth, task)
    found = sorted(set(texts.tolist()), key=_by_value)
    if len(found) < 2:  # noqa: PLR2004 - two classes
        raise ConversionError(
            f"target: all {len(texts)} rows are {found[0] if found else 'missing'}; rows of"
            " at least two classes are expected, or another --metric"
        )
    if width > 1:
        named = list(classes) or [str(n) for n in range(width)]
        return np.stack([texts == name for name in named], axis=1)
    if len(found) > 2:  # noqa: PLR2004 - two classes
        raise ConversionError(
            f"target: {len(found)} classes, but the model gives one score a row; two are"
            " expected, or another --metric"
        )
    last = classes[-1] if len(classes) == 2 else found[-1]  # noqa: PLR2004 - two classes
    wanted = _ANOMALY if task is Task.ANOMALY else last
    return np.asarray(texts == wanted)[:, None]


def scores(
    predictions: Predictions, score: Score, *, task: Task, inputs: Array | None
) -> Array:
    """Return [rows, scores], high for the positive class: one score, or one a class.

    ConversionError when the model has none.
    """
    values, downwards = _values(predictions, score, task, inputs)
    if values.shape[1] == 2 and _is_probabilities(values):  # noqa: PLR2004 - two classes
        values = values[:, 1:]
    sign = -1.0 if downwards == score.high_is_positive else 1.0
    signed: Array = values.astype(np.float64) * sign
    return signed


def is_odds(values: Array) -> bool:
    """Whether each row is one number from 0 to 1."""
    return (
        values.dtype.kind == "f"
        and values.shape[1] == 1
        and bool(((values >= 0) & (values <= 1)).all())
    )


def is_binary(truth: Array) -> bool:
    """Whether true answers are of two kinds, 0 and 1."""
    return {text(value) for value in truth.ravel()} <= {"0", "1"}


def text(value: object) -> str:
    """Write 1, 1.0, True and "1" alike: graph and framework may differ in the type."""
    if isinstance(value, (bool, np.bool_)):
        return str(int(value))
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _values(
    predictions: Predictions, score: Score, task: Task, inputs: Array | None
) -> tuple[Array, bool]:
    """Return the numbers, and whether a low one of them means the positive class."""
    answer = columns(predictions)
    if score.source == RECONSTRUCTION:
        return _reconstruction(answer, inputs), False
    if score.source != AUTO:
        return _named(predictions, score.source), False
    if task is Task.ANOMALY and predictions.score is not None:
        return _matrix(predictions.score), True
    if predictions.probabilities is not None:
        return _matrix(predictions.probabilities), False
    if _is_probabilities(answer) or (answer.shape[1] == 1 and answer.dtype.kind == "f"):
        return answer, False
    if inputs is not None and inputs.shape == answer.shape:
        return _reconstruction(answer, inputs), False
    raise ConversionError(
        "metric: the model gives labels only, no score that could order the rows; name an"
        " output with --score, or choose another --metric"
    )


def _named(predictions: Predictions, name: str) -> Array:
    answer = predictions.prediction
    known = dict(answer) if isinstance(answer, dict) else {"prediction": answer}
    for beside, values in (
        ("probabilities", predictions.probabilities),
        ("score", predictions.score),
    ):
        if values is not None:
            known.setdefault(beside, values)
    if name not in known or np.asarray(known[name]).dtype.kind not in "biuf":
        numeric = [n for n, v in known.items() if np.asarray(v).dtype.kind in "biuf"]
        raise ConversionError(
            f"score {name}: the model has no such output of numbers; it has"
            f" {', '.join(numeric) or 'none'}, and {RECONSTRUCTION} may be computed"
        )
    return _matrix(np.asarray(known[name]))


def _reconstruction(answer: Array, inputs: Array | None) -> Array:
    if inputs is None or inputs.shape != answer.shape or answer.dtype.kind != "f":
        took = "no plain numbers" if inputs is None else f"{inputs.shape[1]} numbers a row"
        raise ConversionError(
            f"score {RECONSTRUCTION}: the model takes {took} and gives {answer.shape[1]};"
            " as many are expected"
        )
    error: Array = np.mean((answer.astype(float) - inputs) ** 2, axis=1, keepdims=True)
    return error


def take(predictions: Predictions, numbers: Array) -> Predictions:
    """Return the answers to some rows only."""
    answer = predictions.prediction
    beside = predictions.probabilities, predictions.score
    probabilities, score = (None if one is None else one[numbers] for one in beside)
    return Predictions(
        prediction={name: part[numbers] for name, part in answer.items()}
        if isinstance(answer, dict)
        else answer[numbers],
        probabilities=probabilities,
        score=score,
    )


def _matrix(values: Array) -> Array:
    return values.reshape(len(values), -1)


def _are_numbers_of_columns(truth: Array, values: Array) -> bool:
    """Whether the true labels are the numbers of the answer's columns, each of them."""
    if values.dtype.kind not in "fiu" or truth.dtype.kind not in "iu":
        return False
    several = values.shape[1] > 1
    return several and np.array_equal(np.unique(truth), np.arange(values.shape[1]))


def _is_probabilities(values: Array) -> bool:
    return (
        values.dtype.kind == "f"
        and values.ndim == _MATRIX
        and values.shape[1] > 1
        and bool(np.isfinite(values).all())
        and bool((values >= -_SUM_TOLERANCE).all())
        and bool((np.abs(values.sum(axis=1) - 1) <= _SUM_TOLERANCE).all())
    )


def _by_value(label: str) -> tuple[int, float, str]:
    """Sort numbers by value, and before texts."""
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label
