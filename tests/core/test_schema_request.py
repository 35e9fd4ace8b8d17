import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import RequestError, SchemaError
from edgekit.manifest import Signature
from edgekit.schema import Enforcement, Limits, Schema
from tests.core.signatures import A_B, column, tensor

STRICT = Enforcement.STRICT
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", "b", "data", "columns", "x"]), inner),
    ),
    max_leaves=12,
)
FORMS = st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs"])
SIGNATURES = st.sampled_from(
    [
        None,
        A_B,
        [column("string", None), column("datetime", None)],
        [column("binary"), column("boolean", "b", required=False)],
        [tensor("float32", [-1, 2])],
        [tensor("str", [-1], "a"), tensor("int8", [-1, -1], "b")],
        [tensor("object", [-1], "a")],
    ]
)


def compiled(limits: Limits | None = None) -> Schema:
    return Schema.from_signature(Signature(inputs=A_B), limits)


def refusal_of(body: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(RequestError) as refusal:
        compiled(limits).parse(body, mode=STRICT)
    return str(refusal.value)


@given(SIGNATURES, FORMS, JSON, st.sampled_from(list(Enforcement)))
def test_any_json_is_answered_or_refused(
    inputs: list[dict[str, object]] | None, form: str, content: object, mode: Enforcement
) -> None:
    schema = Schema.from_signature(Signature(inputs=inputs))
    body = json.dumps({form: content}).encode()
    try:
        payload = schema.parse(body, mode=mode)
    except SchemaError:
        return
    assert all(isinstance(array, np.ndarray) for array in payload.table.values())


@given(st.binary(max_size=60))
def test_any_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(SchemaError):
        compiled().parse(body, mode=STRICT)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"{", "Invalid input. Ensure that input is a valid JSON formatted string. Error:"),
        (b"\xff", "Invalid input. Ensure that input is a valid JSON formatted string."),
        (b"[]", "Invalid input. The input must be a JSON dictionary with exactly one of"),
        (b"5", "Invalid input. The input must be a JSON dictionary with exactly one of"),
        (b"{}", "The input must be a JSON dictionary with exactly one of the input fields"),
        (b'{"inputs": [], "instances": []}', "The input must be a JSON dictionary with"),
        (b'{"messages": []}', "request: key messages selects MLflow's chat format"),
    ],
)
def test_a_body_that_is_no_request_is_refused(body: bytes, sentence: str) -> None:
    assert refusal_of(body).startswith(sentence)


def test_the_body_is_not_repeated_in_the_refusal() -> None:
    assert "secret" not in refusal_of(b'{"password": secret}')


def test_nesting_beyond_the_limit_is_refused() -> None:
    deep = b'{"inputs": ' + b"[" * 40 + b"]" * 40 + b"}"
    assert "more than 32 deep" in refusal_of(deep)
    assert "Ensure that input is a valid JSON" in refusal_of(b"[" * 1_000_000)


def test_a_number_of_many_digits_is_refused() -> None:
    body = b'{"inputs": {"a": [' + b"9" * 5_000 + b"]}}"
    assert "Ensure that input is a valid JSON" in refusal_of(body)


def test_a_body_beyond_the_limit_is_refused_unread() -> None:
    assert refusal_of(b"{" * 11, Limits(body_bytes=10)) == (
        "request: 11 bytes, up to 10 are allowed"
    )


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_records": [{"a": 1, "b": 2}] * 4},
        {"dataframe_split": {"data": [[1, 2]] * 4}},
        {"instances": [{"a": 1, "b": 2}] * 4},
        {"inputs": {"a": [1] * 4, "b": [1]}},
        {"inputs": [[1, 2]] * 4},
    ],
)
def test_rows_beyond_the_limit_are_refused(body: dict[str, object]) -> None:
    sentence = refusal_of(json.dumps(body).encode(), Limits(rows=3))
    assert sentence == "request: 4 rows, up to 3 are allowed"


def test_columns_beyond_the_limit_are_refused() -> None:
    limits = Limits(columns=3)
    for body in (
        {"dataframe_records": [{"a": 1, "b": 2, "c": 3, "d": 4}]},
        {"dataframe_split": {"data": [[1, 2, 3, 4]]}},
    ):
        sentence = refusal_of(json.dumps(body).encode(), limits)
        assert sentence == "request: 4 columns, up to 3 are allowed"


def test_one_wide_row_cannot_widen_all_the_others() -> None:
    schema = Schema.from_signature(Signature(), Limits(cells=1_000))
    rows = [[0] * 1_000] + [[0]] * 1_000
    body = json.dumps({"dataframe_records": rows}).encode()
    with pytest.raises(RequestError, match="up to 1000 values are allowed"):
        schema.parse(body, mode=STRICT)


def test_records_that_share_no_key_cost_only_the_signatures_columns() -> None:
    rows = [{f"k{i}": 1} for i in range(2_000)]
    for form in ("dataframe_records", "inputs"):
        body = json.dumps({form: [{"a": 1.0, "b": 2.0}, *rows]}).encode()
        payload = compiled(Limits(cells=10_000)).parse(body, mode=STRICT)
        assert payload.table["a"].shape == (2_001,)


def test_one_long_text_cannot_widen_all_the_others() -> None:
    limits = Limits(text_bytes=10_000)
    texts = ["x" * 1_000, *[""] * 100]
    for inputs in ([column("string")], [tensor("str", [-1], "a")]):
        schema = Schema.from_signature(Signature(inputs=inputs), limits)
        body = json.dumps({"inputs": {"a": texts}}).encode()
        with pytest.raises(RequestError, match="up to 10000 are allowed"):
            schema.parse(body, mode=STRICT)
    body = json.dumps({"dataframe_records": [{"a": text} for text in texts]}).encode()
    frame = Schema.from_signature(Signature(inputs=[column("string")]), limits)
    assert frame.parse(body, mode=STRICT).table["a"].tolist() == texts


def test_ignored_columns_and_parameters_are_noted() -> None:
    body = {"inputs": {"a": [1], "b": [2], "x": [3]}, "params": {"k": 1}}
    payload = compiled().parse(json.dumps(body).encode(), mode=STRICT)
    assert list(payload.table) == ["a", "b"]
    assert payload.params == {}
    extra, unknown = payload.notes
    assert extra.startswith("Found extra inputs in the model input that are not defined")
    assert unknown.endswith("Ignoring provided params: ['k']")


def test_without_enforcement_arrays_are_taken_as_they_are() -> None:
    table = {"z": np.zeros(1)}
    assert compiled().enforce(table, mode=Enforcement.OFF) is table
    body = {"dataframe_split": {"columns": ["z"], "data": [[3.9]]}, "params": {"k": 1}}
    payload = compiled().parse(json.dumps(body).encode(), mode=Enforcement.OFF)
    assert payload.table["z"].tolist() == [3.9]
    assert payload.params == {"k": 1}


@pytest.mark.parametrize(
    ("body", "table"),
    [
        ({"inputs": [[1, 2]]}, {"": [[1, 2]]}),
        ({"inputs": {"x": [1], "y": "q"}}, {"x": [1], "y": "q"}),
        ({"instances": [{"x": 1}, {"x": 2.5}]}, {"x": [1.0, 2.5]}),
        ({"inputs": []}, {}),
        ({"dataframe_records": [{"x": "q", "y": None}]}, {"x": ["q"], "y": [None]}),
    ],
)
def test_without_a_signature_nothing_is_checked(
    body: dict[str, object], table: dict[str, object]
) -> None:
    schema = Schema.from_signature(Signature())
    payload = schema.parse(json.dumps(body).encode(), mode=STRICT)
    assert {name: array.tolist() for name, array in payload.table.items()} == table
