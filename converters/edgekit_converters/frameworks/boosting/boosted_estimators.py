"""XGBoost's and LightGBM's estimators as parts of scikit-learn models.

Registers converters of our own with skl2onnx, each library's only once a model has
imported it. Knows skl2onnx's converter interface only.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType

from edgekit.errors import ConversionError
from edgekit.table import Array
from edgekit_converters.frameworks.boosting import lightgbm_dump, xgboost_dump
from edgekit_converters.frameworks.boosting.boosted import Boosted, Link, class_labels
from edgekit_converters.frameworks.boosting.boosted_graph import (
    add_answer,
    add_classes,
    add_margins,
)
from edgekit_converters.frameworks.scikit.detectors import ContainerNodes

_CLASSIFIERS: Mapping[str, tuple[str, ...]] = {
    "xgboost": ("XGBClassifier", "XGBRFClassifier"),
    "lightgbm": ("LGBMClassifier",),
}
_NUMBERS: Mapping[str, tuple[str, ...]] = {
    "xgboost": ("XGBRegressor", "XGBRFRegressor", "XGBRanker"),
    "lightgbm": ("LGBMRegressor", "LGBMRanker"),
}
LIBRARIES = frozenset(_CLASSIFIERS)
_RAW = "raw_scores"
_ASKED: Mapping[
    str, list[Any]
] = {  # options that skl2onnx's parser asks every classifier for
    "nocl": [True, False],
    "output_class_labels": [True, False],
    "zipmap": [True, False, "columns"],
}
_Operator = Any  # skl2onnx has no types


def close_gaps() -> None:
    """Register the estimators of every library that a model has imported."""
    for library in _CLASSIFIERS:
        if library not in sys.modules:
            continue
        for name in _CLASSIFIERS[library]:
            asked = dict(_ASKED)
            if hasattr(getattr(sys.modules[library], name), "decision_function"):
                asked[_RAW] = [True, False]  # scikit-learn calibrates what that answers
            _register(library, name, _class_shapes, _convert_classifier, asked)
        for name in _NUMBERS[library]:
            _register(library, name, _number_shapes, _convert_numbers, None)


def _register(
    library: str,
    name: str,
    shapes: Callable[[_Operator], None],
    convert: Callable[[_Operator, _Operator, _Operator], None],
    options: Mapping[str, object] | None,
) -> None:
    kind = getattr(sys.modules[library], name)
    update_registered_converter(kind, f"Edgekit{name}", shapes, convert, options=options)


def _class_shapes(operator: _Operator) -> None:
    classes = _classes(operator)
    texts = classes.dtype == object
    label = StringTensorType if texts else Int64TensorType
    operator.outputs[0].type = label([None])
    operator.outputs[1].type = FloatTensorType([None, len(classes)])


def _number_shapes(operator: _Operator) -> None:
    operator.outputs[0].type = FloatTensorType([None, _boosted(operator).targets])


def _convert_classifier(
    scope: _Operator, operator: _Operator, container: _Operator
) -> None:
    nodes = ContainerNodes(scope, container)
    boosted, classes = _boosted(operator), _classes(operator)
    if boosted.targets > 1 and boosted.targets != len(classes):
        raise ConversionError(
            f"{type(operator.raw_operator).__name__}: several labels a row, one is"
            " expected in a pipeline; train one model for each"
        )
    if _wants_raw(container, operator.raw_operator):
        boosted = replace(boosted, link=Link.IDENTITY, scale=1.0)  # only scores are read
    margins = add_margins(nodes, nodes.floats(operator.inputs[0]), boosted)
    label, probabilities = (output.full_name for output in operator.outputs)
    add_classes(nodes, margins, boosted, classes=classes, into=(label, probabilities))


def _wants_raw(container: _Operator, model: _Operator) -> bool:
    known = container.has_options(model, _RAW)
    return known and bool(container.get_options(model, {_RAW: False})[_RAW])


def _convert_numbers(scope: _Operator, operator: _Operator, container: _Operator) -> None:
    nodes = ContainerNodes(scope, container)
    boosted = _boosted(operator)
    margins = add_margins(nodes, nodes.floats(operator.inputs[0]), boosted)
    if boosted.link is Link.LARGEST:
        raise ConversionError("XGBoost: multi:softmax answers labels; use XGBClassifier")
    add_answer(nodes, margins, boosted.link, into=operator.outputs[0].full_name)


def _boosted(operator: _Operator) -> Boosted:
    model = operator.raw_operator
    if type(model).__module__.startswith("xgboost"):
        return xgboost_dump.of_estimator(model)
    return lightgbm_dump.of_estimator(model)


def _classes(operator: _Operator) -> Array:
    model = operator.raw_operator
    return class_labels(model.classes_, subject=type(model).__name__)
