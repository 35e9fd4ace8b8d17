"""Estimators that skl2onnx lacks or misreads, and functions other than predict."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.cluster import AffinityPropagation, Birch, KMeans, MeanShift
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA, FactorAnalysis, FastICA, SparsePCA
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingRegressor,
)
from sklearn.feature_selection import RFE, SequentialFeatureSelector
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import Lasso, LogisticRegression, Ridge
from sklearn.model_selection import (
    FixedThresholdClassifier,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.random_projection import SparseRandomProjection
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.svm import LinearSVC

from edgekit.errors import ConversionError
from edgekit.table import Array
from edgekit_converters.extraction import Extraction
from tests.converters.natives import (
    answers,
    assert_alike,
    assert_same,
    extracted,
    signed,
    taken,
)

pytestmark = pytest.mark.slow  # scikit-learn and skl2onnx take seconds to import

RNG = np.random.default_rng(7)
ROWS = RNG.normal(size=(160, 4)).astype(np.float32).astype(np.float64)
TWO = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(np.int64)
THREE = np.digitize(ROWS[:, 0], [-0.5, 0.5])
NUMBERS = ROWS @ [1.0, -2.0, 0.5, 3.0]

CLASSIFIERS: dict[str, Any] = {
    "linear discriminant": LinearDiscriminantAnalysis(),
    "quadratic discriminant": QuadraticDiscriminantAnalysis(),
    "baseline by share": DummyClassifier(),
    "baseline": DummyClassifier(strategy="most_frequent"),
}
MOVED: dict[str, Any] = {
    "fixed": FixedThresholdClassifier(LogisticRegression(), threshold=0.2),
    "fixed, the other label": FixedThresholdClassifier(
        LogisticRegression(), threshold=0.8, pos_label="no"
    ),
    "fixed, of a pipeline": FixedThresholdClassifier(
        make_pipeline(StandardScaler(), GaussianNB()), threshold=0.7
    ),
    "tuned": TunedThresholdClassifierCV(LogisticRegression()),
}
TARGETS: dict[str, Any] = {
    "log": TransformedTargetRegressor(Ridge(), func=np.log, inverse_func=np.exp),
    "log1p": TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1),
    "root": TransformedTargetRegressor(Ridge(), func=np.sqrt, inverse_func=np.square),
    "scaled": TransformedTargetRegressor(
        RandomForestRegressor(4, random_state=0), transformer=StandardScaler()
    ),
    "in a pipeline": make_pipeline(
        StandardScaler(),
        TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1),
    ),
    "baseline": DummyRegressor(strategy="median"),
}
CLUSTERS: dict[str, Any] = {
    "affinity": AffinityPropagation(random_state=0),
    "birch": Birch(threshold=1.0, n_clusters=3),
    "mean shift": MeanShift(),
}
TRANSFORMERS: dict[str, Any] = {
    "factors": FactorAnalysis(2),
    "independent": FastICA(3, random_state=0, tol=0.5),
    "sparse components": SparsePCA(2, random_state=0),
    "waves": RBFSampler(n_components=20, random_state=0),
    "boltzmann": BernoulliRBM(5, random_state=0),
    "projection": SparseRandomProjection(3, random_state=0),
    "selected": SequentialFeatureSelector(Ridge(), n_features_to_select=2),
}


@pytest.mark.parametrize("labels", ["two", "three", "texts"])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_answers_as_the_original(
    name: str, labels: str, tmp_path: Path
) -> None:
    texts = np.array(["no", "yes"], dtype=object)[TWO]
    truth = {"two": TWO, "three": THREE, "texts": texts}[labels]
    extraction = taken(tmp_path, CLASSIFIERS[name].fit(ROWS, truth), ROWS)
    got = answers(extraction)
    assert got.probabilities is not None
    assert_same(got, extraction.original)


@pytest.mark.parametrize("name", MOVED)
def test_a_moved_threshold_decides_as_in_the_original(name: str, tmp_path: Path) -> None:
    texts = np.array(["no", "yes"], dtype=object)[TWO]
    extraction = taken(tmp_path, MOVED[name].fit(ROWS, texts), ROWS)
    assert_same(answers(extraction), extraction.original)


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_done_to_the_target_is_undone(name: str, tmp_path: Path) -> None:
    extraction = taken(tmp_path, TARGETS[name].fit(ROWS, np.abs(NUMBERS) + 1), ROWS)
    assert_same(answers(extraction), extraction.original)


@pytest.mark.parametrize("name", CLUSTERS)
def test_the_nearest_centre_names_the_cluster(name: str, tmp_path: Path) -> None:
    extraction = taken(tmp_path, CLUSTERS[name].fit(ROWS), ROWS)
    assert_alike(answers(extraction).prediction, extraction.original.prediction)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_step_that_is_one_product_is_converted(name: str, tmp_path: Path) -> None:
    model = make_pipeline(TRANSFORMERS[name], Ridge()).fit(ROWS, NUMBERS)
    extraction = taken(tmp_path, model, ROWS)
    assert_same(answers(extraction), extraction.original)


WRAPPED: dict[str, tuple[Any, Array]] = {
    "random search": (
        RandomizedSearchCV(Ridge(), {"alpha": [1.0, 2.0]}, n_iter=2, random_state=0),
        NUMBERS,
    ),
    "search at the end": (
        make_pipeline(
            StandardScaler(), RandomizedSearchCV(Ridge(), {"alpha": [1.0]}, n_iter=1)
        ),
        NUMBERS,
    ),
    "selection": (RFE(Ridge(), n_features_to_select=2), NUMBERS),
    "self-training": (
        SelfTrainingClassifier(LogisticRegression()),
        np.where(np.arange(160) % 5, TWO, -1),
    ),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_what_answers_inside_another_is_converted(name: str, tmp_path: Path) -> None:
    model, truth = WRAPPED[name]
    extraction = taken(tmp_path, model.fit(ROWS, truth), ROWS)
    assert_same(answers(extraction), extraction.original)


def asked(folder: Path, model: object, function: str) -> Extraction:
    frame = pd.DataFrame(ROWS, columns=list("abcd"))
    frame.to_csv(folder / "rows.csv", index=False)
    home = signed(folder, model, frame, predict_fn=function)
    return extracted(home, folder / "rows.csv", trust_pickle=True)


FUNCTIONS: dict[str, tuple[Any, Array, str]] = {
    "scores of two classes": (LogisticRegression(), TWO, "decision_function"),
    "scores of three": (LogisticRegression(), THREE, "decision_function"),
    "scores of a vector machine": (LinearSVC(), TWO, "decision_function"),
    "scores in a pipeline": (
        make_pipeline(StandardScaler(), LogisticRegression()),
        TWO,
        "decision_function",
    ),
    "scores of a detector": (
        IsolationForest(n_estimators=5, random_state=0),
        TWO,
        "decision_function",
    ),
    "distances": (KMeans(3, n_init=1, random_state=0), TWO, "transform"),
    "components": (PCA(2), TWO, "transform"),
    "components in a pipeline": (
        make_pipeline(StandardScaler(), PCA(2)),
        TWO,
        "transform",
    ),
    "probabilities": (RandomForestClassifier(4, random_state=0), THREE, "predict_proba"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_function_that_mlflow_calls_is_the_one_converted(
    name: str, tmp_path: Path
) -> None:
    model, truth, function = FUNCTIONS[name]
    frame = pd.DataFrame(ROWS, columns=list("abcd"))
    extraction = asked(tmp_path, model.fit(frame, truth), function)
    assert extraction.predict == function
    wanted = getattr(model, function)(frame)
    assert np.array_equal(np.asarray(extraction.original.prediction), wanted)
    assert_same(answers(extraction), extraction.original)


def test_a_conversion_that_answers_otherwise_is_refused(tmp_path: Path) -> None:
    stack = StackingRegressor([("a", Ridge()), ("b", Lasso())])  # skl2onnx: its predict
    model = make_pipeline(stack, Ridge()).fit(ROWS, NUMBERS)
    with pytest.raises(ConversionError, match=r"answers otherwise .*log an ONNX model"):
        taken(tmp_path, model, ROWS)


class Mine(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A transformer that only its author has."""

    def fit(self, _rows: Array, _truth: object = None) -> "Mine":
        self.fitted_ = True
        return self

    def transform(self, rows: Array) -> Array:
        return rows


def test_the_estimator_that_cannot_be_converted_is_named(tmp_path: Path) -> None:
    model = make_pipeline(StandardScaler(), Mine(), Ridge()).fit(ROWS, NUMBERS)
    with pytest.raises(ConversionError, match=r"^Mine: skl2onnx .* cannot convert it"):
        taken(tmp_path, model, ROWS)


@pytest.mark.parametrize("strategy", ["stratified", "uniform"])
def test_a_baseline_that_answers_by_chance_is_refused(
    strategy: str, tmp_path: Path
) -> None:
    model = DummyClassifier(strategy=strategy, random_state=0).fit(ROWS, TWO)
    with pytest.raises(ConversionError, match=f"{strategy} answers by chance"):
        taken(tmp_path, model, ROWS)
