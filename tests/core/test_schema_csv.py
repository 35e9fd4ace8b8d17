"""Comma-separated text: as pandas reads it, and what strict refuses of that."""

import math

import pytest

from edgekit.errors import RequestError, SchemaError
from edgekit.manifest import Signature
from edgekit.schema import Enforcement, Limits, Schema
from tests.core.signatures import DOUBLES, Entries, column, tensor

STRICT, MLFLOW, OFF = Enforcement.STRICT, Enforcement.MLFLOW, Enforcement.OFF
A_B = [column("double", "a"), column("double", "b")]


def parsed(
    inputs: Entries | None, text: str, mode: Enforcement = STRICT
) -> dict[str, object]:
    schema = Schema.from_signature(Signature(inputs=inputs))
    found = schema.parse_csv(text.encode(), mode=mode).table
    return {name: array.tolist() for name, array in found.items()}


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n",
        "\ufeffa,b\r\n1,2\r\n",
        "b,a\n2,1\n",
        "\n  \na,b\n\n1,2",
        ",a,b\n0,1,2\n",
        "a,b\nrow,1,2\n",
        '"a","b"\n"1","2"\n',
        "a,b,c\n1,2,x\n",
        "a,b\n 1 ,+2.0e0\n",
    ],
)
def test_ways_to_write_the_same_row(text: str) -> None:
    assert parsed(A_B, text) == {"a": [1.0], "b": [2.0]}


@pytest.mark.parametrize(
    ("kind", "cell", "value"),
    [
        ("long", "-9223372036854775808", -(2**63)),
        ("long", "2.0", 2),
        ("integer", "7", 7),
        ("boolean", "TRUE", True),
        ("boolean", "false", False),
        ("double", "inf", math.inf),
        ("double", "0.1", 0.1),
        ("double", "100000000000000000000", 1e20),
        ("string", '"x,""y"" z"', 'x,"y" z'),
        ("string", "7", "7"),
    ],
)
def test_cells_take_the_type_of_their_column(kind: str, cell: str, value: object) -> None:
    assert parsed([column(kind)], f"a\n{cell}\n") == {"a": [value]}


@pytest.mark.parametrize("mode", [MLFLOW, STRICT])
@pytest.mark.parametrize(
    ("kind", "cell", "fact"),
    [
        ("long", "1.5", "cannot safely convert passed user dtype of int64 for float64"),
        ("integer", "2147483648", "cannot safely convert passed user dtype of int32"),
        ("long", "NA", "Integer column has NA values in column 0"),
        ("boolean", "null", "Bool column has NA values in column 0"),
        ("boolean", "2", "cannot safely convert passed user dtype of bool"),
        ("long", "99999999999999999999", "could not convert whole numbers to int64"),
        ("double", "abc", "could not convert string to float: 'abc'"),
        ("double", "1_0", "could not convert string to float: '1_0'"),
        ("datetime", "2020-01-01", "datetime64[ns] is not supported for parsing"),
    ],
)
def test_cells_of_another_type_are_refused(
    kind: str, cell: str, fact: str, mode: Enforcement
) -> None:
    with pytest.raises(RequestError, match="valid CSV-formatted") as refusal:
        parsed([column(kind)], f"a\n{cell}\n", mode)
    assert fact in str(refusal.value)


@pytest.mark.parametrize(
    ("inputs", "text", "fact"),
    [
        (A_B, "", "No columns to parse from file"),
        (A_B, "a,b\n1,2\n1,2,3\n", "Expected 2 fields in line 3, saw 3"),
        (A_B, 'a,b\n"1,2\n', "unexpected end of data"),
        (
            [tensor("float32", [-1, 2])],
            "a,b\n1,2\n",
            "TensorSpec only supports numpy types",
        ),
        ([DOUBLES], "a\n1\n", "some of the inputs types are not DataType"),
    ],
)
def test_what_makes_no_table_is_refused(inputs: Entries, text: str, fact: str) -> None:
    with pytest.raises(RequestError, match="valid CSV-formatted") as refusal:
        parsed(inputs, text, MLFLOW)
    assert fact in str(refusal.value)


def test_bytes_that_are_no_utf8_are_refused() -> None:
    schema = Schema.from_signature(Signature(inputs=A_B))
    with pytest.raises(RequestError, match="valid UTF-8 encoded string"):
        schema.parse_csv(b"a,b\n\xff,1\n", mode=STRICT)


def test_a_missing_column_gets_mlflows_sentence() -> None:
    with pytest.raises(SchemaError, match=r"Model is missing inputs \['b'\]\. Note that"):
        parsed(A_B, "a,x\n1,2\n")


def test_words_for_missing_text_are_lost_by_mlflow_and_refused_by_strict() -> None:
    lost = parsed([column("string")], "a,n\nNA,1\n,2\n", MLFLOW)["a"]
    assert str(lost) == "[nan, nan]"
    assert str(parsed([column("string")], "a,n\nx,1\n,2\n")["a"]) == "['x', nan]"
    with pytest.raises(SchemaError, match="Row 0 holds 'NA', which would become nan"):
        parsed([column("string")], "a,n\nNA,1\n,2\n")


def test_columns_without_names_go_by_position() -> None:
    inputs = [column("long", None), column("string", None)]
    assert parsed(inputs, "p,q\n1,7\n") == {"0": [1], "1": ["7"]}


def test_without_a_signature_types_are_guessed() -> None:
    guessed = parsed(None, "a,b,c,d,a\n1,0.5,True,x,9\n")
    assert guessed == {"a": [1], "b": [0.5], "c": [True], "d": ["x"], "a.1": [9]}
    assert parsed(A_B, "x\n5\n", OFF) == {"x": [5]}


@pytest.mark.parametrize(
    "body",
    [
        b"a,b\n" + b"1,2\n" * 50,
        b"a,b\n" + b"1,2\n" * 4,
        b"a,b" + b",c" * 9 + b"\n1\n",
        b"a,b\n" + b"1," * 12,
    ],
)
def test_more_than_a_small_machine_bears_is_refused(body: bytes) -> None:
    limits = Limits(body_bytes=100, rows=3, columns=6, cells=8)
    schema = Schema.from_signature(Signature(inputs=A_B), limits)
    with pytest.raises(RequestError, match="are allowed"):
        schema.parse_csv(body, mode=STRICT)
