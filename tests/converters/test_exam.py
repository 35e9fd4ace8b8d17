"""Which exam suits a model, and which nobody could sit."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as theirs

from edgekit.binding import Predictions
from edgekit.errors import ConversionError
from edgekit.manifest import Binding, Signature, TensorInput
from edgekit_converters.extraction import Extraction, Task
from edgekit_converters.verdict.exam import Exam, set_exam
from edgekit_converters.verdict.metrics import Metric

WIDTH = 3


def extraction(  # noqa: PLR0913 - one for each thing that differs
    prediction: object,
    *,
    labels: object = None,
    task: Task = Task.OTHER,
    score: np.ndarray | None = None,
    probabilities: np.ndarray | None = None,
    classes: tuple[str, ...] = (),
) -> Extraction:
    answer = prediction if isinstance(prediction, dict) else np.asarray(prediction)
    number = len(next(iter(answer.values())) if isinstance(answer, dict) else answer)
    rows = np.random.default_rng(0).normal(size=(number, WIDTH)).astype(np.float32)
    return Extraction(
        model=b"",
        binding=Binding(
            inputs=(
                TensorInput(name="x", dtype="float32", columns=("",), shape=(-1, WIDTH)),
            ),
            outputs=(),
            classes=classes,
        ),
        signature=Signature(),
        samples={"": rows},
        original=Predictions(prediction=answer, probabilities=probabilities, score=score),
        task=task,
        framework="onnx",
        predict="run",
        source_bytes=1,
        labels=None if labels is None else np.asarray(labels),
    )


DETECTOR = extraction(
    np.array([1, 1, -1, 1]),
    task=Task.ANOMALY,
    score=np.array([0.2, 0.1, -0.3, 0.05]),
    labels=[0, 0, 1, 1],
)
CLASSIFIER = extraction(
    np.array(["a", "b", "b", "b"], object),
    task=Task.CLASSIFICATION,
    probabilities=np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7]]),
    classes=("a", "b"),
    labels=np.array(["a", "b", "a", "b"], object),
)
ODDS = np.array([[0.1], [0.9], [0.7], [0.2]], np.float32)


def same(exam: Exam) -> float:
    """What the original itself gets."""
    return exam.compare(exam.original).original


@pytest.mark.parametrize(
    ("model", "metric"),
    [
        (CLASSIFIER, Metric.ACCURACY),
        (replace(CLASSIFIER, labels=None), Metric.FLIPS),
        (DETECTOR, Metric.AUC),
        (replace(DETECTOR, labels=None), Metric.FLIPS),
        (replace(DETECTOR, labels=np.array([0, 0, 0, 0])), Metric.ACCURACY),
        (extraction(ODDS, labels=[0, 1, 1, 0]), Metric.ACCURACY),
        (extraction(ODDS), Metric.RELATIVE_ERROR),
        (extraction(ODDS, labels=[0.3, 1.5, 2, 0]), Metric.RMSE),
        (extraction(5 * ODDS - 2, labels=[0, 1, 1, 0]), Metric.AUC),
        (
            extraction(5 * ODDS - 2, labels=[0, 1, 1, 0], task=Task.REGRESSION),
            Metric.RMSE,
        ),
        (extraction(np.eye(4)), Metric.FLIPS),
        (extraction(np.full((4, 2), 7.0), labels=[0, 1, 1, 0]), Metric.ACCURACY),
        (extraction(np.full((4, 2), 7.0), labels=[0, 2, 1, 0]), Metric.RELATIVE_ERROR),
        (extraction(np.full((4, WIDTH), 7.0), labels=[0, 1, 1, 0]), Metric.AUC),
    ],
)
def test_auto_suits_the_model(model: Extraction, metric: Metric) -> None:
    assert set_exam(model).metric is metric


def test_logits_are_read_as_the_class_of_the_largest() -> None:
    logits = np.array(
        [[3.0, -1.0, 0.0], [-2.0, 9.0, 1.0], [0.0, 1.0, 5.0], [4.0, 5.0, 0.0]]
    )
    exam = set_exam(extraction(logits, labels=[0, 1, 2, 0]))
    assert exam.metric is Metric.ACCURACY
    assert same(exam) == 0.75


def test_true_labels_0_and_1_of_a_detector_are_normal_and_anomalous() -> None:
    accuracy = set_exam(DETECTOR, metric="accuracy")
    assert same(accuracy) == 0.75
    signed = replace(DETECTOR, labels=np.array([1, 1, -1, -1]))
    assert same(set_exam(signed, metric="accuracy")) == 0.75
    for exam in (set_exam(DETECTOR), set_exam(signed)):
        assert same(exam) == theirs.roc_auc_score([0, 0, 1, 1], [-0.2, -0.1, 0.3, -0.05])


def test_a_detector_is_watched_at_its_own_threshold_besides_auc() -> None:
    """Scores that all move up keep their order, and with it the AUC; the labels do not."""
    exam = set_exam(DETECTOR)
    shifted = Predictions(
        prediction=np.array([1, 1, 1, 1]), score=np.asarray(DETECTOR.original.score) + 1
    )
    found = exam.compare(shifted)
    assert found.drop == 0
    assert found.detail == "1 of 4 labels change"
    assert (found.classes[0].label, found.classes[0].lost) == ("-1", 1)


def test_probabilities_of_two_classes_score_the_last() -> None:
    exam = set_exam(CLASSIFIER, metric="average-precision")
    assert same(exam) == theirs.average_precision_score([0, 1, 0, 1], [0.1, 0.8, 0.6, 0.7])


def test_the_last_class_is_the_models_last_not_the_alphabets() -> None:
    odds = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    truth = np.array(["ok", "bad", "ok"], object)
    model = extraction(odds, labels=truth, classes=("ok", "bad"))
    assert same(set_exam(model, metric="auc")) == 1


def test_probabilities_of_several_classes_score_each() -> None:
    odds = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.5, 0.2, 0.3], [0.1, 0.1, 0.8]])
    exam = set_exam(extraction(odds, labels=[0, 1, 2, 2]), metric="auc")
    wanted = theirs.roc_auc_score([0, 1, 2, 2], odds, multi_class="ovr")
    assert same(exam) == pytest.approx(wanted)


def test_a_reconstruction_is_scored_by_its_mean_squared_error() -> None:
    model = extraction(np.zeros((6, WIDTH), np.float32), labels=[0, 1, 0, 1, 0, 1])
    exam = set_exam(model, metric="auc", score="reconstruction")
    errors = (model.samples[""] ** 2).mean(axis=1)
    assert same(exam) == pytest.approx(theirs.roc_auc_score([0, 1, 0, 1, 0, 1], errors))


def test_rows_of_a_group_have_their_mean_score_together() -> None:
    rng = np.random.default_rng(1)
    score = rng.normal(size=(60, 1)).astype(np.float32)
    clips = np.repeat(np.array(["a", "b", "c", "d", "e", "f"], object), 10)
    labels = np.repeat([0, 1, 0, 1, 1, 0], 10)
    exam = set_exam(extraction(score, labels=labels), metric="auc", groups=clips)
    means = score.reshape(6, 10).mean(axis=1)
    assert same(exam) == pytest.approx(theirs.roc_auc_score([0, 1, 0, 1, 1, 0], means))
    assert exam.compare(exam.original).interval.units == 6
    assert exam.compare(exam.original).detail == "6 groups of rows, 60 in all"


def test_a_named_output_is_the_score_and_a_minus_turns_it_round() -> None:
    named = extraction(
        {"label": np.array([0, 1, 1, 0]), "distance": np.array([5.0, 1.0, 2.0, 4.0])},
        labels=[0, 1, 1, 0],
    )
    assert same(set_exam(named, metric="auc", score="distance")) == 0
    assert same(set_exam(named, metric="auc", score="-distance")) == 1


def test_classes_that_are_numbers_with_a_point_are_those_numbers() -> None:
    odds = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    for truth in (np.array([0.0, 1.0, 1.0]), np.array([0, 1, 1])):
        assert same(set_exam(extraction(odds, labels=truth, classes=("0.0", "1.0")))) == 1


def test_some_rows_only_are_the_exam_on_them() -> None:
    exam = set_exam(DETECTOR, metric="accuracy").take(np.array([0, 1]))
    assert exam.rows == 2
    assert same(exam) == 1


def test_a_drop_for_the_search_is_that_of_the_gate() -> None:
    rng = np.random.default_rng(2)
    score = rng.normal(size=(80, 1)).astype(np.float32)
    exam = set_exam(extraction(score, labels=np.arange(80) % 2), metric="auc")
    worse = Predictions(prediction=score + rng.normal(size=(80, 1)).astype(np.float32))
    assert exam.drop(worse) == exam.compare(worse).drop


def test_a_probability_that_is_no_number_is_a_wrong_answer() -> None:
    exam = set_exam(extraction(np.eye(4), labels=[0, 1, 2, 3]))
    broken = Predictions(prediction=np.full((4, 4), np.nan))
    assert exam.compare(broken).flavor == 0


def test_labels_and_their_types_need_not_match() -> None:
    model = extraction(np.array([0.0, 1.0]), task=Task.CLASSIFICATION, labels=[0, 1])
    assert same(set_exam(model)) == 1
    other = Predictions(prediction=np.array([0, 1], np.int64))
    assert set_exam(model).compare(other).drop == 0


def test_a_rare_class_keeps_the_rows_together() -> None:
    score = np.arange(400.0)[:, None]
    few = extraction(score, labels=(np.arange(400) < 3).astype(int))
    divided = set_exam(few, metric="auc").divide()
    assert divided.shared
    assert divided.sentence.startswith("only 3 of the rarest class: the same ones served")
    enough = extraction(score, labels=(np.arange(400) < 40).astype(int))
    assert not set_exam(enough, metric="auc").divide().shared


@pytest.mark.parametrize(
    ("model", "asked", "sentence"),
    [
        (replace(CLASSIFIER, labels=None), "accuracy", "it needs true labels; name their"),
        (
            replace(CLASSIFIER, labels=np.array(["a"] * 4, object)),
            "auc",
            "target: all 4 rows are a; rows of at least two classes are expected",
        ),
        (
            replace(CLASSIFIER, labels=np.array(["a"] * 4, object)),
            "average-precision",
            "target: all 4 rows are a; rows of at least two classes are expected",
        ),
        (
            replace(CLASSIFIER, labels=np.array(["a"] * 4, object)),
            "macro-f1",
            "metric macro-f1: all 4 rows are a; rows of at least two classes are expected",
        ),
        (
            replace(CLASSIFIER, labels=np.array(["a"] * 4, object)),
            "recall",
            "metric recall: all 4 rows are a; rows of at least two classes are expected",
        ),
        (
            replace(CLASSIFIER, labels=np.array(["a", "b", "c", "d"], object)),
            "accuracy",
            "target: labels c, d are not among the model's classes a, b",
        ),
        (
            replace(CLASSIFIER, labels=np.array(["a", "B", "a", "B"], object)),
            "auc",
            "target: labels B are not among the model's classes a, b",
        ),
        (
            extraction(np.array([0, 1, 1, 0]), task=Task.CLASSIFICATION, labels=[7, 8] * 2),
            "accuracy",
            "target: labels 7, 8 are not among the model's classes 0, 1",
        ),
        (
            extraction(np.full((4, 2), 7.0), labels=[0, 2, 1, 0]),
            "accuracy",
            "metric accuracy: the model answers numbers, not labels",
        ),
        (
            extraction(np.full((4, 2), 7.0), labels=[0.5, 1, 1, 0]),
            "rmse",
            "metric rmse: the model answers 2 numbers a row, one is expected",
        ),
        (
            extraction(ODDS, labels=np.array(list("abab"), object)),
            "rmse",
            "target: labels are texts, the model answers numbers",
        ),
        (
            extraction(ODDS, labels=[3, 3, 3, 3]),
            "rmse",
            "target: all 4 rows have the same value, so an error has no measure",
        ),
        (CLASSIFIER, "relative-error", "the model answers texts; accuracy or flips is"),
        (
            extraction(np.array([[0.1], [np.nan], [0.3], [0.2]]), labels=[0, 1, 1, 0]),
            "auc",
            "the original's answers to 1 of 4 rows (row 1 the first) are not finite",
        ),
        (
            replace(
                DETECTOR, original=replace(DETECTOR.original, score=np.full(4, np.inf))
            ),
            "auc",
            "the original's score of 4 of 4 rows is not a finite number; leave those",
        ),
        (
            extraction(np.array([0, 1, 1, 0]), task=Task.CLASSIFICATION, labels=[0, 1] * 2),
            "auc",
            "the model gives labels only, no score that could order the rows",
        ),
        (
            extraction(ODDS, labels=[0, 1, 2, 0]),
            "auc",
            "target: 3 classes, but the model gives one score a row; two are expected",
        ),
    ],
)
def test_an_exam_that_nobody_could_sit_is_refused(
    model: Extraction, asked: str, sentence: str
) -> None:
    with pytest.raises(ConversionError) as refused:
        set_exam(model, metric=asked)
    assert sentence in str(refused.value)


def test_a_score_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(
        ConversionError, match="no such output of numbers; it has prediction, score"
    ):
        set_exam(DETECTOR, metric="auc", score="margin")
    with pytest.raises(ConversionError, match="takes 3 numbers a row and gives 1; as many"):
        set_exam(DETECTOR, metric="auc", score="reconstruction")


def test_a_group_of_rows_of_two_classes_is_refused() -> None:
    model = extraction(ODDS, labels=[0, 1, 1, 0])
    mixed = extraction(ODDS, labels=[0, 1, 1, 1])
    with pytest.raises(ConversionError, match="1 of 2 groups hold rows of several classes"):
        set_exam(mixed, metric="auc", groups=np.array([1, 1, 2, 2]))
    with pytest.raises(ConversionError, match="groups of rows have a score together only"):
        set_exam(model, metric="accuracy", groups=np.array([1, 1, 2, 2]))


def test_rows_of_one_class_are_remarked_on_where_the_metric_still_means_something() -> None:
    assert set_exam(CLASSIFIER).remark == ""
    one = replace(CLASSIFIER, labels=np.array(["a"] * 4, object))
    assert set_exam(one).remark == (
        "all 4 true labels are a: nothing is known of what rows of other classes would lose"
    )
    silent = extraction(np.array([7, 7, 7], np.int64), task=Task.CLASSIFICATION)
    assert set_exam(silent).remark == (
        "the original answers all 3 rows with 7: nothing is known of rows that it answers"
        " otherwise"
    )
