"""scikit-learn's anomaly detectors that skl2onnx lacks, or makes needlessly big.

Each converter adds nodes for a label (1 normal, -1 not) and a score (below 0: not).
Knows skl2onnx's converter interface only.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import TensorProto, helper
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType

from edgekit.table import Array
from edgekit_converters.frameworks.thresholds import rounded_down

_ML_1 = ("ai.onnx.ml", 1)
_ONNX_13 = ("", 13)
_ONNX_9 = ("", 9)


def detector_shapes(operator: Any) -> None:  # noqa: ANN401 - skl2onnx has no types
    """Declare the outputs of a detector: label and score, [rows, 1] each."""
    operator.outputs[0].type = Int64TensorType([None, 1])
    operator.outputs[1].type = FloatTensorType([None, 1])


def convert_isolation_forest(scope: Any, operator: Any, container: Any) -> None:  # noqa: ANN401
    """Add the whole forest as one tree ensemble.

    skl2onnx adds 27 nodes a tree (100 trees: 801 kB that take 14.6 s to load). A leaf's
    weight is its share of the exponent: -(depth + c(samples in it)) / (trees * c(sample)),
    Liu, Ting and Zhou 2008, section 3; the score is -offset - 2 ** sum.
    """
    model = operator.raw_operator
    nodes = ContainerNodes(scope, container)
    rows = nodes.floats(operator.inputs[0])
    exponent = nodes.add(
        "TreeEnsembleRegressor", [rows], opset=_ML_1, attributes=_forest(model)
    )
    base = nodes.constant(np.array([2.0], dtype=np.float32))
    _answer(nodes, operator, nodes.add("Pow", [base, exponent]), float(model.offset_))


def convert_elliptic_envelope(scope: Any, operator: Any, container: Any) -> None:  # noqa: ANN401
    """Add -offset - (x - m) P (x - m)'.

    The precision P = L L' is applied as the squared length of (x - m) L, which cannot
    come out negative in float32.
    """
    model = operator.raw_operator
    nodes = ContainerNodes(scope, container)
    values, vectors = np.linalg.eigh(model.get_precision())
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    rows = nodes.floats(operator.inputs[0])
    middle = nodes.constant(model.location_.astype(np.float32))
    centred = nodes.add("Sub", [rows, middle])
    turned = nodes.add("MatMul", [centred, nodes.constant(root.astype(np.float32))])
    squares = nodes.add("Mul", [turned, turned])
    axes = nodes.constant(np.array([1], dtype=np.int64))
    distance = nodes.add("ReduceSum", [squares, axes])
    _answer(nodes, operator, distance, float(model.offset_))


class ContainerNodes:
    """Adds nodes with fresh names to skl2onnx's container."""

    def __init__(self, scope: Any, container: Any) -> None:  # noqa: ANN401 - skl2onnx has no types
        self._scope = scope
        self._container = container

    def add(
        self,
        kind: str,
        read: list[str],
        *,
        opset: tuple[str, int] = _ONNX_13,
        into: str | None = None,
        attributes: Mapping[str, object] | None = None,
    ) -> str:
        """Add a node and return the name of its output."""
        output: str = into or self._scope.get_unique_variable_name(kind.lower())
        self._container.add_node(
            kind,
            read,
            output,
            op_domain=opset[0],
            op_version=opset[1],
            name=self._scope.get_unique_operator_name(kind),
            **(attributes or {}),
        )
        return output

    def constant(self, value: Array) -> str:
        """Add an initialiser and return its name."""
        name: str = self._scope.get_unique_variable_name("constant")
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        self._container.add_initializer(name, kind, list(value.shape), value.ravel())
        return name

    def floats(self, variable: Any) -> str:  # noqa: ANN401 - skl2onnx has no types
        """Return a variable's name, cast to float32 first if it holds anything else."""
        name: str = variable.full_name
        if isinstance(variable.type, FloatTensorType):
            return name
        return self.add("Cast", [name], attributes={"to": TensorProto.FLOAT})


def _answer(nodes: ContainerNodes, operator: Any, oddity: str, offset: float) -> None:  # noqa: ANN401
    label, score = (output.full_name for output in operator.outputs)
    most = nodes.constant(np.array([-offset], dtype=np.float32))
    nodes.add("Sub", [most, oddity], into=score)
    nothing = nodes.constant(np.array([0.0], dtype=np.float32))
    odd = nodes.add("Less", [score, nothing])
    choices = [nodes.constant(np.array([n], dtype=np.int64)) for n in (-1, 1)]
    nodes.add("Where", [odd, *choices], opset=_ONNX_9, into=label)


def _forest(model: Any) -> Mapping[str, object]:  # noqa: ANN401 - a fitted IsolationForest
    trees = [_tree(model, number) for number in range(len(model.estimators_))]
    joined = {key: [v for tree in trees for v in tree[key]] for key in trees[0]}
    return {**joined, "n_targets": 1, "post_transform": "NONE"}


def _tree(model: Any, number: int) -> dict[str, list[Any]]:  # noqa: ANN401
    tree = model.estimators_[number].tree_
    features = model.estimators_features_[number]
    leaf = tree.children_left < 0
    leaves = np.flatnonzero(leaf).tolist()
    inner = np.where(leaf, 0, tree.feature)
    return {
        "nodes_treeids": [number] * tree.node_count,
        "nodes_nodeids": list(range(tree.node_count)),
        "nodes_featureids": np.where(leaf, 0, features[inner]).tolist(),
        "nodes_values": np.where(leaf, 0.0, rounded_down(tree.threshold)).tolist(),
        "nodes_modes": ["LEAF" if end else "BRANCH_LEQ" for end in leaf],
        "nodes_truenodeids": np.where(leaf, 0, tree.children_left).tolist(),
        "nodes_falsenodeids": np.where(leaf, 0, tree.children_right).tolist(),
        "nodes_missing_value_tracks_true": np.where(
            leaf, 0, missing_go_to_left(tree)
        ).tolist(),
        "target_treeids": [number] * len(leaves),
        "target_nodeids": leaves,
        "target_ids": [0] * len(leaves),
        "target_weights": _exponents(model, number)[leaves].tolist(),
    }


def missing_go_to_left(tree: Any) -> Array:  # noqa: ANN401 - scikit-learn has no types
    """Return per node whether a missing value goes left; before 1.3 there were none."""
    known: Array | None = getattr(tree, "missing_go_to_left", None)
    return np.zeros(tree.node_count, dtype=np.uint8) if known is None else known


def _exponents(model: Any, number: int) -> Array:  # noqa: ANN401 - a fitted IsolationForest
    """Return what each node of a tree adds to the exponent if a row ends there."""
    tree = model.estimators_[number].tree_
    whole = len(model.estimators_) * float(_path_length(np.array([model.max_samples_]))[0])
    if whole == 0:
        return np.full(tree.node_count, -1.0 / len(model.estimators_))
    depth = np.zeros(tree.node_count)
    for node in range(tree.node_count):  # children come after their parent
        for child in (tree.children_left[node], tree.children_right[node]):
            if child >= 0:
                depth[child] = depth[node] + 1
    found: Array = -(depth + _path_length(tree.n_node_samples)) / whole
    return found


def _path_length(samples: Array) -> Array:
    """Return c(n), the mean length of an unsuccessful search in a tree of n samples."""
    n = np.maximum(samples.astype(np.float64), 2.0)
    many = 2.0 * (np.log(n - 1.0) + np.euler_gamma) - 2.0 * (n - 1.0) / n
    return np.select([samples <= 1, samples == 2], [0.0, 1.0], many)  # noqa: PLR2004 - two
