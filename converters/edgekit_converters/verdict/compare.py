"""Say how far a flavor's answers lie from the original's. Pure; knows no files, no limit.

One number, the *drop*, is a share, so that one limit serves every task:

labels   with true labels: accuracy lost, as a share of the rows; without: the share
         of rows whose label changed
numbers  with true values: growth of the RMSE, as a share of the true values' standard
         deviation; without: RMSE against the original, as a share of the standard
         deviation of the original's answers (the mean over the output columns)

Labels are what classifiers and anomaly detectors answer, and the largest column where
each row of the answer holds probabilities. A negative drop is a gain.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.binding import Predictions
from edgekit.table import Array
from edgekit_converters.extraction import Task

CLOSE = 0.01  # numbers agree within this share of the original answers' spread
_LABELLED = {Task.CLASSIFICATION, Task.ANOMALY}
_SUM_TOLERANCE = 1e-2
_EVEN_ODDS = 0.5
_MATRIX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What the sample rows show.

    `agreement` is the share of rows with the original's answer (numbers: within CLOSE),
    `drop` is a share, `judged_on` says of what; `sentence` holds the numbers.
    """

    rows: int
    agreement: float
    drop: float
    judged_on: str
    sentence: str


def compare(
    *,
    task: Task,
    original: Predictions,
    flavor: Predictions,
    truth: Array | None = None,
    classes: Sequence[str] = (),
) -> Comparison:
    """Compare the answers to the same rows; `truth` is [rows], in the answer's units."""
    before, after = _columns(original), _columns(flavor)
    labels = [
        _labels(values, task=task, classes=classes, truth=truth)
        for values in (before, after)
    ]
    if labels[0] is not None and labels[1] is not None:
        return _compare_labels(labels[0], labels[1], truth)
    numbers = np.asarray(before, np.float64), np.asarray(after, np.float64)
    return _compare_numbers(*numbers, truth)


def _columns(predictions: Predictions) -> Array:
    """Return the prediction as [rows, columns]; named ones side by side."""
    answer = predictions.prediction
    parts = list(answer.values()) if isinstance(answer, dict) else [answer]
    flat = [np.asarray(part).reshape(len(part), -1) for part in parts]
    if any(part.dtype == object for part in flat):
        flat = [part.astype(object) for part in flat]
    return np.concatenate(flat, axis=1)


def _labels(
    values: Array, *, task: Task, classes: Sequence[str], truth: Array | None
) -> Array | None:
    """Return [rows] labels, or None where the answer is numbers."""
    if _is_probabilities(values):
        best = values.argmax(axis=1)
        return np.asarray([classes[n] for n in best] if classes else best)
    if task in _LABELLED or values.dtype.kind in "OUb":
        return np.asarray([" ".join(_text(value) for value in row) for row in values])
    if truth is not None and _is_odds(values) and set(np.unique(truth).tolist()) <= {0, 1}:
        return (values[:, 0] > _EVEN_ODDS).astype(np.int64)
    return None


def _is_probabilities(values: Array) -> bool:
    return (
        values.dtype.kind == "f"
        and values.ndim == _MATRIX
        and values.shape[1] > 1
        and bool(np.isfinite(values).all())
        and bool((values >= -_SUM_TOLERANCE).all())
        and bool((np.abs(values.sum(axis=1) - 1) <= _SUM_TOLERANCE).all())
    )


def _is_odds(values: Array) -> bool:
    return (
        values.dtype.kind == "f"
        and values.shape[1] == 1
        and bool(((values >= 0) & (values <= 1)).all())
    )


def _text(value: object) -> str:
    """Write 1, 1.0 and "1" alike: framework and graph may differ in a label's type."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _compare_labels(before: Array, after: Array, truth: Array | None) -> Comparison:
    rows = len(before)
    changed = int(np.sum(before != after))
    share = changed / rows
    changes = f"{changed} of {rows} labels change"
    if truth is None:
        return Comparison(
            rows=rows,
            agreement=1 - share,
            drop=share,
            judged_on="changed labels",
            sentence=f"{changes} ({share:.2%})",
        )
    wanted = [_text(value) for value in np.asarray(truth).ravel()]
    right = [
        float(
            np.mean([_text(value) == want for value, want in zip(got, wanted, strict=True)])
        )
        for got in (before, after)
    ]
    drop = right[0] - right[1]
    return Comparison(
        rows=rows,
        agreement=1 - share,
        drop=drop,
        judged_on="accuracy",
        sentence=f"accuracy {right[0]:.4f} before, {right[1]:.4f} after"
        f" ({_lost(drop)}), {changes}",
    )


def _compare_numbers(before: Array, after: Array, truth: Array | None) -> Comparison:
    rows = len(before)
    lost = np.isfinite(before) & ~np.isfinite(after)
    if lost.any():
        broken = int(lost.any(axis=1).sum())
        return Comparison(
            rows=rows,
            agreement=1 - broken / rows,
            drop=1.0,
            judged_on="finite numbers",
            sentence=f"{broken} of {rows} answers are no longer finite numbers",
        )
    apart = np.where(np.isfinite(before), after - before, 0.0)
    spread = _spread(before)
    close = (np.abs(apart) <= CLOSE * spread).all(axis=1)
    agreement = float(np.mean(close))
    relative = float(np.median(np.abs(apart) / np.maximum(np.abs(before), 1e-9 * spread)))
    detail = f"median relative error {relative:.1e}"
    if truth is not None and before.shape[1] == 1:
        return _against_truth(before, after, truth, agreement, detail)
    drop = float(np.sqrt(np.mean(apart**2 / spread**2)))
    return Comparison(
        rows=rows,
        agreement=agreement,
        drop=drop,
        judged_on="RMSE against the original",
        sentence=f"RMSE {drop:.3%} of the spread of the original's answers, {detail}",
    )


def _against_truth(
    before: Array, after: Array, truth: Array, agreement: float, detail: str
) -> Comparison:
    wanted = np.asarray(truth, np.float64).reshape(-1, 1)
    known = np.isfinite(wanted) & np.isfinite(before)
    errors = [
        float(np.sqrt(np.mean((got[known] - wanted[known]) ** 2)))
        for got in (before, after)
    ]
    drop = (errors[1] - errors[0]) / float(_spread(wanted[known][:, None])[0])
    return Comparison(
        rows=len(before),
        agreement=agreement,
        drop=drop,
        judged_on="RMSE against the true values",
        sentence=f"RMSE {errors[0]:.6g} before, {errors[1]:.6g} after"
        f" ({_lost(drop)}), {detail}",
    )


def _lost(drop: float) -> str:
    return f"{abs(drop):.2%} {'gained' if drop < 0 else 'lost'}"


def _spread(values: Array) -> Array:
    """Return each column's standard deviation; a constant column takes its magnitude."""
    finite = np.where(np.isfinite(values), values, np.nan)
    with np.errstate(invalid="ignore"):
        middle = np.nan_to_num(np.nanmean(finite, axis=0))
        spread = np.nan_to_num(np.nanstd(finite, axis=0))
    overall = float(np.sqrt(np.mean(spread**2)))
    floor = np.maximum(1e-6 * overall, 1e-6 * np.abs(middle))
    widest: Array = np.where(spread > floor, spread, np.maximum(floor, 1e-12))
    return widest
