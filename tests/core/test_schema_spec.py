import pytest

from edgekit.errors import SchemaError
from edgekit.manifest import Signature
from edgekit.schema import Enforcement, Schema
from tests.core.schema_rules import Entries, column, tensor


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


@pytest.mark.parametrize("kind", ["array", "object", "map", "any", "sparkml_vector"])
def test_types_that_cannot_be_enforced_here_do_not_compile(kind: str) -> None:
    with pytest.raises(SchemaError) as refusal:
        Schema.from_signature(Signature(inputs=[column(kind)]))
    assert f"type {kind} cannot be enforced on a device yet" in str(refusal.value)


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
