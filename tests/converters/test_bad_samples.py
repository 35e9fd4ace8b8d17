"""Bad samples: each is a clear error, and leaves nothing behind."""

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from mlflow import MlflowClient
from numpy.lib import format as npy
from onnx import TensorProto, helper, save_model

from edgekit.cli import main
from edgekit.errors import ConversionError
from edgekit_converters import tables
from edgekit_converters.intake import frames, inputs, samples
from edgekit_converters.intake.labels import as_answers

TAKES = inputs.columns(["width", "height"])
MATRIX = inputs.matrix(2, "float32")
GOOD = pd.DataFrame({"width": [1.0, 2.0], "height": [3.0, 4.5], "kind": ["a", "b"]})


def file(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path, target: str | None = None) -> samples.Samples:
    return samples.from_file(path, TAKES, target)


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffwidth,height,kind\n1,3,a\n2,4.5,b\n",
        "width;height;kind\n1;3;a\n2;4.5;b\n",
        "width\theight\tkind\n1\t3\ta\n2\t4.5\tb\n",
        '"width","height","kind"\n"1","3","a"\n"2","4.5","b"\n',
        '"kind","width","height"\n"a, or\nso",1,3\n"b",2,4.5\n',
        "width,height,kind\r\n1,3,a\r\n2,4.5,b\r\n",
    ],
    ids=["mark", "semicolons", "tabs", "quotes", "quoted line end", "carriage returns"],
)
def test_what_spreadsheets_write_is_read(content: str, tmp_path: Path) -> None:
    found = read(file(tmp_path, "rows.csv", content), "kind")
    assert found.table["width"].tolist() == [1, 2]
    assert found.table["height"].tolist() == [3, 4.5]
    assert found.labels is not None
    assert found.labels[1] == "b"


def test_a_list_of_objects_is_read_as_json(tmp_path: Path) -> None:
    path = file(tmp_path, "rows.json", GOOD.to_json(orient="records", indent=2))
    assert read(path).table["height"].tolist() == [3, 4.5]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "rows.csv",
            "5.1,3.5\n4.9,3.0\n",
            "rows.csv: its first line holds numbers (5.1, 3.5), the names of the columns",
        ),
        (
            "rows.csv",
            "width;height\n1,5;3\n",
            "samples: column width, row 0: 1,5, a number is expected",
        ),
        (
            "rows.csv",
            "width,length\n1,3\n",
            "rows.csv: no column height; it has width, length",
        ),
        ("rows.csv", "width,width\n1,2\n", "several columns are called width"),
        ("rows.csv", "width,height\n", "rows.csv: no rows in it; pass a file"),
        ("rows.csv", "", "rows.csv: cannot be read as a table: No columns to parse"),
        ("rows.csv", b"width,he\0ight\n1,2\n", "it holds bytes that no text has"),
        ("rows.csv", b"width,height\n1,\xff\n", "cannot be read as a table: 'utf-8'"),
        (
            "rows.csv",
            "width,height\n1,2,3\n4,5,6\n",
            "its first row has 3 values, the line",
        ),
        (
            "rows.csv",
            "width,height\n1,2,\n4,5,\n",
            "its first row has 3 values, the line of",
        ),
        ("rows.csv", "width," + "h" * 200_000, "cannot be read as a table: field larger"),
        ("rows.csv", "width,height\n1,2\n1,2,3,4\n", "Expected 2 fields in line 3, saw 4"),
        (
            "rows.csv",
            "width,height\n1,2\ntall,3\n",
            "samples: column width, row 1: tall, a number is expected",
        ),
        (
            "rows.jsonl",
            '{"width": 1, "height": [1, 2]}\n',
            "samples: column height, row 0: [1, 2], a number is expected",
        ),
        (
            "rows.jsonl",
            '{"width": 1, "height": {"cm": 2}}\n',
            "samples: column height, row 0: {'cm': 2}, a number is expected",
        ),
        ("rows.jsonl", '{"width": 1\n', "rows.jsonl: line 1 is not JSON"),
        (
            "rows.jsonl",
            '{"width": 1, "height": 2}\n[1, 2]\n',
            "rows.jsonl: line 2 holds a list, an object with a value for each column",
        ),
        ("rows.jsonl", "[" * 100_000, "cannot be read as a table"),
        ("rows.xlsx", "PK", "samples of an unknown format; .csv, .jsonl"),
    ],
)
def test_a_bad_table_says_what_is_wrong_with_it(
    name: str, content: str | bytes, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ConversionError) as refused:
        read(file(tmp_path, name, content))
    assert sentence in str(refused.value)


def test_a_truncated_parquet_file_is_refused_at_every_length(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    GOOD.to_parquet(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(ConversionError, match=r"rows\.parquet: cannot be read as a"):
            read(path)


def test_lists_in_a_parquet_file_are_no_numbers(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pd.DataFrame({"width": [np.ones(2), np.ones(1)], "height": [1, 2]}).to_parquet(path)
    with pytest.raises(ConversionError, match=r"column width, row 0: .*, a number"):
        read(path)


def test_a_parquet_file_of_more_rows_or_bytes_than_are_read_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.parquet"
    pd.DataFrame({"width": np.zeros(50_000), "height": np.zeros(50_000)}).to_parquet(path)
    monkeypatch.setattr(frames, "MAX_ROWS", 40_000)
    with pytest.raises(ConversionError, match="50000 rows, at most 40000 are taken"):
        read(path)


def test_a_file_of_more_bytes_than_are_read_is_refused_before_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "MAX_BYTES", 1_000)
    path = file(tmp_path, "rows.csv", "width,height\n" + "1,2\n" * 1_000)
    with pytest.raises(ConversionError, match="4,013 bytes, at most 1,000 are read"):
        read(path)


def test_of_a_csv_file_no_more_rows_than_the_limit_are_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "MAX_ROWS", 10)
    content = "width,height\n" + "1,2\n" * 11 + "this is never read\n" * 1_000
    with pytest.raises(ConversionError, match="11 rows, at most 10 are taken"):
        read(file(tmp_path, "rows.csv", content))


def zipped(name: str, content: bytes, claimed: int | None = None) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    found = packed.getvalue()
    if claimed is not None:
        found = found.replace(
            len(content).to_bytes(4, "little"), claimed.to_bytes(4, "little")
        )
    return found


def claiming(shape: tuple[int, ...]) -> bytes:
    """An .npy file whose header promises more than follows."""
    head = io.BytesIO()
    npy.write_array_header_1_0(
        head, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    return head.getvalue() + bytes(64)


def encrypted() -> bytes:
    plain = bytearray(zipped("x.npy", claiming((4, 4))))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        plain[plain.index(mark) + offset] |= 1
    return bytes(plain)


def flipped() -> bytes:
    plain = bytearray(zipped("x.npy", claiming((4, 4)) + bytes(500)))
    plain[60] ^= 0xFF
    return bytes(plain)


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04garbage",
        zipped("x.npy", claiming((10**9, 10**6))),
        zipped("x.npy", claiming((-4, 2))),
        zipped("x.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': [1]}  "),
        zipped("x.npy", b"not numpy at all"),
        encrypted(),
        flipped(),
    ],
    ids=["garbage", "huge shape", "negative", "odd header", "text", "locked", "flipped"],
)
def test_a_damaged_or_hostile_npz_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = file(tmp_path, "rows.npz", content)
    with pytest.raises(ConversionError, match=r"rows\.npz: "):
        samples.from_file(path, MATRIX, None)


def test_an_npz_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MAX_BYTES", 10_000)
    path = tmp_path / "rows.npz"
    np.savez_compressed(path, x=np.zeros((5_000, 2), np.float32))
    with pytest.raises(ConversionError, match="bytes unpacked, at most 10000 are read"):
        samples.from_file(path, MATRIX, None)


def test_a_pickle_in_an_npz_or_npy_file_is_not_loaded(tmp_path: Path) -> None:
    evil = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / "rows.npz", x=evil)
    np.save(tmp_path / "rows.npy", evil)
    for name in ("rows.npz", "rows.npy"):
        with pytest.raises(ConversionError, match="not a readable"):
            samples.from_file(tmp_path / name, MATRIX, None)


def test_an_npy_file_that_promises_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    path = file(tmp_path, "rows.npy", claiming((10**9, 2)))
    with pytest.raises(ConversionError, match=r"not a readable \.npy file"):
        samples.from_file(path, MATRIX, None)


@pytest.mark.parametrize(
    ("arrays", "target", "sentence"),
    [
        ({"x": np.zeros((3, 2)), "y": np.zeros(2)}, "y", r"arrays of \[2, 3\] rows, equal"),
        ({"x": np.zeros((0, 2))}, None, "no rows in it"),
        ({"x": np.zeros((3, 5))}, None, r"has shape \(3, 5\), \(-1, 2\) is expected"),
        ({"x": np.zeros(())}, None, r"has shape \(\), \(-1, 2\) is expected"),
        ({"x": np.array([["a", "b"]])}, None, "float32 is expected"),
        ({"x": np.zeros((3, 2))}, "y", "no column y; it has x"),
        ({"x": np.zeros((3, 2)), "y": np.array(1)}, "y", "holds a lone value"),
    ],
)
def test_bad_tensors_are_refused(
    arrays: dict[str, np.ndarray], target: str | None, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, allow_pickle=False, **arrays)
    with pytest.raises(ConversionError, match=sentence):
        samples.from_file(path, MATRIX, target)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (
            np.array([1.0, np.nan, np.inf]),
            "2 of 3 rows have no label; leave those rows out",
        ),
        (np.array(["a", None, "b"], object), "1 of 3 rows have no label"),
        (np.zeros((3, 4)), r"labels of shape \(3, 4\), one for each row is expected"),
    ],
)
def test_bad_labels_are_refused(labels: np.ndarray, sentence: str) -> None:
    with pytest.raises(ConversionError, match=sentence):
        as_answers(labels, np.zeros(3))


def test_labels_of_mixed_types_are_texts() -> None:
    mixed = as_answers(np.array([1, "a", 2.5], object), np.zeros(3))
    assert mixed is not None
    assert mixed.tolist() == ["1", "a", "2.5"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A registered ONNX model: width and height in, one probability of each class out."""

    folder: Path
    uri: str

    def convert(self, *arguments: str | Path) -> Result:
        return CliRunner().invoke(
            main,
            [
                *("convert", "models:/plates/1", "--registry", self.uri),
                *("--out", str(self.folder / "flavors"), "--quantize"),
                *map(str, arguments),
            ],
        )

    def runs(self) -> int:
        client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        known = client.get_experiment_by_name("edgekit/plates")
        return 0 if known is None else len(client.search_runs([known.experiment_id]))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("plates")
    weights = np.array([[1.0, -1.0], [-0.5, 0.5]], np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["plate", "w"], ["z"]),
            helper.make_node("Softmax", ["z"], ["odds"]),
        ],
        "plates",
        [helper.make_tensor_value_info("plate", TensorProto.FLOAT, ["rows", 2])],
        [helper.make_tensor_value_info("odds", TensorProto.FLOAT, ["rows", 2])],
        [helper.make_tensor("w", TensorProto.FLOAT, (2, 2), weights.ravel())],
    )
    model = folder / "model"
    model.mkdir()
    opset = [helper.make_opsetid("", 17)]
    save_model(
        helper.make_model(graph, opset_imports=opset, ir_version=8), model / "m.onnx"
    )
    signature = [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}]
    file(
        model,
        "MLmodel",
        "flavors:\n  onnx:\n    data: m.onnx\n  python_function:\n"
        "    loader_module: mlflow.onnx\n"
        f"signature:\n  inputs: '{json.dumps(signature)}'\n",
    )
    uri = f"sqlite:///{folder}/mlflow.db"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    run = client.create_run(client.create_experiment("t", str(folder / "artifacts")))
    client.log_artifacts(run.info.run_id, str(model), "model")
    client.create_registered_model("plates")
    client.create_model_version("plates", f"{run.info.artifact_uri}/model", run.info.run_id)
    return Bench(folder=folder, uri=uri)


def broken_csv(content: str) -> Callable[[Path], list[str]]:
    return lambda folder: ["--samples", str(file(folder, "rows.csv", content))]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (lambda _: [], "samples: the model has no input example; pass a file"),
        (lambda folder: ["--samples", str(folder / "no.csv")], "no such sample file"),
        (
            broken_csv("a,b\n1,2\n,\n"),
            "samples: the original's answers to 1 of 2 rows (row 1 the first)",
        ),
        (broken_csv("a,b,c\n1,2,3\n"), "3 columns, the model takes 2"),
        (
            lambda folder: (
                [*broken_csv("a,b,k\n1,2,0\n2,1,0\n")(folder), "--target=k", "--metric=auc"]
            ),
            "target: all 2 rows are 0; rows of at least two classes are expected",
        ),
        (
            lambda folder: [*broken_csv("a,b,k\n1,2,0\n2,1,\n")(folder), "--target=k"],
            "target: 1 of 2 rows have no label",
        ),
        (
            lambda folder: [*broken_csv("a,b,k\n1,2,cat\n")(folder), "--target=k"],
            "target: labels cat are not among the model's classes",
        ),
        (
            lambda folder: [*broken_csv("a,b\n1,2\n")(folder), "--metric=accuracy"],
            "metric accuracy: it needs true labels; name their column with --target",
        ),
        (
            lambda folder: [*broken_csv("a,b\n1,2\n")(folder), "--group=clip"],
            "rows.csv: no column clip; it has a, b",
        ),
    ],
)
def test_a_bad_question_ends_with_its_exit_code_and_leaves_nothing(
    bench: Bench, arguments: Callable[[Path], list[str]], sentence: str, tmp_path: Path
) -> None:
    result = bench.convert(*arguments(tmp_path))
    assert result.exit_code == 5, result.stderr
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not (bench.folder / "flavors").exists()
    assert bench.runs() == 0
