"""Keras models against their ONNX form, from every file Keras has written."""

import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import ConversionError
from edgekit.table import Array
from edgekit_converters import tables
from edgekit_converters.encoding import decode, encode
from edgekit_converters.extraction import Extraction, Task
from edgekit_converters.passes import simplify
from tests.converters.natives import answers, assert_alike, assert_same, extracted

pytestmark = pytest.mark.slow  # TensorFlow takes ten seconds to import

NETWORKS = [
    "attention",
    "curved",
    "padded",
    "signals",
    "classifier",
    "never_built",
    "gelu",
    "two_ways",
    "images",
    "series",
    "any_length",
    "every_step",
    "words",
]


def taken(files: Path, name: str, suffix: str) -> Extraction:
    return extracted(files / f"{name}.{suffix}", files / f"{name}.rows.npz")


def expected(files: Path, name: str) -> list[Array]:
    return list(tables.load_npz(files / f"{name}.answers.npz").values())


def listed(extraction: Extraction) -> list[Array]:
    original = extraction.original.prediction
    return list(original.values()) if isinstance(original, dict) else [original]


def check(extraction: Extraction, wanted: list[Array]) -> None:
    """The original answered what Keras answered where it was made, and so does ONNX."""
    for got, want in zip(listed(extraction), wanted, strict=True):
        assert_alike(got, want)
    assert_same(answers(extraction), extraction.original)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        *((name, "keras") for name in NETWORKS),
        *((name, "h5") for name in ("images", "padded", "two_ways", "words")),
        *((name, "misnamed.keras") for name in ("classifier", "series")),
    ],
)
def test_a_network_answers_as_the_original(
    name: str, suffix: str, keras_files: Path
) -> None:
    extraction = taken(keras_files, name, suffix)
    check(extraction, expected(keras_files, name))
    first = decode(extraction.model).graph.input[0].type.tensor_type.shape.dim[0]
    assert first.dim_param == "rows"  # any number of them


def test_one_row_alone_is_answered_as_among_others(keras_files: Path) -> None:
    extraction = taken(keras_files, "images", "keras")
    alone = answers(extraction, {"": extraction.samples[""][2:3]}).prediction
    assert isinstance(extraction.original.prediction, np.ndarray)
    assert_alike(alone, extraction.original.prediction[2:3])


def test_series_of_any_length_stay_so(keras_files: Path) -> None:
    extraction = taken(keras_files, "any_length", "keras")
    long = answers(extraction, {"": np.zeros((2, 50, 3), dtype=np.float32)})
    assert isinstance(long.prediction, np.ndarray)
    assert long.prediction.shape == (2, 1)


def test_an_answer_as_long_as_its_question_stays_so(keras_files: Path) -> None:
    extraction = taken(keras_files, "every_step", "keras")
    assert extraction.binding.outputs[0].shape == (-1, -1, 4)
    long = answers(extraction, {"": np.zeros((2, 50, 3), dtype=np.float32)})
    assert isinstance(long.prediction, np.ndarray)
    assert long.prediction.shape == (2, 50, 4)


@pytest.mark.parametrize("suffix", ["keras", "exported"])
def test_recurrent_layers_become_operators(suffix: str, keras_files: Path) -> None:
    extraction = taken(keras_files, "recurrent", suffix)
    simple = simplify(decode(extraction.model))
    kinds = Counter(node.op_type for node in simple.graph.node)
    assert {name: kinds[name] for name in ("GRU", "LSTM", "RNN", "Loop")} == {
        "GRU": 5,
        "LSTM": 1,
        "RNN": 1,
        "Loop": 0,
    }
    (wanted,) = expected(keras_files, "recurrent")
    (got,) = listed(extraction)
    assert_alike(got, wanted)
    simplified = replace(extraction, model=encode(simple))
    assert_same(answers(simplified), extraction.original)


def test_gelu_leaves_no_operator_that_onnx_does_not_know(keras_files: Path) -> None:
    graph = decode(taken(keras_files, "gelu", "keras").model).graph
    assert "Erf" in {node.op_type for node in graph.node}
    assert "Erfc" not in {node.op_type for node in graph.node}


def test_normalisation_adds_no_inputs(keras_files: Path) -> None:
    graph = decode(taken(keras_files, "gelu", "keras").model).graph
    assert [value.name for value in graph.input] == ["input0"]


def test_several_inputs_and_outputs_keep_their_names(keras_files: Path) -> None:
    extraction = taken(keras_files, "two_ways", "keras")
    assert [t.columns for t in extraction.binding.inputs] == [("one",), ("two",)]
    assert [o.name for o in extraction.binding.outputs] == ["mean", "spread"]


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("classifier", Task.CLASSIFICATION),
        ("series", Task.REGRESSION),
        ("images", Task.OTHER),
        ("two_ways", Task.OTHER),
    ],
)
def test_the_task_is_told_from_the_last_layer(
    name: str, task: Task, keras_files: Path
) -> None:
    assert taken(keras_files, name, "keras").task is task


@pytest.mark.parametrize("name", ["images", "series"])
def test_what_keras_2_wrote_and_keras_3_dropped_is_read(
    name: str, keras_files: Path
) -> None:
    check(taken(keras_files, name, "keras2.h5"), expected(keras_files, name))


@pytest.mark.parametrize(
    ("name", "argument"), [("images", "groups=2"), ("series", "time_major=2")]
)
def test_what_keras_2_meant_otherwise_is_refused(
    name: str, argument: str, keras_files: Path
) -> None:
    with pytest.raises(ConversionError, match=f"{argument} has no equal in Keras 3"):
        taken(keras_files, name, "odd.h5")


def test_a_hard_sigmoid_of_keras_2_stays_what_it_was(keras_files: Path) -> None:
    check(taken(keras_files, "hard", "h5"), expected(keras_files, "hard"))


def test_a_hard_sigmoid_that_keras_3_would_read_otherwise_is_refused(
    keras_files: Path,
) -> None:
    with pytest.raises(ConversionError, match=r"hard_sigmoid is Keras 2's.*model\.export"):
        taken(keras_files, "hard", "keras")


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_lambda_layer_is_refused_and_not_run(suffix: str, keras_files: Path) -> None:
    path, rows = keras_files / f"lambda.{suffix}", keras_files / "classifier.rows.npz"
    with pytest.raises(ConversionError, match=r"code of a Lambda layer.*--trust-pickle"):
        extracted(path, rows)
    extraction = extracted(path, rows, trust_pickle=True)
    assert_same(answers(extraction), extraction.original)


def test_a_layer_of_unknown_code_is_refused(keras_files: Path) -> None:
    rows = keras_files / "classifier.rows.npz"
    with pytest.raises(ConversionError, match="mine>Doubled, whose code is not in"):
        extracted(keras_files / "custom.keras", rows)


def test_a_layer_whose_code_mlflow_keeps_is_loaded_where_it_is_trusted(
    mlflow_folders: Path,
) -> None:
    folder = mlflow_folders / "own_layer"
    with pytest.raises(ConversionError, match=r"run code of .*Halved.*--trust-pickle"):
        extracted(folder)
    extraction = extracted(folder, trust_pickle=True)
    wanted = np.load(f"{folder}.answers.npy", allow_pickle=True)
    assert_alike(extraction.original.prediction, wanted)
    assert_same(answers(extraction), extraction.original)


def test_a_file_nested_too_deeply_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", '{"a":' * 50_000 + "1" + "}" * 50_000)
    with pytest.raises(ConversionError, match="a damaged Keras file: nested too deeply"):
        extracted(path)


def test_a_layer_that_looks_words_up_is_refused(keras_files: Path) -> None:
    rows = keras_files / "classifier.rows.npz"
    with pytest.raises(ConversionError, match=r"its StringLookup layer.*encode before it"):
        extracted(keras_files / "lookup.keras", rows)


def test_expm1_is_written_in_operators_that_onnx_knows(keras_files: Path) -> None:
    graph = decode(taken(keras_files, "curved", "keras").model).graph
    assert "Expm1" not in {node.op_type for node in graph.node}


def test_weights_alone_are_refused(keras_files: Path) -> None:
    with pytest.raises(ConversionError, match="it holds weights only"):
        extracted(keras_files / "lone.weights.h5", keras_files / "classifier.rows.npz")


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_truncated_file_is_a_clear_error(
    suffix: str, keras_files: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"model.{suffix}"
    path.write_bytes(keras_files.joinpath(f"images.{suffix}").read_bytes()[:-3000])
    with pytest.raises(ConversionError, match=r"damaged|cannot load it"):
        extracted(path, keras_files / "images.rows.npz")
