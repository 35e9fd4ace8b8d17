"""PyTorch models against their ONNX form, in every file PyTorch and MLflow write."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import ConversionError
from edgekit_converters import tables
from edgekit_converters.encoding import decode
from edgekit_converters.extraction import Extraction, Task
from edgekit_converters.frameworks import finishing
from tests.converters.natives import answers, assert_alike, assert_same, extracted
from tests.converters.test_extract import converted

pytestmark = pytest.mark.slow  # PyTorch exports for seconds

NETWORKS = [
    "attention",
    "classifier",
    "double",
    "encoder",
    "flat",
    "gru",
    "images",
    "lstm",
    "pair",
    "two_ways",
    "words",
]
LOGGED = [("images", "pickle"), ("lstm", "pickle"), ("flat", "pt2"), ("words", "pt2")]


def taken(files: Path, name: str, rows: str = "classifier") -> Extraction:
    return extracted(files / name, files / f"{rows}.rows.npz", trust_pickle=True)


def listed(extraction: Extraction) -> list[np.ndarray]:
    original = extraction.original.prediction
    return list(original.values()) if isinstance(original, dict) else [original]


@pytest.mark.parametrize(
    ("name", "suffix"),
    [*((name, "pt2") for name in NETWORKS), ("classifier", "pth"), ("double", "pth")],
)
def test_a_network_answers_as_the_original(
    name: str, suffix: str, torch_files: Path
) -> None:
    path, rows = torch_files / f"{name}.{suffix}", torch_files / f"{name}.rows.npz"
    extraction = extracted(path, rows, trust_pickle=suffix == "pth")
    wanted = tables.load_npz(torch_files / f"{name}.answers.npz").values()
    for got, want in zip(listed(extraction), wanted, strict=True):
        assert_alike(got, want)
    assert_same(answers(extraction), extraction.original)
    first = decode(extraction.model).graph.input[0].type.tensor_type.shape.dim[0]
    assert first.dim_param == "rows"  # any number of them
    assert not extraction.notes


@pytest.mark.parametrize(("name", "form"), [("images", "traced"), ("lstm", "scripted")])
def test_torchscript_answers_as_the_original(
    name: str, form: str, torch_files: Path
) -> None:
    extraction = taken(torch_files, f"{name}.{form}.pt", name)
    (wanted,) = tables.load_npz(torch_files / f"{name}.answers.npz").values()
    assert_alike(extraction.original.prediction, wanted)
    assert_same(answers(extraction), extraction.original)


@pytest.mark.parametrize(("name", "form"), LOGGED)
def test_what_mlflow_logged_answers_as_python_function(
    name: str, form: str, torch_files: Path
) -> None:
    folder = torch_files / f"{name}.{form}.logged"
    extraction = extracted(folder, trust_pickle=form == "pickle")
    wanted = np.load(f"{folder}.answers.npy")
    assert_alike(extraction.original.prediction, wanted)
    assert_same(answers(extraction), extraction.original)
    assert not extraction.signature_derived


@pytest.mark.parametrize("name", ["classifier", "flat"])
def test_a_table_in_is_a_table_out(name: str, torch_files: Path) -> None:
    folder = torch_files / f"{name}.frame.logged"
    extraction = extracted(folder, trust_pickle=True)
    assert [t.columns for t in extraction.binding.inputs] == [("a", "b", "c", "d")]
    assert_alike(extraction.original.prediction, np.load(f"{folder}.answers.npy"))
    assert_same(answers(extraction), extraction.original)


def test_series_of_any_length_stay_so_where_the_signature_says_so(
    torch_files: Path,
) -> None:
    extraction = extracted(torch_files / "any_length.logged", trust_pickle=True)
    long = answers(extraction, {"": np.zeros((2, 50, 3), dtype=np.float32)})
    assert isinstance(long.prediction, np.ndarray)
    assert long.prediction.shape == (2, 1)


def test_a_series_stays_one_recurrent_operator(torch_files: Path) -> None:
    graph = decode(taken(torch_files, "lstm.pth", "lstm").model).graph
    assert [node.op_type for node in graph.node].count("LSTM") == 1


def test_several_inputs_are_matched_by_place_as_mlflow_does(torch_files: Path) -> None:
    extraction = taken_by_place(torch_files)
    assert [t.columns for t in extraction.binding.inputs] == [("first",), ("second",)]
    assert [o.name for o in extraction.binding.outputs] == ["mean", "spread"]
    assert_same(answers(extraction), extraction.original)


def taken_by_place(files: Path) -> Extraction:
    rows = tables.load_npz(files / "two_ways.rows.npz")
    renamed = files / "two_ways.renamed.npz"
    np.savez(renamed, allow_pickle=False, first=rows["one"], second=rows["two"])
    return extracted(files / "two_ways.logged", renamed)


def test_an_optional_input_may_be_left_out(torch_files: Path) -> None:
    extraction = taken(torch_files, "pair.pth")
    assert len(extraction.binding.inputs) == 1
    assert [o.name for o in extraction.binding.outputs] == ["output0", "output1"]
    assert_same(answers(extraction), extraction.original)


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("classifier", Task.CLASSIFICATION),
        ("flat", Task.REGRESSION),
        ("images", Task.OTHER),
        ("two_ways", Task.OTHER),
    ],
)
def test_the_task_is_told_from_the_last_layer(
    name: str, task: Task, torch_files: Path
) -> None:
    assert taken(torch_files, f"{name}.pth", name).task is task


@pytest.mark.parametrize("name", ["legacy.pth", "compiled.pth"])
def test_an_odd_wrapping_is_taken_off(name: str, torch_files: Path) -> None:
    extraction = taken(torch_files, name)
    assert_same(answers(extraction), extraction.original)


def test_weights_are_inside_and_nothing_of_the_machine(torch_files: Path) -> None:
    model = decode(taken(torch_files, "encoder.pth", "encoder").model)
    assert not any(t.external_data for t in model.graph.initializer)
    assert str(Path(__file__).parents[2]).encode() not in model.SerializeToString()
    for part in (model, model.graph, *model.graph.node, *model.graph.initializer):
        assert not part.metadata_props
        assert not part.doc_string


@pytest.mark.parametrize(("onnxruntime", "most"), [("1.13", 17), ("1.22", 18)])
def test_the_opset_is_one_the_boards_run(
    onnxruntime: str, most: int, torch_files: Path
) -> None:
    path, rows = torch_files / "classifier.pt2", torch_files / "classifier.rows.npz"
    extraction = extracted(path, rows, onnxruntime=onnxruntime)
    needs = finishing.needs(decode(extraction.model))
    assert needs.opsets[""] <= most


def test_the_older_exporter_keeps_decisions_made_in_torchscript(torch_files: Path) -> None:
    extraction = taken(torch_files, "settling.pth")
    assert_same(answers(extraction), extraction.original)
    (note,) = extraction.notes
    assert "older exporter" in note


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("deciding.pth", r"a decision of its code would be frozen.*torch\.where"),
        ("forgetful.pth", r"the same row in two ways.*model\.eval\(\)"),
        ("training.logged", r"the same row in two ways.*model\.eval\(\)"),
        ("counting.pth", r"the original itself fails on the samples|fixes"),
        ("counting.pt", r"the original itself fails on the samples|fixes"),
        ("fixed.pt2", r"input0 has the fixed shape \(40, 4\)"),
        ("one_row.logged", r"for one row only.*two rows or more"),
        ("talkative.pth", "it answers str at output1; tensors are expected"),
        ("state.pth", r"weights without their network.*torch\.export\.save"),
        ("checkpoint.pt", r"weights without their network.*torch\.export\.save"),
        ("list.pth", r"it holds a list; a torch\.nn\.Module is expected"),
    ],
)
def test_what_has_no_faithful_form_is_refused(
    name: str, reason: str, torch_files: Path
) -> None:
    rows = None if name.endswith(".logged") else torch_files / "classifier.rows.npz"
    with pytest.raises(ConversionError, match=reason):
        extracted(torch_files / name, rows, trust_pickle=True)


def test_answers_whose_rows_are_not_first_are_refused(torch_files: Path) -> None:
    with pytest.raises(ConversionError, match=r"output1 has shape \(1, 40, 5\)"):
        taken(torch_files, "hidden.pth", "lstm")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("classifier.pth", "a pickled PyTorch model; loading it runs"),
        ("images.traced.pt", "a TorchScript program; running it can write files"),
        ("classifier.pickle.logged", "a pickled PyTorch model; loading it runs"),
    ],
)
def test_code_is_not_run_untrusted(name: str, reason: str, torch_files: Path) -> None:
    with pytest.raises(ConversionError, match=rf"{reason}.*--trust-pickle"):
        extracted(torch_files / name, torch_files / "classifier.rows.npz")


def test_nothing_tells_what_a_bare_file_takes(torch_files: Path) -> None:
    with pytest.raises(ConversionError, match="nothing tells what it takes; log it with"):
        extracted(torch_files / "classifier.pth", trust_pickle=True)


@pytest.mark.parametrize("name", ["classifier.pth", "classifier.pt2", "legacy.pth"])
def test_a_truncated_file_is_a_clear_error(
    name: str, torch_files: Path, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(torch_files.joinpath(name).read_bytes()[:-700])
    with pytest.raises(ConversionError, match=r"damaged|cannot load it"):
        extracted(path, torch_files / "classifier.rows.npz", trust_pickle=True)


@pytest.mark.parametrize("name", ["images.pickle.logged", "flat.pt2.logged"])
def test_the_same_model_gives_the_same_bytes_whatever_the_hash_seed(
    name: str, torch_files: Path, tmp_path: Path
) -> None:
    first, second = (
        converted(torch_files / name, tmp_path / seed, seed) for seed in ("1", "2")
    )
    assert first.model == second.model
    assert first.binding == second.binding


def test_a_pickle_of_another_pytorch_that_fails_says_so(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415 - seconds to import

    module = torch.nn.MultiheadAttention(4, 1)
    del module.batch_first  # which older versions did not have
    data = tmp_path / "data"
    data.mkdir()
    torch.save(module, data / "model.pth")
    flavor = {"model_data": "data", "pytorch_version": "1.7.1"}
    python = {"loader_module": "mlflow.pytorch", "data": "data"}
    flavors = {"flavors": {"pytorch": flavor, "python_function": python}}
    tmp_path.joinpath("MLmodel").write_text(json.dumps(flavors), "utf-8")
    rows = {name: np.ones((5, 4), np.float32) for name in ("query", "key", "value")}
    np.savez(tmp_path / "rows.npz", allow_pickle=False, **rows)
    said = r"batch_first.*PyTorch 1\.7\.1.*export\.save"
    with pytest.raises(ConversionError, match=said):
        extracted(tmp_path, tmp_path / "rows.npz", trust_pickle=True)
