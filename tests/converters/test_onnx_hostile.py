"""Damaged and hostile ONNX files: each a sentence with what is wrong, never a crash."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgekit.errors import ConversionError
from edgekit_converters.encoding import decode
from edgekit_converters.extraction import Extraction
from tests.converters.natives import answers, assert_same, extracted, saved_rows
from tests.converters.test_onnx_model import ROWS, WEIGHTS, linear, written


def taken(folder: Path, proto: ModelProto) -> Extraction:
    return extracted(written(folder, proto), saved_rows(folder, ROWS))


def built(
    *nodes: NodeProto,
    domains: tuple[str, ...] = (),
    functions: tuple[onnx.FunctionProto, ...] = (),
    opset: int = 17,
) -> ModelProto:
    """A model of these nodes from x and the weights w to y."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(
        graph, opset_imports=opsets, functions=list(functions), ir_version=8
    )


def product(name: str = "MatMul", domain: str = "") -> NodeProto:
    return helper.make_node(name, ["x", "w"], ["y"], domain=domain)


def changed(change: Callable[[ModelProto], object]) -> ModelProto:
    proto = linear()
    change(proto)
    return proto


def made_twice(proto: ModelProto) -> None:
    proto.graph.node.append(product())


def overwritten(proto: ModelProto) -> None:
    proto.graph.node.append(helper.make_node("Relu", ["x"], ["w"]))


def weighed_twice(proto: ModelProto) -> None:
    proto.graph.initializer.append(proto.graph.initializer[0])


def resized(*dims: int) -> Callable[[ModelProto], None]:
    def change(proto: ModelProto) -> None:
        proto.graph.initializer[0].dims[:] = dims

    return change


def cut(proto: ModelProto) -> None:
    tensor = proto.graph.initializer[0]
    tensor.raw_data = tensor.raw_data[:-4]


def retyped(number: int) -> Callable[[ModelProto], None]:
    def change(proto: ModelProto) -> None:
        proto.graph.input[0].type.tensor_type.elem_type = number

    return change


def weights_retyped(proto: ModelProto) -> None:
    proto.graph.initializer[0].data_type = 99


def asked_twice(proto: ModelProto) -> None:
    proto.graph.input.append(proto.graph.input[0])


def answered_twice(proto: ModelProto) -> None:
    proto.graph.output.append(proto.graph.output[0])


def unnamed(proto: ModelProto) -> None:
    proto.graph.input[0].name = ""


def shapeless(proto: ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.ClearField("shape")


def undeclared(proto: ModelProto) -> None:
    proto.ClearField("opset_import")


def circle() -> ModelProto:
    return built(
        helper.make_node("Add", ["x", "b"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w"], ["y"]),
    )


def circle_through_a_branch() -> ModelProto:
    rows = helper.make_tensor_value_info("b", TensorProto.FLOAT, ["n", 4])
    branch = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "b", [], [rows])
    made = helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0)
    asked = helper.make_node("Cast", ["m"], ["c"], to=TensorProto.BOOL)
    chosen = helper.make_node("If", ["c"], ["d"], then_branch=branch, else_branch=branch)
    return built(
        made,
        asked,
        chosen,
        helper.make_node("Add", ["x", "d"], ["a"]),
        helper.make_node("MatMul", ["a", "w"], ["y"]),
    )


def function(*nodes: NodeProto) -> onnx.FunctionProto:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    return helper.make_function("mine", "Lin", ["a", "b"], ["c"], list(nodes), opsets)


def calling_itself() -> ModelProto:
    inner = helper.make_node("Lin", ["a", "b"], ["c"], domain="mine")
    return built(product("Lin", "mine"), domains=("mine",), functions=(function(inner),))


HOSTILE = [
    (changed(made_twice), "value y is made twice, once is expected"),
    (changed(overwritten), "value w is made twice, once is expected"),
    (changed(weighed_twice), "value w is made twice, once is expected"),
    (circle(), "its nodes read each other in a circle, Add is one of them"),
    (circle_through_a_branch(), "its nodes read each other in a circle, If is one of them"),
    (built(helper.make_node("MatMul", ["x", "gone"], ["y"])), "MatMul reads gone, which"),
    (built(helper.make_node("Relu", ["x"], ["z"])), "nothing makes its output y"),
    (
        changed(resized(2**40, 3)),
        "tensor w declares 1099511627776 x 3, 13194139533312 bytes; 48 are in the file",
    ),
    (changed(resized(-4, 3)), "tensor w declares -4 x 3, whole sizes are expected"),
    (changed(cut), "tensor w declares 4 x 3, 48 bytes; 44 are in the file"),
    (changed(weights_retyped), "tensor w is of type 99, which ONNX does not have"),
    (changed(retyped(0)), "input x is of type 0, which ONNX does not have"),
    (changed(retyped(77)), "input x is of type 77, which ONNX does not have"),
    (changed(asked_twice), "input x is there 2 times; a name for each is expected"),
    (changed(answered_twice), "output y is there 2 times; a name for each is expected"),
    (changed(unnamed), r"input \(unnamed\) is there 1 times; a name for each"),
    (changed(shapeless), "input x declares no shape; export it with one"),
    (changed(undeclared), r"it uses ai\.onnx\.MatMul, but declares no opset of ai\.onnx"),
    (built(product(), opset=0), r"opset 0 of ai\.onnx, 1 or newer is expected"),
    (built(product(), opset=99), r"opset 99 of ai\.onnx, .* runs up to 21; export it"),
    (
        built(product("Beam", "org.alien"), domains=("org.alien",)),
        r"it uses org\.alien\.Beam, which no onnxruntime has; replace it",
    ),
    (
        built(product("FusedMatMul", "com.microsoft")),
        r"it uses com\.microsoft\.FusedMatMul, but declares no opset of com\.microsoft",
    ),
    (calling_itself(), "its function Lin calls itself"),
]


@pytest.mark.parametrize(("proto", "sentence"), HOSTILE)
def test_what_is_not_whole_is_refused_with_what_is_wrong(
    proto: ModelProto, sentence: str, tmp_path: Path
) -> None:
    before = {written(tmp_path, proto), saved_rows(tmp_path, ROWS)}
    with pytest.raises(ConversionError, match=f"^model\\.onnx: {sentence}"):
        taken(tmp_path, proto)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("missing", range(1, 150, 9))
def test_no_truncation_crashes(missing: int, tmp_path: Path) -> None:
    path = written(tmp_path, linear())
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(ConversionError):
        extracted(path, saved_rows(tmp_path, ROWS))


def test_functions_are_inlined(tmp_path: Path) -> None:
    inner = helper.make_node("MatMul", ["a", "b"], ["c"])
    proto = built(product("Lin", "mine"), domains=("mine",), functions=(function(inner),))
    extraction = taken(tmp_path, proto)
    graph = decode(extraction.model)
    assert not graph.functions
    assert [opset.domain for opset in graph.opset_import] == [""]
    assert isinstance(extraction.original.prediction, np.ndarray)
    np.testing.assert_allclose(extraction.original.prediction, ROWS @ WEIGHTS, rtol=1e-5)
    assert_same(answers(extraction), extraction.original)


def sparse(*indices: int, dims: tuple[int, ...] = (4, 3)) -> ModelProto:
    def change(proto: ModelProto) -> None:
        values = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
        places = helper.make_tensor("", TensorProto.INT64, [len(indices)], indices)
        proto.graph.ClearField("initializer")
        proto.graph.sparse_initializer.append(
            helper.make_sparse_tensor(values, places, list(dims))
        )

    return changed(change)


def test_sparse_weights_become_dense(tmp_path: Path) -> None:
    extraction = taken(tmp_path, sparse(0, 5))
    weights = np.zeros((4, 3))
    weights[0, 0], weights[1, 2] = 1, 2
    assert isinstance(extraction.original.prediction, np.ndarray)
    np.testing.assert_allclose(extraction.original.prediction, ROWS @ weights, rtol=1e-5)
    assert not decode(extraction.model).graph.sparse_initializer


@pytest.mark.parametrize(
    ("proto", "sentence"),
    [
        (sparse(0, 50), "sparse tensor w: index 50 is out of bounds"),
        (sparse(0), "sparse tensor w: shape mismatch|sparse tensor w: .*broadcast"),
        (sparse(0, 1, dims=(2**20, 2**20)), "sparse tensor w declares 1099511627776"),
        (sparse(0, 1, dims=(-4, 3)), "sparse tensor w declares -12 numbers"),
    ],
)
def test_sparse_weights_out_of_bounds_are_refused(
    proto: ModelProto, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ConversionError, match=sentence):
        taken(tmp_path, proto)


@pytest.mark.parametrize(("domain", "shown"), [("", "ai.onnx"), ("com.microsoft",) * 2])
def test_an_operator_that_no_runtime_has_is_named(
    domain: str, shown: str, tmp_path: Path
) -> None:
    proto = built(product("Frobnicate", domain), domains=(domain,) if domain else ())
    sentence = rf"it uses {shown}\.Frobnicate, which onnxruntime \d.* does not have; export"
    with pytest.raises(ConversionError, match=sentence):
        taken(tmp_path, proto)


def test_contributed_operators_are_left_to_the_boards(tmp_path: Path) -> None:
    proto = built(product("FusedMatMul", "com.microsoft"), domains=("com.microsoft",))
    extraction = taken(tmp_path, proto)
    assert_same(answers(extraction), extraction.original)


def test_what_was_for_training_is_left_behind(tmp_path: Path) -> None:
    proto = linear()
    proto.training_info.add().algorithm.name = "adam"
    assert not decode(taken(tmp_path, proto).model).training_info


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
def test_opset_ir_inputs_and_output_names_stay(opset: int, tmp_path: Path) -> None:
    proto = linear(opset=opset, name="the answer")
    proto.ir_version = 10
    extraction = taken(tmp_path, proto)
    graph = decode(extraction.model)
    assert graph.ir_version == 10
    assert {o.version for o in graph.opset_import if o.domain == ""} == {opset}
    assert [value.name for value in graph.graph.input] == ["x"]
    assert [value.name for value in graph.graph.output] == ["the answer"]
    assert not extraction.notes


def test_an_ir_that_no_board_runs_is_lowered_and_told(tmp_path: Path) -> None:
    proto = linear()
    proto.ir_version = 12
    extraction = taken(tmp_path, proto)
    assert decode(extraction.model).ir_version == 8
    (note,) = extraction.notes
    assert "IR version 8 instead of 12" in note


def test_weights_that_are_no_longer_inputs_are_told(tmp_path: Path) -> None:
    proto = linear()
    proto.ir_version = 8
    proto.graph.input.append(
        helper.make_tensor_value_info("w", TensorProto.FLOAT, list(WEIGHTS.shape))
    )
    (note,) = taken(tmp_path, proto).notes
    assert "1 weights were listed as inputs too" in note
