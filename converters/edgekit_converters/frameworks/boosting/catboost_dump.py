"""Read CatBoost's JSON dump of a model. Knows no ONNX and does not load CatBoost.

A row goes right where `value > border`, both float32; of a symmetric tree, the splits are
the bits of the leaf's number, the first one the lowest
(catboost.ai/docs/concepts/json_tree_split). What each class of model answers for each
loss was tried with 1.2.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgekit.errors import ConversionError
from edgekit_converters.frameworks.boosting.boosted import Boosted, Link, Test, Tree, Trees

_Dump = Mapping[str, Any]  # JSON
_CLASSIFIED = {
    "CrossEntropy": Link.LOGISTIC,
    "Logloss": Link.LOGISTIC,
    "MultiClass": Link.SOFTMAX,
    "MultiClassOneVsAll": Link.LOGISTIC,
}
_GROWN = {"Poisson": Link.EXP, "Tweedie": Link.EXP}
_REFUSED = {  # what answers more than its trees add up to
    "RMSEWithUncertainty": "it answers a variance too; train with RMSE",
}
_NUMBER = "FloatFeature"


def read(dump: bytes, *, model_type: str) -> Boosted:
    """Return the model in a dump; `model_type` is the name of its class in Python.

    ConversionError for what has no faithful ONNX form, or what is no such dump.
    """
    try:
        return _read(json.loads(dump), model_type)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ConversionError(
            f"CatBoost's dump: not as its format says ({type(error).__name__}: {error})"
        ) from error


def _read(dump: _Dump, model_type: str) -> Boosted:
    features = dump["features_info"]
    for kind in ("categorical_features", "text_features", "embedding_features"):
        if features.get(kind):
            raise ConversionError(
                f"CatBoost: it has {kind.replace('_', ' ')}, which its own ONNX export"
                " refuses too; encode them as numbers (OrdinalEncoder) before it"
            )
    about = dump["model_info"]
    if "binclass_probability_threshold" in about:
        raise ConversionError(
            "CatBoost: it has a probability threshold of its own; save it without"
            " (set_probability_threshold(None))"
        )
    loss = str(_loss(about)["type"])
    if loss in _REFUSED:
        raise ConversionError(f"CatBoost: loss {loss}: {_REFUSED[loss]}")
    numbers = features["float_features"]
    scale, base = dump["scale_and_bias"]
    missing_right = {
        int(feature["feature_index"])
        for feature in numbers
        if feature["nan_value_treatment"] == "AsTrue"
    }
    return Boosted(
        margins=Trees(
            trees=tuple(_trees(dump, len(base), float(scale), missing_right)),
            test=Test.LESS_OR_EQUAL,
            base=np.array(base, dtype=np.float32),
        ),
        link=_link(model_type, loss),
        features=1 + max(int(feature["flat_feature_index"]) for feature in numbers),
        names=_names(numbers),
        objective=loss,
    )


def _loss(about: _Dump) -> _Dump:
    parameters = about["params"]
    held: _Dump = json.loads(parameters) if isinstance(parameters, str) else parameters
    loss: _Dump = held["loss_function"]
    return loss


def _link(model_type: str, loss: str) -> Link:
    if model_type == "CatBoostClassifier":
        if loss not in _CLASSIFIED:
            raise ConversionError(
                f"CatBoost: a classifier with loss {loss}, one of"
                f" {', '.join(_CLASSIFIED)} is expected"
            )
        return _CLASSIFIED[loss]
    if model_type == "CatBoostRegressor":
        return _GROWN.get(loss, Link.IDENTITY)
    return Link.IDENTITY  # rankers, and CatBoost itself: the raw value


def _names(numbers: Sequence[_Dump]) -> tuple[str, ...]:
    names = tuple(str(feature.get("feature_name", "")) for feature in numbers)
    given = all(names) and len(set(names)) == len(names)
    return () if not given or all(name.isdigit() for name in names) else names


def _trees(
    dump: _Dump, targets: int, scale: float, missing_right: set[int]
) -> Iterator[Tree]:
    for tree in dump.get("oblivious_trees", ()):
        yield _symmetric(tree, targets, scale, missing_right)
    for tree in dump.get("trees", ()):
        yield _grown(tree, targets, scale, missing_right)


def _symmetric(tree: _Dump, targets: int, scale: float, missing_right: set[int]) -> Tree:
    """Return the tree written out: a node's children are 2n + 1 and 2n + 2."""
    splits = [_split(split) for split in reversed(tree["splits"] or ())]
    inner = 2 ** len(splits) - 1
    leaves = np.array(tree["leaf_values"], dtype=np.float64).reshape(-1, targets)
    level = [split for depth, split in enumerate(splits) for _ in range(2**depth)]
    return _tree(
        [*level, *[(0, 0.0)] * len(leaves)],
        [*(2 * n + 1 for n in range(inner)), *[-1] * len(leaves)],
        [*(2 * n + 2 for n in range(inner)), *[-1] * len(leaves)],
        votes=np.concatenate([np.zeros((inner, targets)), leaves * scale]),
        missing_right=missing_right,
    )


def _grown(tree: _Dump, targets: int, scale: float, missing_right: set[int]) -> Tree:
    """Return a tree whose nodes hold their children."""
    splits: list[tuple[int, float]] = []
    left: list[int] = []
    right: list[int] = []
    votes: list[list[float]] = []
    waiting: list[tuple[_Dump, list[int], int]] = [(tree, [0], 0)]
    while waiting:
        node, ways, place = waiting.pop()
        number = len(splits)
        ways[place] = number
        left.append(-1)
        right.append(-1)
        if "split" not in node:
            splits.append((0, 0.0))
            votes.append([scale * value for value in np.atleast_1d(node["value"])])
            continue
        splits.append(_split(node["split"]))
        votes.append([0.0] * targets)
        waiting += [(node["right"], right, number), (node["left"], left, number)]
    return _tree(splits, left, right, votes=np.array(votes), missing_right=missing_right)


def _tree(
    splits: Sequence[tuple[int, float]],
    left: Sequence[int],
    right: Sequence[int],
    *,
    votes: Any,  # noqa: ANN401 - an array of any float type
    missing_right: set[int],
) -> Tree:
    return Tree(
        column=np.array([feature for feature, _ in splits], dtype=np.int64),
        threshold=np.array([border for _, border in splits], dtype=np.float32),
        left=np.array(left, dtype=np.int64),
        right=np.array(right, dtype=np.int64),
        missing_left=np.array([feature not in missing_right for feature, _ in splits]),
        votes=votes.astype(np.float32),
    )


def _split(split: _Dump) -> tuple[int, float]:
    if split["split_type"] != _NUMBER:
        raise ConversionError(
            f"CatBoost: it splits on {split['split_type']}, {_NUMBER} is expected; encode"
            " categories as numbers (OrdinalEncoder) before it"
        )
    return int(split["float_feature_index"]), float(split["border"])
