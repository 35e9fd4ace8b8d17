"""SavedModels against their ONNX form: Keras's exports and plain TensorFlow."""

import shutil
from pathlib import Path

import pytest
import yaml

from edgekit.errors import ConversionError
from edgekit_converters import tables
from edgekit_converters.encoding import decode
from edgekit_converters.extraction import Task
from tests.converters.natives import answers, assert_alike, assert_same, extracted

pytestmark = pytest.mark.slow  # TensorFlow takes ten seconds to import


def flavored(files: Path, home: Path, saved: str, **configuration: str) -> Path:
    """An MLflow folder of the plain TensorFlow flavor around a SavedModel."""
    shutil.copytree(files / saved, home / "tfmodel")
    document = {"flavors": {"tensorflow": {"saved_model_dir": "tfmodel", **configuration}}}
    home.joinpath("MLmodel").write_text(yaml.safe_dump(document), "utf-8")
    return home


@pytest.mark.parametrize("suffix", ["exported", "saved"])
@pytest.mark.parametrize("name", ["classifier", "gelu", "images", "series", "words"])
def test_an_export_answers_as_the_original(
    name: str, suffix: str, keras_files: Path
) -> None:
    extraction = extracted(
        keras_files / f"{name}.{suffix}", keras_files / f"{name}.rows.npz"
    )
    (wanted,) = tables.load_npz(keras_files / f"{name}.answers.npz").values()
    assert_alike(extraction.original.prediction, wanted)
    assert_same(answers(extraction), extraction.original)


def test_optimizer_slots_stay_behind(keras_files: Path) -> None:
    saved = keras_files / "classifier.saved"
    extraction = extracted(saved, keras_files / "classifier.rows.npz")
    weights = 4 * (4 * 8 + 8 + 8 * 3 + 3)
    stored = saved / "variables" / "variables.data-00000-of-00001"
    assert stored.stat().st_size > 3 * weights  # Adam keeps two slots a weight
    kept = sum(len(t.raw_data) for t in decode(extraction.model).graph.initializer)
    assert kept <= weights


def test_an_optimizer_whose_class_is_gone_is_left_out(keras_files: Path) -> None:
    rows = keras_files / "module.rows.npz"
    extraction = extracted(keras_files / "lost_optimizer", rows)
    whole = extracted(keras_files / "signed", rows)
    assert_same(answers(extraction), extraction.original)
    assert_same(extraction.original, whole.original)


def test_without_its_objects_it_still_minds_the_signature_that_is_named(
    keras_files: Path, tmp_path: Path
) -> None:
    missing = flavored(
        keras_files, tmp_path, "lost_optimizer", signature_def_key="elsewhere"
    )
    with pytest.raises(ConversionError, match="elsewhere is expected"):
        extracted(missing, keras_files / "module.rows.npz")


def test_a_module_without_a_signature_is_called(keras_files: Path) -> None:
    extraction = extracted(keras_files / "module", keras_files / "module.rows.npz")
    (wanted,) = tables.load_npz(keras_files / "module.answers.npz").values()
    assert extraction.task is Task.CLASSIFICATION
    assert_alike(extraction.original.prediction, wanted)
    assert_same(answers(extraction), extraction.original)


def test_several_answers_keep_their_names(keras_files: Path) -> None:
    extraction = extracted(keras_files / "signed", keras_files / "module.rows.npz")
    assert [output.name for output in extraction.binding.outputs] == ["odds", "sum"]
    assert_same(answers(extraction), extraction.original)


def test_a_signature_must_be_named_if_there_are_several(keras_files: Path) -> None:
    with pytest.raises(ConversionError, match="signatures first, second; serving_default"):
        extracted(keras_files / "two_signatures", keras_files / "module.rows.npz")


def test_a_graph_that_reads_files_is_refused(keras_files: Path) -> None:
    with pytest.raises(ConversionError, match=r"its graph runs ReadFile.*--trust-pickle"):
        extracted(keras_files / "reading", keras_files / "module.rows.npz")


def test_a_fixed_batch_is_refused(keras_files: Path) -> None:
    with pytest.raises(ConversionError, match=r"fixed shape \(1, 4\)"):
        extracted(keras_files / "one_row", keras_files / "module.rows.npz")


def test_the_plain_flavor_names_its_signature(keras_files: Path, tmp_path: Path) -> None:
    home = flavored(keras_files, tmp_path, "two_signatures", signature_def_key="second")
    extraction = extracted(home, keras_files / "module.rows.npz")
    assert isinstance(extraction.original.prediction, dict)
    assert list(extraction.original.prediction) == ["odds", "sum"]
    assert_same(answers(extraction), extraction.original)


@pytest.mark.parametrize("content", [b"garbage", b""])
def test_garbage_is_a_clear_error(content: bytes, tmp_path: Path) -> None:
    tmp_path.joinpath("saved_model.pb").write_bytes(content)
    with pytest.raises(ConversionError, match="saved_model"):
        extracted(tmp_path)
