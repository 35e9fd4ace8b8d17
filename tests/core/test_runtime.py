import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekit.errors import ProofError
from edgekit.manifest import RuntimeNeeds
from edgekit.runtime import Session, give_back_memory, optimised, version

NEEDS = RuntimeNeeds(opsets={"": 17}, ir_version=8, min_onnxruntime="1.16")


def doubler() -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "doubler",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])],
    )
    model = helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def test_a_graph_is_loaded_and_run() -> None:
    session = Session.load(doubler(), NEEDS)
    assert session.inputs == (("x", "tensor(float)", (None, 2)),)
    assert session.run({"x": np.ones((1, 2), np.float32)})["y"].tolist() == [[2.0, 2.0]]
    del session
    give_back_memory()


def test_activations_are_not_held_twice_for_a_memory_pattern() -> None:
    session = Session.load(doubler(), NEEDS)._session  # noqa: SLF001 - its options
    assert not session.get_session_options().enable_mem_pattern


def test_garbage_is_refused_and_names_the_runtime() -> None:
    with pytest.raises(ProofError, match=rf"onnxruntime {version()} cannot load it"):
        Session.load(b"not a model", NEEDS)


def test_an_input_of_the_wrong_shape_or_name_is_an_error_not_a_crash() -> None:
    session = Session.load(doubler(), NEEDS)
    with pytest.raises(ProofError, match="failed on its input"):
        session.run({"x": np.ones((1, 3), np.float32)})
    with pytest.raises(ProofError, match="failed on its input"):
        session.run({"z": np.ones((1, 2), np.float32)})


def test_the_graph_that_really_runs_can_be_seen() -> None:
    model = onnx.ModelProto.FromString(doubler())
    model.graph.node[0].output[0] = "inner"
    model.graph.node.append(helper.make_node("Identity", ["inner"], ["y"]))
    seen = onnx.ModelProto.FromString(optimised(model.SerializeToString(), NEEDS))
    assert [node.op_type for node in seen.graph.node] == ["Add"]


def test_of_garbage_nothing_runs() -> None:
    with pytest.raises(ProofError, match="cannot load it"):
        optimised(b"not a model", NEEDS)
