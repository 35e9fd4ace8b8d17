import numpy as np
import pytest

from edgekit.errors import ProofError
from edgekit.manifest import Signature
from edgekit.schema import Schema
from edgekit.schema.outputs import Answer, OutputSchema
from tests.core.signatures import Entries, column, tensor


def outputs(*entries: dict[str, object]) -> OutputSchema:
    schema = Schema.from_signature(Signature(outputs=list(entries)))
    assert schema.outputs is not None
    return schema.outputs


TWO = [column("long", "label"), column("double", "score")]


@pytest.mark.parametrize(
    ("entries", "answer"),
    [
        ([tensor("int64", [-1])], np.array([1, 2])),
        ([tensor("float32", [-1, 3])], np.zeros((4, 3))),
        ([column("long", None)], np.array([1.0, 2.0])),
        ([column("float", "y")], np.array([[0.5], [np.nan]])),
        ([column("string", None)], np.array(["a"], object)),
        ([column("double", None)] * 2, np.zeros((5, 2))),
        (TWO, {"label": np.array([1]), "score": np.array([0.5])}),
        ([column("double", "y", required=False)], {}),
    ],
)
def test_an_answer_of_the_promised_shape_passes(entries: Entries, answer: Answer) -> None:
    outputs(*entries).check(answer)


@pytest.mark.parametrize(
    ("entries", "answer", "fact"),
    [
        ([tensor("int64", [-1])], np.zeros((2, 2), int), "shape (2, 2), (-1,) is expected"),
        ([tensor("float32", [-1])], np.array(["a"]), "is of <U1, float32 is expected"),
        ([column("long", None)], np.array([1.5]), "holds fractions or NaN"),
        ([column("long", None)], np.array([np.nan]), "holds fractions or NaN"),
        ([column("string", None)], np.array([1]), "is of int64, string is expected"),
        ([column("double", None)], np.array(["a"], object), "double is expected"),
        ([column("double", None)], np.zeros((2, 2)), "one column is expected"),
        ([column("double", None)] * 2, np.zeros((5, 3)), "2 columns are expected"),
        (TWO, {"label": np.array([1])}, "score is missing among label"),
    ],
)
def test_an_answer_that_breaks_the_promise_is_named(
    entries: Entries, answer: Answer, fact: str
) -> None:
    with pytest.raises(ProofError) as refusal:
        outputs(*entries).check(answer)
    assert fact in str(refusal.value)


def test_a_signature_without_outputs_promises_nothing() -> None:
    assert Schema.from_signature(Signature(inputs=[column("long")])).outputs is None
