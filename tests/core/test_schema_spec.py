import pytest

from edgekit.errors import SchemaError
from edgekit.manifest import Signature
from edgekit.schema import Enforcement, Schema
from tests.core.signatures import Entries, column, nested, tensor


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ([], "Creating Schema with empty inputs is not allowed."),
        ([column("long"), column("long", None)], "a combination of named and unnamed"),
        ([column("long"), tensor("float32", [-1], "x")], "a combination of ColSpec and"),
        ([tensor("float32", [-1]), tensor("float32", [-1])], "multiple unnamed Tensor"),
        ([column("long", None, required=False)], "unnamed optional inputs"),
        ([column("decimal")], "Unsupported type 'decimal'"),
        ([column("long"), column("double")], "each may occur once"),
        ([column("long", "")], "non-empty texts are expected"),
        ([{"name": "a"}], "type: a text is expected"),
        ([tensor("float99", [-1])], "dtype 'float99'"),
        ([tensor("U5", [-1])], "without a size"),
        ([tensor("i4,f8", [-1])], "a number, bool, str, bytes or object is expected"),
        ([tensor("float32", [-2])], "shape: a list of whole numbers"),
    ],
)
def test_what_is_no_signature_does_not_compile(inputs: Entries, sentence: str) -> None:
    with pytest.raises(SchemaError) as refusal:
        Schema.from_signature(Signature(inputs=inputs))
    assert sentence in str(refusal.value)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (nested("array"), "items: an object is expected"),
        (nested("array", items={"type": "decimal"}), "Unsupported type 'decimal'"),
        (nested("map", values={}), "type: a text is expected"),
        (nested("object", properties={}), "empty properties is not allowed"),
        (nested("object", properties={"x": 5}), "x: an object is expected"),
        (
            nested("object", properties={"x": {"type": "sparkml_vector"}}),
            "Expected values to be instance of Property",
        ),
    ],
)
def test_what_is_no_type_does_not_compile(entry: dict[str, object], sentence: str) -> None:
    with pytest.raises(SchemaError) as refusal:
        Schema.from_signature(Signature(inputs=[entry]))
    assert sentence in str(refusal.value)


def test_types_as_deep_as_no_request_may_be_do_not_compile() -> None:
    kind: dict[str, object] = {"type": "long"}
    for _ in range(100):
        kind = {"type": "array", "items": kind}
    with pytest.raises(SchemaError, match="more than 32 deep"):
        Schema.from_signature(Signature(inputs=[{**kind, "name": "a"}]))


def test_types_are_called_as_mlflow_calls_them() -> None:
    properties = {
        "y": {"type": "any"},
        "x": {"type": "array", "items": {"type": "sparkml_vector"}, "required": False},
    }
    inputs: Entries = [
        nested("object", properties=properties),
        {"type": "map", "values": {"type": "double"}, "name": "b"},
    ]
    schema = Schema.from_signature(Signature(inputs=inputs))
    assert [str(spec) for spec in schema.inputs or ()] == [
        "'a': {x: Array(SparkML vector) (optional), y: Any (required)} (required)",
        "'b': Map(str -> DataType.double) (optional)",
    ]


def test_a_signature_of_mlflow_1_without_required_means_required() -> None:
    schema = Schema.from_signature(Signature(inputs=[{"type": "long", "name": "a"}]))
    with pytest.raises(SchemaError, match=r"Model is missing inputs \['a'\]"):
        schema.enforce({}, mode=Enforcement.STRICT)


def test_a_schema_says_what_it_was_compiled_from() -> None:
    inputs = [column("long"), column("double", "b", required=False)]
    schema = Schema.from_signature(Signature(inputs=inputs))
    assert [str(spec) for spec in schema.inputs or ()] == [
        "'a': long (required)",
        "'b': double (optional)",
    ]
