"""What a run has logged is reproduced, or it is said that it is not."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as theirs

from edgekit.errors import ConversionError
from edgekit_converters.extraction import Task
from edgekit_converters.verdict.exam import Exam, set_exam
from edgekit_converters.verdict.reproduction import Reproduction, reproduce
from tests.converters.test_exam import extraction

RNG = np.random.default_rng(7)
TRUTH = RNG.integers(0, 3, 240)
SAID = np.where(RNG.random(240) < 0.9, TRUTH, (TRUTH + 1) % 3)
ACCURACY = float(np.mean(TRUTH == SAID))
LABELS = set_exam(extraction(SAID, task=Task.CLASSIFICATION, labels=TRUTH))
VALUES = RNG.normal(size=240)
NUMBERS = set_exam(
    extraction(VALUES + RNG.normal(size=240) / 9, task=Task.REGRESSION, labels=VALUES)
)
SCORED = set_exam(
    extraction(
        np.where(VALUES > 0, 1, -1),
        task=Task.ANOMALY,
        score=VALUES,
        labels=(VALUES + RNG.normal(size=240) < 0).astype(int),
    )
)


def found(exam: Exam, logged: Mapping[str, float], name: str | None = None) -> Reproduction:
    reproduction = reproduce(exam, logged, name)
    assert reproduction is not None
    return reproduction


def test_an_accuracy_that_is_met_is_reproduced() -> None:
    seen = found(LABELS, {"test_accuracy": ACCURACY})
    assert seen.reproduced
    assert seen.sentence == (
        f"reproduced: test_accuracy {ACCURACY:.4g} logged, {ACCURACY:.4g} here on 240 rows"
    )


def test_an_accuracy_near_enough_for_other_rows_is_said_to_be_so() -> None:
    seen = found(LABELS, {"accuracy": ACCURACY - 0.02})
    assert seen.reproduced
    assert seen.sentence.startswith("reproduced within chance: accuracy ")


def test_an_accuracy_that_chance_does_not_explain_is_not_reproduced() -> None:
    seen = found(LABELS, {"accuracy": 0.999})
    assert seen.reproduced is False
    assert seen.sentence.startswith("not reproduced: accuracy 0.999 logged, 0.9")
    assert "on 240 rows (95 % interval 0.8" in seen.sentence
    assert seen.sentence.endswith("other rows, another preparation or another model")


def test_every_known_metric_is_computed_as_scikit_learn_does() -> None:
    truth, answers = NUMBERS.truth, np.asarray(NUMBERS.original.prediction)
    positive, score = SCORED.truth, -np.asarray(SCORED.original.score)
    for exam, name, wanted in (
        (LABELS, "f1_macro", theirs.f1_score(TRUTH, SAID, average="macro")),
        (SCORED, "roc_auc_score", theirs.roc_auc_score(positive, score)),
        (SCORED, "val_average_precision", theirs.average_precision_score(positive, score)),
        (NUMBERS, "rmse", theirs.root_mean_squared_error(truth, answers)),
        (NUMBERS, "test_mse", theirs.mean_squared_error(truth, answers)),
        (NUMBERS, "r2_score", theirs.r2_score(truth, answers)),
    ):
        seen = found(exam, {name: float(wanted)})
        assert seen.here == pytest.approx(wanted), name
        assert seen.reproduced
        assert not found(exam, {name: float(wanted) + 0.5}).reproduced


def test_what_is_of_the_training_rows_is_not_compared() -> None:
    assert reproduce(LABELS, {"training_accuracy_score": 0.99, "loss": 0.1}) is None
    assert reproduce(LABELS, {}) is None


def test_of_several_the_likeliest_is_taken_and_any_can_be_named() -> None:
    logged = {"val_f1_macro": 0.5, "accuracy": ACCURACY}
    assert found(LABELS, logged).name == "accuracy"
    assert found(LABELS, logged, "val_f1_macro").name == "val_f1_macro"


def test_a_named_metric_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ConversionError, match="has not logged it; it has accuracy"):
        reproduce(LABELS, {"accuracy": 1.0}, "auc")
    with pytest.raises(ConversionError, match="nobody here knows how it is computed"):
        reproduce(LABELS, {"profit": 1.0}, "profit")


def test_without_true_labels_or_scores_it_says_why_it_was_not_tried() -> None:
    bare = replace(LABELS, truth=None)
    assert "no true labels, name their column" in found(bare, {"accuracy": 0.9}).sentence
    seen = found(LABELS, {"auc": 0.9})
    assert seen.reproduced is None
    assert "not reproduced: metric: the model gives labels only" in seen.sentence
