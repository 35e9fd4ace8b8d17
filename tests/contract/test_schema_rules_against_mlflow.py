"""The rows of tests/core/schema_rules.py are MLflow's own: the installed one is asked."""

import json

import numpy as np
import pytest

from tests.contract.schema_oracle import (
    Verdict,
    comparable,
    mlflow_on_request,
    mlflow_on_table,
    same,
)
from tests.core.request_rules import REQUEST_RULES
from tests.core.rule import Rule
from tests.core.schema_rules import ADMITS, TABLE_RULES, TARGETS
from tests.core.signatures import column

pytestmark = [
    pytest.mark.slow,
    # numpy and pandas warn of the very alterations that the rows are about
    pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning"),
]


def asked(rule: Rule) -> Verdict:
    if rule.table is not None:
        return mlflow_on_table(rule.inputs, rule.table)
    return mlflow_on_request(rule.inputs, json.dumps(rule.body).encode())


@pytest.mark.parametrize("rule", TABLE_RULES + REQUEST_RULES, ids=lambda rule: rule.name)
def test_mlflow_gives_this_verdict(rule: Rule) -> None:
    verdict = asked(rule)
    if rule.sentence is not None:
        assert verdict.sentence == comparable(rule.sentence)
        return
    assert verdict.accepted
    found = list(verdict.values.values())
    for (dtype, _), expected in zip(found, (rule.dtypes or {}).values(), strict=False):
        assert dtype == expected
    for (_, values), wanted in zip(found, (rule.values or {}).values(), strict=False):
        assert same(values, wanted)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", ADMITS)
def test_mlflow_widens_no_more(source: str, target: str) -> None:
    verdict = mlflow_on_table([column(target)], {"a": np.array([1, 2], source)})
    assert verdict.accepted == (target in ADMITS[source])
