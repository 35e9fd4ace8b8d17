"""The proof on this CPU and runtime: what is wrong never answers one request."""

import io
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekit import bundle, golden
from edgekit.errors import ProofError, SchemaError, StoreError
from edgekit.golden import Golden
from edgekit.manifest import GOLDEN_NAME, MODEL_NAME, Signature
from edgekit_agent.proof import prove
from edgekit_agent.storage.store import Store
from tests.agent.making import Made, made, repacked, stored

ENOUGH = 4 * 2**30


def slow_model() -> bytes:
    """y = 2 * (a + b), after many multiplications of a large matrix."""
    size = 256
    loops = 400
    identity = np.eye(size, dtype=np.float32)
    body = [
        helper.make_node("MatMul", [f"m{n}" if n else "eye", "eye"], [f"m{n + 1}"])
        for n in range(loops)
    ]
    nodes = [
        helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=1),
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "zero"], ["nothing"]),
        helper.make_node("Add", ["ones", "nothing"], ["eye"]),
        *body,
        helper.make_node("ReduceMax", [f"m{loops}"], ["one"], keepdims=0),
        helper.make_node("Mul", ["sum", "one"], ["same"]),
        helper.make_node("Mul", ["same", "scale"], ["y"]),
    ]
    weights = [
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        helper.make_tensor("scale", TensorProto.FLOAT, [1], [2.0]),
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        onnx.numpy_helper.from_array(identity, "ones"),
    ]
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        weights,
    )
    opsets = [helper.make_opsetid("", 17)]
    return bytes(
        helper.make_model(graph, ir_version=8, opset_imports=opsets).SerializeToString()
    )


def nan_model() -> bytes:
    """y = 0 / 0."""
    nodes = [
        helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=1),
        helper.make_node("Sub", ["sum", "sum"], ["zero"]),
        helper.make_node("Div", ["zero", "zero"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "nan",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor("axis", TensorProto.INT64, [1], [1])],
    )
    opsets = [helper.make_opsetid("", 17)]
    return bytes(
        helper.make_model(graph, ir_version=8, opset_imports=opsets).SerializeToString()
    )


def refused(store: Store, what: Made, **limits: int) -> str:
    with pytest.raises(ProofError) as caught:
        prove(store, stored(store, what), max_rss_bytes=limits.get("rss", ENOUGH))
    return str(caught.value)


def test_a_right_model_is_proven_with_its_figures(store: Store) -> None:
    verdict = prove(store, stored(store, made()), max_rss_bytes=ENOUGH)
    assert verdict.rows == 3
    assert verdict.difference == 0.0
    assert 0 < verdict.one_row_p50_us <= verdict.one_row_p95_us < 20_000
    assert verdict.peak_rss_bytes > 20 * 2**20


def test_a_corrupted_scale_is_refused_with_numbers(store: Store) -> None:
    reason = refused(store, made(scale=2.02, golden_scale=2.0))
    assert "output y at (0, 0) is 3.03, 3 +- " in reason
    assert "3 of 3 differ" in reason


def test_a_model_that_gives_nan_is_refused(store: Store) -> None:
    assert "is nan" in refused(store, repacked(made(), nan_model()))


def test_an_opset_this_runtime_does_not_know_is_refused(store: Store) -> None:
    assert "cannot load it" in refused(store, made(opset=99))


def test_a_model_without_golden_vectors_is_refused(store: Store) -> None:
    assert GOLDEN_NAME in refused(store, made(with_golden=False))


def test_a_model_that_takes_too_much_memory_is_refused_with_numbers(store: Store) -> None:
    assert "gives models up to 1 MB" in refused(store, made(), rss=2**20)


@pytest.mark.slow
def test_a_much_slower_model_is_refused_with_numbers(store: Store) -> None:
    assert "us here, up to 20000 us are expected" in refused(
        store, repacked(made(), slow_model())
    )


def labels_model(first: int, second: int) -> bytes:
    """Label of a row: `first` where its sum is positive, else `second`."""
    nodes = [
        helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=1),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node("Where", ["positive", "first", "second"], ["y"]),
    ]
    weights = [
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("first", TensorProto.INT64, [], [first]),
        helper.make_tensor("second", TensorProto.INT64, [], [second]),
    ]
    graph = helper.make_graph(
        nodes,
        "labels",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [None, 1])],
        weights,
    )
    opsets = [helper.make_opsetid("", 17)]
    return bytes(
        helper.make_model(graph, ir_version=8, opset_imports=opsets).SerializeToString()
    )


def labelled(model: bytes) -> Made:
    """A classifier whose golden rows are all positive: label 1."""
    what = made()
    (_, members) = bundle.read_members(io.BytesIO(what.data))
    known = golden.decode(members[GOLDEN_NAME])
    told = Golden(inputs=known.inputs, outputs={"y": np.ones((3, 1), np.int64)})
    return repacked(what, model, golden.encode(told))


def test_swapped_labels_are_refused(store: Store) -> None:
    right = stored(store, labelled(labels_model(1, 0)))
    assert prove(store, right, max_rss_bytes=ENOUGH).difference == 0.0
    assert "output y at (0, 0) is 0, 1 is expected; 3 of 3 differ" in refused(
        store, labelled(labels_model(0, 1))
    )


@pytest.mark.slow
def test_a_model_ten_times_slower_than_what_serves_is_refused_with_numbers(
    store: Store,
) -> None:
    """Within what the workstation's figures allow, and yet: this device had better."""
    figures = replace(made().manifest.footprint, one_row_p95_us=10**7)
    slow = repacked(made(), slow_model(), footprint=figures)
    digest = stored(store, slow)
    verdict = prove(store, digest, max_rss_bytes=ENOUGH)
    pace_us = verdict.one_row_p50_us // 100
    with pytest.raises(ProofError, match=rf"us here and {pace_us} us with what serves"):
        prove(store, digest, max_rss_bytes=ENOUGH, pace_us=pace_us)
    prove(store, digest, max_rss_bytes=ENOUGH, pace_us=verdict.one_row_p50_us)


def test_below_the_floor_no_pace_is_judged(store: Store) -> None:
    prove(store, stored(store, made()), max_rss_bytes=ENOUGH, pace_us=0)


def test_a_signature_that_cannot_be_enforced_is_refused(store: Store) -> None:
    what = made()
    odd = Signature(inputs=[{"name": "a", "type": "quaternion", "required": True}])
    (_, members) = bundle.read_members(io.BytesIO(what.data))
    what = repacked(what, members[MODEL_NAME], signature=odd)
    with pytest.raises(SchemaError):
        prove(store, stored(store, what), max_rss_bytes=ENOUGH)


def test_a_bundle_damaged_on_flash_is_no_verdict_on_the_model(store: Store) -> None:
    digest = stored(store, made())
    (store.bundle(digest) / MODEL_NAME).write_bytes(b"")
    with pytest.raises(StoreError):
        prove(store, digest, max_rss_bytes=ENOUGH)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scale", "event"), [(2.0, "proved"), (3.0, "refused")], ids=["right", "wrong"]
)
def test_the_process_says_one_line_of_json(store: Store, scale: float, event: str) -> None:
    digest = stored(store, made(golden_scale=scale))
    arguments = ["--state-dir", str(store.tuf.parent), "--sha256", digest]
    arguments += ["--max-rss-bytes", str(ENOUGH)]
    with subprocess.Popen(
        [sys.executable, "-m", "edgekit_agent.proof", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        lines = process.stdout.readlines()
    assert len(lines) == 1
    told = json.loads(lines[0])
    assert told["event"] == event
    assert event == "proved" or told["error"] == "ProofError"
