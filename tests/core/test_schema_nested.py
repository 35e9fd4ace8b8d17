"""Columns of lists and objects: what strict refuses beyond MLflow, and what it keeps."""

import json

import numpy as np
import pytest

from edgekit.errors import SchemaError
from edgekit.manifest import Signature
from edgekit.schema import Enforcement, Schema
from tests.core.signatures import DOUBLES, PERSON, TEXTS, nested, objects, records

STRICT, MLFLOW = Enforcement.STRICT, Enforcement.MLFLOW


def parsed(entry: dict[str, object], *cells: object, mode: Enforcement) -> list[object]:
    schema = Schema.from_signature(Signature(inputs=[entry]))
    found: list[object] = (
        schema.parse(json.dumps(records(*cells)).encode(), mode=mode).table["a"].tolist()
    )
    return found


@pytest.mark.parametrize(
    ("entry", "cell", "altered"),
    [
        (TEXTS, [1, "b"], ["1", "b"]),
        (TEXTS, ["ab", None], ["a", "n"]),
        (TEXTS, [None, None], ["None", "None"]),
        (TEXTS, ["a\0", "b"], ["a", "b"]),
        (nested("array", items={"type": "boolean"}), [True, None], [True, False]),
        (nested("map", values=TEXTS), {"k": [5, "b"]}, {"k": ["5", "b"]}),
    ],
)
def test_what_mlflow_would_alter_inside_a_list_is_refused(
    entry: dict[str, object], cell: object, altered: object
) -> None:
    assert parsed(entry, cell, mode=MLFLOW) == [altered]
    with pytest.raises(SchemaError, match="Can not safely convert to") as refusal:
        parsed(entry, cell, mode=STRICT)
    assert "which would become" in str(refusal.value)


@pytest.mark.parametrize(
    ("entry", "cell"),
    [
        (DOUBLES, [0.5, -1e300]),
        (TEXTS, ["a", "é", ""]),
        (nested("array", items={"type": "long"}), [2**62, -1]),
        (nested("array", items=DOUBLES), [[0.5], [1.5, 2.5]]),
        (PERSON, {"age": 7, "nick": None}),
        (nested("map", values={"type": "any"}), {"x": {"y": [None]}}),
        (nested("any"), ["1", 2]),
    ],
)
def test_what_arrives_whole_is_accepted(entry: dict[str, object], cell: object) -> None:
    assert parsed(entry, cell, mode=STRICT) == [cell]


def test_an_array_in_memory_is_rows_of_lists() -> None:
    schema = Schema.from_signature(Signature(inputs=[DOUBLES]))
    rows = schema.enforce({"a": np.array([[0.5, 1.5], [2.5, 3.5]])}, mode=STRICT)["a"]
    assert [cell.tolist() for cell in rows] == [[0.5, 1.5], [2.5, 3.5]]


def test_float32_in_memory_may_serve_doubles() -> None:
    schema = Schema.from_signature(Signature(inputs=[DOUBLES]))
    cells = schema.enforce({"a": objects(np.ones(2, np.float32))}, mode=STRICT)["a"]
    assert cells[0].dtype == np.float64


def test_columns_in_memory_of_different_lengths_are_no_table() -> None:
    schema = Schema.from_signature(Signature(inputs=[DOUBLES, {**PERSON, "name": "b"}]))
    with pytest.raises(SchemaError, match="All arrays must be of the same length"):
        schema.enforce({"a": objects([1.5]), "b": objects()}, mode=MLFLOW)


def test_a_long_value_is_not_repeated_whole_in_a_sentence() -> None:
    schema = Schema.from_signature(Signature(inputs=[PERSON]))
    with pytest.raises(SchemaError, match="Expected data to be dictionary") as refusal:
        schema.enforce({"a": objects("x" * 100_000)}, mode=MLFLOW)
    assert len(str(refusal.value)) < 2_000


def test_an_empty_array_is_no_object_and_no_defect() -> None:
    person = {**PERSON, "required": False}
    inputs = [nested("array", items=person), {**DOUBLES, "name": "b"}]
    schema = Schema.from_signature(Signature(inputs=inputs))
    body = b'{"instances": [{"a": [], "b": [0.5]}, {"a": [], "b": [0.5]}]}'
    for mode in (MLFLOW, STRICT):
        with pytest.raises(SchemaError):
            schema.parse(body, mode=mode)


@pytest.mark.parametrize("kind", ["map", "object"])
def test_an_empty_object_that_mlflow_laid_out_as_an_array_counts_as_left_out(
    kind: str,
) -> None:
    """`np.array([{}]) == {}` is true, and MLflow looks no further where it is optional."""
    inner = nested("map", values={"type": "boolean"}) if kind == "map" else PERSON
    entry = {"type": "array", "items": inner, "name": "a", "required": False}
    schema = Schema.from_signature(Signature(inputs=[entry]))
    body = json.dumps({"instances": [{"a": [{}]}]}).encode()
    assert schema.parse(body, mode=MLFLOW).table["a"].tolist() == [[[{}]]]


@pytest.mark.parametrize("mode", [STRICT, MLFLOW])
@pytest.mark.parametrize("rows", [[{"q": 1}, None], [[1], None], [[1], 3]])
def test_rows_that_make_no_table_are_refused(rows: object, mode: Enforcement) -> None:
    schema = Schema.from_signature(Signature(inputs=[{"type": "any"}]))
    with pytest.raises(SchemaError, match="error casting the input data to a DataFrame"):
        schema.parse(json.dumps({"inputs": rows}).encode(), mode=mode)
