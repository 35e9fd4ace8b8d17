"""Read XGBoost's own JSON dump of a booster. Knows no ONNX and does not load XGBoost.

The format is XGBoost's "model schema" (doc/model.schema): all numbers of a tree are
float32; a row goes left where `value < split_condition`, and of a split on categories
where its category is none of the node's (src/common/categorical.h). What the base score
and the answers of each objective mean was tried with XGBoost 3.2.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from edgekit.errors import ConversionError
from edgekit.table import Array
from edgekit_converters.frameworks.boosting.boosted import (
    Boosted,
    Linear,
    Link,
    Test,
    Tree,
    Trees,
)
from edgekit_converters.frameworks.boosting.boosted_columns import MEMBER_THRESHOLD, Columns

_LINKS: Mapping[str, Link] = {
    "binary:hinge": Link.SIGN,
    "binary:logistic": Link.LOGISTIC,
    "binary:logitraw": Link.IDENTITY,
    "count:poisson": Link.EXP,
    "multi:softmax": Link.LARGEST,
    "multi:softprob": Link.SOFTMAX,
    "rank:map": Link.IDENTITY,
    "rank:ndcg": Link.IDENTITY,
    "rank:pairwise": Link.IDENTITY,
    "reg:absoluteerror": Link.IDENTITY,
    "reg:gamma": Link.EXP,
    "reg:linear": Link.IDENTITY,
    "reg:logistic": Link.LOGISTIC,
    "reg:pseudohubererror": Link.IDENTITY,
    "reg:quantileerror": Link.IDENTITY,
    "reg:squarederror": Link.IDENTITY,
    "reg:squaredlogerror": Link.IDENTITY,
    "reg:tweedie": Link.EXP,
    "survival:aft": Link.EXP,
    "survival:cox": Link.EXP,
}
# The base score is stored as an answer; these are the links' inverses.
_TO_MARGIN: Mapping[Link, Callable[[Array], Array]] = {
    Link.LOGISTIC: lambda share: np.log(share / (1 - share)),
    Link.EXP: np.log,
}
_CATEGORICAL = 1  # as `split_type` has it
_Dump = Mapping[str, Any]  # JSON


def read(dump: bytes, *, rounds: int | None = None) -> Boosted:
    """Return the model in a dump, the first `rounds` of its boosting or all.

    ConversionError for an objective that is not known here, or what is no such dump.
    """
    try:
        return _read(json.loads(dump)["learner"], rounds)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ConversionError(
            f"XGBoost's dump: not as its schema says ({type(error).__name__}: {error})"
        ) from error


def of_estimator(model: Any) -> Boosted:  # noqa: ANN401 - XGBoost has no types
    """Return what a fitted scikit-learn wrapper of XGBoost's predicts with.

    After an early stop, that is the rounds up to the best one.
    """
    try:
        rounds: int | None = int(model.best_iteration) + 1
    except AttributeError:  # it was not stopped early
        rounds = None
    boosted = read(bytes(model.get_booster().save_raw("json")), rounds=rounds)
    return replace(boosted, missing=float(model.missing))


def _read(learner: _Dump, rounds: int | None) -> Boosted:
    objective = str(learner["objective"]["name"])
    link = _LINKS.get(objective)
    if link is None:
        raise ConversionError(
            f"XGBoost: objective {objective}, one of {', '.join(_LINKS)} is expected;"
            " train with one of them, or log an ONNX model with mlflow.onnx"
        )
    about = learner["learner_model_param"]
    features = int(about["num_feature"])
    targets = max(int(about["num_class"]), int(about.get("num_target", 1)), 1)
    base = _base(str(about["base_score"]), link, targets)
    booster = learner["gradient_booster"]
    if booster["name"] == "gblinear":
        weights = np.array(booster["model"]["weights"], dtype=np.float32)
        weights = weights.reshape(features + 1, targets)
        bias = weights[-1] + base[0]  # 3.2 gives every class the first one's base
        margins: Linear | Trees = Linear(weights=weights[:-1], base=bias)
    else:
        margins = _trees(booster, features, base, rounds)
    return Boosted(
        margins=margins,
        link=link,
        features=features,
        names=tuple(str(name) for name in learner.get("feature_names", ())),
        objective=objective,
    )


def _base(stored: str, link: Link, targets: int) -> Array:
    """Return the base margin of each target; before 3.1 all targets shared one."""
    given = np.atleast_1d(np.array(json.loads(stored), dtype=np.float64))
    to_margin = _TO_MARGIN.get(link)
    margin = to_margin(given) if to_margin else given
    return np.broadcast_to(margin, (targets,)).astype(np.float32)


def _trees(booster: _Dump, features: int, base: Array, rounds: int | None) -> Trees:
    inner = booster["gbtree"] if booster["name"] == "dart" else booster
    model = inner["model"]
    number = len(model["trees"])
    weights = booster.get("weight_drop") or [1.0] * number
    if rounds is not None:
        number = min(number, _trees_of(model, rounds, len(base)))
    columns = Columns(features, truncated=False)
    trees = [
        _tree(tree, target, weight, columns)
        for tree, target, weight in zip(
            model["trees"][:number],
            model["tree_info"][:number],
            weights[:number],
            strict=True,
        )
    ]
    placed, derived = columns.placed(trees)
    return Trees(trees=placed, test=Test.LESS, base=base, derived=derived)


def _trees_of(model: _Dump, rounds: int, targets: int) -> int:
    ends = model.get("iteration_indptr")
    if ends:
        return int(ends[min(rounds, len(ends) - 1)])
    parallel = int(model["gbtree_model_param"].get("num_parallel_tree", 1))
    return rounds * max(parallel, 1) * targets


def _tree(tree: _Dump, target: int, weight: float, columns: Columns) -> Tree:
    left = np.array(tree["left_children"], dtype=np.int64)
    right = np.array(tree["right_children"], dtype=np.int64)
    column = np.array(tree["split_indices"], dtype=np.int64)
    condition = np.array(tree["split_conditions"], dtype=np.float32)
    missing_left = np.array(tree["default_left"]).astype(bool)
    votes = _votes(tree, condition, right)
    threshold = condition.copy()
    for node, members in _categorical(tree).items():
        column[node] = columns.sides(
            int(column[node]),
            members,
            members_left=False,
            missing_left=bool(missing_left[node]),
        )
        threshold[node] = MEMBER_THRESHOLD
        missing_left[node] = False  # the column itself knows
    return Tree(
        column=column,
        threshold=threshold,
        left=left,
        right=right,
        missing_left=missing_left,
        votes=votes * np.float32(weight),
        target=int(target),
    )


def _votes(tree: _Dump, condition: Array, right: Array) -> Array:
    width = int(tree["tree_param"].get("size_leaf_vector", 1))
    if width <= 1:
        return condition[:, None]
    if "leaf_weights" not in tree:
        raise ConversionError(
            "XGBoost: trees of several outputs as versions before 3.1 stored them; save the"
            " model again with XGBoost 3.1 or newer"
        )
    leaves = np.array(tree["leaf_weights"], dtype=np.float32).reshape(-1, width)
    votes: Array = leaves[np.clip(right, 0, len(leaves) - 1)]  # a leaf's number is there
    return votes


def _categorical(tree: _Dump) -> dict[int, frozenset[int]]:
    """Return the categories that go right, of each split on categories."""
    categories = tree.get("categories", [])
    found = {
        node: frozenset(categories[start : start + size])
        for node, start, size in zip(
            tree.get("categories_nodes", []),
            tree.get("categories_segments", []),
            tree.get("categories_sizes", []),
            strict=True,
        )
    }
    types = tree.get("split_type", [])
    unknown = [n for n, kind in enumerate(types) if kind == _CATEGORICAL and n not in found]
    if unknown:
        raise ValueError(f"node {unknown[0]} splits on categories, which are not there")
    return found
