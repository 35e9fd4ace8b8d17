"""The agent's HTTP beside a real `mlflow models serve`: each request is asked of both."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.schema import Enforcement
from tests.agent.making import made
from tests.contract.scoring_servers import (
    Case,
    ask,
    comparable,
    mlflow_serving,
    rows,
    serving,
)

pytestmark = pytest.mark.slow

COLUMNS: list[dict[str, object]] = [
    {"name": name, "type": "double", "required": True} for name in ("a", "b")
]
SUM = 'model_input["a"].to_numpy() + model_input["b"].to_numpy()'


@pytest.fixture(scope="module")
def mlflow_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with mlflow_serving(tmp_path_factory.mktemp("mlflow"), COLUMNS, SUM) as port:
        yield port


@pytest.fixture(params=[Enforcement.MLFLOW, Enforcement.STRICT])
def edgekit_port(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[int]:
    with serving(tmp_path, made(), request.param) as port:
        yield port


SPLIT = {"columns": ["b", "a"], "data": [[1, 2], [0.5, -1e3]]}
SAME = [
    Case(body=rows(dataframe_split=SPLIT)),
    Case(body=rows(dataframe_split=SPLIT), kind="application/json; charset=UTF-8"),
    Case(body=rows(dataframe_split={**SPLIT, "index": [5, 7]})),
    Case(body=rows(dataframe_records=[{"a": 1, "b": 2}, {"b": None, "a": 0.1}])),
    Case(body=rows(dataframe_records=[{"a": "1.5", "b": 2, "extra": "x"}])),
    Case(body=rows(instances=[{"a": 1, "b": 2}, {"a": 3, "b": 4}])),
    Case(body=rows(inputs={"a": [1, 2], "b": [3, 4]})),
    Case(body=rows(inputs={"a": 1, "b": 2})),
    Case(body=rows(inputs=[{"a": 1, "b": 2}])),
    Case(body=rows(dataframe_split=SPLIT, params={"unknown": 1})),
    Case(body=rows(dataframe_split=SPLIT, other=1)),
    Case(body=b"a,b\n1,2\n3,4.5\n", kind="text/csv"),
    Case(body=b",b,a\n0,1,2\n", kind="text/csv; charset=utf-8"),
    Case(body=rows(dataframe_records=[{"a": 1}])),
    Case(body=rows(dataframe_records=[{"a": 1, "x": 2}])),
    Case(body=rows(dataframe_records=[{"a": "abc", "b": 2}])),
    Case(body=rows(dataframe_records={"a": 1, "b": 2})),
    Case(body=rows(dataframe_records=5)),
    Case(body=rows(dataframe_split=[1])),
    Case(body=rows(dataframe_split={"columns": ["a"]})),
    Case(body=rows(inputs={"a": ["x"], "b": [1]})),
    Case(body=rows(instances=[{"a": 1, "b": 2}, {"a": 1}])),
    Case(body=rows(inputs=[1, 2])),
    Case(body=rows(a=[1])),
    Case(body=rows()),
    Case(body=rows(instances=[], inputs=[])),
    Case(body=b"{"),
    Case(body=b""),
    Case(body=b"[1]"),
    Case(body=b"5"),
    Case(body=b'"text"'),
    Case(body=b"\xff"),
    Case(body=b"\xff", kind="text/csv"),
    Case(body=b"a\n1\n", kind="text/csv"),
    Case(body=b"a,b\nx,1\n", kind="text/csv"),
    Case(body=b"a,b\n1,2\n1,2,3\n", kind="text/csv"),
    Case(body=b"", kind="text/csv"),
    Case(body=rows(dataframe_split=SPLIT), kind="application/json; charset=latin-1"),
    Case(body=rows(dataframe_split=SPLIT), kind="application/json; format=pandas-split"),
    Case(body=b"", method="GET", path="/ping"),
    Case(body=b"", method="GET", path="/health"),
]
OTHER_WORDS = [
    Case(body=b"", method="GET", path="/version", differs="edgekit's own version"),
    Case(body=b"x", kind="text/plain", differs="no Parquet among the types"),
    Case(body=b"", method="GET", path="/invocations", differs="an error_code"),
    Case(body=b"x", path="/ping", differs="an error_code"),
    Case(body=b"x", path="/elsewhere", differs="an error_code"),
]


@pytest.mark.parametrize("case", SAME, ids=str)
def test_status_and_body_are_those_of_mlflow(
    mlflow_port: int, edgekit_port: int, case: Case
) -> None:
    theirs, ours = ask(mlflow_port, case), ask(edgekit_port, case)
    assert (ours.status, ours.kind) == (theirs.status, theirs.kind)
    assert comparable(ours) == comparable(theirs)


@pytest.mark.parametrize("case", OTHER_WORDS, ids=str)
def test_the_status_is_mlflows_where_the_words_are_not(
    mlflow_port: int, edgekit_port: int, case: Case
) -> None:
    theirs, ours = ask(mlflow_port, case), ask(edgekit_port, case)
    assert ours.status == theirs.status
    assert ours.body != theirs.body, case.differs


@pytest.mark.parametrize(
    ("body", "values"),
    [
        (rows(dataframe_records=[{"a": 2**53 + 1, "b": 0}]), "would become"),
        (rows(dataframe_records=[{"a": True, "b": 0}]), None),
    ],
)
def test_strict_refuses_only_what_mlflow_alters(
    mlflow_port: int, tmp_path: Path, body: bytes, values: str | None
) -> None:
    theirs = ask(mlflow_port, Case(body=body))
    assert theirs.status == 200
    with serving(tmp_path, made(), Enforcement.STRICT) as port:
        ours = ask(port, Case(body=body))
    if values is None:
        assert ours == theirs
    else:
        assert ours.status == 400
        assert values in json.loads(ours.body)["message"]
