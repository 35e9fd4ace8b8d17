"""ONNX in: taken as it is, its data drawn in, nothing read outside its folder."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgekit.errors import ConversionError
from edgekit.manifest import OutputRole
from edgekit_converters.encoding import decode
from edgekit_converters.extraction import Task
from tests.converters.natives import answers, assert_same, extracted, saved_rows

WEIGHTS = np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32)
ROWS = np.random.default_rng(3).normal(size=(300, 4)).astype(np.float32)  # two batches


def linear(
    *, opset: int = 17, batch: int | str = "n", name: str = "y", node: str = "MatMul"
) -> ModelProto:
    """y = x W."""
    return model(
        [helper.make_node(node, ["x", "w"], [name])],
        inputs=[helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 4])],
        outputs=[helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 3])],
        opset=opset,
    )


def model(
    nodes: list[NodeProto],
    *,
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    opset: int = 17,
) -> ModelProto:
    graph = helper.make_graph(
        nodes, "g", inputs, outputs, [numpy_helper.from_array(WEIGHTS, "w")]
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, producer_name="somebody")


def written(folder: Path, proto: ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def classifier(*, zipmap: bool) -> ModelProto:
    """A label and its probabilities, as skl2onnx writes them, with or without a ZipMap."""
    nodes = [
        helper.make_node(
            "LinearClassifier",
            ["x"],
            ["label", "scores"],
            domain="ai.onnx.ml",
            coefficients=WEIGHTS.T.ravel().tolist(),
            intercepts=[0.0, 0.1, -0.1],
            classlabels_strings=["red", "green", "blue"],
            post_transform="SOFTMAX",
        )
    ]
    shape = [None, 3]
    beside = helper.make_tensor_value_info("scores", TensorProto.FLOAT, shape)
    if zipmap:
        labels = ["red", "green", "blue"]
        nodes.append(
            helper.make_node(
                "ZipMap",
                ["scores"],
                ["map"],
                domain="ai.onnx.ml",
                classlabels_strings=labels,
            )
        )
        number = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
        entry = helper.make_map_type_proto(TensorProto.STRING, number)
        beside = helper.make_value_info("map", helper.make_sequence_type_proto(entry))
    label = helper.make_tensor_value_info("label", TensorProto.STRING, [None])
    rows = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])
    return model(nodes, inputs=[rows], outputs=[label, beside])


def test_a_bare_file_answers_as_it_did(tmp_path: Path) -> None:
    extraction = extracted(written(tmp_path, linear()), saved_rows(tmp_path, ROWS))
    assert isinstance(extraction.original.prediction, np.ndarray)
    np.testing.assert_allclose(extraction.original.prediction, ROWS @ WEIGHTS, rtol=1e-5)
    assert_same(answers(extraction), extraction.original)
    assert extraction.framework == "onnx"
    assert decode(extraction.model).opset_import[0].version == 17
    assert decode(extraction.model).producer_name == ""


@pytest.mark.parametrize("zipmap", [False, True])
def test_a_label_with_probabilities_is_a_classifier(
    *, zipmap: bool, tmp_path: Path
) -> None:
    path = written(tmp_path, classifier(zipmap=zipmap))
    extraction = extracted(path, saved_rows(tmp_path, ROWS))
    assert extraction.task is Task.CLASSIFICATION
    assert extraction.binding.classes == ("red", "green", "blue")
    roles = [output.role for output in extraction.binding.outputs]
    assert roles == [OutputRole.PREDICTION, OutputRole.PROBABILITY]
    got = answers(extraction)
    assert isinstance(got.prediction, np.ndarray)
    assert set(got.prediction) <= {"red", "green", "blue"}
    assert_same(got, extraction.original)


def test_mlflows_onnx_flavor_answers_by_name(tmp_path: Path) -> None:
    written(tmp_path, linear())
    document = {"flavors": {"onnx": {"data": "model.onnx", "onnx_version": "1.17"}}}
    tmp_path.joinpath("MLmodel").write_text(yaml.safe_dump(document), "utf-8")
    extraction = extracted(tmp_path, saved_rows(tmp_path, ROWS))
    assert isinstance(extraction.original.prediction, dict)
    assert list(extraction.original.prediction) == ["y"]
    assert_same(answers(extraction), extraction.original)


def test_the_signature_and_the_names_that_mlflow_recorded_survive(tmp_path: Path) -> None:
    written(tmp_path, linear(name="the answer"))
    spec = {"dtype": "float32", "shape": [-1, 4]}
    inputs = [{"type": "tensor", "name": "x", "tensor-spec": spec}]
    outputs = [{"type": "tensor", "name": "the answer", "tensor-spec": spec}]
    document = {
        "flavors": {"onnx": {"data": "model.onnx", "onnx_version": "1.17"}},
        "signature": {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs)},
    }
    tmp_path.joinpath("MLmodel").write_text(yaml.safe_dump(document), "utf-8")
    extraction = extracted(tmp_path, saved_rows(tmp_path, ROWS))
    assert not extraction.signature_derived
    assert (extraction.signature.inputs, extraction.signature.outputs) == (inputs, outputs)
    assert [t.name for t in extraction.binding.inputs] == ["x"]
    assert [o.name for o in extraction.binding.outputs] == ["the answer"]
    graph = decode(extraction.model).graph
    assert [o.name for o in graph.output] == ["the answer"]


def test_texts_go_in_and_come_out(tmp_path: Path) -> None:
    text = [
        helper.make_tensor_value_info(name, TensorProto.STRING, ["n", 2])
        for name in ("x", "y")
    ]
    node = helper.make_node("Identity", ["x"], ["y"])
    path = written(tmp_path, model([node], inputs=text[:1], outputs=text[1:]))
    rows = tmp_path / "words.npz"
    np.savez(rows, x=np.array([["a", "ä"], ["", "bc"]]))
    extraction = extracted(path, rows)
    assert extraction.binding.inputs[0].dtype == "str"
    assert_same(answers(extraction), extraction.original)


def external(folder: Path, **about: str) -> Path:
    """The model with its weights in a file beside it, as `about` says."""
    proto = linear()
    tensor = proto.graph.initializer[0]
    folder.joinpath("weights.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "weights.bin", **about}.items():
        tensor.external_data.add(key=key, value=value)
    return written(folder, proto)


def test_external_data_are_drawn_in(tmp_path: Path) -> None:
    inside = extracted(written(tmp_path, linear()), saved_rows(tmp_path, ROWS))
    outside = extracted(external(tmp_path), saved_rows(tmp_path, ROWS))
    assert outside.model == inside.model


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "link", "."])
def test_external_data_outside_the_folder_are_refused(
    location: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    tmp_path.joinpath("secret").write_bytes(WEIGHTS.tobytes())
    home.joinpath("link").symlink_to(tmp_path / "secret")
    path = external(home, location=location)
    with pytest.raises(ConversionError, match="outside the model's folder"):
        extracted(path, saved_rows(tmp_path, ROWS))


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({"location": "gone.bin"}, "gone.bin is missing"),
        ({"length": "4000"}, "ends at byte 4000 of weights.bin, which has 48"),
        ({"offset": "x"}, "invalid literal"),
        ({"length": "8"}, "declares 4 x 3, 48 bytes; 8 are in the file"),
        ({"offset": "-8"}, "wants 0 bytes from byte -8 on; whole numbers are expected"),
    ],
)
def test_damaged_external_data_are_a_clear_error(
    about: dict[str, str], expected: str, tmp_path: Path
) -> None:
    with pytest.raises(ConversionError, match=expected):
        extracted(external(tmp_path, **about), saved_rows(tmp_path, ROWS))


def test_an_opset_that_a_board_does_not_run_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, linear(opset=18))
    rows = saved_rows(tmp_path, ROWS)
    with pytest.raises(ConversionError, match=r"opset 18 of ai\.onnx, .* runs up to 17"):
        extracted(path, rows, onnxruntime="1.13")
    extracted(path, rows, onnxruntime="1.14")


def test_the_oldest_ir_version_that_suffices_is_declared(tmp_path: Path) -> None:
    proto = linear()
    proto.ir_version = onnx.IR_VERSION  # newer than any onnxruntime of a board
    extraction = extracted(written(tmp_path, proto), saved_rows(tmp_path, ROWS))
    assert decode(extraction.model).ir_version <= 8
    assert_same(answers(extraction), extraction.original)


def test_weights_that_old_exporters_list_as_inputs_are_not_asked_for(
    tmp_path: Path,
) -> None:
    proto = linear()
    proto.graph.input.append(
        helper.make_tensor_value_info("w", TensorProto.FLOAT, list(WEIGHTS.shape))
    )
    extraction = extracted(written(tmp_path, proto), saved_rows(tmp_path, ROWS))
    assert [tensor.name for tensor in extraction.binding.inputs] == ["x"]


def test_a_fixed_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"fixed shape \(1, 4\)"):
        extracted(written(tmp_path, linear(batch=1)), saved_rows(tmp_path, ROWS))


def test_an_operator_that_onnx_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="Erfc"):
        extracted(written(tmp_path, linear(node="Erfc")), saved_rows(tmp_path, ROWS))


@pytest.mark.parametrize("content", [b"garbage", b"\x08", b"\x08\x08"])
def test_garbage_is_a_clear_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ConversionError, match="not an ONNX"):
        extracted(path, saved_rows(tmp_path, ROWS))


def test_a_truncated_model_is_a_clear_error(tmp_path: Path) -> None:
    path = written(tmp_path, linear())
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ConversionError, match="not an ONNX"):
        extracted(path, saved_rows(tmp_path, ROWS))
