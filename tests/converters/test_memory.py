"""The estimate follows what is stored, unfolded, packed and live; no runtime here."""

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from edgekit.table import Array
from edgekit_converters.needs.memory import (
    FLOOR_BYTES,
    SESSION_BYTES,
    TREE_NODE_BYTES,
    MemoryEstimate,
    estimate,
)
from edgekit_converters.needs.sizes import value_bytes
from tests.converters import networks

_KB = 1024
WEIGHT = np.zeros((64, 256), np.float32)  # 64 KB


def matmul(weight: Array = WEIGHT, **constants: Array) -> ModelProto:
    """x @ w, w unfolded from what is stored: by a Cast, or a Cast and a Mul."""
    stored = {"stored": weight, **constants}
    nodes = []
    name = "stored"
    if weight.dtype != np.float32:
        nodes.append(helper.make_node("Cast", [name], ["cast"], to=TensorProto.FLOAT))
        name = "cast"
    if "scale" in constants:
        nodes.append(networks.node("Mul", [name, "scale"], "scaled"))
        name = "scaled"
    nodes.append(networks.node("MatMul", ["x", name], "y"))
    return networks.model(nodes, stored, inputs={"x": ["n", 64]}, outputs={"y": ["n", 256]})


def of(model: ModelProto, **options: str) -> MemoryEstimate:
    return estimate(model, session_options=options)


def test_weights_are_held_twice_while_they_are_packed() -> None:
    told = of(matmul())
    assert told.weights == 64 * _KB
    assert told.loading == 2 * 64 * _KB


def test_large_weights_are_given_back_one_by_one_as_they_are_packed() -> None:
    large = np.zeros((2048, 2048), np.float32)  # 16 MB
    model = networks.model(
        [
            networks.node("MatMul", ["x", "a"], "h"),
            networks.node("MatMul", ["h", "b"], "y"),
        ],
        {"a": large, "b": large},
        inputs={"x": ["n", 2048]},
        outputs={"y": ["n", 2048]},
    )
    assert of(model).loading == 3 * large.nbytes


def test_the_floor_and_a_session_are_there_whatever_the_graph() -> None:
    told = of(matmul())
    assert told.peak > FLOOR_BYTES + SESSION_BYTES
    own = estimate(matmul(), floor_bytes=30_000_000)
    assert told.peak - own.peak == FLOOR_BYTES - 30_000_000


@pytest.mark.parametrize(
    ("dtype", "scale", "loading"),
    [
        # float32 weights and their packed copy, and what they unfold from
        (np.float16, {}, 2 * 64 + 32),
        # int8 in the file and out of it, as float32, scaled, and the Mul's input again
        (np.int8, {"scale": np.ones(256, np.float32)}, 16 + 16 + 3 * 64 + 1 + 1),
    ],
)
def test_small_weights_unfold_to_float_in_memory(
    dtype: type, scale: dict[str, Array], loading: int
) -> None:
    told = of(matmul(WEIGHT.astype(dtype), **scale))
    assert told.weights == 64 * _KB
    assert told.loading == loading * _KB


def dequantised() -> ModelProto:
    """x @ w with w behind a DequantizeLinear."""
    constants: dict[str, Array] = {
        "w": np.zeros((64, 256), np.int8),
        "s": np.ones(1, np.float32),
    }
    return networks.model(
        [
            networks.node("DequantizeLinear", ["w", "s"], "float"),
            networks.node("MatMul", ["x", "float"], "y"),
        ],
        constants,
        inputs={"x": ["n", 64]},
        outputs={"y": ["n", 256]},
    )


def test_dequantised_weights_are_constants_only_with_the_session_option() -> None:
    plain = of(dequantised())
    folded = estimate(dequantised(), session_options={"session.disable_quant_qdq": "1"})
    assert plain.weights < 17 * _KB
    assert folded.weights == 64 * _KB
    assert plain.activations - folded.activations == 64 * _KB


def test_values_live_until_their_last_reader() -> None:
    wide = networks.model(
        [
            networks.node("Transpose", ["x"], "a"),
            networks.node("Transpose", ["a"], "b"),
            networks.node("Transpose", ["b"], "y"),
        ],
        {},
        inputs={"x": ["n", 1024]},
        outputs={"y": ["n", 1024]},
    )
    assert of(wide).activations == 3 * 4 * _KB  # the caller holds x all the while
    wide.graph.node[2].CopyFrom(networks.node("Concat", ["x", "b"], "y"))
    wide.graph.node[2].attribute.append(helper.make_attribute("axis", 1))
    assert of(wide).activations == 4 * (1 + 1 + 2) * _KB


def test_elementwise_operators_take_over_the_place_of_their_input() -> None:
    names = ["x", "a", "b", "c"]
    nodes = [
        networks.node("Relu", [before], after)
        for before, after in zip(names, [*names[1:], "y"], strict=True)
    ]
    chain = networks.model(nodes, {}, inputs={"x": ["n", 1024]}, outputs={"y": ["n", 1024]})
    assert of(chain).activations == 2 * 4 * _KB  # but never that of the caller


def test_lengths_that_the_graph_leaves_open_come_from_the_caller() -> None:
    model = networks.model(
        [networks.node("Transpose", ["x"], "y")],
        {},
        inputs={"x": ["n", "length"]},
        outputs={"y": ["n", "length"]},
    )
    assert value_bytes(model)["y"] == 4
    assert value_bytes(model, {"x": (1, 300)})["y"] == 1200


def test_a_fixed_batch_is_not_one_row() -> None:
    model = networks.model(
        [networks.node("Relu", ["x"], "y")], {}, inputs={"x": [8, 4]}, outputs={"y": [8, 4]}
    )
    assert value_bytes(model, {"x": (1, 4)})["y"] == 8 * 4 * 4


def test_trees_are_structures_of_their_own() -> None:
    one, many = of(networks.stump()), of(networks.stump(1000))
    assert many.trees - one.trees > 999 * 3 * TREE_NODE_BYTES


def test_a_declared_size_that_no_memory_holds_is_only_a_number() -> None:
    model = matmul()
    model.graph.initializer[0].dims[:] = [2**31, 2**31]
    assert of(model).peak > 2**60


def test_a_graph_that_inference_refuses_is_estimated_by_what_it_declares() -> None:
    model = matmul()
    model.graph.node[0].op_type = "NoSuchOperator"
    assert of(model).weights == 64 * _KB


def test_a_branch_counts_with_its_weights_and_its_values() -> None:
    branch = helper.make_graph(
        [networks.node("MatMul", ["x", "w"], "z")],
        "branch",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 256])],
    )
    model = networks.model(
        [
            helper.make_node(
                "If", ["condition"], ["y"], then_branch=branch, else_branch=branch
            )
        ],
        {"w": WEIGHT, "condition": np.array(1, bool)},
        inputs={"x": ["n", 64]},
        outputs={"y": ["n", 256]},
    )
    told = of(model)
    assert told.weights >= 64 * _KB
    assert told.activations >= 4 * (64 + 256)
