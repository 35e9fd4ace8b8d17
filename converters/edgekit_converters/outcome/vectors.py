"""Choose a few sample rows as golden vectors, within a budget of bytes.

Knows no runtime: the flavor's own outputs on the samples are given. Rows whose label
hangs on the last bits are left out, as another processor may round them otherwise.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from edgekit import golden
from edgekit.binding import Predictions
from edgekit.errors import ConversionError
from edgekit.golden import Golden
from edgekit.manifest import Binding, Tolerance
from edgekit.table import Array, Table, rows, take

MAX_ROWS = 16
MIN_BUDGET_BYTES = 2_048
BUDGET_SHARE = 0.1  # of the model's bytes: proof must not dominate small models
MAX_BUDGET_BYTES = 256 * 1_024
_CLEAR_MARGIN = 0.05  # between the two likeliest classes
_SUM_RTOL = 1e-3
_SUM_ATOL = 1e-4
_STEP_ATOL = 0.03


def golden_vectors(
    table: Table,
    outputs: Mapping[str, Array],
    predictions: Predictions,
    *,
    binding: Binding,
    model_bytes: int,
) -> bytes:
    """Return golden.json: as many of the most telling rows as the budget allows.

    At least one row is kept, or as many as the graph's fixed batch takes.
    """
    for name, values in outputs.items():
        if len(values) != rows(table):
            raise ConversionError(
                f"output {name}: {len(values)} rows for {rows(table)} samples; each row"
                " must have its own answer"
            )
    batch = binding.inputs[0].shape[0]
    if batch > 0:
        return _encode(table, outputs, list(range(batch)))
    chosen = telling_rows(table, predictions)
    budget = budget_bytes(model_bytes)
    kept = _encode(table, outputs, chosen[:1])
    for count in range(2, len(chosen) + 1):
        more = _encode(table, outputs, chosen[:count])
        if len(more) > budget:
            break
        kept = more
    return kept


def budget_bytes(model_bytes: int) -> int:
    """Return how long golden.json may be beside a model of this size."""
    share = int(model_bytes * BUDGET_SHARE)
    return min(max(share, MIN_BUDGET_BYTES), MAX_BUDGET_BYTES)


def telling_rows(table: Table, predictions: Predictions) -> list[int]:
    """Return up to MAX_ROWS row numbers, the most telling first.

    One row per answer, the extremes of the answers, the rows with most extremes among
    their inputs, then others spread evenly; rows that are too close to call come last.
    """
    total = rows(table)
    ranked = [
        *_first_of_each(predictions),
        *_extreme_answers(predictions),
        *_extreme_inputs(table)[:4],
        *np.linspace(0, total - 1, min(total, MAX_ROWS)).astype(int).tolist(),
    ]
    close = _too_close(predictions, total)
    distinct = list(dict.fromkeys(int(number) for number in ranked))
    clear = [number for number in distinct if not close[number]]
    return [*clear, *(number for number in distinct if close[number])][:MAX_ROWS]


def tolerance(
    outputs: Mapping[str, Array], *, integer_kernels: bool
) -> tuple[Tolerance, str]:
    """Return how far a device's numbers may lie from these outputs, and why."""
    largest = [
        float(np.max(np.abs(values[np.isfinite(values)]), initial=0.0))
        for values in outputs.values()
        if values.dtype.kind == "f"
    ]
    scale = max(largest, default=0.0) or 1.0
    if integer_kernels:
        return (
            Tolerance(rtol=_STEP_ATOL, atol=_rounded(_STEP_ATOL * scale)),
            "integer kernels round differently on other processors, by 1/255 of the range",
        )
    return (
        Tolerance(rtol=_SUM_RTOL, atol=_rounded(_SUM_ATOL * scale)),
        "float32 sums are added in another order on other processors",
    )


def _rounded(value: float) -> float:
    return float(f"{value:.1e}")


def _encode(table: Table, outputs: Mapping[str, Array], numbers: list[int]) -> bytes:
    return golden.encode(
        Golden(inputs=take(table, numbers), outputs=take(outputs, numbers))
    )


def _answers(predictions: Predictions) -> Array:
    answer = predictions.prediction
    parts = list(answer.values()) if isinstance(answer, dict) else [answer]
    first: Array = np.asarray(parts[0]).reshape(len(parts[0]), -1)
    return first


def _first_of_each(predictions: Predictions, most: int = 4) -> list[int]:
    answers = _answers(predictions)
    if answers.dtype.kind == "f":
        if answers.shape[1] == 1:
            return []
        answers = answers.argmax(axis=1)
    labels = [str(row) for row in answers.tolist()]
    firsts = dict.fromkeys(labels)
    return [labels.index(label) for label in list(firsts)[:most]]


def _extreme_answers(predictions: Predictions) -> list[int]:
    numbers = [predictions.score, predictions.probabilities, _answers(predictions)]
    for values in numbers:
        if values is not None and values.dtype.kind == "f":
            first = np.nan_to_num(values.reshape(len(values), -1)[:, 0])
            return [int(first.argmin()), int(first.argmax())]
    return []


def _extreme_inputs(table: Table) -> list[int]:
    """Return row numbers, those that hold most columns' extremes or gaps first."""
    counts = np.zeros(rows(table), int)
    for column in table.values():
        if column.ndim == 1 and column.dtype.kind in "iuf":
            known = np.isfinite(column.astype(np.float64))
            counts += ~known
            counts += known & ((column == column.min()) | (column == column.max()))
    ranked: Sequence[int] = np.argsort(-counts, kind="stable").tolist()
    return [number for number in ranked if counts[number]]


def _too_close(predictions: Predictions, total: int) -> Array:
    odds = predictions.probabilities
    if odds is None or odds.ndim != 2 or odds.shape[1] < 2:  # noqa: PLR2004 - [rows, classes]
        answers = _answers(predictions)
        if answers.dtype.kind != "f" or answers.shape[1] < 2:  # noqa: PLR2004 - classes
            return np.zeros(total, bool)
        odds = answers
    best = np.sort(odds, axis=1)
    close: Array = best[:, -1] - best[:, -2] < _CLEAR_MARGIN
    return close
