"""What tf2onnx leaves undone in graphs made from TFLite files.

Knows ONNX, neither TensorFlow nor files.
"""

import math

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from edgekit_converters.passes.constants import lift_constants
from edgekit_converters.passes.walk import nodes

_GELU = "TFL_GELU"


def expand_gelu(model: ModelProto) -> None:
    """Write every GELU, which tf2onnx passes through unknown to ONNX, in operators."""
    changed: list[NodeProto] = []
    for node in model.graph.node:
        if node.op_type == _GELU:
            changed.extend(_gelu(model, node))
        else:
            changed.append(node)
    model.graph.ClearField("node")
    model.graph.node.extend(changed)


def _gelu(model: ModelProto, node: NodeProto) -> list[NodeProto]:
    """Return x / 2 * (1 + erf(x / sqrt 2)), or its approximation by tanh."""
    x, y = node.input[0], node.output[0]
    flags = {attribute.name: attribute.i for attribute in node.attribute}
    numbers = {"half": 0.5, "one": 1.0}
    if flags.get("approximate"):
        numbers |= {"scale": math.sqrt(2 / math.pi), "cube": 0.044715, "three": 3.0}
        inner = [
            ("Pow", [x, "three"], "x3"),
            ("Mul", ["x3", "cube"], "c"),
            ("Add", [x, "c"], "d"),
            ("Mul", ["d", "scale"], "e"),
            ("Tanh", ["e"], "f"),
        ]
    else:
        numbers |= {"scale": math.sqrt(0.5)}
        inner = [("Mul", [x, "scale"], "e"), ("Erf", ["e"], "f")]
    steps = [
        *inner,
        ("Add", ["f", "one"], "g"),
        ("Mul", ["g", "half"], "h"),
        ("Mul", ["h", x], y),
    ]
    for name, value in numbers.items():
        tensor = numpy_helper.from_array(np.array(value, dtype=np.float32), f"{y}/{name}")
        model.graph.initializer.append(tensor)
    kept = {x, y}

    def inner_name(name: str) -> str:
        return name if name in kept else f"{y}/{name}"

    return [
        helper.make_node(operator, list(map(inner_name, read)), [inner_name(made)])
        for operator, read, made in steps
    ]


def open_batch(model: ModelProto) -> None:
    """Open the first dimension of a graph that was made for one row.

    Where a reshape says one row, it says any number afterwards. Whether the graph now
    answers each row as before must be tried.
    """
    lifted = lift_constants(model)
    model.CopyFrom(lifted)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in list(nodes(model.graph)):
        if node.op_type == "Reshape" and node.input[1] in constants:
            wanted = numpy_helper.to_array(constants[node.input[1]])
            if wanted[:1].tolist() == [1]:
                opened = f"{node.output[0]}/shape"
                first = 0 if -1 in wanted else -1
                model.graph.initializer.append(
                    numpy_helper.from_array(
                        np.array([first, *wanted[1:]], np.int64), opened
                    )
                )
                node.input[1] = opened
    model.graph.ClearField("value_info")
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims:
            dims[0].ClearField("dim_value")
            dims[0].dim_param = "rows"
