"""Small networks and forests with seeded weights, for the converters' tests."""

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

CLASSES = 4
SIDE = 12


def classifier(*, seed: int = 7, filters: int = 16) -> ModelProto:
    """A small convolutional classifier, verbosely named, as an exporter writes it."""
    rng = np.random.default_rng(seed)
    first = rng.normal(0, 0.4, (filters, 1, 3, 3)).astype(np.float32)
    second = rng.normal(0, 0.2, (2 * filters, filters, 3, 3)).astype(np.float32)
    dense = rng.normal(0, 0.3, (2 * filters, CLASSES)).astype(np.float32)
    scope = "StatefulPartitionedCall/sequential_1"
    nodes = [
        node("Conv", ["image", f"{scope}/w1", f"{scope}/b1"], f"{scope}/conv1"),
        node("Relu", [f"{scope}/conv1"], f"{scope}/relu1"),
        node("Conv", [f"{scope}/relu1", f"{scope}/w2", f"{scope}/b2"], f"{scope}/conv2"),
        node("Relu", [f"{scope}/conv2"], f"{scope}/relu2"),
        node("GlobalAveragePool", [f"{scope}/relu2"], f"{scope}/pool"),
        node("Flatten", [f"{scope}/pool"], f"{scope}/flat"),
        node("Gemm", [f"{scope}/flat", f"{scope}/w3", f"{scope}/b3"], f"{scope}/dense"),
        node("Softmax", [f"{scope}/dense"], "probabilities"),
    ]
    constants = {
        f"{scope}/w1": first,
        f"{scope}/b1": rng.normal(0, 0.1, filters).astype(np.float32),
        f"{scope}/w2": second,
        f"{scope}/b2": rng.normal(0, 0.1, 2 * filters).astype(np.float32),
        f"{scope}/w3": dense,
        f"{scope}/b3": rng.normal(0, 0.1, CLASSES).astype(np.float32),
    }
    return model(
        nodes,
        constants,
        inputs={"image": ["n", 1, SIDE, SIDE]},
        outputs={"probabilities": ["n", CLASSES]},
    )


def images(rows: int, *, seed: int = 1) -> np.ndarray:
    """Random images for the classifier, [rows, 1, SIDE, SIDE] float32."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (rows, 1, SIDE, SIDE)).astype(np.float32)


def node(operator: str, inputs: list[str], output: str) -> NodeProto:
    """One node, named and documented as exporters do."""
    return helper.make_node(
        operator,
        inputs,
        [output],
        name=f"{output}/node",
        doc_string="exported",
    )


def model(
    nodes: list[NodeProto],
    constants: dict[str, np.ndarray],
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
        ],
        ir_version=8,
        producer_name="exporter",
    )
