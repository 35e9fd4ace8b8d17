"""Samples: every format, every misfit, and nothing repaired silently."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from edgekit.errors import ConversionError
from edgekit.manifest import Signature
from edgekit_converters.intake import frames, inputs, samples
from edgekit_converters.intake.inputs import Field, Inputs
from edgekit_converters.intake.source import InputExample

COLUMNS = Inputs(
    fields=(
        Field(name="width", dtype="float64"),
        Field(name="count", dtype="int64"),
        Field(name="open", dtype="bool"),
        Field(name="code", dtype="str"),
    ),
    tensors=False,
)
FRAME = pd.DataFrame(
    {
        "code": ["007", "NA5", "ñ"],
        "label": ["a", "b", "a"],
        "count": [1, 2, 2**53 + 1],
        "open": [True, False, True],
        "width": [0.5, np.nan, -1.0],
    }
)


def written(folder: Path, suffix: str, frame: pd.DataFrame = FRAME) -> Path:
    path = folder / f"rows{suffix}"
    match suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".jsonl":
            frame.to_json(path, orient="records", lines=True)
        case _:
            frame.to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_columns_come_in_the_signatures_types_and_order(
    suffix: str, tmp_path: Path
) -> None:
    found = samples.from_file(written(tmp_path, suffix), COLUMNS, "label")
    assert list(found.table) == ["width", "count", "open", "code"]
    assert [a.dtype.name for a in found.table.values()] == [
        "float64",
        "int64",
        "bool",
        "object",
    ]
    assert found.table["count"].tolist() == [1, 2, 2**53 + 1]
    assert found.table["code"].tolist() == ["007", "NA5", "ñ"]
    assert np.isnan(found.table["width"][1])
    assert found.labels is not None
    assert found.labels.tolist() == ["a", "b", "a"]


def test_a_missing_column_names_its_nearest(tmp_path: Path) -> None:
    path = written(tmp_path, ".csv", FRAME.rename(columns={"width": "widht"}))
    with pytest.raises(ConversionError, match="no column width; did you mean widht"):
        samples.from_file(path, COLUMNS, None)


def test_a_missing_target_lists_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="no column truth; it has code, label"):
        samples.from_file(written(tmp_path, ".csv"), COLUMNS, "truth")


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("count", [1.0, 2.5, 3.0], r"column count, row 1: 2\.5, a whole number"),
        ("count", [1.0, None, 3.0], "column count, row 1: nan, a whole number"),
        ("count", [1.0, 2.0, 2.0**63], r"column count, row 2: .*, a whole number"),
        ("open", [0, 1, 2], "column open, row 2: 2, true or false"),
        ("width", ["1", "x", "3"], "column width, row 1: x, a number"),
        ("code", ["a", None, "b"], "column code, row 1: .*, a text"),
    ],
)
def test_a_value_that_does_not_fit_names_its_row(
    column: str, values: list[object], expected: str, tmp_path: Path
) -> None:
    frame = FRAME.copy()
    frame[column] = pd.Series(values)
    path = written(tmp_path, ".csv", frame)
    with pytest.raises(ConversionError, match=expected):
        samples.from_file(path, COLUMNS, None)


def test_no_rows_is_an_error_and_one_row_is_not(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="no rows in it; pass a file"):
        samples.from_file(written(tmp_path, ".csv", FRAME[:0]), COLUMNS, None)
    one = samples.from_file(written(tmp_path, ".csv", FRAME[:1]), COLUMNS, None)
    assert one.table["code"].tolist() == ["007"]


def test_more_rows_than_the_limit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "MAX_ROWS", 2)
    with pytest.raises(ConversionError, match="3 rows, at most 2 are taken"):
        samples.from_file(written(tmp_path, ".csv"), COLUMNS, None)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("rows.csv", b'a,"b\n1', "cannot be read as a table|no column"),
        ("rows.jsonl", b"{", "line 1 is not JSON"),
        ("rows.parquet", b"PAR1garbage", "cannot be read as a table"),
        ("rows.npy", b"\x93NUMPY\x01", r"not a readable \.npy"),
        ("rows.npz", b"PK\x03\x04garbage", r"not a readable \.npz"),
        ("rows.xlsx", b"PK", "samples of an unknown format"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_clear_error(
    name: str, content: bytes, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConversionError, match=expected):
        samples.from_file(path, COLUMNS, None)


def test_a_file_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="no such sample file"):
        samples.from_file(tmp_path / "rows.csv", COLUMNS, None)


IMAGE = Inputs(
    fields=(Field(name="image", dtype="float32", shape=(-1, 2, 2)),), tensors=True
)
PAIR = Inputs(
    fields=(
        Field(name="a", dtype="float32", shape=(-1, 2)),
        Field(name="b", dtype="int64", shape=(-1,)),
    ),
    tensors=True,
)


def test_a_lone_tensor_needs_no_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    np.save(path, np.ones((3, 2, 2)))
    found = samples.from_file(path, IMAGE, None)
    assert found.table["image"].dtype == np.float32
    assert found.table["image"].shape == (3, 2, 2)


def test_tensors_are_matched_by_name_and_the_target_is_taken_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, b=[1, 2], a=np.zeros((2, 2)), y=[0, 1])
    found = samples.from_file(path, PAIR, "y")
    assert list(found.table) == ["a", "b"]
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"a": np.zeros((2, 3)), "b": [1, 2]}, r"a has shape \(2, 3\)"),
        ({"a": np.zeros((2, 2)), "b": [1, 2, 3]}, r"arrays of \[2, 3\] rows"),
        ({"a": np.zeros((2, 2))}, "no column b|has shape"),
        ({"a": np.full((2, 2), "x"), "b": [1, 2]}, "a holds object, float32"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    arrays: dict[str, object], expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.npz"
    named = {name: np.asarray(array) for name, array in arrays.items()}
    np.savez(path, allow_pickle=False, **named)
    with pytest.raises(ConversionError, match=expected):
        samples.from_file(path, PAIR, None)


def test_a_pickle_in_an_array_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, a=np.array([{}], dtype=object))
    with pytest.raises(ConversionError, match=r"not a readable \.npz"):
        samples.from_file(path, PAIR, None)


def test_a_table_fills_a_plain_matrix(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b,y\n1,2,0\n3,4,1\n")
    found = samples.from_file(path, inputs.matrix(2), "y")
    assert found.table[""].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    with pytest.raises(ConversionError, match="3 columns, the model takes 2"):
        samples.from_file(path, inputs.matrix(2), None)


def test_a_target_beside_a_lone_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    np.save(path, np.ones((3, 2)))
    with pytest.raises(ConversionError, match=r"an \.npy file has no column y"):
        samples.from_file(path, inputs.matrix(2), "y")


def example(folder: Path, kind: str, content: object) -> InputExample:
    path = folder / "input_example.json"
    path.write_text(json.dumps(content), "utf-8")
    orient = "split" if kind == "dataframe" else ""
    return InputExample(path=path, type=kind, orient=orient)


def test_the_models_own_example_serves_when_no_file_is_given(tmp_path: Path) -> None:
    split = {"columns": ["code", "width", "open", "count"], "data": [["x", 1, True, 2]]}
    found = samples.read(None, example(tmp_path, "dataframe", split), COLUMNS, None)
    assert found.table["width"].tolist() == [1.0]
    assert found.table["code"].tolist() == ["x"]


@pytest.mark.parametrize("content", [[[1, 2], [3, 4]], {"inputs": [[1, 2], [3, 4]]}])
def test_an_example_of_an_array_is_read(content: object, tmp_path: Path) -> None:
    found = samples.read(
        None, example(tmp_path, "ndarray", content), inputs.matrix(2), None
    )
    assert found.table[""].tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_an_example_of_named_tensors_is_read(tmp_path: Path) -> None:
    content = {"b": [1, 2], "a": [[1, 2], [3, 4]]}
    found = samples.read(None, example(tmp_path, "ndarray", content), PAIR, None)
    assert found.table["b"].tolist() == [1, 2]


@pytest.mark.parametrize("content", ["x", {"columns": ["a"], "data": [[1, 2]]}, [1, [2]]])
def test_an_example_that_is_no_table_says_what_to_pass(
    content: object, tmp_path: Path
) -> None:
    with pytest.raises(ConversionError, match=r"--samples|no column"):
        samples.read(None, example(tmp_path, "dataframe", content), COLUMNS, None)


def test_no_samples_at_all_says_what_to_pass() -> None:
    with pytest.raises(ConversionError, match="no input example; pass a file with --samp"):
        samples.read(None, None, COLUMNS, None)


def test_a_target_without_a_file_says_what_to_pass(tmp_path: Path) -> None:
    split = {"columns": ["a"], "data": [[1]]}
    with pytest.raises(ConversionError, match="holds no true labels"):
        samples.read(None, example(tmp_path, "dataframe", split), COLUMNS, "y")


def test_types_that_no_graph_takes_are_refused() -> None:
    signature = Signature(inputs=[{"type": "datetime", "name": "when"}])
    with pytest.raises(ConversionError, match="column when is of type datetime"):
        inputs.from_signature(signature)


def test_several_unnamed_columns_are_refused() -> None:
    signature = Signature(inputs=[{"type": "double"}, {"type": "double"}])
    with pytest.raises(ConversionError, match="share a name or have none"):
        inputs.from_signature(signature)


def test_columns_and_tensors_do_not_mix() -> None:
    tensor: dict[str, object] = {
        "type": "tensor",
        "tensor-spec": {"dtype": "float32", "shape": [-1]},
    }
    signature = Signature(inputs=[{"type": "double", "name": "a"}, tensor])
    with pytest.raises(ConversionError, match="mixed"):
        inputs.from_signature(signature)
