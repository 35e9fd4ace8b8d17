"""TFLite files against their ONNX form; the original's answers are LiteRT's own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from edgekit.errors import ConversionError
from edgekit_converters import extraction as folder_of
from edgekit_converters.encoding import decode
from edgekit_converters.extraction import Extraction, Task
from edgekit_converters.job import Order
from edgekit_converters.native import child as native
from edgekit_converters.runtimes import supported
from tests.converters.conftest import QUIET
from tests.converters.natives import answers, assert_same, extracted

pytestmark = pytest.mark.slow  # TensorFlow takes ten seconds to import


def taken(files: Path, name: str) -> Extraction:
    return extracted(files / f"{name}.tflite", files / f"{name}.rows.npy")


def operators(extraction: Extraction) -> set[str]:
    return {node.op_type for node in decode(extraction.model).graph.node}


@pytest.mark.parametrize("form", ["float", "weights"])
def test_a_float_file_answers_as_litert(form: str, tflite_files: Path) -> None:
    extraction = taken(tflite_files, f"images.{form}")
    assert_same(answers(extraction), extraction.original)


@pytest.mark.parametrize(("form", "dtype"), [("int8", "float32"), ("whole", "int8")])
def test_an_int8_file_answers_as_litert_to_the_last_step(
    form: str, dtype: str, tflite_files: Path
) -> None:
    extraction = taken(tflite_files, f"images.{form}")
    assert extraction.binding.inputs[0].dtype == dtype
    assert extraction.binding.outputs[0].dtype == dtype
    got, wanted = answers(extraction).prediction, extraction.original.prediction
    assert isinstance(got, np.ndarray)
    assert isinstance(wanted, np.ndarray)
    assert np.array_equal(got, wanted)
    assert "QuantizeLinear" in operators(extraction)


def test_gelu_is_written_in_operators_that_onnx_knows(tflite_files: Path) -> None:
    extraction = taken(tflite_files, "gelu.float")
    assert "Erf" in operators(extraction)
    assert_same(answers(extraction), extraction.original)


def test_a_file_of_one_row_takes_any_number(tflite_files: Path) -> None:
    extraction = taken(tflite_files, "one_row")
    assert extraction.binding.inputs[0].shape == (-1, 8, 8, 1)
    assert_same(answers(extraction), extraction.original)


def test_a_file_that_works_with_one_row_only_is_refused(tflite_files: Path) -> None:
    with pytest.raises(ConversionError, match=r"for exactly one row.*without batch_size"):
        taken(tflite_files, "stuck")


def test_names_are_those_of_the_signature(tflite_files: Path) -> None:
    rows = tflite_files / "two_ways.rows.npz"
    rng = np.random.default_rng(5)
    np.savez(rows, one=rng.random((9, 4), np.float32), two=rng.random((9, 2), np.float32))
    extraction = extracted(tflite_files / "two_ways.tflite", rows)
    assert {t.columns for t in extraction.binding.inputs} == {("one",), ("two",)}
    assert {o.name for o in extraction.binding.outputs} == {"mean", "spread"}
    assert_same(answers(extraction), extraction.original)


def test_the_task_is_told_from_the_last_layer(tflite_files: Path) -> None:
    assert taken(tflite_files, "classifier.float").task is Task.CLASSIFICATION
    assert taken(tflite_files, "gelu.float").task is Task.REGRESSION


def test_fractions_for_whole_numbers_are_refused(tflite_files: Path) -> None:
    rows = tflite_files / "images.float.rows.npy"
    with pytest.raises(
        ConversionError, match=r"takes int8, the samples are float32; .*x /"
    ):
        extracted(tflite_files / "images.whole.tflite", rows)


def test_mlflows_layout_is_read(tflite_files: Path, tmp_path: Path) -> None:
    shutil.copy(tflite_files / "gelu.float.tflite", tmp_path / "model.tflite")
    document = {"flavors": {"tflite": {"data": "model.tflite"}}}
    tmp_path.joinpath("MLmodel").write_text(yaml.safe_dump(document), "utf-8")
    extraction = extracted(tmp_path, tflite_files / "gelu.float.rows.npy")
    assert_same(answers(extraction), extraction.original)


def test_the_same_file_gives_the_same_bytes_whatever_the_hash_seed(
    tflite_files: Path, tmp_path: Path
) -> None:
    def model(seed: str) -> bytes:
        out = tmp_path / seed
        out.mkdir()
        order = Order(
            model=tflite_files / "images.whole.tflite",
            out=out,
            supported=supported("1.22"),
            samples=tflite_files / "images.whole.rows.npy",
        )
        out.joinpath("order.json").write_bytes(order.to_json())
        subprocess.run(
            [sys.executable, "-P", "-m", native.__name__, str(out / "order.json")],
            env={**os.environ, **QUIET, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        )
        return folder_of.load(out).model

    assert model("1") == model("2")


@pytest.mark.parametrize("length", [8, 40, 400, 1_500])
def test_a_truncated_file_is_a_clear_error(
    length: int, tflite_files: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_files.joinpath("images.float.tflite").read_bytes()[:length])
    with pytest.raises(ConversionError, match=r"model\.tflite: LiteRT cannot load it"):
        extracted(path, tflite_files / "images.float.rows.npy")
