import json
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgekit.errors import SchemaError
from edgekit.manifest import Signature
from edgekit.schema import Enforcement, Schema, Table
from tests.core.signatures import column, objects, records, tensor

STRICT, MLFLOW = Enforcement.STRICT, Enforcement.MLFLOW


def parsed(kind: str, *values: object, mode: Enforcement = STRICT) -> list[object]:
    schema = Schema.from_signature(Signature(inputs=[column(kind)]))
    body = json.dumps(records(*values)).encode()
    found: list[object] = schema.parse(body, mode=mode).table["a"].tolist()
    return found


def enforced(kind: str, array: np.ndarray[tuple[int], np.dtype[np.generic]]) -> Table:
    schema = Schema.from_signature(Signature(inputs=[column(kind)]))
    return schema.enforce({"a": array}, mode=STRICT)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("long", 3.9),
        ("integer", 2**31),
        ("integer", 1e10),
        ("long", 2**63),
        ("boolean", "false"),
        ("boolean", "True"),
        ("boolean", None),
        ("boolean", 2),
        ("float", 2**24 + 1),
        ("float", 1e300),
        ("float", 1e-60),
        ("double", 2**53 + 1),
        ("string", 5),
        ("string", True),
        ("binary", "a=Gk!="),
        ("datetime", 1_577_836_800),
        ("datetime", 1.5),
    ],
)
def test_what_mlflow_would_alter_silently_is_refused(kind: str, value: object) -> None:
    with pytest.raises(SchemaError, match="Incompatible input types for column a"):
        parsed(kind, value)


@pytest.mark.parametrize("form", ["inputs", "instances"])
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("long", 3.9),
        ("boolean", 2),
        ("boolean", None),
        ("float", 2**24 + 1),
        ("string", 5),
        ("string", None),
        ("string", "x\0"),
        ("binary", 5),
        ("binary", "x\0"),
        ("datetime", 5),
        ("datetime", "1500-01-01"),
    ],
)
def test_what_numpy_would_alter_in_a_column_is_refused(
    kind: str, value: object, form: str
) -> None:
    schema = Schema.from_signature(Signature(inputs=[column(kind)]))
    body = json.dumps({form: [{"a": value}]}).encode()
    assert len(schema.parse(body, mode=MLFLOW).table["a"]) == 1
    with pytest.raises(SchemaError, match="Incompatible input types for column a"):
        schema.parse(body, mode=STRICT)


@pytest.mark.parametrize(
    ("kind", "value", "arrives"),
    [
        ("long", 3.0, 3),
        ("long", "12", 12),
        ("long", 2**63 - 1, 2**63 - 1),
        ("boolean", True, True),
        ("boolean", 1, True),
        ("double", 7, 7.0),
        ("double", "1.5", 1.5),
        ("float", 2**24, 2.0**24),
        ("float", 0.1, float(np.float32(0.1))),
        ("string", "5", "5"),
        ("binary", "aGk=", b"hi"),
        ("binary", "aG\nk=", b"hi"),
        ("datetime", "1970-01-01T00:00:01", 10**9),
    ],
)
def test_lossless_conversions_are_accepted(
    kind: str, value: object, arrives: object
) -> None:
    assert parsed(kind, value) == [arrives]


def test_null_is_a_missing_double_text_or_instant() -> None:
    double, text = parsed("double", None, 1.5), parsed("string", None, "x")
    assert isinstance(double[0], float)
    assert math.isnan(double[0])
    assert isinstance(text[0], float)
    assert math.isnan(text[0])
    assert parsed("datetime", None, "1970-01-01") == [None, 0]


def test_the_refusal_names_row_value_and_what_would_become_of_it() -> None:
    with pytest.raises(SchemaError) as refusal:
        parsed("long", 1, 3.9)
    assert str(refusal.value) == (
        "Incompatible input types for column a. Can not safely convert float64 to int64."
        " Row 1 holds 3.9, which would become 3."
    )


def test_a_long_value_is_shortened_in_the_refusal() -> None:
    with pytest.raises(SchemaError) as refusal:
        parsed("boolean", "x" * 10_000)
    assert len(str(refusal.value)) < 300


@example(values=[0, 2**63 + 1])
@given(st.lists(st.one_of(st.integers(-(2**70), 2**70), st.floats(), st.booleans())))
def test_whatever_strict_accepts_is_worth_what_was_sent(values: list[float]) -> None:
    for kind in ("boolean", "integer", "long", "double"):
        try:
            arrived = parsed(kind, *values) if values else []
        except SchemaError:
            continue
        for sent, got in zip(values, arrived, strict=True):
            assert sent == got or (math.isnan(sent) and math.isnan(float(str(got))))


def test_a_lost_null_in_an_object_array_is_refused() -> None:
    with pytest.raises(SchemaError, match="Row 1 holds None, which would become False"):
        enforced("boolean", objects(True, None))  # noqa: FBT003 - a cell


def test_objects_that_mlflow_passes_through_are_refused() -> None:
    with pytest.raises(SchemaError, match="Can not safely convert int64 to <U0"):
        enforced("string", objects("x", 1))
    with pytest.raises(SchemaError, match=r"Can not safely convert str to \|S0"):
        enforced("binary", objects("x"))


def test_an_array_in_a_column_of_text_is_refused_as_it_is() -> None:
    cells = np.empty(1, dtype=object)
    cells[0] = np.array([0, 0])
    with pytest.raises(SchemaError, match=r"Row 0 holds array\(\[0, 0\]\)\.$"):
        enforced("string", cells)


def test_the_result_has_the_types_of_the_signature_even_without_rows() -> None:
    assert enforced("double", objects())["a"].dtype == np.float64
    assert enforced("double", objects(2**70, 1))["a"].tolist() == [2.0**70, 1.0]


@pytest.mark.parametrize(
    ("dtype", "content"),
    [
        ("int64", [1.7]),
        ("int64", [2**53 + 1, 1.5]),
        ("float64", [2**53 + 1]),
        ("float32", [16_777_217]),
        ("float32", [1e300]),
        ("float16", [1e6]),
        ("bool", [2]),
        ("str", [5]),
        ("str", [None]),
        ("bytes", [300]),
    ],
)
def test_tensor_elements_that_numpy_would_alter_are_refused(
    dtype: str, content: list[object]
) -> None:
    schema = Schema.from_signature(Signature(inputs=[tensor(dtype, [-1])]))
    body = json.dumps({"inputs": content}).encode()
    schema.parse(body, mode=MLFLOW)
    with pytest.raises(SchemaError, match="Incompatible values for the unnamed input"):
        schema.parse(body, mode=STRICT)


@pytest.mark.parametrize(
    ("dtype", "content"),
    [
        ("int64", [1.0, 2]),
        ("float32", [0.1, "2.5", None]),
        ("float64", [[1, 2], [3, 4.5]]),
        ("bool", [True, 0]),
        ("str", ["x", ""]),
        ("bytes", ["x"]),
        ("object", [1, None, "x"]),
    ],
)
def test_whole_tensors_are_accepted(dtype: str, content: list[object]) -> None:
    shape = [-1] * np.ndim(np.array(content, object))
    schema = Schema.from_signature(Signature(inputs=[tensor(dtype, shape, "x")]))
    payload = schema.parse(json.dumps({"inputs": {"x": content}}).encode(), mode=STRICT)
    assert payload.table["x"].shape == np.shape(np.array(content, object))


def test_a_ragged_tensor_that_mlflow_passes_through_is_refused() -> None:
    schema = Schema.from_signature(Signature(inputs=[tensor("float64", [-1, -1])]))
    ragged = objects([1.0], [1.0, 2.0])
    assert schema.enforce({"": ragged}, mode=MLFLOW)[""] is ragged
    with pytest.raises(SchemaError, match="dtype of input object does not match"):
        schema.enforce({"": ragged}, mode=STRICT)
