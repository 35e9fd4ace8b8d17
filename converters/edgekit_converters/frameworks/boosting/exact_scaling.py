"""scikit-learn's scalers and imputer to the last bit, for boosters behind them.

skl2onnx scales in float32, in one step, by a reciprocal, and imputes float32 only. But
XGBoost's thresholds are scaled values of its training rows, and LightGBM's lie beside 0:
a last bit that differs sends such rows the other way. Knows skl2onnx's converter
interface only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from onnx import TensorProto
from skl2onnx import update_registered_converter
from skl2onnx.common import _registration as registry
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
from skl2onnx.operator_converters.imputer_op import convert_sklearn_imputer
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from edgekit.table import Array
from edgekit_converters.frameworks.scikit.detectors import ContainerNodes

_NUMPY = {"Sub": np.subtract, "Div": np.divide, "Mul": np.multiply, "Add": np.add}
_PROBES = 256
_IMPUTER = "SklearnSimpleImputer"


@dataclass(frozen=True, slots=True)
class _Step:
    kind: str
    by: Array  # float64 [columns]


def close_gaps() -> None:
    """Register them with skl2onnx, for this process."""
    for kind in (MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler):
        update_registered_converter(kind, f"Edgekit{kind.__name__}", _shapes, _convert)
    registry.register_converter(_IMPUTER, _convert_imputer, overwrite=True)


def _shapes(operator: Any) -> None:  # noqa: ANN401 - skl2onnx has no types
    real = FloatTensorType if _in_float32(operator) else DoubleTensorType
    operator.outputs[0].type = real([None, operator.raw_operator.n_features_in_])


def _convert(scope: Any, operator: Any, container: Any) -> None:  # noqa: ANN401
    """Add each step as numpy takes it.

    float64 rows are scaled in float64. float32 rows stay so between steps; whether a step
    itself is in float64 differs between versions of scikit-learn, so the scaler is asked.
    """
    nodes = ContainerNodes(scope, container)
    model = operator.raw_operator
    steps = _steps(model)
    small = _in_float32(operator)
    wide = not small or _is_wide(model, steps)
    result = _joined(nodes, operator, TensorProto.FLOAT if small else TensorProto.DOUBLE)
    for step in steps:
        if small and wide:
            result = _cast(nodes, result, TensorProto.DOUBLE)
        by = nodes.constant(step.by.astype(np.float64 if wide else np.float32))
        result = nodes.add(step.kind, [result, by])
        if small and wide:
            result = _cast(nodes, result, TensorProto.FLOAT)
    if getattr(model, "clip", False):
        least, most = getattr(model, "feature_range", (-1, 1))
        kind = np.float32 if small else np.float64
        ends = [nodes.constant(np.array(end, dtype=kind)) for end in (least, most)]
        result = nodes.add("Clip", [result, *ends])
    nodes.add("Identity", [result], into=operator.outputs[0].full_name)


def _fills_numbers(operator: Any) -> bool:  # noqa: ANN401 - skl2onnx has no types
    """Whether it is a plain imputer of float64 columns."""
    model = operator.raw_operator
    fills = np.asarray(model.statistics_)
    missing = model.missing_values
    return (
        len(operator.inputs) == 1
        and isinstance(operator.inputs[0].type, DoubleTensorType)
        and fills.dtype.kind == "f"
        and not np.isnan(fills).any()
        and isinstance(missing, float)
        and np.isnan(missing)
        and not model.add_indicator
    )


def _convert_imputer(scope: Any, operator: Any, container: Any) -> None:  # noqa: ANN401
    """Fill the gaps of float64 columns; leave all else to skl2onnx."""
    if not _fills_numbers(operator):
        convert_sklearn_imputer(scope, operator, container)
        return
    nodes = ContainerNodes(scope, container)
    rows = operator.inputs[0].full_name
    fills = nodes.constant(operator.raw_operator.statistics_.astype(np.float64))
    gaps = nodes.add("IsNaN", [rows])
    nodes.add("Where", [gaps, fills, rows], into=operator.outputs[0].full_name)


def _steps(model: Any) -> list[_Step]:  # noqa: ANN401 - a fitted scaler
    if isinstance(model, MinMaxScaler):
        return [_Step("Mul", model.scale_), _Step("Add", model.min_)]
    centre = None
    if isinstance(model, StandardScaler) and model.with_mean:
        centre = model.mean_
    if isinstance(model, RobustScaler) and model.with_centering:
        centre = model.center_
    subtracted = [] if centre is None else [_Step("Sub", centre)]
    scale = getattr(model, "scale_", None)
    return subtracted if scale is None else [*subtracted, _Step("Div", scale)]


def _is_wide(model: Any, steps: Sequence[_Step]) -> bool:  # noqa: ANN401
    """Whether the scaler computes float32 rows in float64 and rounds after each step."""
    width = model.n_features_in_
    probes = np.random.default_rng(0).normal(size=(_PROBES, width)).astype(np.float32)
    wide = probes
    for step in steps:
        wide = _NUMPY[step.kind](wide.astype(np.float64), step.by).astype(np.float32)
    names = getattr(model, "feature_names_in_", None)
    given = probes if names is None else pd.DataFrame(probes, columns=names)
    inside = np.asarray(model.transform(given))
    if getattr(model, "clip", False):
        wide = wide.clip(*getattr(model, "feature_range", (-1, 1)))
    return np.array_equal(inside, wide)


def _in_float32(operator: Any) -> bool:  # noqa: ANN401
    return all(isinstance(value.type, FloatTensorType) for value in operator.inputs)


def _joined(nodes: ContainerNodes, operator: Any, element: int) -> str:  # noqa: ANN401
    names = [
        value.full_name
        if element == TensorProto.FLOAT or isinstance(value.type, DoubleTensorType)
        else _cast(nodes, value.full_name, element)
        for value in operator.inputs
    ]
    return (
        names[0] if len(names) == 1 else nodes.add("Concat", names, attributes={"axis": 1})
    )


def _cast(nodes: ContainerNodes, name: str, element: int) -> str:
    return nodes.add("Cast", [name], attributes={"to": element})
