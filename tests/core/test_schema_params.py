import datetime as dt
import json

import pytest

from edgekit.errors import SchemaError
from edgekit.manifest import Signature
from edgekit.schema import Enforcement, Schema
from tests.core.signatures import column


def param(kind: str, default: object, shape: list[int] | None = None) -> dict[str, object]:
    return {"name": "k", "type": kind, "default": default, "shape": shape}


def accepted(spec: dict[str, object], given: object) -> object:
    schema = Schema.from_signature(Signature(inputs=[column("long")], params=[spec]))
    body = json.dumps({"inputs": {"a": [1]}, "params": given}).encode()
    return schema.parse(body, mode=Enforcement.STRICT).params["k"]


INVALID_LONG = (
    "Invalid parameters found: {('k', \"Failed to validate type and shape for 'k':"
    " long (default: 3), error: Can not safely convert `<class 'float'>` to"
    ' `DataType.long` for value `3.5`")}'
)


@pytest.mark.parametrize("given", [{}, None])
def test_a_default_fills_in(given: object) -> None:
    assert accepted(param("long", 3), given) == 3


def test_a_whole_number_may_become_a_float() -> None:
    value = accepted(param("double", 0.5), {"k": 2})
    assert value == 2.0
    assert type(value) is float


def test_null_passes() -> None:
    assert accepted(param("long", 3), {"k": None}) is None


def test_an_instant_is_read_from_iso_text() -> None:
    spec = param("datetime", "2020-01-01")
    assert accepted(spec, {}) == dt.date(2020, 1, 1)
    assert accepted(spec, {"k": "2021-01-01T10:00:00"}) == dt.datetime(2021, 1, 1, 10)  # noqa: DTZ001 - instants carry no zone


def test_a_list_is_checked_one_by_one() -> None:
    assert accepted(param("double", [0.5], [-1]), {"k": [1, 2.5]}) == [1.0, 2.5]


@pytest.mark.parametrize(
    ("spec", "value", "sentence"),
    [
        (
            param("long", 3),
            3.5,
            INVALID_LONG,
        ),
        (param("long", 3), True, "Can not safely convert `<class 'bool'>` to"),
        (param("double", 0.5), "1", "Can not safely convert `<class 'str'>` to"),
        (param("string", "x"), [1], "Value must be a scalar for type `DataType.string`"),
        (param("double", [0.5], [-1]), 5, "Value must be a 1D array with shape (-1,) for"),
        (param("datetime", "2020-01-01"), "soon", "Failed to convert value `soon` from"),
    ],
)
def test_a_parameter_of_another_type_is_refused(
    spec: dict[str, object], value: object, sentence: str
) -> None:
    with pytest.raises(SchemaError) as refusal:
        accepted(spec, {"k": value})
    assert sentence in str(refusal.value)


def test_parameters_that_are_no_object_are_refused() -> None:
    with pytest.raises(
        SchemaError, match=r"Parameters must be a dictionary\. Got type 'li"
    ):
        accepted(param("long", 3), [1])


@pytest.mark.parametrize(
    "spec",
    [
        param("binary", "x"),
        param("object", {}),
        param("long", "x"),
        param("long", 3, [2]),
        {"name": "k", "type": "long"},
    ],
)
def test_a_parameter_that_cannot_be_checked_does_not_compile(
    spec: dict[str, object],
) -> None:
    with pytest.raises(SchemaError):
        Schema.from_signature(Signature(params=[spec]))


def test_the_older_key_dtype_is_read() -> None:
    spec: dict[str, object] = {"name": "k", "dtype": "long", "default": 3, "shape": None}
    assert accepted(spec, {"k": 4}) == 4


def test_a_default_that_is_too_deep_for_an_array_is_refused_with_a_sentence() -> None:
    deep: object = "x"
    for _ in range(70):
        deep = [deep]
    entry = {"name": "s", "type": "string", "default": deep, "shape": [-1]}
    with pytest.raises(SchemaError, match="dimension"):
        Schema.from_signature(Signature(params=[entry]))
