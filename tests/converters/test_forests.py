"""Real forests: scikit-learn against their ONNX forms, in one node of either version.

Rows lie on the thresholds, one float32 beside them, on the training data and anywhere;
each must get scikit-learn's label.
"""

from typing import Any

import numpy as np
import pytest
import skl2onnx
from onnx import ModelProto
from skl2onnx.common.data_types import FloatTensorType
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
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
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from edgekit.table import Array
from edgekit_converters.encoding import encode
from edgekit_converters.flavors import FLAVORS, Built, Source
from edgekit_converters.frameworks import finishing
from edgekit_converters.frameworks.scikit import sklearn_gaps
from edgekit_converters.passes import clean
from edgekit_converters.passes.forest import ENSEMBLES, read
from tests.converters.extractions import outputs_of

pytestmark = pytest.mark.slow  # scikit-learn and skl2onnx take seconds to import

FEATURES = 6
RNG = np.random.default_rng(11)
X = RNG.normal(0, 1, (700, FEATURES)).astype(np.float32)
HIDDEN = X[:, 0] + X[:, 1] * X[:, 2] + 0.3 * RNG.normal(0, 1, len(X))
TWO = (HIDDEN > 0).astype(np.int64)
FOUR = np.array(["d", "b", "c", "a"])[np.digitize(HIDDEN, [-1, 0, 1])]
GAPS = np.where(RNG.random(X.shape) < 0.1, np.nan, X).astype(np.float32)
SEED: dict[str, Any] = {"random_state": 3}

CLASSIFIERS = {
    "forest": RandomForestClassifier(30, **SEED),
    "even forest": RandomForestClassifier(10, max_features=1, **SEED),
    "shallow forest": RandomForestClassifier(20, max_depth=4, **SEED),
    "forest of impure leaves": RandomForestClassifier(20, min_samples_leaf=3, **SEED),
    "weighted forest": RandomForestClassifier(
        20, max_depth=4, class_weight="balanced", **SEED
    ),
    "extra trees": ExtraTreesClassifier(20, **SEED),
    "boosting": GradientBoostingClassifier(n_estimators=20, **SEED),
    "histograms": HistGradientBoostingClassifier(max_iter=20, **SEED),
    "tree": DecisionTreeClassifier(**SEED),
    "shallow tree": DecisionTreeClassifier(max_depth=3, **SEED),
}
REGRESSORS = {
    "forest": RandomForestRegressor(20, **SEED),
    "extra trees": ExtraTreesRegressor(20, **SEED),
    "boosting": GradientBoostingRegressor(n_estimators=20, **SEED),
    "histograms": HistGradientBoostingRegressor(max_iter=20, **SEED),
    "tree": DecisionTreeRegressor(**SEED),
}
BOTH = ("fp32-trees", "fp32-trees-v1")
FOREST, EXTRA = RandomForestClassifier(5, **SEED), ExtraTreesClassifier(5, **SEED)
NUMBERS = [("a", RandomForestRegressor(5, **SEED)), ("b", ExtraTreesRegressor(5, **SEED))]
BOOSTED = GradientBoostingRegressor(n_estimators=5, **SEED)
STUMP = DecisionTreeClassifier(max_depth=2, **SEED)
OF_SEVERAL = {
    "soft vote": VotingClassifier([("a", FOREST), ("b", EXTRA)], voting="soft"),
    "hard vote": VotingClassifier([("a", FOREST), ("b", EXTRA)]),
    "bagging": BaggingClassifier(DecisionTreeClassifier(**SEED), 9, **SEED),
    "bagging of columns": BaggingClassifier(FOREST, 4, max_features=0.5, **SEED),
    "adaboost": AdaBoostClassifier(STUMP, n_estimators=8, **SEED),
    "one against the rest": OneVsRestClassifier(FOREST),
    "stacking": StackingClassifier([("a", FOREST), ("b", EXTRA)], cv=2),
    "calibration": CalibratedClassifierCV(FOREST, cv=2),
    "vote of numbers": VotingRegressor(NUMBERS),
    "bagging of numbers": BaggingRegressor(DecisionTreeRegressor(**SEED), 9, **SEED),
    "two numbers": MultiOutputRegressor(BOOSTED),
}
TAKE_GAPS = {"forest", "extra trees", "histograms", "tree"}


def converted(model: Any) -> ModelProto:  # noqa: ANN401 - scikit-learn has no types
    """The cleaned version 1 graph, as the converter hands it to the flavors."""
    sklearn_gaps.close_gaps()
    sklearn_gaps.prepare(model)
    graph = skl2onnx.convert_sklearn(
        model,
        initial_types=[("input", FloatTensorType([None, FEATURES]))],
        target_opset={"": 17, "ai.onnx.ml": 3},
    )
    finishing.strip_zipmaps(graph)
    graph = finishing.raise_opset(graph, 17)
    finishing.tidy(graph)
    return clean(graph)


def in_one_node(model: ModelProto, flavor: str = "fp32-trees") -> bytes:
    built = FLAVORS[flavor](Source(model=model, calibration={}))
    assert isinstance(built, Built), built
    small = clean(built.model)
    trees = [node for node in small.graph.node if node.op_type.startswith("TreeEnsemble")]
    assert len(trees) == 1
    encoded = encode(small)
    assert flavor != "fp32-trees" or len(encoded) < len(encode(model))
    return encoded


def awkward(model: ModelProto, data: Array) -> Array:
    """Training rows, far rows, and rows on and beside the model's own thresholds."""
    splits = [
        split for node in model.graph.node if node.op_type in ENSEMBLES
        for split in read(node).splits
    ]  # fmt: skip
    rng = np.random.default_rng(5)
    rows = [data, (4 * rng.normal(0, 1, (500, FEATURES))).astype(np.float32)]
    for way in (None, np.float32(-np.inf), np.float32(np.inf)):
        edge = data[rng.integers(len(data), size=1000)].copy()
        for _ in range(FEATURES):
            for row in edge:
                split = splits[rng.integers(len(splits))]
                value = np.float32(split.threshold)
                if np.isfinite(value):  # "is it missing?" is a split at infinity
                    row[split.feature] = value if way is None else np.nextafter(value, way)
        rows.append(edge)
    return np.concatenate(rows)


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize("labels", ["two", "four"])
@pytest.mark.parametrize("gaps", [False, True])
def test_no_decision_of_a_classifier_is_flipped(
    kind: str, labels: str, *, gaps: bool
) -> None:
    if gaps and kind not in TAKE_GAPS:
        return  # scikit-learn refuses NaN for it, or another form of it is tried
    data = GAPS if gaps else X
    model = CLASSIFIERS[kind].fit(data, TWO if labels == "two" else FOUR)
    old = converted(model)
    rows = awkward(old, data)
    label, shares = model.predict(rows), model.predict_proba(rows)
    first = outputs_of(encode(old), {"input": rows})
    names = [output.name for output in old.graph.output]
    for flavor in BOTH:
        answers = outputs_of(in_one_node(old, flavor), {"input": rows})
        np.testing.assert_array_equal(answers[names[0]].astype(label.dtype), label)
        np.testing.assert_allclose(answers[names[1]], shares, atol=5e-7)
        np.testing.assert_allclose(answers[names[1]], first[names[1]], atol=5e-7)


@pytest.mark.parametrize("trees", [2, 6, 20, 50, 100])
def test_an_even_vote_of_a_forest_as_exported_goes_to_the_first_class(trees: int) -> None:
    model = RandomForestClassifier(trees, max_features=1, **SEED).fit(X, TWO)
    old = converted(model)
    rows = awkward(old, (4 * RNG.normal(0, 1, (4_000, FEATURES))).astype(np.float32))
    label, shares = outputs_of(encode(old), {"input": rows}).values()
    expected = model.predict_proba(rows)
    assert (expected[:, 0] == expected[:, 1]).any()
    np.testing.assert_array_equal(label, model.predict(rows))
    np.testing.assert_allclose(shares, expected, atol=2e-6)


@pytest.mark.parametrize("kind", REGRESSORS)
@pytest.mark.parametrize("gaps", [False, True])
def test_a_regressor_answers_as_version_1_to_the_bit(kind: str, *, gaps: bool) -> None:
    if gaps and kind not in TAKE_GAPS:
        return  # scikit-learn refuses NaN for it
    data = GAPS if gaps else X
    model = REGRESSORS[kind].fit(data, HIDDEN)
    old = converted(model)
    rows = awkward(old, data)
    (answer,) = outputs_of(in_one_node(old), {"input": rows}).values()
    (other,) = outputs_of(in_one_node(old, BOTH[1]), {"input": rows}).values()
    (first,) = outputs_of(encode(old), {"input": rows}).values()
    np.testing.assert_array_equal(answer, first)
    np.testing.assert_array_equal(other, first)
    np.testing.assert_allclose(answer.ravel(), model.predict(rows), atol=3e-6)


def test_no_decision_of_an_isolation_forest_is_flipped() -> None:
    model = IsolationForest(n_estimators=40, contamination=0.1, **SEED).fit(X)
    old = converted(model)
    rows = awkward(old, X)
    label, score = outputs_of(in_one_node(old), {"input": rows}).values()
    expected = model.decision_function(rows)
    np.testing.assert_allclose(score.ravel(), expected, atol=5e-7)
    clear = np.abs(expected) > 5e-7
    np.testing.assert_array_equal(label.ravel()[clear], model.predict(rows)[clear])


def test_version_5_takes_a_fraction_of_the_bytes() -> None:
    model = RandomForestClassifier(30, **SEED).fit(X, FOUR)
    old = converted(model)
    assert 3 * len(in_one_node(old)) < len(encode(old))


def test_what_surrounds_the_trees_stays() -> None:

    model = make_pipeline(StandardScaler(), RandomForestClassifier(10, **SEED))
    old = converted(model.fit(X, FOUR))
    new = outputs_of(in_one_node(old), {"input": X})
    for name, values in outputs_of(encode(old), {"input": X}).items():
        if values.dtype == np.float32:
            np.testing.assert_allclose(new[name], values, atol=5e-7)
        else:
            np.testing.assert_array_equal(new[name], values)


@pytest.mark.parametrize("kind", OF_SEVERAL)
def test_several_forests_become_one_node_and_answer_as_before(kind: str) -> None:
    model = OF_SEVERAL[kind]
    if kind == "two numbers":
        model.fit(X, np.c_[HIDDEN, -HIDDEN])
    else:
        model.fit(X, HIDDEN if "numbers" in kind else np.digitize(HIDDEN, [-1, 0, 1]))
    old = converted(model)
    rows = awkward(old, X)
    before = outputs_of(encode(old), {"input": rows})
    for flavor in BOTH:
        after = outputs_of(in_one_node(old, flavor), {"input": rows})
        for name, values in before.items():
            if values.dtype == np.float32:
                np.testing.assert_allclose(after[name], values, atol=2e-6)
            else:
                np.testing.assert_array_equal(after[name], values)


def test_an_isolation_forest_as_skl2onnx_writes_it_becomes_one_node() -> None:
    model = IsolationForest(n_estimators=4, max_samples=32, contamination=0.1, **SEED).fit(
        X
    )
    registry = skl2onnx.common._registration  # noqa: SLF001 - its own converter, unaided
    parts = skl2onnx.operator_converters.isolation_forest
    skl2onnx.update_registered_converter(
        IsolationForest,
        "SklearnIsolationForest",
        registry.get_shape_calculator("SklearnIsolationForest"),
        parts.convert_sklearn_isolation_forest,
        options={"score_samples": [True, False]},
    )
    try:
        graph = skl2onnx.convert_sklearn(
            model,
            initial_types=[("input", FloatTensorType([None, FEATURES]))],
            target_opset={"": 17, "ai.onnx.ml": 3},
        )
    finally:
        sklearn_gaps.close_gaps()
    old = clean(graph)
    assert len(old.graph.node) > 100
    label, score = outputs_of(encode(old), {"input": X}).values()
    for flavor in BOTH:
        small = in_one_node(old, flavor)
        assert len(small) * 2 < len(encode(old))
        new_label, new_score = outputs_of(small, {"input": X}).values()
        np.testing.assert_allclose(new_score, score, atol=1e-6)
        clear = np.abs(score.ravel()) > 1e-6
        np.testing.assert_array_equal(new_label.ravel()[clear], label.ravel()[clear])
