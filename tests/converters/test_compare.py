import numpy as np
import pytest

from edgekit.binding import Predictions
from edgekit.table import Array
from edgekit_converters.extraction import Task
from edgekit_converters.verdict.compare import Comparison, compare


def labels(
    before: list[object], after: list[object], *, task: Task = Task.CLASSIFICATION
) -> Comparison:
    return compare(
        task=task,
        original=Predictions(prediction=np.array(before)),
        flavor=Predictions(prediction=np.array(after)),
    )


def numbers(before: Array, after: Array, truth: Array | None = None) -> Comparison:
    return compare(
        task=Task.REGRESSION,
        original=Predictions(prediction=before),
        flavor=Predictions(prediction=after),
        truth=truth,
    )


def test_one_changed_label_of_eight_is_an_eighth() -> None:
    found = labels([0, 1, 2, 0, 1, 2, 0, 1], [0, 1, 2, 0, 1, 2, 0, 2])
    assert (found.agreement, found.drop) == (0.875, 0.125)
    assert found.sentence == "1 of 8 labels change (12.50%)"


def test_a_label_in_another_type_is_the_same_label() -> None:
    assert labels([0, 1], [0.0, 1.0]).drop == 0
    assert labels(["a", "1"], ["a", "1"]).drop == 0


def test_flipped_anomaly_verdicts_are_counted_like_labels() -> None:
    found = labels([1, 1, -1, 1], [1, -1, -1, 1], task=Task.ANOMALY)
    assert (found.judged_on, found.drop) == ("changed labels", 0.25)


def test_a_row_with_several_labels_agrees_only_if_all_do() -> None:
    found = compare(
        task=Task.CLASSIFICATION,
        original=Predictions(prediction=np.array([[1, 2], [3, 4]])),
        flavor=Predictions(prediction=np.array([[1, 2], [3, 5]])),
    )
    assert found.drop == 0.5


def test_with_true_labels_accuracy_lost_counts_not_labels_changed() -> None:
    found = compare(
        task=Task.CLASSIFICATION,
        original=Predictions(prediction=np.array(["a", "b", "b", "b"], object)),
        flavor=Predictions(prediction=np.array(["a", "b", "a", "a"], object)),
        truth=np.array(["a", "b", "a", "b"], object),
    )
    assert found.drop == 0  # one mistake less, one more
    assert found.agreement == 0.5
    assert found.sentence == (
        "accuracy 0.7500 before, 0.7500 after (0.00% lost), 2 of 4 labels change"
    )


def test_a_flavor_that_is_right_more_often_has_a_negative_drop() -> None:
    found = compare(
        task=Task.CLASSIFICATION,
        original=Predictions(prediction=np.array([0, 0])),
        flavor=Predictions(prediction=np.array([0, 1])),
        truth=np.array([0, 1]),
    )
    assert found.drop == -0.5
    assert "50.00% gained" in found.sentence


def test_rows_of_probabilities_are_judged_by_their_likeliest_class() -> None:
    found = compare(
        task=Task.OTHER,
        original=Predictions(prediction=np.array([[0.6, 0.4], [0.9, 0.1]], np.float32)),
        flavor=Predictions(prediction=np.array([[0.4, 0.6], [0.8, 0.2]], np.float32)),
        truth=np.array(["cat", "cat"], object),
        classes=("cat", "dog"),
    )
    assert found.judged_on == "accuracy"
    assert found.drop == 0.5


def test_one_column_of_odds_with_true_labels_is_judged_at_one_half() -> None:
    found = compare(
        task=Task.OTHER,
        original=Predictions(prediction=np.array([[0.6], [0.2]], np.float32)),
        flavor=Predictions(prediction=np.array([[0.4], [0.2]], np.float32)),
        truth=np.array([1, 0]),
    )
    assert (found.judged_on, found.drop) == ("accuracy", 0.5)


def test_numbers_are_judged_against_the_spread_of_the_original_answers() -> None:
    before = np.array([0.0, 2.0, 0.0, 2.0])  # standard deviation 1
    found = numbers(before, before + 0.004)
    assert found.judged_on == "RMSE against the original"
    assert found.drop == pytest.approx(0.004)
    assert found.agreement == 1
    assert numbers(before, before + np.array([0, 0, 0, 0.02])).agreement == 0.75


def test_with_true_values_the_growth_of_the_error_counts() -> None:
    truth = np.array([0.0, 2.0, 0.0, 2.0])
    found = numbers(truth + 0.5, truth + 0.52, truth)
    assert found.judged_on == "RMSE against the true values"
    assert found.drop == pytest.approx(0.02)
    assert "RMSE 0.5 before, 0.52 after (2.00% lost)" in found.sentence


def test_columns_of_different_size_count_alike() -> None:
    rng = np.random.default_rng(5)
    before = rng.normal(size=(500, 2)) * [1e6, 1]
    small_broken = before.copy()
    small_broken[:, 1] = 0
    assert numbers(before, small_broken).drop > 0.5


def test_a_constant_answer_has_a_spread_to_be_judged_against() -> None:
    assert numbers(np.full(9, 5.0), np.full(9, 5.0)).drop == 0
    assert numbers(np.full(9, 5.0), np.full(9, 6.0)).drop > 1


def test_an_answer_that_is_no_longer_finite_drops_everything() -> None:
    found = numbers(np.array([1.0, 2.0, 3.0]), np.array([1.0, np.nan, np.inf]))
    assert found.drop == 1
    assert found.sentence == "2 of 3 answers are no longer finite numbers"


def test_an_answer_that_never_was_finite_is_not_held_against_a_flavor() -> None:
    before = np.array([1.0, np.nan, 3.0])
    assert numbers(before, before.copy()).drop == 0


def test_named_answers_are_judged_together() -> None:
    found = compare(
        task=Task.CLASSIFICATION,
        original=Predictions(
            prediction={"kind": np.array(["a", "b"], object), "count": np.array([1, 2])}
        ),
        flavor=Predictions(
            prediction={"kind": np.array(["a", "b"], object), "count": np.array([1, 3])}
        ),
    )
    assert found.drop == 0.5
