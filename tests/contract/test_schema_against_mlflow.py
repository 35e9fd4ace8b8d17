"""edgekit's verdicts, sentences and values beside those of the installed MLflow.

`mlflow` enforcement may refuse more than MLflow only where `_refuses_more_on_purpose` says
so, and accepts nothing that MLflow refuses.
"""

import json
import logging

import pytest
from hypothesis import HealthCheck, assume, given, settings

from edgekit.schema import Enforcement, Table
from tests.contract.nested_cases import nested_requests, nested_tables, object_params
from tests.contract.schema_cases import (
    Entries,
    column_requests,
    column_tables,
    csv_requests,
    param_requests,
    tensor_requests,
    tensor_tables,
)
from tests.contract.schema_oracle import (
    Verdict,
    edgekit_on_csv,
    edgekit_on_request,
    edgekit_on_table,
    mlflow_on_csv,
    mlflow_on_request,
    mlflow_on_table,
    same,
)

pytestmark = [
    pytest.mark.slow,
    # numpy and pandas warn of the very alterations that are compared here
    pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning"),
    # rows of unequal length still become a frame in pandas 3
    pytest.mark.filterwarnings("ignore:Constructing a DataFrame from a list of seq"),
    # numpy drops the zone of an instant, and strict enforcement refuses it
    pytest.mark.filterwarnings("ignore:no explicit representation of timezones"),
    # pandas says so before it refuses what is no date
    pytest.mark.filterwarnings("ignore:Could not infer format:UserWarning"),
]

# The same cases in every run: MLflow has corners that no search has found yet. To look for
# more, take `derandomize` out; what is found is a case for tests/core/test_schema_*.py.
often = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True, scope="module")
def _quiet_mlflow() -> None:
    logging.getLogger("mlflow").setLevel(logging.ERROR)  # a line per ignored column


def _refuses_more_on_purpose(refusal: Verdict) -> bool:
    """The differences that edgekit.schema's docstring names."""
    sentence = refusal.sentence or ""
    purposes = (
        "to type 'datetime64[ns]'",  # dates other than ISO 8601
        "is not convertible to datetime",  # numbers or text among instants
        "Invalid object type at position",  # lists among the numbers of an object array
        "Expected type array, received type list",  # the same, inside an object
        "from type object to DataType.double",  # text among the numbers of one
        "are no rows here",  # objects where pandas would take their names as rows
        "not a valid dataframe",  # what only pandas' constructor knows
    )
    return any(purpose in sentence for purpose in purposes)


def _agree(mlflow: Verdict, edgekit: Verdict) -> None:
    if mlflow.accepted and not edgekit.accepted and _refuses_more_on_purpose(edgekit):
        return
    assert edgekit.accepted == mlflow.accepted, (mlflow, edgekit)
    if mlflow.sentence is not None and not _refuses_more_on_purpose(edgekit):
        assert edgekit.sentence == mlflow.sentence
    assert len(edgekit.values) == len(mlflow.values)
    for mine, theirs in zip(edgekit.values.values(), mlflow.values.values(), strict=True):
        assert mine[0] == theirs[0], (mlflow, edgekit)
        assert same(mine[1], theirs[1]), (mlflow, edgekit)


def _strict_accepts_no_more(mlflow: Verdict, strict: Verdict) -> None:
    if strict.accepted:
        assert mlflow.accepted
    elif not mlflow.accepted and mlflow.sentence and not _refuses_more_on_purpose(strict):
        assert strict.sentence == mlflow.sentence


@often
@given(column_tables())
def test_column_tables_get_mlflows_verdict(case: tuple[Entries, Table]) -> None:
    signature, table = case
    mlflow = mlflow_on_table(signature, table)
    _agree(mlflow, edgekit_on_table(signature, table))
    strict = edgekit_on_table(signature, table, Enforcement.STRICT)
    _strict_accepts_no_more(mlflow, strict)


@often
@given(column_requests())
def test_column_requests_get_the_scoring_servers_verdict(
    case: tuple[Entries, bytes],
) -> None:
    signature, body = case
    mlflow = mlflow_on_request(signature, body)
    _agree(mlflow, edgekit_on_request(signature, body))
    strict = edgekit_on_request(signature, body, mode=Enforcement.STRICT)
    _strict_accepts_no_more(mlflow, strict)


@often
@given(csv_requests())
def test_csv_gets_the_scoring_servers_verdict(case: tuple[Entries, str]) -> None:
    signature, text = case
    mlflow = mlflow_on_csv(signature, text)
    _agree(mlflow, edgekit_on_csv(signature, text))
    strict = edgekit_on_csv(signature, text, Enforcement.STRICT)
    _strict_accepts_no_more(mlflow, strict)


@often
@given(nested_tables())
def test_columns_of_lists_and_objects_get_mlflows_verdict(
    case: tuple[Entries, Table],
) -> None:
    signature, table = case
    mlflow = mlflow_on_table(signature, table)
    _agree(mlflow, edgekit_on_table(signature, table))
    strict = edgekit_on_table(signature, table, Enforcement.STRICT)
    _strict_accepts_no_more(mlflow, strict)


@often
@given(nested_requests())
def test_requests_of_lists_and_objects_get_the_scoring_servers_verdict(
    case: tuple[Entries, bytes],
) -> None:
    signature, body = case
    mlflow = mlflow_on_request(signature, body)
    _agree(mlflow, edgekit_on_request(signature, body))
    strict = edgekit_on_request(signature, body, mode=Enforcement.STRICT)
    _strict_accepts_no_more(mlflow, strict)


@often
@given(tensor_tables())
def test_tensors_get_mlflows_verdict(case: tuple[Entries, Table]) -> None:
    signature, table = case
    mlflow = mlflow_on_table(signature, table)
    _agree(mlflow, edgekit_on_table(signature, table))
    strict = edgekit_on_table(signature, table, Enforcement.STRICT)
    _strict_accepts_no_more(mlflow, strict)


@often
@given(tensor_requests())
def test_tensor_requests_get_the_scoring_servers_verdict(
    case: tuple[Entries, bytes],
) -> None:
    signature, body = case
    mlflow = mlflow_on_request(signature, body)
    # of several columns for one unnamed tensor, MLflow names any that does not fit
    assume("name" in signature[0] or "Failed to convert column" not in str(mlflow))
    _agree(mlflow, edgekit_on_request(signature, body))
    strict = edgekit_on_request(signature, body, mode=Enforcement.STRICT)
    _strict_accepts_no_more(mlflow, strict)


@often
@given(param_requests())
def test_parameters_get_mlflows_verdict(case: tuple[Entries | None, object]) -> None:
    params, given_params = case
    inputs: Entries = [{"type": "long", "name": "a", "required": True}]
    body = json.dumps({"inputs": {"a": [1]}, "params": given_params}).encode()
    mlflow = mlflow_on_request(inputs, body, params)
    edgekit = edgekit_on_request(inputs, body, params)
    _agree(mlflow, edgekit)
    assert same(sorted(edgekit.params.items()), sorted((mlflow.params or {}).items()))


@often
@given(object_params())
def test_parameters_that_are_objects_get_mlflows_verdict(
    case: tuple[Entries, object],
) -> None:
    params, given_params = case
    inputs: Entries = [{"type": "long", "name": "a", "required": True}]
    body = json.dumps({"inputs": {"a": [1]}, "params": given_params}).encode()
    mlflow = mlflow_on_request(inputs, body, params)
    edgekit = edgekit_on_request(inputs, body, params)
    _agree(mlflow, edgekit)
    if edgekit.accepted or not mlflow.accepted:  # else it refuses more on purpose
        assert same(dict(edgekit.params), mlflow.params or {})
