import json

import numpy as np
import pytest

from edgekit.errors import ProofError, TrustError
from edgekit.golden import Golden, compare, decode, encode
from edgekit.manifest import Tolerance

CLOSE = Tolerance(rtol=1e-3, atol=1e-5)
GOLDEN = Golden(
    inputs={
        "a": np.array([1.5, np.nan, -0.0]),
        "city": np.array(["Bilbao", "", "Eibar"], dtype=object),
        "flag": np.array([True, False, True]),
        "big": np.array([2**62, -1, 0]),
    },
    outputs={
        "label": np.array(["ok", "ok", "worn"], dtype=object),
        "p": np.array([[0.5, 0.5], [0.1, 0.9], [1.0, 0.0]], dtype=np.float32),
    },
)


def test_vectors_survive_encoding_to_the_bit() -> None:
    back = decode(encode(GOLDEN))
    for name, array in {**GOLDEN.inputs, **GOLDEN.outputs}.items():
        other = {**back.inputs, **back.outputs}[name]
        assert other.dtype == array.dtype
        assert np.array_equal(other, array, equal_nan=array.dtype.kind == "f")
    assert encode(back) == encode(GOLDEN)


def test_equal_outputs_pass_and_report_the_largest_difference() -> None:
    got = dict(GOLDEN.outputs)
    got["p"] = got["p"] + np.float32(2e-6)
    assert 1e-6 < compare(GOLDEN, got, CLOSE) < 4e-6


def test_a_corrupted_scale_is_refused_with_the_numbers() -> None:
    got = dict(GOLDEN.outputs)
    got["p"] = got["p"] * np.float32(1.01)
    with pytest.raises(ProofError, match=r"output p at \(0, 0\) is 0.505.*0.5 \+-"):
        compare(GOLDEN, got, CLOSE)


def test_swapped_labels_are_refused() -> None:
    got = dict(GOLDEN.outputs)
    got["label"] = np.array(["worn", "ok", "ok"], dtype=object)
    with pytest.raises(ProofError, match=r"output label at .* is worn, ok is expected"):
        compare(GOLDEN, got, CLOSE)


def test_a_nan_where_a_number_was_is_refused() -> None:
    got = dict(GOLDEN.outputs)
    got["p"] = np.full((3, 2), np.nan, dtype=np.float32)
    with pytest.raises(ProofError, match="is nan"):
        compare(GOLDEN, got, CLOSE)


def test_a_missing_output_and_another_shape_are_refused() -> None:
    with pytest.raises(ProofError, match="no output label"):
        compare(GOLDEN, {"p": GOLDEN.outputs["p"]}, CLOSE)
    with pytest.raises(ProofError, match=r"has shape \(3,\)"):
        compare(GOLDEN, {**GOLDEN.outputs, "p": np.zeros(3, np.float32)}, CLOSE)


@pytest.mark.parametrize(
    "damage",
    [
        {"dtype": "object", "shape": [1], "data": ""},
        {"dtype": "float64", "shape": [2], "data": "AAAA"},
        {"dtype": "float64", "shape": [-1], "data": ""},
        {"dtype": "float64", "shape": [1], "data": "not base64!"},
        {"dtype": "str", "shape": [2], "values": ["one"]},
        {"dtype": "nonsense", "shape": [0], "data": ""},
    ],
)
def test_garbage_vectors_are_refused(damage: dict[str, object]) -> None:
    body = {"format": 1, "inputs": {"a": damage}, "outputs": {}}
    with pytest.raises(TrustError):
        decode(json.dumps(body).encode())
