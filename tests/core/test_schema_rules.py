import json
import math

import numpy as np
import pytest

from edgekit.errors import SchemaError
from edgekit.manifest import Signature
from edgekit.schema import Enforcement, Schema, Table
from tests.core.request_rules import REQUEST_RULES
from tests.core.rule import Rule
from tests.core.schema_rules import ADMITS, TABLE_RULES, TARGETS
from tests.core.signatures import Entries, column

MLFLOW, STRICT = Enforcement.MLFLOW, Enforcement.STRICT


def compiled(inputs: Entries) -> Schema:
    return Schema.from_signature(Signature(inputs=inputs))


def answer(rule: Rule, mode: Enforcement) -> Table:
    schema = compiled(rule.inputs)
    if rule.table is not None:
        return schema.enforce(rule.table, mode=mode)
    return schema.parse(json.dumps(rule.body).encode(), mode=mode).table


def named(rule: Rule) -> str:
    return rule.name


REFUSALS = [rule for rule in TABLE_RULES + REQUEST_RULES if rule.sentence is not None]
ACCEPTED = [rule for rule in TABLE_RULES + REQUEST_RULES if rule.sentence is None]


@pytest.mark.parametrize("mode", [MLFLOW, STRICT])
@pytest.mark.parametrize("rule", REFUSALS, ids=named)
def test_what_mlflow_refuses_is_refused_with_its_sentence(
    rule: Rule, mode: Enforcement
) -> None:
    with pytest.raises(SchemaError) as refusal:
        answer(rule, mode)
    assert str(refusal.value).startswith(str(rule.sentence))


@pytest.mark.parametrize("rule", ACCEPTED, ids=named)
def test_what_mlflow_accepts_arrives_with_its_values(rule: Rule) -> None:
    table = answer(rule, MLFLOW)
    if rule.dtypes is not None:
        assert {n: str(a.dtype) for n, a in table.items()} == rule.dtypes
    for name, values in (rule.values or {}).items():
        assert plain(table[name]) == plain(values)
    order = list(rule.dtypes or rule.values or {})
    assert list(table) == order


def plain(value: object) -> object:
    """Lists and Python's own values, None for NaN."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


@pytest.mark.parametrize("mode", [MLFLOW, STRICT])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", ADMITS)
def test_columns_are_only_widened(source: str, target: str, mode: Enforcement) -> None:
    schema = compiled([column(target)])
    values = np.array([1, 2], source)
    if target in ADMITS[source]:
        enforced = schema.enforce({"a": values}, mode=mode)["a"]
        assert enforced.dtype == TARGETS[target]
        assert enforced.tolist() == values.tolist()
        return
    sentence = (
        "Incompatible input types for column a."
        f" Can not safely convert {source} to {TARGETS[target]}."
    )
    with pytest.raises(SchemaError) as refusal:
        schema.enforce({"a": values}, mode=mode)
    assert str(refusal.value) == sentence
