"""The exam that every flavor sits: rows, the original's answers, and one metric. Pure.

Decides which metric suits the model, and refuses an exam that could not be judged. Knows
no flavor's bytes and no limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edgekit.binding import Predictions, feeds
from edgekit.conversion import AUTO
from edgekit.errors import ConversionError
from edgekit.table import Array
from edgekit_converters.extraction import Extraction, Task
from edgekit_converters.verdict import answers, one_class
from edgekit_converters.verdict.answers import Reading, Score
from edgekit_converters.verdict.compare import (
    Comparison,
    compare_labels,
    compare_numbers,
    compare_scores,
)
from edgekit_converters.verdict.division import Division, divide, together
from edgekit_converters.verdict.metrics import Metric
from edgekit_converters.verdict.statistics import RESAMPLES

_SHOWN = 5  # unknown labels that a message lists
_RARE = 6  # of a class: both sides of a division need some


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """Rows that flavors answer; made by `set_exam`.

    `truth` is [rows]. `groups` ([rows]) have one score each, the mean of their rows'.
    `inputs` is [rows, numbers], for reconstruction.
    """

    metric: Metric
    task: Task
    reading: Reading
    original: Predictions
    truth: Array | None = None
    classes: Sequence[str] = ()
    score: Score = field(default_factory=Score)
    groups: Array | None = None
    inputs: Array | None = None

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(answers.columns(self.original))

    @property
    def strata(self) -> Array | None:
        """What rows are divided by evenly: true answers, else the original's labels."""
        if self.truth is not None:
            return self.truth
        return None if self.reading is Reading.NUMBER else self.labels_of(self.original)

    def take(self, numbers: Array) -> "Exam":
        """Return the exam on some rows only."""

        def some(array: Array | None) -> Array | None:
            return None if array is None else array[numbers]

        return replace(
            self,
            original=answers.take(self.original, numbers),
            truth=some(self.truth),
            groups=some(self.groups),
            inputs=some(self.inputs),
        )

    def divide(self) -> Division:
        """Return which rows are to search on, and which to judge on."""
        if self.metric.of_scores:
            positive = self.positives()
            rarest = min(positive.sum(axis=0).min(), (~positive).sum(axis=0).min())
            if rarest < _RARE:
                return together(self.rows, f"only {rarest} of the rarest class")
        return divide(self.rows, labels=self.strata, groups=self.groups)

    def compare(self, flavor: Predictions) -> Comparison:
        """Return how a flavor's answers to these rows compare with the original's."""
        return self._compare(flavor, RESAMPLES)

    def drop(self, flavor: Predictions) -> float:
        """Return how much worse a flavor's answers are, and not how sure that is."""
        return self._compare(flavor, 0).drop

    def _compare(self, flavor: Predictions, resamples: int) -> Comparison:
        if self.metric.of_labels:
            return compare_labels(
                self.metric,
                self.labels_of(self.original),
                self.labels_of(flavor),
                self.true_labels,
                resamples=resamples,
            )
        if self.metric.of_scores:
            found = compare_scores(
                self.metric,
                self.scores_of(self.original),
                self.scores_of(flavor),
                self.positives(),
                rows=self.rows,
                resamples=resamples,
            )
            return self._with_labels(found, flavor)
        return compare_numbers(
            self.metric,
            answers.columns(self.original).astype(float),
            answers.columns(flavor).astype(float),
            self.truth,
            resamples=resamples,
        )

    def _with_labels(self, found: Comparison, flavor: Predictions) -> Comparison:
        """Add what the labels do at the model's own threshold, which no order shows."""
        truth = self.true_labels
        if truth is None or self.groups is not None or self.reading is Reading.NUMBER:
            return found
        told = compare_labels(
            Metric.FLIPS, self.labels_of(self.original), self.labels_of(flavor), truth
        )
        return replace(found, classes=told.classes, detail=found.detail or told.detail)

    @property
    def true_labels(self) -> Array | None:
        """The true labels as texts, [rows], where there are such."""
        return None if self.truth is None else answers.true_labels(self.truth, self.task)

    @property
    def remark(self) -> str:
        """What rows of one class only cannot show, "" where they are of several."""
        if not self.metric.of_labels:
            return ""
        return one_class.remark(self.labels_of(self.original), self.true_labels)

    def labels_of(self, predictions: Predictions) -> Array:
        """Return [rows] labels as texts."""
        return answers.labels(answers.columns(predictions), self.reading, self.classes)

    def scores_of(self, predictions: Predictions) -> Array:
        """Return [rows, scores], high for the positive class; of groups where there are."""
        return self._mean(
            answers.scores(predictions, self.score, task=self.task, inputs=self.inputs)
        )

    def positives(self) -> Array:
        """Return which rows (or groups) are of the class of each score, [rows, scores].

        ConversionError when fewer than two classes are, or a group is not of one class.
        """
        if self.truth is None:
            raise ConversionError(
                f"metric {self.metric}: it needs true labels; name their column with"
                " --target"
            )
        width = self.scores_of(self.original).shape[1]
        each = answers.positives(
            self.truth, task=self.task, classes=self.classes, width=width
        )
        shares = self._mean(each.astype(float))
        mixed: Array = np.asarray(((shares > 0) & (shares < 1)).any(axis=1))
        if mixed.any():
            raise ConversionError(
                f"group: {int(mixed.sum())} of {len(mixed)} groups hold rows of several"
                " classes; one true label a group is expected"
            )
        return np.asarray(shares > 0)

    def _mean(self, values: Array) -> Array:
        """Return the mean over each group's rows, [groups, ...]."""
        if self.groups is None:
            return values
        texts = np.asarray([answers.text(group) for group in self.groups.ravel()])
        names, numbers = np.unique(texts, return_inverse=True)
        sizes = np.bincount(numbers)
        sums = np.zeros((len(names), values.shape[1]))
        np.add.at(sums, numbers, values)
        return np.asarray(sums / sizes[:, None])


def set_exam(
    extraction: Extraction,
    *,
    metric: str = AUTO,
    score: str = answers.AUTO,
    groups: Array | None = None,
) -> Exam:
    """Return the exam on all rows of an extraction; ConversionError if nobody could sit it.

    `metric` is one of edgekit.conversion.METRICS, `score` a [-]NAME (see answers.Score).
    auto is: with true labels accuracy (a detector's, or a number's for labels 0 and 1:
    AUC; other numbers': RMSE), without flips, or for numbers the error relative to the
    original's.
    """
    values = answers.columns(extraction.original)
    truth = extraction.labels
    how = answers.reading(values, task=extraction.task, truth=truth)
    inputs = _inputs(extraction)
    chosen = _suited(extraction, how, values, inputs) if metric == AUTO else Metric(metric)
    if how is Reading.NUMBER and chosen.of_labels and answers.is_odds(values):
        how = Reading.ODDS
    exam = Exam(
        metric=chosen,
        task=extraction.task,
        reading=how,
        original=extraction.original,
        truth=truth,
        classes=_class_names(extraction),
        score=Score.parse(score),
        groups=groups,
        inputs=inputs,
    )
    check(exam)
    return exam


def check(exam: Exam) -> None:
    """Raise ConversionError where nobody could sit the exam, or judge it."""
    metric = exam.metric
    if metric.needs_truth and exam.truth is None:
        raise ConversionError(
            f"metric {metric}: it needs true labels; name their column with --target"
        )
    if exam.groups is not None and not metric.of_scores:
        raise ConversionError(
            f"metric {metric}: groups of rows have a score together only for"
            f" {Metric.AUC} and {Metric.AVERAGE_PRECISION}"
        )
    _check_answers(answers.columns(exam.original))
    if metric.of_scores:
        _check_scores(exam)
    elif metric.of_labels:
        _check_labels(exam)
    else:
        _check_numbers(exam, answers.columns(exam.original))


def _suited(
    extraction: Extraction, how: Reading, values: Array, inputs: Array | None
) -> Metric:
    truth = extraction.labels
    if truth is None:
        return Metric.RELATIVE_ERROR if how is Reading.NUMBER else Metric.FLIPS
    both = len(set(answers.true_labels(truth, extraction.task).tolist())) > 1
    scored = extraction.original.score is not None
    if extraction.task is Task.ANOMALY and scored and both:
        return Metric.AUC
    if how is not Reading.NUMBER:
        return Metric.ACCURACY
    ranked = both and answers.is_binary(truth) and extraction.task is not Task.REGRESSION
    if values.shape[1] == 1:
        return Metric.AUC if ranked else Metric.RMSE
    rebuilt = inputs is not None and inputs.shape == values.shape
    return Metric.AUC if rebuilt and ranked else Metric.RELATIVE_ERROR


def _class_names(extraction: Extraction) -> tuple[str, ...]:
    """Return the classes as labels are written here: those that are numbers, 1.0 as 1."""
    names = extraction.binding.classes
    try:
        return tuple(answers.text(float(name)) for name in names)
    except ValueError:
        return names


def _inputs(extraction: Extraction) -> Array | None:
    """Return [rows, numbers] where the model takes one tensor of them."""
    tensors = list(feeds(extraction.binding, extraction.samples).values())
    if len(tensors) != 1 or tensors[0].dtype.kind not in "biuf":
        return None
    return tensors[0].reshape(len(tensors[0]), -1).astype(float)


def _check_answers(values: Array) -> None:
    """What the original cannot answer, no flavor can be compared on."""
    if values.dtype.kind != "f":
        return
    wrong = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(wrong):
        raise ConversionError(
            f"samples: the original's answers to {len(wrong)} of {len(values)} rows (row"
            f" {wrong[0]} the first) are not finite numbers; leave those rows out"
        )


def _check_labels(exam: Exam) -> None:
    if exam.reading is Reading.NUMBER:
        raise ConversionError(
            f"metric {exam.metric}: the model answers numbers, not labels;"
            f" {Metric.RMSE}, {Metric.RELATIVE_ERROR}, or {Metric.AUC} with --score is"
            " expected"
        )
    if exam.true_labels is None:
        return
    one_class.refuse(exam.metric, exam.true_labels)
    said = set(exam.labels_of(exam.original).tolist())
    if not exam.classes and said & set(exam.true_labels.tolist()):
        return  # the model may know classes that it gives none of these rows
    _check_known(exam.true_labels, sorted(set(exam.classes) or said))


def _check_known(true: Array, known: Sequence[str]) -> None:
    unknown = sorted(set(true.tolist()) - set(known))
    if unknown:
        raise ConversionError(
            f"target: labels {_some(unknown)} are not among the model's classes"
            f" {_some(known)}"
        )


def _check_scores(exam: Exam) -> None:
    if exam.true_labels is not None and exam.classes:
        _check_known(exam.true_labels, exam.classes)
    scores = exam.scores_of(exam.original)
    finite = np.isfinite(scores).all(axis=1)
    bad = len(scores) - int(finite.sum())
    if bad:
        raise ConversionError(
            f"metric {exam.metric}: the original's score of {bad} of {len(scores)} rows is"
            " not a finite number; leave those rows out"
        )
    exam.positives()


def _check_numbers(exam: Exam, values: Array) -> None:
    if values.dtype.kind not in "biuf":
        raise ConversionError(
            f"metric {exam.metric}: the model answers texts; {Metric.ACCURACY} or"
            f" {Metric.FLIPS} is expected"
        )
    if exam.metric is not Metric.RMSE or exam.truth is None:
        return
    if exam.truth.dtype.kind not in "biuf":
        raise ConversionError("target: labels are texts, the model answers numbers")
    if values.shape[1] != 1:
        raise ConversionError(
            f"metric {exam.metric}: the model answers {values.shape[1]} numbers a row, one"
            f" is expected; {Metric.RELATIVE_ERROR} takes any"
        )
    if len(np.unique(exam.truth)) == 1:
        raise ConversionError(
            f"target: all {len(values)} rows have the same value, so an error has no"
            " measure; rows of several values are expected"
        )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
