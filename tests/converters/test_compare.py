import numpy as np
import pytest
from sklearn import metrics as theirs

from edgekit_converters.verdict.compare import (
    ClassLoss,
    compare_labels,
    compare_numbers,
    compare_scores,
)
from edgekit_converters.verdict.metrics import Metric
from edgekit_converters.verdict.statistics import paired


def texts(*values: object) -> np.ndarray:
    return np.array([str(value) for value in values])


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def test_one_changed_label_of_eight_is_an_eighth() -> None:
    before, after = texts(0, 1, 2, 0, 1, 2, 0, 1), texts(0, 1, 2, 0, 1, 2, 0, 2)
    found = compare_labels(Metric.FLIPS, before, after, None)
    assert (found.agreement, found.drop, found.flavor) == (0.875, 0.125, 0.125)
    assert found.sentence == "flips 0.1250: 1 of 8 labels change"
    assert (found.interval.lost, found.interval.gained) == (1, 0)


def test_accuracy_lost_counts_not_labels_changed() -> None:
    before, after = texts(*"abbb"), texts(*"abaa")
    found = compare_labels(Metric.ACCURACY, before, after, texts(*"abab"))
    assert found.drop == 0  # one mistake less, one more
    assert found.agreement == 0.5
    assert found.sentence == (
        "accuracy 0.7500, then 0.7500: 2 of 4 labels change, 1 of them from right to wrong"
    )


def test_a_flavor_that_is_right_more_often_has_a_negative_drop() -> None:
    found = compare_labels(Metric.ACCURACY, texts(0, 0), texts(0, 1), texts(0, 1))
    assert (found.drop, found.original, found.flavor) == (-0.5, 0.5, 1.0)


def test_what_each_class_loses_is_told_worst_first() -> None:
    truth = texts(*"aaabbb")
    found = compare_labels(Metric.ACCURACY, truth, texts(*"aaabca"), truth)
    assert found.classes == (
        ClassLoss(label="b", rows=3, lost=2, gained=0),
        ClassLoss(label="a", rows=3, lost=0, gained=0),
    )


def test_recall_is_that_of_the_class_that_loses_most() -> None:
    truth = texts(*"aaaaaaaabb")
    found = compare_labels(Metric.RECALL, truth, texts(*"aaaaaaaaba"), truth)
    assert (found.original, found.flavor, found.drop) == (1.0, 0.5, 0.5)
    assert found.interval.units == 2
    assert found.interval.high > paired(1, 0, 2).high  # it was picked from two
    assert found.detail.startswith("of class b, which loses most; 1 of 10 labels change")


def test_macro_f1_is_that_of_scikit_learn_before_and_after() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 4, 300)
    before = np.where(rng.random(300) < 0.9, truth, 0)
    after = np.where(rng.random(300) < 0.8, truth, 5)
    found = compare_labels(Metric.MACRO_F1, texts(*before), texts(*after), texts(*truth))
    assert found.original == pytest.approx(theirs.f1_score(truth, before, average="macro"))
    assert found.flavor == pytest.approx(theirs.f1_score(truth, after, average="macro"))
    assert found.interval.low < found.drop < found.interval.high


def test_macro_f1_of_labels_that_all_stay_is_not_certain_for_rows_unseen() -> None:
    truth = texts(*(n % 2 for n in range(50)))
    found = compare_labels(Metric.MACRO_F1, truth, truth, truth)
    assert found.drop == 0
    assert found.interval.high == pytest.approx(0.0714, abs=1e-4)


def test_auc_is_that_of_scikit_learn_before_and_after() -> None:
    rng = np.random.default_rng(1)
    positive = rng.random(200) < 0.3
    before = rng.normal(size=(200, 1)) + positive[:, None]
    after = before + rng.normal(size=(200, 1))
    found = compare_scores(Metric.AUC, before, after, positive[:, None], rows=200)
    assert found.original == pytest.approx(theirs.roc_auc_score(positive, before[:, 0]))
    assert found.flavor == pytest.approx(theirs.roc_auc_score(positive, after[:, 0]))
    assert found.drop == pytest.approx(found.original - found.flavor)
    assert found.interval.low < found.drop < found.interval.high
    assert found.few == min(positive.sum(), 200 - positive.sum())
    assert found.interval.method.startswith("stratified paired bootstrap, 2,000 resamples")


def test_auc_of_several_classes_is_the_mean_of_each_against_the_rest() -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 3, 150)
    odds = rng.dirichlet(np.ones(3), 150) + np.eye(3)[truth]
    odds /= odds.sum(axis=1, keepdims=True)
    found = compare_scores(Metric.AUC, odds, odds, np.eye(3)[truth] > 0, rows=150)
    wanted = theirs.roc_auc_score(truth, odds, multi_class="ovr", average="macro")
    assert found.original == pytest.approx(wanted)


def test_a_monotone_change_of_the_scores_costs_no_auc() -> None:
    score = np.random.default_rng(3).normal(size=(80, 1))
    positive = score + np.random.default_rng(4).normal(size=(80, 1)) > 0
    found = compare_scores(Metric.AUC, score, np.exp(score), positive, rows=80)
    assert (found.drop, found.interval.low, found.interval.high) == (0, 0, 0)


def test_a_score_that_is_no_longer_a_number_drops_everything() -> None:
    score = column(*range(6)).astype(float)
    found = compare_scores(
        Metric.AUC, score, np.where(score > 4, np.nan, score), score > 2, rows=6
    )
    assert found.interval.low == 1
    assert found.detail == "1 of 6 answers are no longer finite numbers"


def test_numbers_are_judged_against_the_spread_of_the_original_answers() -> None:
    before = column(0.0, 2.0, 0.0, 2.0)  # standard deviation 1
    found = compare_numbers(Metric.RELATIVE_ERROR, before, before + 0.004, None)
    assert found.drop == pytest.approx(0.004)
    assert found.agreement == 1
    off = before + column(0, 0, 0, 0.02)
    assert compare_numbers(Metric.RELATIVE_ERROR, before, off, None).agreement == 0.75


def test_with_true_values_the_growth_of_the_error_counts() -> None:
    truth = np.array([0.0, 2.0, 0.0, 2.0])
    before = truth[:, None] + 0.5
    found = compare_numbers(Metric.RMSE, before, before + 0.02, truth)
    assert found.drop == pytest.approx(0.02)
    assert (found.original, found.flavor) == pytest.approx((0.5, 0.52))


def test_columns_of_different_size_count_alike() -> None:
    rng = np.random.default_rng(5)
    before = rng.normal(size=(500, 2)) * [1e6, 1]
    small_broken = before * [1, 0]
    assert compare_numbers(Metric.RELATIVE_ERROR, before, small_broken, None).drop > 0.5


def test_a_constant_answer_has_a_spread_to_be_judged_against() -> None:
    fives = np.full((9, 1), 5.0)
    assert compare_numbers(Metric.RELATIVE_ERROR, fives, fives, None).drop == 0
    assert compare_numbers(Metric.RELATIVE_ERROR, fives, fives + 1, None).drop > 1


def test_an_answer_that_is_no_longer_finite_drops_everything() -> None:
    found = compare_numbers(
        Metric.RELATIVE_ERROR, column(1, 2, 3), column(1, np.nan, np.inf), None
    )
    assert (found.drop, found.interval.low) == (1, 1)
    assert found.detail == "2 of 3 answers are no longer finite numbers"


def test_an_answer_that_never_was_finite_is_not_held_against_a_flavor() -> None:
    before = column(1.0, np.nan, 3.0)
    assert compare_numbers(Metric.RELATIVE_ERROR, before, before.copy(), None).drop == 0
    nowhere = np.full((3, 1), np.nan)
    assert compare_numbers(Metric.RELATIVE_ERROR, nowhere, nowhere, None).drop == 0


def test_without_resamples_the_drop_is_the_same() -> None:
    rng = np.random.default_rng(6)
    before, after = rng.normal(size=(2, 60, 1))
    quick = compare_numbers(Metric.RELATIVE_ERROR, before, after, None, resamples=0)
    assert quick.drop == compare_numbers(Metric.RELATIVE_ERROR, before, after, None).drop
