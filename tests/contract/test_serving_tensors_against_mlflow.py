"""Models of tensors, lists and objects: each request is asked of both servers."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgekit.manifest import Binding, Signature, TensorInput
from edgekit.schema import Enforcement
from tests.agent.making import Made, made, repacked, scaler
from tests.contract.scoring_servers import (
    Case,
    ask,
    comparable,
    mlflow_serving,
    rows,
    serving,
)

pytestmark = pytest.mark.slow


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A signature, what MLflow's model sums of it, and which columns fill our graph."""

    inputs: tuple[dict[str, object], ...]
    total: str
    columns: tuple[str, ...]

    @property
    def bundle(self) -> Made:
        plain = made(with_golden=False)
        fed = TensorInput(name="x", dtype="float32", columns=self.columns, shape=(-1, 2))
        return repacked(
            plain,
            scaler(2.0),
            signature=Signature(inputs=[dict(one) for one in self.inputs]),
            binding=Binding(inputs=(fed,), outputs=plain.manifest.binding.outputs),
        )


def _tensor(dtype: str, shape: list[int], name: str = "") -> dict[str, object]:
    said: dict[str, object] = {
        "type": "tensor",
        "tensor-spec": {"dtype": dtype, "shape": shape},
    }
    return {**said, "name": name} if name else said


_OBJECT = {
    "type": "object",
    "name": "place",
    "required": True,
    "properties": {
        "x": {"type": "double", "required": True},
        "label": {"type": "string", "required": False},
    },
}
KINDS = {
    "tensor": Kind(
        inputs=(_tensor("float32", [-1, 2]),),
        total="model_input.sum(axis=1)",
        columns=("",),
    ),
    "double": Kind(
        inputs=(_tensor("float64", [-1, 2]),),
        total="model_input.sum(axis=1)",
        columns=("",),
    ),
    "named": Kind(
        inputs=(_tensor("float32", [-1], "a"), _tensor("int64", [-1], "b")),
        total='model_input["a"] + model_input["b"]',
        columns=("a", "b"),
    ),
    "nested": Kind(
        inputs=(
            {
                "type": "array",
                "name": "v",
                "required": True,
                "items": {"type": "double"},
            },
            _OBJECT,
        ),
        total='np.stack([np.asarray(v, float) for v in model_input["v"]]).sum(axis=1)',
        columns=("v",),
    ),
}

PAIRS = [[1.0, 2.0], [0.5, -4.0]]
UNNAMED = [
    Case(body=rows(inputs=PAIRS)),
    Case(body=rows(instances=PAIRS)),
    Case(body=rows(inputs=[[1, 2]])),
    Case(body=rows(instances=[[1, 2], [3, 4], [5, 6]])),
    Case(body=rows(inputs=[1.0, 2.0])),
    Case(body=rows(inputs=[[1.0, 2.0, 3.0]])),
    Case(body=rows(inputs=[[[1.0, 2.0]]])),
    Case(body=rows(inputs=5.0)),
    Case(body=rows(inputs=[["x", "y"]])),
    Case(body=rows(inputs=[[True, False]])),
    Case(body=rows(inputs=[[None, 1.0]])),
    Case(body=rows(inputs={"a": [1.0], "b": [2.0]})),
    Case(body=rows(instances=[{"a": 1.0, "b": 2.0}])),
    Case(body=rows(inputs=PAIRS, params={"unknown": 1})),
    Case(body=rows(predictions=PAIRS)),
    Case(body=b'{"inputs": [[NaN, 1.0]]}'),
]
NAMED = [
    Case(body=rows(inputs={"a": [1.0, 2.0], "b": [3, 4]})),
    Case(body=rows(instances=[{"a": 1.5, "b": 2}, {"a": 2.5, "b": 3}])),
    Case(body=rows(inputs={"a": [1.0], "b": [3], "c": [0]})),
    Case(body=rows(inputs={"a": [1.0]})),
    Case(body=rows(inputs={"a": [[1.0]], "b": [1]})),
    Case(body=rows(inputs={"a": ["x"], "b": [1]})),
    Case(body=rows(instances=[{"a": 1.0, "b": 2}, {"a": 1.0}])),
    Case(body=rows(inputs=[1.0, 2.0])),
    Case(body=rows(inputs={"a": [], "b": []})),
]
HERE: dict[str, object] = {"x": 1.0, "label": "here"}
NESTED = [
    Case(body=rows(dataframe_records=[{"v": [1.0, 2.0], "place": HERE}])),
    Case(body=rows(inputs=[{"v": [1.0, 2.0], "place": {"x": 1}}])),
    Case(body=rows(inputs={"v": [[1.0, 2.0]], "place": [HERE]})),
    Case(body=rows(instances=[{"v": [1, 2], "place": HERE}] * 2)),
    Case(
        body=rows(
            dataframe_split={"columns": ["place", "v"], "data": [[HERE, [0.5, 0.25]]]}
        )
    ),
    Case(body=rows(inputs=[{"v": [1.0, 2.0]}])),
    Case(body=rows(inputs=[{"v": [1.0, 2.0], "place": {"label": "here"}}])),
    Case(body=rows(inputs=[{"v": [1.0, 2.0], "place": HERE | {"more": 1}}])),
    Case(body=rows(inputs=[{"v": [1.0, 2.0], "place": 5}])),
    Case(body=rows(inputs=[{"v": 5.0, "place": HERE}])),
    Case(body=rows(inputs=[{"v": ["a", "b"], "place": HERE}])),
    Case(body=rows(inputs=[{"v": [1.0, "b"], "place": HERE}])),
    Case(body=rows(inputs=[{"v": None, "place": HERE}])),
    Case(body=rows(inputs=[{"v": [1.0, 2.0], "place": {"x": "far"}}])),
    Case(body=rows(inputs=[{"v": [1.0, 2.0], "place": HERE, "other": 1}])),
]
CASES = [
    *(("tensor", case) for case in UNNAMED),
    *(("double", case) for case in UNNAMED),
    *(("named", case) for case in NAMED),
    *(("nested", case) for case in NESTED),
]


@pytest.fixture(scope="module")
def mlflow_ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """All servers, started side by side."""
    with contextlib.ExitStack() as opened, ThreadPoolExecutor(len(KINDS)) as starters:

        def started(name: str) -> int:
            kind = KINDS[name]
            folder = tmp_path_factory.mktemp(name)
            server = mlflow_serving(folder, [dict(one) for one in kind.inputs], kind.total)
            return opened.enter_context(server)

        yield dict(zip(KINDS, starters.map(started, KINDS), strict=True))


@pytest.mark.parametrize(
    ("kind", "case"), CASES, ids=[f"{kind}: {case}" for kind, case in CASES]
)
def test_status_and_body_are_those_of_mlflow(
    mlflow_ports: dict[str, int], tmp_path: Path, kind: str, case: Case
) -> None:
    theirs = ask(mlflow_ports[kind], case)
    with serving(tmp_path, KINDS[kind].bundle, Enforcement.MLFLOW) as port:
        ours = ask(port, case)
    assert (ours.status, ours.kind) == (theirs.status, theirs.kind)
    assert comparable(ours) == comparable(theirs)


@pytest.mark.parametrize(
    ("kind", "case"), CASES, ids=[f"{kind}: {case}" for kind, case in CASES]
)
def test_strict_answers_what_mlflow_answers_or_refuses_with_a_sentence(
    mlflow_ports: dict[str, int], tmp_path: Path, kind: str, case: Case
) -> None:
    theirs = ask(mlflow_ports[kind], case)
    with serving(tmp_path, KINDS[kind].bundle, Enforcement.STRICT) as port:
        ours = ask(port, case)
    if ours.status == 200:
        assert comparable(ours) == comparable(theirs)
    else:
        assert ours.status == 400
        assert comparable(ours)
