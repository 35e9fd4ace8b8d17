"""What a folder or file is told to be, from its bytes, without running it."""

import json
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import yaml

from edgekit.errors import ConversionError
from edgekit_converters.frameworks import CONVERTERS
from edgekit_converters.intake import sniffing, source
from edgekit_converters.intake.kind import UNCONVERTED, Kind

PICKLE = b"\x80\x04\x95\x00."
HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(64)


def archived(path: Path, *names: str, size: int = 1) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, bytes(size))
    return path


def mlflow(folder: Path, flavors: object, **rest: object) -> Path:
    document = {"flavors": flavors, "mlflow_version": "3.17.2", **rest}
    folder.joinpath("MLmodel").write_text(yaml.safe_dump(document), "utf-8")
    return folder


def test_a_skops_model_with_its_signature_and_example(tmp_path: Path) -> None:
    archived(tmp_path / "model.skops", "schema.json")
    tmp_path.joinpath("input_example.json").write_text("[]")
    mlflow(
        tmp_path,
        {
            "python_function": {"predict_fn": "predict_proba"},
            "sklearn": {"pickled_model": "model.skops", "code": None},
        },
        signature={"inputs": '[{"type": "double", "name": "a"}]', "params": None},
        saved_input_example_info={
            "artifact_path": "input_example.json",
            "type": "dataframe",
            "pandas_orient": "split",
        },
    )
    found = source.read(tmp_path)
    assert found.kind is Kind.SKLEARN_SKOPS
    assert found.predict_fn == "predict_proba"
    assert found.signature.inputs == [{"type": "double", "name": "a"}]
    assert found.signature.outputs is None
    assert found.example is not None
    assert found.example.orient == "split"
    assert found.source_bytes == tmp_path.joinpath("model.skops").stat().st_size
    found.refuse_untrusted(trust_pickle=False)


def test_a_pickle_needs_trust_whatever_it_is_called(tmp_path: Path) -> None:
    tmp_path.joinpath("model.skops").write_bytes(PICKLE)
    mlflow(tmp_path, {"sklearn": {"pickled_model": "model.skops"}})
    found = source.read(tmp_path)
    assert found.kind is Kind.SKLEARN_PICKLE
    with pytest.raises(ConversionError, match="--trust-pickle"):
        found.refuse_untrusted(trust_pickle=False)
    found.refuse_untrusted(trust_pickle=True)


def test_the_code_folder_of_a_model_is_found(tmp_path: Path) -> None:
    tmp_path.joinpath("model.pkl").write_bytes(PICKLE)
    tmp_path.joinpath("code").mkdir()
    mlflow(tmp_path, {"sklearn": {"pickled_model": "model.pkl", "code": "code"}})
    assert source.read(tmp_path).code == tmp_path.resolve() / "code"


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_an_hdf5_file_is_told_by_its_bytes(name: str, tmp_path: Path) -> None:
    tmp_path.joinpath("data").mkdir()
    tmp_path.joinpath("data", name).write_bytes(HDF5)
    mlflow(tmp_path, {"tensorflow": {"data": "data", "model_type": "keras"}})
    assert source.read(tmp_path).kind is Kind.KERAS_H5


def test_a_keras_archive_is_told_by_its_bytes(tmp_path: Path) -> None:
    tmp_path.joinpath("data").mkdir()
    archived(tmp_path / "data" / "model.h5", "config.json", "model.weights.h5")
    mlflow(tmp_path, {"keras": {"data": "data"}})
    assert source.read(tmp_path).kind is Kind.KERAS_ZIP


@pytest.mark.parametrize("flavor", ["keras", "tensorflow"])
def test_a_saved_model_in_the_keras_layout(flavor: str, tmp_path: Path) -> None:
    saved = tmp_path / "data" / "model"
    saved.mkdir(parents=True)
    saved.joinpath("saved_model.pb").write_bytes(b"12345")
    mlflow(tmp_path, {flavor: {"data": "data"}})
    found = source.read(tmp_path)
    assert (found.kind, found.source_bytes) == (Kind.SAVED_MODEL, 5)


def test_a_saved_model_in_the_plain_layout(tmp_path: Path) -> None:
    tmp_path.joinpath("tfmodel").mkdir()
    tmp_path.joinpath("tfmodel", "saved_model.pb").write_bytes(b"")
    mlflow(tmp_path, {"tensorflow": {"saved_model_dir": "tfmodel"}})
    assert source.read(tmp_path).kind is Kind.SAVED_MODEL


def test_bare_files_and_folders_are_taken_too(tmp_path: Path) -> None:
    onnx = tmp_path / "model.onnx"
    onnx.write_bytes(b"\x08\x08")
    assert source.read(onnx).kind is Kind.ONNX
    saved = tmp_path / "saved"
    saved.mkdir()
    saved.joinpath("saved_model.pb").write_bytes(b"")
    assert source.read(saved).kind is Kind.SAVED_MODEL


def test_onnx_is_preferred_to_what_it_was_made_from(tmp_path: Path) -> None:
    tmp_path.joinpath("model.onnx").write_bytes(b"\x08\x08")
    mlflow(tmp_path, {"sklearn": {"pickled_model": "x"}, "onnx": {"data": "model.onnx"}})
    assert source.read(tmp_path).kind is Kind.ONNX


@pytest.mark.parametrize("flavor", sorted(UNCONVERTED))
def test_a_framework_without_a_converter_is_refused_with_what_to_do_instead(
    flavor: str, tmp_path: Path
) -> None:
    mlflow(tmp_path, {"python_function": {}, flavor: {"data": "model"}})
    with pytest.raises(ConversionError, match=rf"a {flavor} model.*no converter; .*log"):
        source.read(tmp_path)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"binf" + bytes(20), Kind.XGBOOST),
        (b'{"learner":{}}', Kind.XGBOOST),
        (b"tree\nversion=v4\n", Kind.LIGHTGBM),
        (b"CBM1" + bytes(20), Kind.CATBOOST),
        (struct.pack("<I4s", 28, b"TFL3") + bytes(20), Kind.TFLITE),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", Kind.TORCH_PICKLE),
    ],
)
def test_a_bare_file_is_told_by_its_first_bytes(
    content: bytes, kind: Kind, tmp_path: Path
) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    assert source.read(path).kind is kind


@pytest.mark.parametrize(
    ("members", "kind"),
    [
        (["m/constants.pkl", "m/data.pkl", "m/code/x.py"], Kind.TORCH_SCRIPT),
        (["m/archive_format", "m/models/model.json"], Kind.TORCH_PROGRAM),
        (["serialized_exported_program.json", "version"], Kind.TORCH_PROGRAM),
    ],
)
def test_a_torch_archive_is_told_by_its_members(
    members: list[str], kind: Kind, tmp_path: Path
) -> None:
    assert source.read(archived(tmp_path / "model.pth", *members)).kind is kind


@pytest.mark.parametrize("content", [pickle.dumps({"w": 1}, 2), pickle.dumps({}, 4)])
def test_weights_without_their_network_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", content)
    with pytest.raises(
        ConversionError, match=r"weights without their network.*torch\.export\.save"
    ):
        source.read(path)


def test_an_archive_cut_off_behind_another_inside_it_is_damaged(tmp_path: Path) -> None:
    inner = archived(tmp_path / "inner.pt", "archive/data.pkl")
    path = tmp_path / "model.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/archive_format", "pt2")
        archive.writestr("m/data/sample_inputs/model.pt", inner.read_bytes())
    content = path.read_bytes()
    path.write_bytes(content[:-150])  # the outer directory goes, the inner one stays
    with pytest.raises(ConversionError, match=r"model\.pt2: a damaged archive"):
        source.read(path)


@pytest.mark.parametrize("name", ["model.pt2", "model.pth"])
def test_the_pytorch_flavor_in_both_its_formats(name: str, tmp_path: Path) -> None:
    tmp_path.joinpath("data").mkdir()
    archived(tmp_path / "data" / name, "m/archive_format")
    mlflow(tmp_path, {"pytorch": {"model_data": "data", "pytorch_version": "2.13"}})
    assert source.read(tmp_path).path == tmp_path / "data" / name


def test_the_pytorch_flavor_without_a_model_is_refused(tmp_path: Path) -> None:
    tmp_path.joinpath("data").mkdir()
    mlflow(tmp_path, {"pytorch": {"model_data": "data"}})
    with pytest.raises(ConversionError, match=r"data: none of model\.pt2, model\.pth"):
        source.read(tmp_path)


def test_a_python_function_alone_is_refused(tmp_path: Path) -> None:
    mlflow(tmp_path, {"python_function": {"python_model": "python_model.pkl"}})
    with pytest.raises(ConversionError, match="Python code cannot become ONNX"):
        source.read(tmp_path)


def test_every_kind_has_a_converter() -> None:
    assert set(CONVERTERS) == set(Kind)


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "- a list",
        "flavors: {sklearn: {pickled_model: 3}}",
        "flavors: nothing",
        "{}",
        "flavors: {sklearn: {pickled_model: model.pkl}}",
        "flavors: !!python/object/apply:os.system ['true']",
        "flavors: {}",
    ],
)
def test_a_damaged_mlmodel_is_a_clear_error(text: str, tmp_path: Path) -> None:
    tmp_path.joinpath("MLmodel").write_text(text)
    with pytest.raises(ConversionError):
        source.read(tmp_path)


def test_an_endless_mlmodel_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "MAX_MLMODEL_BYTES", 10)
    mlflow(tmp_path, {})
    with pytest.raises(ConversionError, match="at most 10 are read"):
        source.read(tmp_path)


@pytest.mark.parametrize("inputs", ["[", '{"a": 1}', "[1]", 7])
def test_a_damaged_signature_is_a_clear_error(inputs: object, tmp_path: Path) -> None:
    tmp_path.joinpath("model.onnx").write_bytes(b"\x08\x08")
    mlflow(tmp_path, {"onnx": {"data": "model.onnx"}}, signature={"inputs": inputs})
    with pytest.raises(ConversionError, match="signature: inputs"):
        source.read(tmp_path)


@pytest.mark.parametrize("name", ["../outside.onnx", "/etc/hostname", "link.onnx"])
def test_a_path_that_leads_out_of_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    tmp_path.joinpath("outside.onnx").write_bytes(b"\x08\x08")
    home.joinpath("link.onnx").symlink_to(tmp_path / "outside.onnx")
    mlflow(home, {"onnx": {"data": name}})
    with pytest.raises(ConversionError, match="leads out of the model's folder"):
        source.read(home)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("model.bin", b"garbage", "not a model file that edgekit knows"),
        ("model.onnx", b"", "the file is empty"),
        ("model.keras", b"PK\x03\x04garbage", "a damaged archive"),
    ],
)
def test_garbage_is_a_clear_error(
    name: str, content: bytes, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConversionError, match=expected):
        source.read(path)


def test_an_archive_of_anything_else_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="neither Keras's"):
        source.read(archived(tmp_path / "model.keras", "readme.txt"))


def test_nothing_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="no such model file or folder"):
        source.read(tmp_path / "model.onnx")
    with pytest.raises(ConversionError, match="neither an MLmodel file nor"):
        source.read(tmp_path)


def test_a_zip_bomb_is_refused_before_anything_is_unpacked(tmp_path: Path) -> None:
    path = archived(tmp_path / "model.keras", "config.json", size=65 * 2**20)
    assert path.stat().st_size < 2**20
    with pytest.raises(ConversionError, match="zip bomb"):
        source.read(path)


def test_an_archive_larger_than_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sniffing, "MAX_UNPACKED_BYTES", 100)
    path = archived(tmp_path / "model.keras", "config.json", size=101)
    with pytest.raises(ConversionError, match="at most 100 are expected"):
        source.read(path)


def test_a_file_that_may_not_be_read_is_a_clear_error(tmp_path: Path) -> None:
    loop = tmp_path / "model.onnx"
    loop.symlink_to(loop)
    with pytest.raises(ConversionError):
        source.read(loop)


def test_a_signature_is_read_as_mlflow_writes_it(tmp_path: Path) -> None:
    tmp_path.joinpath("model.onnx").write_bytes(b"\x08\x08")
    tensor = {"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 4]}}
    signature = {"inputs": json.dumps([tensor]), "outputs": json.dumps([tensor])}
    mlflow(tmp_path, {"onnx": {"data": "model.onnx"}}, signature=signature)
    assert source.read(tmp_path).signature.outputs == [tensor]
