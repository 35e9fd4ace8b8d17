"""scikit-learn's predictors that skl2onnx lacks or misreads.

Nearest centres, baselines, moved thresholds and transformed targets. Knows skl2onnx's
converter interface.
"""

from typing import Any

import numpy as np
from onnx import TensorProto, helper
from skl2onnx import update_registered_converter
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common.data_types import (
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)
from sklearn.cluster import AffinityPropagation, Birch, MeanShift
from sklearn.compose import TransformedTargetRegressor
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor

from edgekit.table import Array
from edgekit_converters.frameworks.scikit.detectors import ContainerNodes

# numpy's inverses of common target transformations, and ONNX's operators for them.
_INVERSES = {
    np.exp: ("Exp",),
    np.expm1: ("Exp", "minus one"),
    np.square: ("square",),
    np.sqrt: ("Sqrt",),
    np.log: ("Log",),
}
_FIXED_ANSWERS = ("constant", "most_frequent", "prior")
_ONNX_9 = ("", 9)
_INT64_ZERO = helper.make_tensor("value", TensorProto.INT64, [1], [0])


def close_gaps() -> None:
    """Register the predictors with skl2onnx, for this process."""
    for kind in (AffinityPropagation, Birch, MeanShift):
        update_registered_converter(
            kind, f"Edgekit{kind.__name__}", _cluster_shapes, _nearest_centre
        )
    update_registered_converter(
        DummyClassifier,
        "EdgekitDummyClassifier",
        _class_shapes,
        _fixed_class,
        options={"zipmap": [True, False, "columns"], "nocl": [True, False]},
    )
    update_registered_converter(
        DummyRegressor, "EdgekitDummyRegressor", _number_shape, _fixed_number
    )
    update_registered_converter(
        TransformedTargetRegressor,
        "EdgekitTransformedTargetRegressor",
        _number_shape,
        _transformed,
    )
    update_registered_converter(
        QuadraticDiscriminantAnalysis,
        "EdgekitQuadraticDiscriminantAnalysis",
        _class_shapes,
        _quadratic,
        options={"zipmap": [True, False, "columns"], "nocl": [True, False]},
    )
    for kind in _moved_thresholds():
        update_registered_converter(
            kind,
            f"Edgekit{kind.__name__}",
            _class_shapes,
            _moved_threshold,
            options={"zipmap": [True, False, "columns"], "nocl": [True, False]},
        )


def _moved_thresholds() -> list[type]:
    from sklearn import model_selection  # noqa: PLC0415 - these are new in 1.5

    names = ("FixedThresholdClassifier", "TunedThresholdClassifierCV")
    found = (getattr(model_selection, name, None) for name in names)
    return [kind for kind in found if kind is not None]


def _cluster_shapes(operator: Any) -> None:  # noqa: ANN401 - skl2onnx has no types
    operator.outputs[0].type = Int64TensorType([None])
    centres, _ = _centres(operator.raw_operator)
    operator.outputs[1].type = FloatTensorType([None, len(centres)])


def _number_shape(operator: Any) -> None:  # noqa: ANN401
    operator.outputs[0].type = FloatTensorType([None, 1])


def _class_shapes(operator: Any) -> None:  # noqa: ANN401
    classes = np.asarray(operator.raw_operator.classes_)
    labels = StringTensorType if classes.dtype.kind in "OUS" else Int64TensorType
    operator.outputs[0].type = labels([None])
    operator.outputs[1].type = FloatTensorType([None, len(classes)])


def _nearest_centre(scope: Any, operator: Any, container: Any) -> None:  # noqa: ANN401
    """Add the label of the centre c with the least |x - c|, and all these distances."""
    model = operator.raw_operator
    centres, labels = _centres(model)
    nodes = ContainerNodes(scope, container)
    rows = nodes.floats(operator.inputs[0])
    twice = nodes.constant((-2.0 * centres.T).astype(np.float32))
    squares = nodes.constant((centres**2).sum(axis=1).astype(np.float32))
    far = nodes.add("Add", [nodes.add("MatMul", [rows, twice]), squares])
    nearest = nodes.add("ArgMin", [far], attributes={"axis": 1, "keepdims": 0})
    table = nodes.constant(labels.astype(np.int64))
    label, distances = (output.full_name for output in operator.outputs)
    nodes.add("Gather", [table, nearest], into=label)
    axes = nodes.constant(np.array([1], dtype=np.int64))
    length = nodes.add("ReduceSum", [nodes.add("Mul", [rows, rows]), axes])
    nothing = nodes.constant(np.zeros(1, dtype=np.float32))
    nodes.add(
        "Sqrt",
        [nodes.add("Max", [nodes.add("Add", [far, length]), nothing])],
        into=distances,
    )


def _centres(model: Any) -> tuple[Array, Array]:  # noqa: ANN401 - scikit-learn has no types
    if isinstance(model, Birch):
        return model.subcluster_centers_, np.asarray(model.subcluster_labels_)
    centres = model.cluster_centers_
    return centres, np.arange(len(centres))


def _quadratic(scope: Any, operator: Any, container: Any) -> None:  # noqa: ANN401
    """Add log densities of the classes' normal distributions, and their softmax."""
    model = operator.raw_operator
    nodes = ContainerNodes(scope, container)
    rows = nodes.floats(operator.inputs[0])
    axes = nodes.constant(np.array([1], dtype=np.int64))
    densities = []
    for number, prior in enumerate(model.priors_):
        scale = model.scalings_[number]
        turn = (model.rotations_[number] / np.sqrt(scale)).astype(np.float32)
        middle = nodes.constant(model.means_[number].astype(np.float32))
        turned = nodes.add(
            "MatMul", [nodes.add("Sub", [rows, middle]), nodes.constant(turn)]
        )
        length = nodes.add("ReduceSum", [nodes.add("Mul", [turned, turned]), axes])
        rest = np.array([2.0 * np.log(prior) - np.log(scale).sum()], dtype=np.float32)
        densities.append(nodes.add("Sub", [nodes.constant(rest), length]))
    joined = nodes.add("Concat", densities, attributes={"axis": 1})
    half = nodes.constant(np.array([0.5], dtype=np.float32))
    scores = nodes.add("Mul", [joined, half])
    label = nodes.add("ArgMax", [scores], attributes={"axis": 1, "keepdims": 0})
    _labelled(nodes, container, operator, model.classes_, label)
    nodes.add(
        "Softmax", [scores], into=operator.outputs[1].full_name, attributes={"axis": 1}
    )


def _fixed_class(scope: Any, operator: Any, container: Any) -> None:  # noqa: ANN401
    model = operator.raw_operator
    if model.strategy not in _FIXED_ANSWERS:
        raise RuntimeError(f"DummyClassifier: {model.strategy} answers by chance")
    chosen = np.zeros((1, model.n_features_in_))
    nodes = ContainerNodes(scope, container)
    number = list(model.classes_).index(model.predict(chosen)[0])
    same = _zeros(nodes, operator)
    label = nodes.add("Add", [same, nodes.constant(np.array([number]))])
    _labelled(nodes, container, operator, model.classes_, label)
    shares = nodes.constant(model.predict_proba(chosen).astype(np.float32))
    nodes.add("Gather", [shares, same], into=operator.outputs[1].full_name)


def _fixed_number(scope: Any, operator: Any, container: Any) -> None:  # noqa: ANN401
    model = operator.raw_operator
    nodes = ContainerNodes(scope, container)
    answer = nodes.constant(np.asarray(model.constant_, dtype=np.float32).reshape(1, -1))
    same = _zeros(nodes, operator)
    nodes.add("Gather", [answer, same], into=operator.outputs[0].full_name)


def _zeros(nodes: ContainerNodes, operator: Any) -> str:  # noqa: ANN401 - skl2onnx has no types
    """Return as many int64 zeros as there are rows."""
    shape = nodes.add("Shape", [operator.inputs[0].full_name])
    bounds = [nodes.constant(np.array([n], dtype=np.int64)) for n in (0, 1)]
    return nodes.add(
        "ConstantOfShape",
        [nodes.add("Slice", [shape, *bounds])],
        opset=_ONNX_9,
        attributes={"value": _INT64_ZERO},
    )


def _labelled(
    nodes: ContainerNodes,
    container: Any,  # noqa: ANN401 - skl2onnx has no types
    operator: Any,  # noqa: ANN401
    classes: Array,
    number: str,
) -> None:
    """Add the labels of class numbers, [rows]."""
    into = operator.outputs[0].full_name
    if np.asarray(classes).dtype.kind in "OUS":
        name = operator.scope_inst.get_unique_variable_name("classes")
        texts = [str(label).encode() for label in classes]
        container.add_initializer(name, TensorProto.STRING, [len(texts)], texts)
    else:
        name = nodes.constant(np.asarray(classes).astype(np.int64))
    nodes.add("Gather", [name, number], into=into)


def _moved_threshold(scope: Any, operator: Any, container: Any) -> None:  # noqa: ANN401
    """Add the inner classifier, and judge its probability by the outer's threshold."""
    model = operator.raw_operator
    inner = model.estimator_
    if model.response_method not in {"auto", "predict_proba"} or not hasattr(
        inner, "predict_proba"
    ):
        raise RuntimeError(f"{type(model).__name__}: its threshold is not a probability's")
    positive = _positive(model)
    probabilities = _inner(scope, operator, inner, 1)
    nodes = ContainerNodes(scope, container)
    column = nodes.constant(np.array(positive, dtype=np.int64))
    score = nodes.add("Gather", [probabilities, column], attributes={"axis": 1})
    least: Any = getattr(model, "best_threshold_", getattr(model, "threshold", "auto"))
    limit = 0.5 if least == "auto" else float(least)
    bound = nodes.constant(np.array([limit], dtype=np.float32))
    below = nodes.add("Less", [score, bound])
    numbers = [
        nodes.constant(np.array([n], dtype=np.int64)) for n in (1 - positive, positive)
    ]
    label = nodes.add("Where", [below, *numbers], opset=_ONNX_9)
    _labelled(nodes, container, operator, model.classes_, label)
    nodes.add("Identity", [probabilities], into=operator.outputs[1].full_name)


def _positive(model: Any) -> int:  # noqa: ANN401 - scikit-learn has no types
    label = getattr(model, "pos_label", None)
    if label is None:
        label = getattr(getattr(model, "_curve_scorer", None), "_kwargs", {}).get(
            "pos_label"
        )
    return 1 if label is None else list(model.classes_).index(label)


def _transformed(scope: Any, operator: Any, container: Any) -> None:  # noqa: ANN401
    """Add the inner regressor, and undo what was done to its target."""
    model = operator.raw_operator
    found = _inner(scope, operator, model.regressor_, 0)
    nodes = ContainerNodes(scope, container)
    into = operator.outputs[0].full_name
    scaler = model.transformer_
    if hasattr(scaler, "scale_") and hasattr(scaler, "mean_"):
        scale = np.ones(1) if scaler.scale_ is None else scaler.scale_
        mean = np.zeros(1) if scaler.mean_ is None else scaler.mean_
        wide = nodes.add("Mul", [found, nodes.constant(scale.astype(np.float32))])
        nodes.add("Add", [wide, nodes.constant(mean.astype(np.float32))], into=into)
        return
    inverse = getattr(scaler, "inverse_func", None)
    if inverse not in _INVERSES:
        named = getattr(inverse, "__name__", type(scaler).__name__)
        raise RuntimeError(
            f"TransformedTargetRegressor: {named} is no inverse that edgekit knows"
            f" ({', '.join(sorted(known.__name__ for known in _INVERSES))})"
        )
    for step in _INVERSES[inverse]:
        if step == "square":
            found = nodes.add("Mul", [found, found])
        elif step == "minus one":
            found = nodes.add("Sub", [found, nodes.constant(np.ones(1, dtype=np.float32))])
        else:
            found = nodes.add(step, [found])
    nodes.add("Identity", [found], into=into)


def _inner(scope: Any, operator: Any, model: Any, output: int) -> str:  # noqa: ANN401
    """Declare an estimator inside another, and return the name of one of its outputs."""
    alias = sklearn_operator_name_map.get(type(model))
    if alias is None:
        raise RuntimeError(f"no converter of {type(model).__name__}")
    inner = scope.declare_local_operator(alias, model)
    inner.inputs.append(operator.inputs[0])
    if output:  # a classifier: its label comes first
        kind = type(operator.outputs[0].type)
        inner.outputs.append(scope.declare_local_variable("label", kind()))
    inner.outputs.append(scope.declare_local_variable("inner", FloatTensorType()))
    name: str = inner.outputs[output].full_name
    return name
