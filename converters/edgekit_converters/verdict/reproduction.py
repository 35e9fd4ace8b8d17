"""Reproduce what the model version's own run has logged, before anything is judged. Pure.

A metric that the original does not reach on these rows tells of other rows, another
preparation or another model, and then no verdict about its flavors means what it seems to.
It is a note, never an error: training may have logged another set of rows.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from edgekit.errors import ConversionError
from edgekit.table import Array
from edgekit_converters.verdict import answers, metrics
from edgekit_converters.verdict.compare import spread
from edgekit_converters.verdict.exam import Exam, check
from edgekit_converters.verdict.metrics import Metric, Ranking
from edgekit_converters.verdict.statistics import Interval, bootstrap, paired

SAME = 5e-4  # of a metric, or as a share of an error: what rounding explains
_BEFORE = re.compile(r"^(test|testing|val|valid|validation|eval|holdout|oot)[_\- /]")


class Logged(StrEnum):
    """What is known by name; the values are what it is called here."""

    ACCURACY = "accuracy"
    MACRO_F1 = "macro-f1"
    AUC = "auc"
    AVERAGE_PRECISION = "average-precision"
    RMSE = "rmse"
    MSE = "mse"
    R2 = "r2"


_NAMES: Mapping[str, Logged] = {
    "accuracy": Logged.ACCURACY,
    "accuracy_score": Logged.ACCURACY,
    "acc": Logged.ACCURACY,
    "top1": Logged.ACCURACY,
    "f1_macro": Logged.MACRO_F1,
    "macro_f1": Logged.MACRO_F1,
    "f1_score_macro": Logged.MACRO_F1,
    "macro_f1_score": Logged.MACRO_F1,
    "auc": Logged.AUC,
    "roc_auc": Logged.AUC,
    "roc_auc_score": Logged.AUC,
    "average_precision": Logged.AVERAGE_PRECISION,
    "average_precision_score": Logged.AVERAGE_PRECISION,
    "rmse": Logged.RMSE,
    "root_mean_squared_error": Logged.RMSE,
    "mse": Logged.MSE,
    "mean_squared_error": Logged.MSE,
    "r2": Logged.R2,
    "r2_score": Logged.R2,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """What became of one logged metric; `reproduced` None where it was not tried."""

    name: str
    logged: float
    sentence: str
    here: float | None = None
    reproduced: bool | None = None


def reproduce(
    exam: Exam, logged: Mapping[str, float], name: str | None = None
) -> Reproduction | None:
    """Compute a logged metric of the original on the exam's rows, and compare.

    Without a `name` the first of a known one; None when there is none. ConversionError
    when `name` was not logged or means nothing here.
    """
    chosen = _chosen(logged, name)
    if chosen is None:
        return None
    value = float(logged[chosen])
    meaning = _meaning(chosen)
    if exam.truth is None:
        return Reproduction(
            name=chosen,
            logged=value,
            sentence=f"logged {chosen} {value:.4g} was not reproduced: there are no true"
            " labels, name their column with --target",
        )
    try:
        found = _value(exam, meaning)
    except ConversionError as error:
        return Reproduction(
            name=chosen,
            logged=value,
            sentence=f"logged {chosen} {value:.4g} was not reproduced: {error}",
        )
    return _compared(chosen, value, found)


def _compared(name: str, logged: float, here: Interval) -> Reproduction:
    rows = f"on {here.units:,} rows"
    interval = f"95 % interval {here.low:.4g} to {here.high:.4g}"
    near = abs(here.drop - logged) <= SAME * max(1.0, abs(logged))
    if near:
        sentence = f"reproduced: {name} {logged:.4g} logged, {here.drop:.4g} here {rows}"
    elif here.low <= logged <= here.high:
        sentence = (
            f"reproduced within chance: {name} {logged:.4g} logged, {here.drop:.4g} here"
            f" {rows} ({interval}); these are other rows"
        )
    else:
        sentence = (
            f"not reproduced: {name} {logged:.4g} logged, {here.drop:.4g} here {rows}"
            f" ({interval}); other rows, another preparation or another model"
        )
    return Reproduction(
        name=name,
        logged=logged,
        here=here.drop,
        reproduced=near or here.low <= logged <= here.high,
        sentence=sentence,
    )


def _chosen(logged: Mapping[str, float], name: str | None) -> str | None:
    if name is None:
        known = [one for one in logged if _key(one) in _NAMES]
        return min(
            known, key=lambda one: (list(_NAMES).index(_key(one)), one), default=None
        )
    if name not in logged:
        raise ConversionError(
            f"metric {name}: the model's run has not logged it;"
            f" it has {', '.join(sorted(logged)) or 'logged none'}"
        )
    return name


def _meaning(name: str) -> Logged:
    key = _key(name)
    if key not in _NAMES:
        raise ConversionError(
            f"metric {name}: nobody here knows how it is computed; a name such as"
            f" {', '.join(list(_NAMES)[:6])}, with test_ or val_ before it, is expected"
        )
    return _NAMES[key]


def _key(name: str) -> str:
    """Return a metric's name without the set it is of; training's own stays strange."""
    return _BEFORE.sub("", name.strip().lower()).replace("-", "_").replace(" ", "_")


def _value(exam: Exam, meaning: Logged) -> Interval:
    """Return the original's metric and its interval, as if it were a drop."""
    match meaning:
        case Logged.ACCURACY | Logged.MACRO_F1:
            return _of_labels(_asked(exam, Metric(meaning.value)), meaning)
        case Logged.AUC | Logged.AVERAGE_PRECISION:
            return _of_scores(_asked(exam, Metric(meaning.value)))
        case Logged.RMSE | Logged.MSE | Logged.R2:
            return _of_numbers(_asked(exam, Metric.RMSE), meaning)


def _asked(exam: Exam, metric: Metric) -> Exam:
    groups = exam.groups if metric.of_scores else None
    asked = replace(exam, metric=metric, groups=groups)
    check(asked)
    return asked


def _of_labels(exam: Exam, meaning: Logged) -> Interval:
    truth = exam.true_labels
    said = exam.labels_of(exam.original)
    if truth is None:
        raise ConversionError("there are no true labels")
    if meaning is Logged.ACCURACY:
        wrong = paired(int((truth != said).sum()), 0, len(truth))
        return replace(
            wrong, drop=1 - wrong.drop, low=1 - wrong.high, high=min(1.0, 1 - wrong.low)
        )
    names, numbers = np.unique(np.stack([truth, said]), return_inverse=True)
    true, answered = numbers.reshape(2, -1)
    return bootstrap(
        lambda weights: metrics.macro_f1(true, answered, weights, len(names)),
        counts=np.ones(len(true), np.int64),
        strata=true,
    )


def _of_scores(exam: Exam) -> Interval:
    scores, positive = exam.scores_of(exam.original), exam.positives()
    counted = [n for n in range(scores.shape[1]) if 0 < positive[:, n].sum() < len(scores)]
    rankings = [Ranking.of(scores[:, n], positive[:, n]) for n in counted]
    measure = metrics.auc if exam.metric is Metric.AUC else metrics.average_precision
    return bootstrap(
        lambda weights: np.asarray(
            np.mean([measure(one, weights) for one in rankings], axis=0)
        ),
        counts=np.ones(len(scores), np.int64),
        strata=positive.argmax(axis=1) if len(counted) > 1 else positive[:, 0],
    )


def _of_numbers(exam: Exam, meaning: Logged) -> Interval:
    wanted = np.asarray(exam.truth, float).reshape(-1, 1)
    squares = ((answers.columns(exam.original).astype(float) - wanted) ** 2)[:, 0]
    variance = float(spread(wanted)[0]) ** 2

    def value(weights: Array) -> Array:
        rmse = metrics.root_mean_square(squares, weights)
        if meaning is Logged.RMSE:
            return rmse
        return rmse**2 if meaning is Logged.MSE else 1 - rmse**2 / variance

    return bootstrap(value, counts=np.ones(len(squares), np.int64))
