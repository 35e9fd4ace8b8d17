"""scikit-learn's transformers that are one matrix product, and that skl2onnx lacks.

Each becomes (x - middle) W + offset, then one function where it has one. What each stands
for is its `transform`, read in scikit-learn's source. Knows skl2onnx's converter interface.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import FloatTensorType
from sklearn.decomposition import (
    FactorAnalysis,
    FastICA,
    MiniBatchSparsePCA,
    SparsePCA,
)
from sklearn.feature_selection import SequentialFeatureSelector
from sklearn.kernel_approximation import RBFSampler
from sklearn.neural_network import BernoulliRBM
from sklearn.random_projection import SparseRandomProjection

from edgekit.table import Array
from edgekit_converters.frameworks.scikit.detectors import ContainerNodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What a transformer computes: (x - middle) `weights` + offset, [columns, results]."""

    weights: Array
    middle: Array | None = None
    offset: Array | None = None
    function: str = ""  # an ONNX operator of one input
    factor: float = 1.0  # after the function


def _factors(model: FactorAnalysis) -> Product:
    weighted = model.components_ / model.noise_variance_
    inverse = np.linalg.inv(np.eye(len(weighted)) + weighted @ model.components_.T)
    return Product(weights=weighted.T @ inverse, middle=model.mean_)


def _independent(model: FastICA) -> Product:
    return Product(weights=model.components_.T, middle=getattr(model, "mean_", None))


def _sparse(model: SparsePCA) -> Product:
    """Ridge regression of the rows on the components, solved for the rows."""
    components = model.components_
    penalty = model.ridge_alpha * np.eye(len(components))
    inverse = np.linalg.inv(components @ components.T + penalty)
    return Product(weights=components.T @ inverse, middle=model.mean_)


def _projection(model: SparseRandomProjection) -> Product:
    components = model.components_
    dense = components.toarray() if hasattr(components, "toarray") else components
    return Product(weights=np.asarray(dense).T)


def _selected(model: SequentialFeatureSelector) -> Product:
    return Product(weights=np.eye(model.n_features_in_)[:, model.get_support()])


def _waves(model: RBFSampler) -> Product:
    return Product(
        weights=model.random_weights_,
        offset=model.random_offset_,
        function="Cos",
        factor=float(np.sqrt(2.0 / model.n_components)),
    )


def _hidden(model: BernoulliRBM) -> Product:
    return Product(
        weights=model.components_.T, offset=model.intercept_hidden_, function="Sigmoid"
    )


PRODUCTS: Mapping[type, Callable[[Any], Product]] = {
    BernoulliRBM: _hidden,
    FactorAnalysis: _factors,
    FastICA: _independent,
    MiniBatchSparsePCA: _sparse,
    RBFSampler: _waves,
    SequentialFeatureSelector: _selected,
    SparsePCA: _sparse,
    SparseRandomProjection: _projection,
}


def close_gaps() -> None:
    """Register the transformers with skl2onnx, for this process."""
    for kind in PRODUCTS:
        update_registered_converter(kind, f"Edgekit{kind.__name__}", _shapes, _convert)


def _shapes(operator: Any) -> None:  # noqa: ANN401 - skl2onnx has no types
    product = _product(operator.raw_operator)
    operator.outputs[0].type = FloatTensorType([None, product.weights.shape[1]])


def _convert(scope: Any, operator: Any, container: Any) -> None:  # noqa: ANN401
    product = _product(operator.raw_operator)
    nodes = ContainerNodes(scope, container)
    found = nodes.floats(operator.inputs[0])
    if product.middle is not None:
        found = nodes.add("Sub", [found, _float(nodes, product.middle)])
    found = nodes.add("MatMul", [found, _float(nodes, product.weights)])
    if product.offset is not None:
        found = nodes.add("Add", [found, _float(nodes, product.offset)])
    if product.function:
        found = nodes.add(product.function, [found])
    last = operator.outputs[0].full_name
    nodes.add("Mul", [found, _float(nodes, np.array([product.factor]))], into=last)


def _product(model: Any) -> Product:  # noqa: ANN401 - scikit-learn has no types
    return PRODUCTS[type(model)](model)


def _float(nodes: ContainerNodes, values: Array) -> str:
    return nodes.constant(np.asarray(values, dtype=np.float32))
