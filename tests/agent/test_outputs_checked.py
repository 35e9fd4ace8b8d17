"""Answers are held to the output schema, if the model's own golden answer keeps it."""

import logging

import pytest

from edgekit.errors import ProofError
from edgekit.manifest import Signature
from edgekit.schema import Enforcement
from edgekit_agent.service.content import Content
from edgekit_agent.service.served import Identity, Served
from edgekit_agent.storage.store import Store
from tests.agent.making import made, repacked, scaler, stored

ROWS = b'{"inputs": {"a": [1], "b": [2]}}'
HALF = b'{"inputs": {"a": [1], "b": [0.25]}}'


def served(store: Store, kind: str, name: str = "y", *, scale: float = 2.0) -> Served:
    plain = made(scale=scale)
    signature = Signature(
        inputs=plain.manifest.signature.inputs,
        outputs=[{"type": kind, "name": name, "required": True}],
    )
    what = repacked(plain, scaler(scale), signature=signature)
    stored(store, what)
    identity = Identity(model="wine", version="1", flavor="fp32", sha256=what.sha256)
    return Served.load(store, identity)


def test_an_answer_within_its_schema_is_given(store: Store) -> None:
    found = served(store, "double")
    assert found.outputs is not None
    answer = found.answer(ROWS, Content.JSON, Enforcement.STRICT)
    assert answer.response == b'{"predictions": [6.0]}'


def test_an_answer_that_breaks_its_schema_is_withheld(store: Store) -> None:
    found = served(store, "long")  # the golden row gives 3.0, which is one
    with pytest.raises(ProofError, match="y holds fractions or NaN, long is expected"):
        found.answer(HALF, Content.JSON, Enforcement.STRICT)
    answer = found.answer(HALF, Content.JSON, Enforcement.OFF)
    assert answer.response == b'{"predictions": [2.5]}'


def test_a_schema_that_the_golden_answer_breaks_is_no_promise(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = served(store, "string")
    assert "answers are not checked" in caplog.text
    answer = found.answer(ROWS, Content.JSON, Enforcement.STRICT)
    assert answer.response == b'{"predictions": [6.0]}'
