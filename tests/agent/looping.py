"""Real models that compute for ages: on any row, or for as long as a row says."""

import onnx
from onnx import TensorProto, helper

from tests.agent.making import Made, made, repacked

HANGS = b'{"dataframe_records": [{"a": 1, "b": 1e15}]}'  # some days


def looping(version: str, scale: float) -> Made:
    """Return y = scale * (a + b), after as many rounds of a loop as the largest value."""
    return repacked(made(version=version, scale=scale), loop_model(scale))


def loop_model(scale: float, *, rounds: float = 0.0) -> bytes:
    """Return such a model as ONNX; `rounds` come on top, and are not folded away either."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["sum", "one"], ["more"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("more", TensorProto.FLOAT, []),
        ],
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Add", ["most", "rounds"], ["so_many"]),
        helper.make_node("Cast", ["so_many"], ["trips"], to=TensorProto.INT64),
        helper.make_node("Loop", ["trips", "yes", "zero"], ["looped"], body=body),
        helper.make_node("Mul", ["looped", "zero"], ["nothing"]),
        helper.make_node("ReduceSum", ["x", "axis"], ["sum_of_row"], keepdims=1),
        helper.make_node("Mul", ["sum_of_row", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "nothing"], ["y"]),
    ]
    weights = [
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        helper.make_tensor("scale", TensorProto.FLOAT, [1], [scale]),
        helper.make_tensor("rounds", TensorProto.FLOAT, [], [rounds]),
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
        helper.make_tensor("yes", TensorProto.BOOL, [], [1]),
    ]
    graph = helper.make_graph(
        nodes,
        "looping",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        weights,
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, ir_version=8, opset_imports=opsets)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
