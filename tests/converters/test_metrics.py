"""The metrics against scikit-learn's own, with every row counted once and with weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as theirs

from edgekit_converters.verdict import metrics as ours
from edgekit_converters.verdict.metrics import Metric, Ranking

EXACT = 1e-12
SEEDS = st.integers(0, 10_000)


def scored(seed: int, rows: int = 90) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    positive = rng.random(rows) < rng.uniform(0.1, 0.9)
    positive[:2] = [True, False]
    ties = int(rng.integers(0, 3))  # rounded to whole numbers there are many
    score = np.round(rng.normal(size=rows) + positive, ties)
    weights = rng.integers(0, 4, rows).astype(float)
    weights[:2] = 1
    return positive, score, weights


def labelled(seed: int, rows: int = 90) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 5, rows)
    answer = np.where(rng.random(rows) < 0.7, truth, rng.integers(0, 6, rows))
    return truth, answer, rng.integers(0, 4, rows).astype(float)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_auc_is_roc_auc_score(seed: int) -> None:
    positive, score, weights = scored(seed)
    ranking = Ranking.of(score, positive)
    assert ours.auc(ranking, np.ones(90)) == pytest.approx(
        theirs.roc_auc_score(positive, score), abs=EXACT
    )
    assert ours.auc(ranking, weights) == pytest.approx(
        theirs.roc_auc_score(positive, score, sample_weight=weights), abs=EXACT
    )


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_average_precision_is_average_precision_score(seed: int) -> None:
    positive, score, weights = scored(seed)
    ranking = Ranking.of(score, positive)
    assert ours.average_precision(ranking, np.ones(90)) == pytest.approx(
        theirs.average_precision_score(positive, score), abs=EXACT
    )
    assert ours.average_precision(ranking, weights) == pytest.approx(
        theirs.average_precision_score(positive, score, sample_weight=weights), abs=EXACT
    )


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_accuracy_macro_f1_and_recall_are_scikit_learns(seed: int) -> None:
    truth, answer, weights = labelled(seed)
    for counted in (np.ones(90), weights):
        seen = counted > 0  # scikit-learn also averages over classes of rows of no weight
        common = {"sample_weight": counted[seen]}
        true, said = truth[seen], answer[seen]
        assert ours.accuracy(truth, answer, counted) == pytest.approx(
            theirs.accuracy_score(true, said, **common), abs=EXACT
        )
        assert ours.macro_f1(truth, answer, counted, 6) == pytest.approx(
            theirs.f1_score(true, said, average="macro", **common), abs=EXACT
        )
        found = ours.recalls(truth, answer, counted, 6)
        present = np.unique(true)
        assert found[present] == pytest.approx(
            theirs.recall_score(true, said, average=None, labels=present, **common),
            abs=EXACT,
        )


def test_recall_of_a_class_without_rows_is_not_a_number() -> None:
    found = ours.recalls(np.array([0, 0]), np.array([0, 1]), np.ones(2), 2)
    assert found[0] == 0.5
    assert np.isnan(found[1])


def test_the_root_mean_square_is_scikit_learns() -> None:
    rng = np.random.default_rng(3)
    truth, answer = rng.normal(size=(2, 70))
    weights = rng.integers(0, 4, 70)
    assert ours.root_mean_square((truth - answer) ** 2, weights) == pytest.approx(
        theirs.root_mean_squared_error(truth, answer, sample_weight=weights), abs=EXACT
    )


def test_many_weights_at_once_give_what_each_gives_alone() -> None:
    positive, score, _ = scored(1)
    weights = np.random.default_rng(2).integers(0, 3, (7, 90)).astype(float)
    ranking = Ranking.of(score, positive)
    for measure in (ours.auc, ours.average_precision):
        alone = [float(measure(ranking, row)) for row in weights]
        assert measure(ranking, weights) == pytest.approx(alone, abs=EXACT)


def test_each_metric_belongs_to_one_kind() -> None:
    for metric in Metric:
        numbers = metric in {Metric.RMSE, Metric.RELATIVE_ERROR}
        assert metric.of_labels + metric.of_scores + numbers == 1
