"""Every estimator of scikit-learn, and pipelines as people register them, for the matrix.

Classifiers, regressors, clusterers and detectors stand alone; a transformer stands before a
linear model. `CASES` are made when asked for: fitting a hundred models takes seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import all_estimators

RNG = np.random.default_rng(7)
ROWS = RNG.normal(size=(160, 4)).astype(np.float32).astype(np.float64)
POSITIVE = np.floor(np.abs(ROWS) * 2)
LABELS = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(np.int64)
NUMBERS = ROWS @ [1.0, -2.0, 0.5, 3.0]
COUNTS = np.abs(NUMBERS) + 1
BOTH = np.stack([NUMBERS, -NUMBERS], axis=1)
TWO_LABELS = np.stack([LABELS, 1 - LABELS], axis=1)
MIXED = pd.DataFrame(
    {
        "width": np.where(RNG.random(160) < 0.2, np.nan, ROWS[:, 0]),
        "height": ROWS[:, 1],
        "city": RNG.choice(["Bilbao", "Eibar", "Getxo"], 160),
    }
)
# What takes no table of numbers, or is no model to be asked about rows.
NO_MODEL = {
    "ClassicalMDS": "it has no transform of new rows",
    "CountVectorizer": "it takes documents",
    "DictVectorizer": "it takes dictionaries",
    "FeatureHasher": "it takes dictionaries",
    "FrozenEstimator": "it is the estimator in it",
    "HashingVectorizer": "it takes documents",
    "KernelCenterer": "it takes kernels",
    "LabelBinarizer": "it encodes targets",
    "LabelEncoder": "it encodes targets",
    "MDS": "it has no transform of new rows",
    "MultiLabelBinarizer": "it encodes targets",
    "PLSSVD": "its transform answers two tables",
    "PatchExtractor": "it takes images",
    "SpectralEmbedding": "it has no transform of new rows",
    "TSNE": "it has no transform of new rows",
    "TfidfVectorizer": "it takes documents",
}
_OF_POSITIVE = {
    "AdditiveChi2Sampler",
    "CategoricalNB",
    "ComplementNB",
    "GammaRegressor",
    "LatentDirichletAllocation",
    "MiniBatchNMF",
    "MultinomialNB",
    "NMF",
    "OneHotEncoder",
    "PoissonRegressor",
    "SkewedChi2Sampler",
    "TfidfTransformer",
}


def _scores(rows: Any, _truth: Any) -> Any:  # noqa: ANN401 - numpy arrays
    """Score columns by their size, and be sure of all of them."""
    return np.abs(rows).sum(axis=0), np.zeros(rows.shape[1])


_SPECIAL: dict[str, dict[str, Any]] = {  # parameters without which there is no fit
    "ClassifierChain": {"estimator": LogisticRegression()},
    "ColumnTransformer": {"transformers": [("n", StandardScaler(), [0, 1])]},
    "FeatureUnion": {"transformer_list": [("a", StandardScaler())]},
    "FixedThresholdClassifier": {"estimator": LogisticRegression(), "threshold": 0.3},
    "GaussianRandomProjection": {"n_components": 2, "random_state": 0},
    "GridSearchCV": {"estimator": Ridge(), "param_grid": {"alpha": [1.0, 2.0]}},
    "HalvingGridSearchCV": {"estimator": Ridge(), "param_grid": {"alpha": [1.0, 2.0]}},
    "HalvingRandomSearchCV": {
        "estimator": Ridge(),
        "param_distributions": {"alpha": [1.0, 2.0, 3.0, 4.0]},
        "random_state": 0,
    },
    "KMeans": {"n_clusters": 3, "n_init": 1, "random_state": 0},
    "LocalOutlierFactor": {"novelty": True},
    "MissingIndicator": {"features": "all"},
    "MultiOutputClassifier": {"estimator": LogisticRegression()},
    "MultiOutputRegressor": {"estimator": Ridge()},
    "OneVsOneClassifier": {"estimator": LogisticRegression()},
    "OneVsRestClassifier": {"estimator": LogisticRegression()},
    "OutputCodeClassifier": {"estimator": LogisticRegression(), "random_state": 0},
    "Pipeline": {"steps": [("scale", StandardScaler()), ("ridge", Ridge())]},
    "RFE": {"estimator": Ridge()},
    "RFECV": {"estimator": Ridge()},
    "RandomizedSearchCV": {
        "estimator": Ridge(),
        "param_distributions": {"alpha": [1.0, 2.0]},
        "n_iter": 2,
        "random_state": 0,
    },
    "RegressorChain": {"estimator": Ridge()},
    "SelectFromModel": {"estimator": Ridge()},
    "SelfTrainingClassifier": {"estimator": LogisticRegression()},
    "SequentialFeatureSelector": {"estimator": Ridge(), "n_features_to_select": 2},
    "SparseCoder": {"dictionary": np.eye(4)[:2]},
    "SparseRandomProjection": {"n_components": 2, "random_state": 0},
    "StackingClassifier": {
        "estimators": [("a", LogisticRegression()), ("b", GaussianNB())]
    },
    "StackingRegressor": {"estimators": [("a", Ridge()), ("b", LinearRegression())]},
    "TransformedTargetRegressor": {"func": np.log1p, "inverse_func": np.expm1},
    "TunedThresholdClassifierCV": {"estimator": LogisticRegression()},
    "VotingClassifier": {"estimators": [("a", LogisticRegression()), ("b", GaussianNB())]},
    "VotingRegressor": {"estimators": [("a", Ridge()), ("b", LinearRegression())]},
}
_ONE_COMPONENT = ("CCA", "PLSCanonical", "PLSRegression")
_SELECTORS = (
    "GenericUnivariateSelect",
    "SelectFdr",
    "SelectFpr",
    "SelectFwe",
    "SelectPercentile",
)
_SPECIAL |= {name: {"n_components": 1} for name in _ONE_COMPONENT}
_SPECIAL |= {name: {"score_func": _scores} for name in _SELECTORS}
_TWO_NUMBERS = {"RegressorChain", "MultiTaskLasso", "MultiTaskElasticNet"}
_TWO_NUMBERS |= {"MultiOutputRegressor", "MultiTaskLassoCV", "MultiTaskElasticNetCV", "CCA"}
_TWO_TARGETS = {"MultiOutputClassifier", "ClassifierChain"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One fitted model; `frame` its rows as a table, else `rows` as a matrix."""

    name: str
    model: Any
    rows: Any = None
    frame: pd.DataFrame | None = None


def cases() -> Iterator[Case]:
    """Fit and yield them one by one; what cannot be fitted alone is an error."""
    yield from pipelines()
    for name, kind in sorted(all_estimators()):
        if name not in NO_MODEL:
            yield _case(name, kind)


def _case(name: str, kind: Any) -> Case:  # noqa: ANN401 - scikit-learn has no types
    model = kind(**_parameters(name, kind))
    rows = POSITIVE if name in _OF_POSITIVE else ROWS
    if name == "IsotonicRegression":
        rows = ROWS[:, :1]
    alone = hasattr(kind, "predict") or is_clusterer(model) or is_outlier_detector(model)
    if not alone and name != "Pipeline" and hasattr(kind, "transform"):
        return Case(
            name=name, model=make_pipeline(model, Ridge()).fit(rows, LABELS), rows=rows
        )
    return Case(name=name, model=model.fit(rows, _truth(name, model)), rows=rows)


def _parameters(name: str, kind: Any) -> dict[str, Any]:  # noqa: ANN401
    given = dict(_SPECIAL.get(name, {}))
    if given:
        return given
    common = {"n_estimators": 10, "random_state": 0}
    return {k: v for k, v in common.items() if k in kind().get_params()}


def _truth(name: str, model: Any) -> Any:  # noqa: ANN401
    if name in _TWO_TARGETS:
        return TWO_LABELS
    if name in _TWO_NUMBERS:
        return BOTH
    if is_classifier(model):
        return LABELS
    return COUNTS if is_regressor(model) or hasattr(model, "predict") else LABELS


def pipelines() -> Iterator[Case]:
    """Yield what people register."""
    columns = ColumnTransformer(
        [
            ("n", make_pipeline(SimpleImputer(), StandardScaler()), ["width", "height"]),
            ("c", OneHotEncoder(handle_unknown="ignore"), ["city"]),
        ]
    )
    forest = RandomForestClassifier(10, random_state=0)
    texts = np.array(["narrow", "wide"], dtype=object)[LABELS]
    yield Case(
        name="columns, gaps and texts, then a forest",
        model=make_pipeline(columns, forest).fit(MIXED, texts),
        frame=MIXED,
    )
    numbers = MIXED[["width", "height"]]
    yield Case(
        name="histogram boosting with missing values",
        model=HistGradientBoostingClassifier(max_iter=10).fit(numbers, texts),
        frame=numbers,
    )
    vote = VotingClassifier(
        [("a", LogisticRegression()), ("b", RandomForestClassifier(5, random_state=0))],
        voting="soft",
    )
    yield Case(
        name="soft vote of a forest and a line", model=vote.fit(ROWS, texts), rows=ROWS
    )
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression()),
        {"logisticregression__C": [0.1, 1.0]},
    )
    yield Case(name="search over a pipeline", model=search.fit(ROWS, LABELS), rows=ROWS)
    detector = make_pipeline(
        StandardScaler(), IsolationForest(n_estimators=10, random_state=0)
    )
    yield Case(name="scaled isolation forest", model=detector.fit(ROWS), rows=ROWS)
    several = RandomForestClassifier(5, random_state=0).fit(ROWS, TWO_LABELS)
    yield Case(name="forest with two answers", model=several, rows=ROWS)
