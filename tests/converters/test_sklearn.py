"""scikit-learn against its ONNX form, on rows chosen to be awkward."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.covariance import EllipticEnvelope
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, LocalOutlierFactor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.svm import SVC, LinearSVC, OneClassSVM
from sklearn.tree import DecisionTreeClassifier

from edgekit.table import Array
from edgekit_converters.encoding import decode
from edgekit_converters.extraction import Task
from edgekit_converters.frameworks.thresholds import rounded_down, rounded_up
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
# Values that float32 holds exactly, so that both sides are asked the same question.
ROWS = RNG.normal(size=(240, 4)).astype(np.float32).astype(np.float64)
LABELS = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(np.int64)
THREE = np.digitize(ROWS[:, 0], [-0.5, 0.5])
NUMBERS = ROWS @ [1.0, -2.0, 0.5, 3.0]
AWKWARD = np.array(
    [
        [0.0, -0.0, 0.0, 0.0],
        [1e6, -1e6, 1e6, -1e6],
        [1e-30, -1e-30, 1e-38, 1e-45],
        [2.0**24, 2.0**-24, -(2.0**24), 1.0],
    ],
    dtype=np.float32,
).astype(np.float64)
BY_DISTANCE = {"neighbours", "outlier factor"}  # at 2**24, float32 sees no neighbour
EDGES = np.concatenate([ROWS[:60], AWKWARD])

CLASSIFIERS: dict[str, Any] = {
    "logistic": LogisticRegression(),
    "ridge": RidgeClassifier(),
    "sgd": SGDClassifier(random_state=0),
    "svc": SVC(),
    "linear svc": LinearSVC(),
    "naive bayes": GaussianNB(),
    "neighbours": KNeighborsClassifier(),
    "tree": DecisionTreeClassifier(random_state=0),
    "forest": RandomForestClassifier(10, random_state=0),
    "extra trees": ExtraTreesClassifier(10, random_state=0),
    "boosting": GradientBoostingClassifier(n_estimators=10, random_state=0),
    "histogram boosting": HistGradientBoostingClassifier(max_iter=10, random_state=0),
    "adaboost": AdaBoostClassifier(n_estimators=5, random_state=0),
    "bagging": BaggingClassifier(n_estimators=5, random_state=0),
    "perceptron": MLPClassifier((8,), tol=0.1, n_iter_no_change=2, random_state=0),
    "calibrated": CalibratedClassifierCV(LogisticRegression()),
    "stacking": StackingClassifier([("a", LogisticRegression()), ("b", GaussianNB())]),
    "soft vote": VotingClassifier(
        [("a", LogisticRegression()), ("b", GaussianNB())], voting="soft"
    ),
    "hard vote": VotingClassifier([("a", LogisticRegression()), ("b", GaussianNB())]),
    "search": GridSearchCV(LogisticRegression(), {"C": [0.5, 1.0]}),
    "pipeline": make_pipeline(StandardScaler(), PCA(2), LogisticRegression()),
}
REGRESSORS: dict[str, Any] = {
    "linear": LinearRegression(),
    "forest": RandomForestRegressor(10, random_state=0),
    "boosting": GradientBoostingRegressor(n_estimators=10, random_state=0),
    "histogram boosting": HistGradientBoostingRegressor(max_iter=10, random_state=0),
    "vote": VotingRegressor([("a", LinearRegression()), ("b", Ridge())]),
    "polynomial": make_pipeline(PolynomialFeatures(2), Ridge()),
    "binned": make_pipeline(KBinsDiscretizer(3, encode="onehot"), Ridge()),
}
DETECTORS: dict[str, Any] = {
    "isolation forest": IsolationForest(n_estimators=20, random_state=0),
    "isolation forest, few features": IsolationForest(
        n_estimators=10, max_features=2, random_state=0
    ),
    "isolation forest, one sample a tree": IsolationForest(
        n_estimators=5, max_samples=1, random_state=0
    ),
    "scaled isolation forest": make_pipeline(
        StandardScaler(), IsolationForest(n_estimators=10, random_state=0)
    ),
    "one-class svm": OneClassSVM(nu=0.1),
    "outlier factor": LocalOutlierFactor(novelty=True),
    "elliptic envelope": EllipticEnvelope(random_state=0),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("labels", ["two", "three", "texts"])
def test_a_classifier_answers_as_the_original(
    name: str, labels: str, tmp_path: Path
) -> None:
    truth = {
        "two": LABELS,
        "three": THREE,
        "texts": np.array(["no", "yes"], dtype=object)[LABELS],
    }[labels]
    rows = ROWS if name in BY_DISTANCE else EDGES
    extraction = taken(tmp_path, CLASSIFIERS[name].fit(ROWS, truth), rows)
    assert extraction.task is Task.CLASSIFICATION
    assert extraction.binding.classes == tuple(str(c) for c in np.unique(truth))
    assert_same(answers(extraction), extraction.original)


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_regressor_answers_as_the_original(name: str, tmp_path: Path) -> None:
    rows = ROWS if name == "polynomial" else EDGES  # (1e6)**2 has no float32 neighbour
    extraction = taken(tmp_path, REGRESSORS[name].fit(ROWS, NUMBERS), rows)
    assert extraction.task is Task.REGRESSION
    assert_same(answers(extraction), extraction.original)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_answers_and_scores_as_the_original(name: str, tmp_path: Path) -> None:
    rows = ROWS if name in BY_DISTANCE else EDGES
    extraction = taken(tmp_path, DETECTORS[name].fit(ROWS), rows)
    assert extraction.task is Task.ANOMALY
    got = answers(extraction)
    assert got.score is not None
    assert_same(got, extraction.original)


def test_an_isolation_forest_becomes_one_tree_ensemble(tmp_path: Path) -> None:
    forest = IsolationForest(n_estimators=100, random_state=0).fit(ROWS)
    extraction = taken(tmp_path, forest, EDGES)
    nodes = [node.op_type for node in decode(extraction.model).graph.node]
    assert nodes.count("TreeEnsembleRegressor") == 1
    assert len(nodes) < 10  # skl2onnx: 2,710


def test_clusters_keep_their_numbers_and_distances(tmp_path: Path) -> None:
    extraction = taken(tmp_path, KMeans(3, random_state=0, n_init=1).fit(ROWS), EDGES)
    assert extraction.task is Task.CLASSIFICATION
    assert extraction.original.score is not None
    assert_same(answers(extraction), extraction.original)


def test_a_mixture_answers_components_with_probabilities(tmp_path: Path) -> None:
    extraction = taken(tmp_path, GaussianMixture(2, random_state=0).fit(ROWS), ROWS)
    assert extraction.task is Task.CLASSIFICATION
    assert_same(answers(extraction), extraction.original)


@pytest.mark.parametrize("labels", [[-1, 1], [False, True], [0.0, 1.0], [10, 2**40]])
def test_labels_come_back_in_their_own_type(labels: list[Any], tmp_path: Path) -> None:
    truth = np.array(labels)[LABELS]
    extraction = taken(tmp_path, RandomForestClassifier(3).fit(ROWS, truth), EDGES)
    assert_same(answers(extraction), extraction.original)


def test_several_outputs_come_back_side_by_side(tmp_path: Path) -> None:
    both = np.stack([NUMBERS, -NUMBERS], axis=1)
    numbers = taken(
        tmp_path, RandomForestRegressor(3, random_state=0).fit(ROWS, both), EDGES
    )
    assert_same(answers(numbers), numbers.original)
    labels = np.stack([LABELS, THREE], axis=1)
    model = MultiOutputClassifier(LogisticRegression()).fit(ROWS, labels)
    several = taken(tmp_path, model, EDGES)
    assert answers(several).probabilities is None
    assert_same(answers(several), several.original)


TREES: dict[str, Any] = {
    "tree": DecisionTreeClassifier(max_depth=5, random_state=0),
    "forest": RandomForestClassifier(5, random_state=0),
    "extra trees": ExtraTreesClassifier(5, random_state=0),
    "histogram boosting": HistGradientBoostingClassifier(max_iter=5, random_state=0),
    "isolation forest": IsolationForest(n_estimators=5, random_state=0),
    "bagged trees": BaggingClassifier(n_estimators=3, random_state=0),
}


@pytest.mark.parametrize("trained_with_gaps", [False, True])
@pytest.mark.parametrize("name", TREES)
def test_a_missing_value_goes_the_way_it_went_in_the_original(
    name: str, *, trained_with_gaps: bool, tmp_path: Path
) -> None:
    gaps = ROWS.copy()
    gaps[RNG.random(gaps.shape) < 0.3] = np.nan
    model = TREES[name].fit(gaps if trained_with_gaps else ROWS, LABELS)
    extraction = taken(tmp_path, model, gaps)
    assert_same(answers(extraction), extraction.original)


def on_thresholds(model: Any) -> Array:  # noqa: ANN401
    """Rows whose values are the nearest float32 numbers on both sides of each split."""
    trees = getattr(model, "estimators_", [model])
    splits = np.concatenate([tree.tree_.threshold for tree in trees])
    near = splits.astype(np.float32)
    around = [np.nextafter(near, np.float32(side)) for side in (-np.inf, np.inf)]
    values = np.concatenate([near, *around]).astype(np.float64)
    return np.repeat(values[:, None], 4, axis=1)


@pytest.mark.parametrize("name", ["tree", "forest", "extra trees", "isolation forest"])
def test_rows_exactly_on_a_threshold_take_the_same_side(name: str, tmp_path: Path) -> None:
    uneven = RNG.normal(size=(200, 4))  # float64 values: thresholds between float32 ones
    model = TREES[name].fit(uneven, (uneven[:, 0] > 0).astype(int))
    extraction = taken(tmp_path, model, on_thresholds(model))
    assert_same(answers(extraction), extraction.original)


def test_histogram_thresholds_take_the_same_side(tmp_path: Path) -> None:
    uneven = RNG.normal(size=(200, 4))
    model = HistGradientBoostingRegressor(max_iter=10).fit(uneven, uneven.sum(axis=1))
    splits = np.concatenate(
        [tree.nodes["num_threshold"] for (tree,) in model._predictors]  # noqa: SLF001 - the only way
    )
    values = np.concatenate([rounded_down(splits), rounded_up(splits)]).astype(float)
    extraction = taken(tmp_path, model, np.repeat(values[:, None], 4, axis=1))
    assert_same(answers(extraction), extraction.original)


def test_bin_edges_take_the_same_side(tmp_path: Path) -> None:
    uneven = RNG.normal(size=(200, 4))
    binned = KBinsDiscretizer(3, encode="onehot").fit(uneven)
    inner = np.concatenate([edges[1:-1] for edges in binned.bin_edges_])
    model = make_pipeline(binned, Ridge()).fit(uneven, uneven.sum(axis=1))
    values = np.concatenate([rounded_down(inner), rounded_up(inner)]).astype(float)
    extraction = taken(tmp_path, model, np.repeat(values[:, None], 4, axis=1))
    assert_same(answers(extraction), extraction.original)


FRAME = pd.DataFrame(
    {
        "a width": ROWS[:, 0],
        "a_width": ROWS[:, 1],
        "code": RNG.integers(2**30, 2**30 + 5, len(ROWS)),  # beyond float32's 2**24
        "open": ROWS[:, 2] > 0,
        "city": RNG.choice(["Bilbao", "Eibar", 'Ñ, "x"'], len(ROWS)),
    }
)
MIXED: dict[str, Any] = {
    "by name": ColumnTransformer(
        [
            ("n", StandardScaler(), ["a width", "a_width"]),
            ("c", OneHotEncoder(handle_unknown="ignore"), ["city", "code", "open"]),
        ]
    ),
    "by position": ColumnTransformer(
        [
            ("n", StandardScaler(), [1, 0]),
            ("c", OneHotEncoder(handle_unknown="ignore"), [4]),
        ]
    ),
    "one column left out": ColumnTransformer([("n", StandardScaler(), ["a_width"])]),
    "passed through": ColumnTransformer(
        [("c", OrdinalEncoder(), ["city"])], remainder="passthrough"
    ),
    "imputed": ColumnTransformer(
        [
            ("n", make_pipeline(SimpleImputer(), StandardScaler()), ["a width", "a_width"]),
            (
                "c",
                make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()),
                ["city"],
            ),
        ]
    ),
}


@pytest.mark.parametrize("name", MIXED)
def test_columns_of_several_types_answer_as_the_original(name: str, tmp_path: Path) -> None:
    model = make_pipeline(MIXED[name], RandomForestClassifier(5, random_state=0))
    model.fit(FRAME, LABELS)
    samples = tmp_path / "rows.parquet"
    FRAME.assign(unused=1, answer=LABELS).to_parquet(samples)
    extraction = extracted(
        signed(tmp_path, model, FRAME), samples, target="answer", trust_pickle=True
    )
    assert [t.columns for t in extraction.binding.inputs] == [(c,) for c in FRAME]
    assert extraction.labels is not None
    assert_alike(extraction.labels, LABELS)
    assert_same(answers(extraction), extraction.original)
