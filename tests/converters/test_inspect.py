"""What a graph is made of, what stands against it, and files that lie."""

import json
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgekit import board, bundle
from edgekit.cli import main
from edgekit.errors import ConversionError, EdgekitError
from edgekit.inspection import Inspection
from edgekit.runtime import version
from edgekit_converters.inspection.inspect import inspect
from edgekit_converters.needs.contract import clashes
from tests.converters import networks
from tests.core.examples import manifest

MINE = """
name = "mine"
title = "Mine"
arch = "aarch64"
cpu = "one core"
isa = ["neon"]
cores = 1
ram_mb = 512
model_ram_mb = {ram}
model_flash_mb = 64
onnxruntime = "{onnxruntime}"
speed = 0.1
{more}
[sources]
"""
STRANGER = helper.make_node("Frobnicate", ["x"], ["y"], domain="mine")
CONTRIBUTED = helper.make_node("FusedConv", ["x"], ["y"], domain="com.microsoft")


def own_board(onnxruntime: str = "1.22", *, ram: int = 160, more: str = "") -> board.Board:
    text = MINE.format(onnxruntime=onnxruntime, ram=ram, more=more)
    return board.parse(text, subject="mine")


def saved(folder: Path, model: ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def seen(folder: Path, model: ModelProto, *boards: board.Board) -> Inspection:
    return inspect(saved(folder, model), boards)


def one_node(operator: str = "Relu", *, opset: int = 17) -> ModelProto:
    return networks.model(
        [networks.node(operator, ["x"], "y")],
        {},
        inputs={"x": ["n", 4]},
        outputs={"y": ["n", 4]},
        opset=opset,
    )


def edgekit(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["inspect", *map(str, arguments)])


def test_operators_weights_and_ports_are_told(tmp_path: Path) -> None:
    found = seen(tmp_path, networks.classifier())
    counts = {o.name: (o.count, o.since) for o in found.operators}
    assert counts["Conv"] == (2, 11)
    assert counts["Relu"] == (2, 14)
    assert found.opsets["ai.onnx"] == 17
    assert found.inputs[0].shape == ("n", 1, networks.SIDE, networks.SIDE)
    assert found.outputs[0].name == "probabilities"
    assert [w.dtype for w in found.weights] == ["float"]
    stored = networks.classifier().graph.initializer
    assert found.weights[0].size_bytes == sum(len(t.raw_data) for t in stored)
    assert found.largest[0].name.endswith("w2")
    assert found.min_onnxruntime == "1.13"
    assert found.memory.peak_bytes > found.memory.floor_bytes
    assert found.remarks == ()


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (
            one_node(opset=21),
            "opset 21 of ai.onnx > 19 of onnxruntime 1.16: export with opset 19",
        ),
        (
            networks.model([CONTRIBUTED], {}, inputs={"x": ["n"]}, outputs={"y": ["n"]}),
            (
                "com.microsoft.FusedConv: no operator of ONNX, and mine allows none of"
                " com.microsoft: export the model before onnxruntime's optimiser rewrites"
                ' it, or add allow_domains = ["com.microsoft"] to the profile if its'
                " onnxruntime has it"
            ),
        ),
        (
            networks.model([STRANGER], {}, inputs={"x": ["n"]}, outputs={"y": ["n"]}),
            (
                f"mine.Frobnicate: no operator of ONNX, nor of onnxruntime {version()}:"
                " replace it by ONNX's own operators, or export the function that it stands"
                " for with the model"
            ),
        ),
        (
            one_node("Erfc"),
            (
                "ai.onnx.Erfc: ONNX has no such operator at opset 17: export with another"
                " opset, or write it with operators that exist"
            ),
        ),
    ],
)
def test_what_will_not_run_is_told_with_what_to_do(
    model: ModelProto, sentence: str
) -> None:
    assert [str(one) for one in clashes(model, own_board("1.16"))] == [sentence]


def test_a_newer_file_format_is_told() -> None:
    model = one_node()
    model.ir_version = 11
    (clash,) = clashes(model, own_board("1.22"))
    assert clash.fact == "IR version 11 > 10 of onnxruntime 1.22"


def test_a_board_may_allow_contributed_operators() -> None:
    model = networks.model([CONTRIBUTED], {}, inputs={"x": ["n"]}, outputs={"y": ["n"]})
    generous = own_board(more='allow_domains = ["com.microsoft"]')
    assert clashes(model, generous) == ()


@pytest.mark.parametrize(
    ("node", "needs"),
    [
        (CONTRIBUTED, "onnxruntime 1.13 or newer, one that has com.microsoft.FusedConv"),
        (STRANGER, "no onnxruntime that edgekit knows"),
        (helper.make_node("Erfc", ["x"], ["y"]), "no onnxruntime that edgekit knows"),
    ],
)
def test_operators_that_onnx_does_not_have_are_part_of_what_is_needed(
    node: NodeProto, needs: str, tmp_path: Path
) -> None:
    model = networks.model([node], {}, inputs={"x": ["n"]}, outputs={"y": ["n"]})
    if node.domain:
        model.opset_import.append(helper.make_opsetid(node.domain, 1))
    told = edgekit(saved(tmp_path, model)).output
    assert f"  needs       {needs}\n" in told
    assert f"{node.domain or 'ai.onnx'}.{node.op_type}  no operator of ONNX" in told


def test_a_function_that_the_model_brings_along_is_no_stranger(tmp_path: Path) -> None:
    model = networks.model(
        [helper.make_node("Twice", ["x"], ["y"], domain="mine")],
        {},
        inputs={"x": ["n"]},
        outputs={"y": ["n"]},
    )
    model.functions.append(
        helper.make_function(
            "mine",
            "Twice",
            ["a"],
            ["b"],
            [helper.make_node("Add", ["a", "a"], ["b"])],
            [helper.make_opsetid("", 17)],
        )
    )
    model.opset_import.append(helper.make_opsetid("mine", 1))
    found = seen(tmp_path, model, own_board())
    assert [o.name for o in found.operators] == ["Add"]
    assert found.fits[0].fits


def test_an_operator_with_a_wrong_attribute_is_remarked(tmp_path: Path) -> None:
    model = one_node()
    model.graph.node[0].attribute.append(helper.make_attribute("colour", 1))
    (remark,) = seen(tmp_path, model).remarks
    assert remark.startswith("against ONNX's schemas: ")
    assert "colour" in remark


def test_a_graph_too_hungry_for_a_board_is_told_by_how_much(tmp_path: Path) -> None:
    (fit,) = seen(tmp_path, networks.classifier(), own_board(ram=50)).fits
    assert not fit.fits
    assert "50 MB are there" in fit.troubles[0].fact
    assert "--quantize" in fit.troubles[0].remedy


def test_the_command_prints_it_and_fits_by_its_exit_code(tmp_path: Path) -> None:
    path = saved(tmp_path, networks.classifier())
    fine = edgekit(path, "--board", "gateway-256mb")
    assert fine.exit_code == 0, fine.output
    assert "gateway-256mb (onnxruntime 1.22): nothing stands against it" in fine.stdout
    tight = tmp_path / "mine.toml"
    tight.write_text(MINE.format(onnxruntime="1.22", ram=50, more=""))
    unfit = edgekit(path, "--board", tight, "--json")
    assert unfit.exit_code == 6
    assert unfit.stderr == "error: model.onnx: it does not fit mine\n"
    document = json.loads(unfit.stdout)
    assert document["fits"][0]["fits"] is False
    assert document["operators"][0]["domain"] == "ai.onnx"


def test_a_bundle_is_looked_into_and_its_session_options_count(tmp_path: Path) -> None:
    content = networks.classifier().SerializeToString()
    members = {"model.onnx": content, "golden.json": b"{}"}
    described = {name: bundle.describe(data) for name, data in members.items()}
    path = tmp_path / "some.edgekit"
    path.write_bytes(bundle.pack(replace(manifest(), files=described), members))
    assert inspect(path, ()).file_bytes == len(content)


@pytest.mark.parametrize("magic", sorted(bundle.MAGICS))
def test_a_damaged_bundle_is_refused_as_untrusted(magic: bytes, tmp_path: Path) -> None:
    path = tmp_path / "some.edgekit"
    path.write_bytes(magic + b"\x00" * 40)
    assert edgekit(path).exit_code == 7


def test_a_flavor_s_folder_and_an_mlflow_folder_are_looked_into(tmp_path: Path) -> None:
    saved(tmp_path, networks.classifier())
    assert inspect(tmp_path, ()).path.name == "model.onnx"
    (tmp_path / "MLmodel").write_text("flavors:\n  onnx:\n    data: model.onnx\n")
    assert inspect(tmp_path, ()).path.name == "model.onnx"
    (tmp_path / "MLmodel").write_text("flavors:\n  python_function: {}\n")
    (tmp_path / "manifest.json").write_bytes(manifest().to_json())
    assert inspect(tmp_path, ()).path.name == "model.onnx"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "the file is empty"),
        (b"\x08", "not an ONNX file"),
        (b"hello, I am a model", "not an ONNX file"),
        (networks.classifier().SerializeToString()[:-100], "not an ONNX file"),
        (ModelProto(ir_version=8).SerializeToString(), "it has no graph"),
    ],
)
def test_garbage_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ConversionError, match=complaint):
        inspect(path, ())
    assert edgekit(path).exit_code == 5


def calling(*bodies: list[str]) -> ModelProto:
    """A model that calls F0; each body names the functions it calls in turn."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    model = networks.model(
        [helper.make_node("F0", ["x"], ["y"], domain="mine")],
        {},
        inputs={"x": ["n"]},
        outputs={"y": ["n"]},
    )
    model.opset_import.append(opsets[1])
    for number, body in enumerate(bodies):
        values = ["a", *(f"t{n}" for n in range(len(body) - 1)), "b"]
        calls = [
            helper.make_node(called, [before], [after], domain="mine")
            for called, (before, after) in zip(body, pairwise(values), strict=True)
        ]
        model.functions.append(
            helper.make_function("mine", f"F{number}", ["a"], ["b"], calls, opsets)
        )
    return model


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (calling(["F1"], ["F0"]), "function F0 calls itself"),
        (
            calling(*([f"F{n + 1}"] for n in range(3_000)), ["Relu"]),
            "function F100 is called within 100 others",
        ),
        (
            calling(*([f"F{n + 1}"] * 2 for n in range(40)), ["Relu"]),
            "its functions unfold to more than 1,000,000 nodes",
        ),
    ],
)
def test_functions_that_never_end_or_explode_are_refused(
    tmp_path: Path, model: ModelProto, complaint: str
) -> None:
    with pytest.raises(ConversionError, match=complaint):
        seen(tmp_path, model)


@pytest.mark.parametrize("name", [b"Conv", b"image", b"exported_graph", b"example"])
def test_names_that_are_not_utf_8_are_refused(tmp_path: Path, name: bytes) -> None:
    content = networks.classifier().SerializeToString()
    assert name in content
    path = tmp_path / "model.onnx"
    path.write_bytes(content.replace(name, b"\xff" * len(name)))
    with pytest.raises(ConversionError, match="a name in it is not UTF-8"):
        inspect(path, ())


@settings(max_examples=150, deadline=None)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 5_000), st.binary(max_size=3), st.integers(0, 4)),
        min_size=1,
        max_size=5,
    )
)
def test_any_damage_is_an_error_with_a_sentence_or_harmless(
    changes: list[tuple[int, bytes, int]],
) -> None:
    content = networks.classifier(filters=2).SerializeToString()
    for at, inserted, removed in changes:
        place = at % len(content)
        content = content[:place] + inserted + content[place + removed :]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(content)
        with suppress(EdgekitError):
            inspect(path, (own_board(),))


def with_weight(weight: TensorProto) -> ModelProto:
    model = networks.model(
        [networks.node("MatMul", ["x", "w"], "y")],
        {},
        inputs={"x": ["n", 4]},
        outputs={"y": ["n", 4]},
    )
    model.graph.initializer.append(weight)
    return model


def weight(**changes: object) -> TensorProto:
    tensor = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    if "dims" in changes:
        tensor.dims[:] = changes["dims"]
    if "data" in changes:
        tensor.ClearField("raw_data")
        tensor.float_data.extend([1.0] * 3)
    return tensor


@pytest.mark.parametrize(
    ("tensor", "complaint"),
    [
        (
            weight(dims=[50_000, 50_000]),
            "constant w declares 10,000,000,000 bytes and holds 64",
        ),
        (weight(data=3), "constant w declares 16 elements and holds 3"),
        (weight(dims=[-4, -4]), r"constant w: shape \[-4, -4\]"),
    ],
)
def test_a_constant_that_is_not_what_it_declares_is_refused(
    tmp_path: Path, tensor: TensorProto, complaint: str
) -> None:
    with pytest.raises(ConversionError, match=complaint):
        seen(tmp_path, with_weight(tensor))


def outside(location: str, **entries: str) -> TensorProto:
    tensor = weight()
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


@pytest.mark.parametrize(
    ("tensor", "complaint"),
    [
        (outside("../../etc/passwd"), "outside the model's folder"),
        (outside("/etc/passwd"), "outside the model's folder"),
        (outside("missing.bin"), "its data file missing.bin is missing"),
        (outside("w.bin", offset="60"), "bytes 60 to 124 of w.bin, which has 64"),
        (outside("w.bin", length="much"), "invalid literal"),
        (outside("w.bin", offset="-64"), "bytes -64 to 0"),
    ],
)
def test_external_data_that_lies_is_refused(
    tmp_path: Path, tensor: TensorProto, complaint: str
) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(64))
    with pytest.raises(ConversionError, match=complaint):
        seen(tmp_path, with_weight(tensor))


def test_external_data_is_counted_and_told(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(64))
    model = with_weight(outside("w.bin"))
    found = seen(tmp_path, model, own_board())
    assert found.file_bytes == len(model.SerializeToString()) + 64
    assert found.fits[0].troubles[0].remedy == "`edgekit convert` draws them in"


def test_a_cycle_is_refused(tmp_path: Path) -> None:
    model = networks.model(
        [networks.node("Add", ["x", "b"], "a"), networks.node("Relu", ["a"], "b")],
        {},
        inputs={"x": ["n"]},
        outputs={"b": ["n"]},
    )
    with pytest.raises(ConversionError, match=r"Add a/node reads b, .*: a cycle"):
        seen(tmp_path, model)


def test_an_output_that_nothing_makes_is_refused(tmp_path: Path) -> None:
    model = one_node()
    model.graph.output[0].name = "z"
    with pytest.raises(ConversionError, match="output z is made by no node"):
        seen(tmp_path, model)


def test_another_format_is_named_with_the_way_to_onnx(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(b"\x80\x04N.")
    sentence = r"model\.pkl: sklearn_pickle, ONNX is inspected: `edgekit convert`"
    with pytest.raises(ConversionError, match=sentence):
        inspect(path, ())


def test_nothing_there_is_said(tmp_path: Path) -> None:
    assert edgekit(tmp_path / "none.onnx").exit_code == 5
