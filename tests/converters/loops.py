"""Loops over time as tf2onnx writes them: the cell is the caller's, the frame is this."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgekit.table import Array

STEPS, INPUTS, UNITS = 5, 3, 4
_RNG = np.random.default_rng(7)


def matrix(*shape: int) -> Array:
    return _RNG.normal(0, 0.5, shape).astype(np.float32)


class Body:
    """Nodes in the making."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, Array] = {}

    def add(self, operator: str, *inputs: str, **attributes: object) -> str:
        output = f"n{len(self.nodes)}"
        node = helper.make_node(operator, inputs, [output])
        node.attribute.extend(helper.make_attribute(*pair) for pair in attributes.items())
        self.nodes.append(node)
        return output

    def split(self, value: str, parts: int) -> list[str]:
        names = [f"n{len(self.nodes)}/{part}" for part in range(parts)]
        self.nodes.append(helper.make_node("Split", [value], names, axis=-1))
        return names

    def constant(self, values: Array) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = values
        return name

    def cut(self, value: str, start: int, stop: int) -> str:
        bounds = [self.constant(np.array([n])) for n in (start, stop, 1)]
        return self.add("Slice", value, *bounds)


Cell = Callable[[Body, str, list[str]], list[str]]
"""Adds a step: (body, data, states) -> new states, the answer's first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What may be odd about a Loop: None are the trips that its data has."""

    trips: int | None = None
    until: int | None = None  # the condition ends it there
    first: int = 0  # the counter's first value
    stride: int = 1


def looped(cell: Cell, states: int = 1, frame: Frame = Frame()) -> ModelProto:
    """Return [rows, steps, INPUTS] -> the answers of all steps, and of the last."""
    body = Body()
    data = body.add("Gather", "x", "t")
    olds = [f"s{n}" for n in range(states)]
    news = cell(body, data, olds)
    later = body.add("Add", "t", body.constant(np.array(frame.stride)))
    until = "length" if frame.until is None else body.constant(np.array(frame.until))
    going = [body.add("Less", "i", "length"), body.add("Less", later, until)]
    condition = body.add("And", *going)
    answer = body.add("Identity", news[0])
    names = [condition, later, *news, "handed", answer]
    body.nodes.append(helper.make_node("Identity", ["weight"], ["handed"]))
    inner = helper.make_graph(
        body.nodes,
        "step",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("t", TensorProto.INT64, []),
            *(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in olds),
            helper.make_tensor_value_info("weight", TensorProto.FLOAT, None),
        ],
        [helper.make_empty_tensor_value_info(name) for name in names],
    )
    return _around(inner, body.constants, states, frame)


def _around(
    inner: object, constants: dict[str, Array], states: int, frame: Frame
) -> ModelProto:
    finals = [f"final{n}" for n in range(states)]
    trips = "length" if frame.trips is None else "trips"
    carried = ["first", *["zeros"] * states, "carried"]
    nodes = [
        helper.make_node("Transpose", ["batch"], ["x"], perm=[1, 0, 2]),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["length"]),
        helper.make_node("Gather", ["shape", "one"], ["rows"]),
        helper.make_node("Unsqueeze", ["rows", "line"], ["many"]),
        helper.make_node("Concat", ["many", "units"], ["wide"], axis=0),
        helper.make_node("ConstantOfShape", ["wide"], ["zeros"]),
        helper.make_node("Less", ["zero", "length"], ["begins"]),
        helper.make_node(
            "Loop",
            [trips, "begins", *carried],
            ["count", *finals, "unused", "answers"],
            body=inner,
        ),
        helper.make_node("Transpose", ["answers"], ["every"], perm=[1, 0, 2]),
        *(helper.make_node("Identity", [name], [f"last{name}"]) for name in finals),
    ]
    fixed = {
        "zero": np.array(0),
        "one": np.array(1),
        "line": np.array([0]),
        "units": np.array([UNITS]),
        "first": np.array(frame.first),
        "trips": np.array(frame.trips or 0),
        "carried": matrix(2),
        **constants,
    }
    graph = helper.make_graph(
        nodes,
        "looped",
        [helper.make_tensor_value_info("batch", TensorProto.FLOAT, ["n", "t", INPUTS])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            for name in ("every", *(f"last{name}" for name in finals))
        ],
        [numpy_helper.from_array(values, name) for name, values in fixed.items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
