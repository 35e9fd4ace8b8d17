"""What skl2onnx 1.20 gets wrong or leaves out, put right around it.

Each gap is named where it is closed; what is not named here goes through skl2onnx alone.
"""

import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
from skl2onnx import update_registered_converter
from skl2onnx.common import _registration as registry
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.covariance import EllipticEnvelope
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import IsolationForest, VotingClassifier
from sklearn.ensemble._forest import ForestClassifier
from sklearn.ensemble._gb import BaseGradientBoosting
from sklearn.ensemble._hist_gradient_boosting.gradient_boosting import (
    BaseHistGradientBoosting,
)
from sklearn.feature_selection import RFE
from sklearn.impute import SimpleImputer
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import KBinsDiscretizer
from sklearn.semi_supervised import SelfTrainingClassifier

from edgekit.errors import ConversionError
from edgekit.table import Array
from edgekit_converters.frameworks.boosting import boosted_estimators, exact_scaling
from edgekit_converters.frameworks.scikit import sklearn_linear, sklearn_rest
from edgekit_converters.frameworks.scikit.detectors import (
    convert_elliptic_envelope,
    convert_isolation_forest,
    detector_shapes,
    missing_go_to_left,
)
from edgekit_converters.frameworks.thresholds import rounded_down, rounded_up

_TREES = (
    "DecisionTreeClassifier",
    "DecisionTreeRegressor",
    "ExtraTreeClassifier",
    "ExtraTreeRegressor",
    "ExtraTreesClassifier",
    "ExtraTreesRegressor",
    "GradientBoostingClassifier",
    "GradientBoostingRegressor",
    "HistGradientBoostingClassifier",
    "HistGradientBoostingRegressor",
    "RandomForestClassifier",
    "RandomForestRegressor",
)
_NO_TEXT = "\x00"  # a text that no sample holds: what is missing is refused before
_HALF = 0.5
_MISSING = "nodes_missing_value_tracks_true"


def close_gaps() -> None:
    """Register the corrected converters with skl2onnx, for this process."""
    _mend_trees()
    update_registered_converter(
        EllipticEnvelope,
        "EdgekitEllipticEnvelope",
        detector_shapes,
        convert_elliptic_envelope,
    )
    update_registered_converter(
        IsolationForest,
        "EdgekitIsolationForest",
        detector_shapes,
        convert_isolation_forest,
        options={"score_samples": [True, False]},  # skl2onnx's parser asks for it
    )
    sklearn_linear.close_gaps()
    sklearn_rest.close_gaps()
    boosted_estimators.close_gaps()
    if boosted_estimators.LIBRARIES & set(sys.modules):
        exact_scaling.close_gaps()


@cache
def _mend_trees() -> None:
    """Wrap skl2onnx's converters of trees; once in a process, or they pile up."""
    for name in _TREES:
        alias = f"Sklearn{name}"
        known = registry.get_converter(alias)
        registry.register_converter(
            alias, _mended(known), overwrite=True, options=known.get_allowed_options()
        )


def core(model: BaseEstimator) -> BaseEstimator:
    """Return what answers in a search, a selection or a self-training, as it answers.

    skl2onnx knows but one of the searches, and takes a selection for its first half.
    """
    if isinstance(model, Pipeline):
        (name, last), before = model.steps[-1], model.steps[:-1]
        inner = core(last)
        return model if inner is last else Pipeline([*before, (name, inner)])
    if isinstance(model, BaseSearchCV):
        return core(model.best_estimator_)
    if isinstance(model, SelfTrainingClassifier):
        return core(getattr(model, "estimator_", None) or model.base_estimator_)
    if isinstance(model, RFE):
        return Pipeline([("select", model), ("answer", core(model.estimator_))])
    return model


def prepare(model: BaseEstimator) -> None:
    """Change a fitted model, in place, so that skl2onnx takes it; its answers stay."""
    exact = judges_exactly(model)
    for part in parts(model):
        if isinstance(part, VotingClassifier):
            part.flatten_transform = False  # shapes transform(), never predict()
        if isinstance(part, KBinsDiscretizer) and part.encode == "onehot":
            part.encode = "onehot-dense"  # the same numbers; ONNX has no sparse ones
        if isinstance(part, KBinsDiscretizer) and hasattr(part, "bin_edges_") and not exact:
            part.bin_edges_ = _each(rounded_up, part.bin_edges_)
        if isinstance(part, BaseHistGradientBoosting) and hasattr(part, "_predictors"):
            _round_histogram_trees(part)
        if isinstance(part, LinearDiscriminantAnalysis) and hasattr(part, "coef_"):
            _halve_binary(part)
        if isinstance(part, SimpleImputer) and _fills_texts(part):
            part.missing_values = _NO_TEXT  # skl2onnx refuses NaN among texts


def _halve_binary(model: LinearDiscriminantAnalysis) -> None:
    """Let skl2onnx's softmax of two opposite scores be the logistic of one."""
    if len(model.classes_) == 2:  # noqa: PLR2004 - two classes, one score
        model.coef_ = model.coef_ / 2
        model.intercept_ = model.intercept_ / 2


def _fills_texts(imputer: SimpleImputer) -> bool:
    known = getattr(imputer, "statistics_", None)  # the unfitted original stays in a part
    return known is not None and known.dtype == object


def picks_columns(model: BaseEstimator) -> bool:
    """Whether some part of the model treats its columns differently."""
    return any(isinstance(part, ColumnTransformer) for part in parts(model))


def judges_exactly(model: BaseEstimator) -> bool:
    """Whether the last bit of numbers between the model's steps may change its answers.

    XGBoost's thresholds are values it was trained on, LightGBM's lie beside 0. After
    arithmetic (a scaler), rows fall to the same side only if every bit of it is the same.
    """
    return any(
        type(part).__module__.partition(".")[0] in boosted_estimators.LIBRARIES
        and part is not model
        for part in parts(model)
    )


def parts(value: object) -> Iterator[BaseEstimator]:
    """Yield every estimator in an estimator, itself first, each once."""
    yield from _parts(value, set())


def _round_histogram_trees(model: Any) -> None:  # noqa: ANN401 - scikit-learn has no types
    for predictors in model._predictors:  # noqa: SLF001 - no public way to the trees
        for predictor in predictors:
            nodes = predictor.nodes
            if nodes["is_categorical"].any():
                raise ConversionError(
                    f"{type(model).__name__}: it splits on categories, which skl2onnx takes"
                    " for numbers; encode them before it (OrdinalEncoder) and train"
                    " without categorical_features"
                )
            nodes["num_threshold"] = rounded_down(nodes["num_threshold"])


def _each(function: Callable[[Array], Array], arrays: Array) -> Array:
    """Return an array of arrays, the function applied to each."""
    changed = arrays.copy()
    for number, array in enumerate(arrays):
        changed[number] = function(array)
    return changed


def _parts(value: object, seen: set[int]) -> Iterator[BaseEstimator]:
    if id(value) in seen:
        return
    seen.add(id(value))
    inner: list[object] = []
    if isinstance(value, BaseEstimator):
        yield value
        inner = list(vars(value).values())
    elif isinstance(value, dict):
        inner = list(value.values())
    elif isinstance(value, (list, tuple)):
        inner = list(value)
    for each in inner:
        yield from _parts(each, seen)


class _Container:
    """skl2onnx's container, correcting the tree ensembles that are put into it.

    HistGradientBoosting hands over numpy scalars, which onnx refuses; the other trees
    forget which way a missing value goes; of 20, 50 or 100 trees an even vote between two
    classes may add up to more than a half.
    """

    def __init__(self, container: Any, model: BaseEstimator) -> None:  # noqa: ANN401 - skl2onnx has no types
        self._container = container
        self._model = model

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - skl2onnx has no types
        return getattr(self._container, name)

    def add_node(self, op_type: str, *args: object, **attributes: Any) -> None:  # noqa: ANN401
        """Add a node, its attributes corrected if it is a tree ensemble."""
        if op_type.startswith("TreeEnsemble"):
            attributes = {name: _plain(value) for name, value in attributes.items()}
            if isinstance(self._model, BaseGradientBoosting):
                attributes.pop(_MISSING, None)  # it refuses missing values
            elif _MISSING in attributes:
                attributes[_MISSING] = _missing(self._model, attributes)
            if isinstance(self._model, ForestClassifier):
                attributes["class_weights"] = _even(attributes, len(_trees(self._model)))
        self._container.add_node(op_type, *args, **attributes)


def _mended(known: Callable[..., None]) -> Callable[..., None]:
    def convert(scope: Any, operator: Any, container: Any) -> None:  # noqa: ANN401
        known(scope, operator, _Container(container, operator.raw_operator))

    return convert


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value


def _missing(model: BaseEstimator, attributes: dict[str, Any]) -> list[int]:
    """Return per node whether a missing value goes the way of "true", as in the model."""
    directions = [missing_go_to_left(tree) for tree in _trees(model)]
    found: list[int] = attributes[_MISSING]
    if len(directions) != len(set(attributes["nodes_treeids"])):
        return found  # histogram gradient boosting: skl2onnx does it itself
    places = zip(
        attributes["nodes_treeids"],
        attributes["nodes_nodeids"],
        attributes["nodes_modes"],
        strict=True,
    )
    return [
        int(directions[tree][node]) if mode != "LEAF" else 0 for tree, node, mode in places
    ]


def _even(attributes: dict[str, Any], trees: int) -> list[float]:
    """Return the votes of a forest, such that half of its trees make no more than a half.

    Of two classes onnxruntime adds up one, and says it where the sum is above 0.5;
    scikit-learn says the first class of an even vote. float32 has no 1/20: ten of it are
    above 0.5, so that much less than a vote of one tree is taken as makes them none.
    """
    votes: list[float] = attributes["class_weights"]
    if len(set(attributes["class_ids"])) > 1:
        return votes  # equal sums of equal votes are equal, whatever they are
    whole = even = np.float32(1 / trees)
    while trees > 1 and np.full(trees // 2, even).cumsum()[-1] > _HALF:
        even = np.nextafter(even, np.float32(0))
    return [float(even) if np.float32(vote) == whole else vote for vote in votes]


def _trees(model: BaseEstimator) -> list[Any]:
    if hasattr(model, "tree_"):
        return [model.tree_]
    return [tree.tree_ for tree in np.ravel(getattr(model, "estimators_", []))]
