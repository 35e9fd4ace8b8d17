"""Small networks and trees with seeded weights, for the converters' tests."""

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgekit.table import Array

CLASSES = 4
SIDE = 12
SCOPE = "StatefulPartitionedCall/sequential_1"  # as an exporter names things


def classifier(*, seed: int = 7, filters: int = 16, undecided: bool = False) -> ModelProto:
    """A small convolutional classifier, verbosely named, as an exporter writes it.

    An undecided one tells its classes apart by less than a step of int8.
    """
    rng = np.random.default_rng(seed)
    constants = {
        "w1": rng.normal(0, 0.4, (filters, 1, 3, 3)),
        "b1": rng.normal(0, 0.1, filters),
        "w2": rng.normal(0, 0.2, (2 * filters, filters, 3, 3)),
        "b2": rng.normal(0, 0.1, 2 * filters),
        "w3": rng.normal(0, 0.3, (2 * filters, CLASSES)),
        "b3": rng.normal(0, 0.1, CLASSES),
    }
    if undecided:
        constants["w3"] = constants["w3"][:, :1] + 1e-3 * constants["w3"]
        constants["b3"] = np.zeros(CLASSES)
    nodes = [
        node("Conv", ["image", inner("w1"), inner("b1")], inner("conv1")),
        node("Relu", [inner("conv1")], inner("relu1")),
        node("Conv", [inner("relu1"), inner("w2"), inner("b2")], inner("conv2")),
        node("Relu", [inner("conv2")], inner("relu2")),
        node("GlobalAveragePool", [inner("relu2")], inner("pool")),
        node("Flatten", [inner("pool")], inner("flat")),
        node("Gemm", [inner("flat"), inner("w3"), inner("b3")], inner("dense")),
        node("Softmax", [inner("dense")], "probabilities"),
    ]
    return model(
        nodes,
        {inner(name): value.astype(np.float32) for name, value in constants.items()},
        inputs={"image": ["n", 1, SIDE, SIDE]},
        outputs={"probabilities": ["n", CLASSES]},
    )


def images(rows: int, *, seed: int = 1) -> Array:
    """Random images for the classifier, [rows, 1, SIDE, SIDE] float32."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (rows, 1, SIDE, SIDE)).astype(np.float32)


def stump(nodes: int = 1) -> ModelProto:
    """A regressor of so many trees of one decision each: x[0] <= t gives 1, else 2."""
    ids = [n for n in range(nodes) for _ in range(3)]
    attributes: dict[str, object] = {
        "n_targets": 1,
        "nodes_treeids": ids,
        "nodes_nodeids": [0, 1, 2] * nodes,
        "nodes_featureids": [0, 0, 0] * nodes,
        "nodes_values": [v for n in range(nodes) for v in (0.5 + n, 0.0, 0.0)],
        "nodes_hitrates": [1.0] * 3 * nodes,
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"] * nodes,
        "nodes_truenodeids": [1, 0, 0] * nodes,
        "nodes_falsenodeids": [2, 0, 0] * nodes,
        "nodes_missing_value_tracks_true": [0, 0, 0] * nodes,
        "target_treeids": [n for n in range(nodes) for _ in range(2)],
        "target_nodeids": [1, 2] * nodes,
        "target_ids": [0, 0] * nodes,
        "target_weights": [1.0, 2.0] * nodes,
        "post_transform": "NONE",
        "aggregate_function": "SUM",
    }
    tree = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], name="trees", domain="ai.onnx.ml"
    )
    for name, value in attributes.items():
        tree.attribute.append(helper.make_attribute(name, value))
    return model([tree], {}, inputs={"x": ["n", 1]}, outputs={"y": ["n", 1]})


def inner(name: str) -> str:
    """The name an exporter gives to an inner value."""
    return f"{SCOPE}/{name}"


def node(operator: str, inputs: list[str], output: str) -> NodeProto:
    """One node, named and documented as exporters do."""
    return helper.make_node(
        operator, inputs, [output], name=f"{output}/node", doc_string="exported"
    )


def model(
    nodes: list[NodeProto],
    constants: dict[str, Array],
    *,
    inputs: dict[str, list[str | int]],
    outputs: dict[str, list[str | int]],
    opset: int = 17,
) -> ModelProto:
    """A float32 model with the given constants as initialisers."""
    graph = helper.make_graph(
        nodes,
        "exported_graph",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
            for n, s in outputs.items()
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(
        graph,
        opset_imports=[
            helper.make_opsetid("", opset),
            helper.make_opsetid("ai.onnx.ml", 3),
            helper.make_opsetid("com.example.unused", 1),
        ],
        ir_version=8,
        producer_name="exporter",
    )
