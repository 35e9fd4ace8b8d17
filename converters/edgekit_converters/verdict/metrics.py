"""The metrics that flavors are judged by, each as its field defines it. Knows no model.

Every function takes `weights`, [..., rows]: how often each row counts; what comes back has
the leading axes of `weights`, so that all resamples of a bootstrap are one call. With equal
weights the results are those of scikit-learn's functions of the same name, with others
those of its `sample_weight` (tested to 1e-12).
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from edgekit.table import Array


class Metric(StrEnum):
    """What is compared; the names on the command line."""

    ACCURACY = "accuracy"  # share of the rows with the true label
    MACRO_F1 = "macro-f1"  # mean over the classes of F1
    RECALL = "recall"  # the class that loses most: share of its rows with the true label
    AUC = "auc"  # area under the ROC curve; several classes: each against the rest, mean
    AVERAGE_PRECISION = "average-precision"  # the like under precision against recall
    FLIPS = "flips"  # share of the rows whose label is not the original's
    RMSE = "rmse"  # against the true values, over their standard deviation
    RELATIVE_ERROR = "relative-error"  # the same against the original's answers

    @property
    def needs_truth(self) -> bool:
        """Whether it compares with true answers, not with the original's."""
        return self not in {Metric.FLIPS, Metric.RELATIVE_ERROR}

    @property
    def of_labels(self) -> bool:
        """Whether it looks at labels."""
        return self in {Metric.ACCURACY, Metric.MACRO_F1, Metric.RECALL, Metric.FLIPS}

    @property
    def of_scores(self) -> bool:
        """Whether it looks at the order that scores give the rows."""
        return self in {Metric.AUC, Metric.AVERAGE_PRECISION}

    @property
    def less_is_better(self) -> bool:
        """Whether it measures mistakes."""
        return self in {Metric.FLIPS, Metric.RMSE, Metric.RELATIVE_ERROR}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Rows in the order of one score, ready to be counted.

    `order` sorts them upwards, `ends` are the last places in it of each score.
    """

    order: Array
    ends: Array
    positive: Array  # [rows], bool, in that order
    below: Array  # for each positive row, how many negative ones score less
    level: Array  # and how many no more

    @classmethod
    def of(cls, score: Array, positive: Array) -> "Ranking":
        """Sort rows by a finite score, [rows]; `positive` ([rows], bool) should be high."""
        order = np.argsort(score, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(score[order]) != 0), len(score) - 1)
        upwards, chosen = score[order], positive[order]
        others, own = upwards[~chosen], upwards[chosen]
        return cls(
            order=order,
            ends=ends,
            positive=chosen,
            below=np.searchsorted(others, own, side="left"),
            level=np.searchsorted(others, own, side="right"),
        )


def accuracy(truth: Array, answer: Array, weights: Array) -> Array:
    """Return the share of rows whose label is the true one (`accuracy_score`)."""
    return _ratio(weights @ (truth == answer).astype(float), weights.sum(axis=-1))


def recalls(truth: Array, answer: Array, weights: Array, classes: int) -> Array:
    """Return each class's share of rows with the true label, [..., classes].

    Labels are numbers below `classes`; not a number for a class without rows.
    """
    hits = _one_hot(truth, classes) * (truth == answer)[:, None]
    return _ratio(weights @ hits, weights @ _one_hot(truth, classes))


def macro_f1(truth: Array, answer: Array, weights: Array, classes: int) -> Array:
    """Return the mean F1 of the classes that are true or answered in any row.

    `f1_score(average="macro")`: F1 of a class is 2 hits / (true rows + answered rows).
    Labels are numbers below `classes`.
    """
    true, said = _one_hot(truth, classes), _one_hot(answer, classes)
    involved = weights @ true + weights @ said
    each = _ratio(2 * (weights @ (true * said)), involved)
    return np.asarray(np.nansum(each, axis=-1) / (involved > 0).sum(axis=-1))


def auc(ranking: Ranking, weights: Array) -> Array:
    """Return the area under the ROC curve (`roc_auc_score`).

    The chance that a positive row scores higher than a negative one, ties counting half.
    """
    others = weights[..., ranking.order[~ranking.positive]]
    own = weights[..., ranking.order[ranking.positive]]
    lower = np.zeros((*others.shape[:-1], others.shape[-1] + 1))
    np.cumsum(others, axis=-1, out=lower[..., 1:])
    wins = lower[..., ranking.below] + lower[..., ranking.level]
    pairs = own.sum(axis=-1) * lower[..., -1]
    return _ratio(np.einsum("...r,...r->...", own, wins) / 2, pairs)


def average_precision(ranking: Ranking, weights: Array) -> Array:
    """Return the sum over the thresholds of precision times the gain in recall.

    `average_precision_score`: thresholds from the highest score down, no interpolation.
    """
    counted = weights[..., ranking.order]
    hits = _from_the_top(counted * ranking.positive, ranking)
    taken = _from_the_top(counted, ranking)
    gained = np.diff(hits, prepend=0.0, axis=-1)
    precision = np.divide(hits, taken, out=np.zeros(hits.shape), where=taken > 0)
    return _ratio((gained * precision).sum(axis=-1), hits[..., -1])


def root_mean_square(squares: Array, weights: Array) -> Array:
    """Return the root of the mean of squared errors (`root_mean_squared_error`)."""
    return np.asarray(np.sqrt(_ratio(weights @ squares, weights.sum(axis=-1))))


def _one_hot(labels: Array, classes: int) -> Array:
    hot: Array = (labels[:, None] == np.arange(classes)).astype(float)
    return hot


def _at_ends(counted: Array, ranking: Ranking) -> Array:
    sums: Array = np.cumsum(counted, axis=-1)[..., ranking.ends]
    return sums


def _from_the_top(counted: Array, ranking: Ranking) -> Array:
    """Return the sum of all rows that score at least so much, for each score downwards."""
    upwards = _at_ends(counted, ranking)
    before = np.concatenate([np.zeros_like(upwards[..., :1]), upwards[..., :-1]], axis=-1)
    return np.asarray((upwards[..., -1:] - before)[..., ::-1])


def _ratio(part: Array, whole: Array) -> Array:
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    ratio: Array = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return ratio
