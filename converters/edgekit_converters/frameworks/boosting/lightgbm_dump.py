"""Read LightGBM's text format of a booster. Knows no ONNX and does not load LightGBM.

A row goes left where `value <= threshold`, both float64 (include/LightGBM/tree.h): here
thresholds are rounded so that every float32 value takes the same side. What counts as
missing is told at each split; the answers of each objective were tried with 4.7.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.errors import ConversionError
from edgekit.table import Array
from edgekit_converters.frameworks.boosting import lightgbm_linear
from edgekit_converters.frameworks.boosting.boosted import (
    Boosted,
    Link,
    Span,
    Test,
    Tree,
    Trees,
)
from edgekit_converters.frameworks.boosting.boosted_columns import MEMBER_THRESHOLD, Columns
from edgekit_converters.frameworks.thresholds import rounded_down

_LINKS: Mapping[str, Link] = {
    "binary": Link.LOGISTIC,
    "cross_entropy": Link.LOGISTIC,
    "cross_entropy_lambda": Link.SOFTPLUS,
    "custom": Link.IDENTITY,
    "fair": Link.IDENTITY,
    "gamma": Link.EXP,
    "huber": Link.IDENTITY,
    "lambdarank": Link.IDENTITY,
    "mape": Link.IDENTITY,
    "multiclass": Link.SOFTMAX,
    "multiclassova": Link.LOGISTIC,
    "poisson": Link.EXP,
    "quantile": Link.IDENTITY,
    "rank_xendcg": Link.IDENTITY,
    "regression": Link.IDENTITY,
    "regression_l1": Link.IDENTITY,
    "tweedie": Link.EXP,
}
_SCALED = {"binary", "multiclassova"}  # by their parameter "sigmoid"
_CATEGORICAL, _DEFAULT_LEFT = 1, 2  # bits of decision_type; the missing type follows
_MISSING_SHIFT, _MISSING_MASK = 2, 3
_NO_MISSING, _ZERO_MISSING, _NAN_MISSING = 0, 1, 2
_ZERO = float(np.float32(1e-35))  # kZeroThreshold
_WORD_BITS = 32
_UNUSED = "none"  # what the header says of a feature that never differed


def read(text: str) -> Boosted:
    """Return the model in a text; ConversionError for what has no faithful ONNX form."""
    try:
        return _read(text)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ConversionError(
            f"LightGBM's text: not as its format says ({type(error).__name__}: {error})"
        ) from error


def of_estimator(model: Any) -> Boosted:  # noqa: ANN401 - LightGBM's types come and go
    """Return what a fitted scikit-learn wrapper of LightGBM's predicts with."""
    if callable(getattr(model, "objective_", None)):
        raise ConversionError(
            f"{type(model).__name__}: an objective of its own ({model.objective_}), whose"
            " answers LightGBM itself leaves raw; train with one of its objectives"
        )
    return read(model.booster_.model_to_string())


def _read(text: str) -> Boosted:
    whole, end, after = text.partition("\nend of trees")
    if not end:
        raise ValueError('no "end of trees" in it')
    head, *trees = whole.split("\nTree=")
    header = _entries(head)
    objective, *parameters = header.get("objective", "custom").split()
    if objective not in _LINKS:
        raise ConversionError(
            f"LightGBM: objective {objective}, one of {', '.join(_LINKS)} is expected;"
            " train with one of them, or log an ONNX model with mlflow.onnx"
        )
    features = int(header["max_feature_idx"]) + 1
    targets = int(header["num_tree_per_iteration"])
    names = tuple(header["feature_names"].split(" "))
    if len(names) != features or len(trees) % targets:
        raise ValueError(f"{features} features, {len(names)} names, {len(trees)} trees")
    spans = tuple(_span(info) for info in header["feature_infos"].split(" "))
    if len(spans) != features:
        raise ValueError(f"{features} features, {len(spans)} spans")
    share = 1.0
    if "average_output" in head.split("\n"):  # a random forest
        share = targets / max(len(trees), 1)
    columns = Columns(features, truncated=True)
    entries = [_entries(entry) for entry in trees]
    slopes = lightgbm_linear.slopes(entries)
    read_trees = [
        _tree(entry, number % targets, share, columns)
        for number, entry in enumerate(entries)
    ]
    if slopes:
        read_trees = [
            lightgbm_linear.with_slopes(tree, entry, slopes, share)
            for tree, entry in zip(read_trees, entries, strict=True)
        ]
    placed, derived = columns.placed(read_trees)
    return Boosted(
        margins=Trees(
            trees=placed,
            test=Test.LESS_OR_EQUAL,
            base=np.zeros(targets, dtype=np.float32),
            derived=derived,
            slopes=slopes,
        ),
        link=_link(objective, parameters),
        features=features,
        names=names,
        scale=_scale(objective, parameters),
        objective=objective,
        listed=_listed(after),
        spans=spans,
    )


def _listed(after: str) -> tuple[tuple[object, ...], ...]:
    """Return the categories of pandas's columns, which stand after the trees.

    They are told in the order of the columns, and not of which.
    """
    _, _, listed = after.partition("\npandas_categorical:")
    held = json.loads(listed.partition("\n")[0] or "null")
    return tuple(tuple(values) for values in held or ())


def _span(info: str) -> Span:
    """Return what the header says of a feature: "none", "[low:high]" or "-1:2:0:7"."""
    if info == _UNUSED:
        return Span(used=False)
    ends = [float(part) for part in info.strip("[]").split(":")]
    if info.startswith("["):
        low, high = ends
        return Span(low=low, high=high)
    seen = [code for code in ends if code >= 0] or [0.0]  # -1: missing ones
    return Span(low=min(seen), high=max(seen), categorical=True)


def _entries(text: str) -> dict[str, str]:
    """Return what stands before and after the first "=" of each line."""
    pairs = (line.partition("=") for line in text.split("\n"))
    return {key: value for key, mark, value in pairs if mark}


def _link(objective: str, parameters: Sequence[str]) -> Link:
    if "sqrt" in parameters:  # regression on the root of the target
        return Link.SQUARE
    return _LINKS[objective]


def _scale(objective: str, parameters: Sequence[str]) -> float:
    named = dict(part.split(":") for part in parameters if ":" in part)
    return float(named.get("sigmoid", 1)) if objective in _SCALED else 1.0


def _tree(entry: Mapping[str, str], target: int, share: float, columns: Columns) -> Tree:
    leaves = _floats(entry["leaf_value"]) * share
    splits = int(entry["num_leaves"]) - 1
    tests = _tests(entry, columns) if splits else []
    ways = [_whole(entry[name]) if splits else [] for name in ("left_child", "right_child")]
    left, right = (
        [splits - 1 - way if way < 0 else way for way in side] for side in ways
    )  # leaves come after the splits
    none = [0] * len(leaves)
    return Tree(
        column=np.array([test.column for test in tests] + none, dtype=np.int64),
        threshold=np.array([t.threshold for t in tests] + none, dtype=np.float32),
        left=np.array(left + [-1] * len(leaves), dtype=np.int64),
        right=np.array(right + [-1] * len(leaves), dtype=np.int64),
        missing_left=np.array([t.missing_left for t in tests] + none, dtype=bool),
        votes=np.concatenate([np.zeros(splits), leaves]).astype(np.float32)[:, None],
        target=target,
    )


@dataclass(frozen=True, slots=True)
class _Split:
    column: int
    threshold: float  # exact in float32
    missing_left: bool


def _tests(entry: Mapping[str, str], columns: Columns) -> list[_Split]:
    thresholds = _floats(entry["threshold"])
    found = []
    for feature, decision, exact, threshold in zip(
        _whole(entry["split_feature"]),
        _whole(entry["decision_type"]),
        thresholds.tolist(),
        _rounded(thresholds).tolist(),
        strict=True,
    ):
        if decision & _CATEGORICAL:
            members = _members(entry, int(exact))
            column = columns.sides(feature, members, members_left=True, missing_left=False)
            found.append(_Split(column, MEMBER_THRESHOLD, missing_left=False))
            continue
        missing = decision >> _MISSING_SHIFT & _MISSING_MASK
        default_left = bool(decision & _DEFAULT_LEFT)
        if missing == _ZERO_MISSING:
            column = columns.without_zeros(feature, _ZERO)
        else:
            column = feature
        if missing == _NO_MISSING:  # NaN is read as 0
            default_left = exact >= 0
        found.append(_Split(column, threshold, missing_left=default_left))
    return found


def _rounded(thresholds: Array) -> Array:
    """Return float32 thresholds with which every float32 value takes the same side.

    LightGBM's predictor reads what is not further from 0 than 1e-35 as 0, whichever side
    of the threshold it lies on.
    """
    with np.errstate(over="ignore"):  # beyond float32: infinite, or the largest number
        near = rounded_down(thresholds)
    below = np.nextafter(np.float32(-_ZERO), np.float32(-np.inf))
    tiny = np.abs(thresholds) <= _ZERO
    return np.where(tiny, np.where(thresholds >= 0, np.float32(_ZERO), below), near)


def _members(entry: Mapping[str, str], number: int) -> frozenset[int]:
    """Return the categories of the tree's set `number`, which go left."""
    bounds, words = _whole(entry["cat_boundaries"]), _whole(entry["cat_threshold"])
    own = words[bounds[number] : bounds[number + 1]]
    return frozenset(
        place * _WORD_BITS + bit
        for place, word in enumerate(own)
        for bit in range(_WORD_BITS)
        if word >> bit & 1
    )


def _floats(text: str) -> Array:
    return np.array([float(part) for part in text.split()])


def _whole(text: str) -> list[int]:
    return [int(part) for part in text.split()]
