import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgekit.table import Array
from edgekit_converters.encoding import encode
from edgekit_converters.passes import clean, clean_named, simplify, simplify_named
from edgekit_converters.passes.walk import interface
from tests.converters import networks
from tests.converters.extractions import outputs_of
from tests.converters.networks import inner, node

RNG = np.random.default_rng(2)
TO_FIRST, TO_LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def normal(*shape: int) -> Array:
    return RNG.normal(0, 1, shape).astype(np.float32)


def with_attributes(made: NodeProto, **attributes: object) -> NodeProto:
    made.attribute.extend(helper.make_attribute(*pair) for pair in attributes.items())
    return made


def transpose(data: str, output: str, order: list[int]) -> NodeProto:
    return with_attributes(node("Transpose", [data], output), perm=order)


def channels_last(nodes: list[NodeProto], constants: dict[str, Array]) -> ModelProto:
    return networks.model(
        nodes, constants, inputs={"x": ["n", 8, 8, 3]}, outputs={"y": ["n", "h", "w", "c"]}
    )


def flat(nodes: list[NodeProto], constants: dict[str, Array], wide: int = 4) -> ModelProto:
    return networks.model(
        nodes, constants, inputs={"x": ["n", 4]}, outputs={"y": ["n", wide]}
    )


def operators(model: ModelProto) -> list[str]:
    return [n.op_type for n in model.graph.node]


def assert_same_bits(model: ModelProto, cleaned: ModelProto, feed: Array) -> None:
    before = outputs_of(encode(model), {"x": feed})
    after = outputs_of(encode(cleaned), {"x": feed})
    np.testing.assert_array_equal(after["y"], before["y"])
    assert interface(cleaned.graph) == interface(model.graph)


def test_transposes_between_convolutions_cancel() -> None:
    model = channels_last(
        [
            transpose("x", "x1", TO_FIRST),
            node("Conv", ["x1", "w1"], "c1"),
            transpose("c1", "t1", TO_LAST),
            node("Add", ["t1", "b1"], "a1"),
            node("Relu", ["a1"], "r1"),
            transpose("r1", "x2", TO_FIRST),
            node("Conv", ["x2", "w2"], "c2"),
            transpose("c2", "y", TO_LAST),
        ],
        {"w1": normal(5, 3, 3, 3), "b1": normal(5), "w2": normal(4, 5, 3, 3)},
    )
    cleaned = clean(model)
    assert operators(cleaned) == ["Transpose", "Conv", "Add", "Relu", "Conv", "Transpose"]
    assert_same_bits(model, cleaned, normal(3, 8, 8, 3))
    assert operators(simplify(model)) == ["Transpose", "Conv", "Relu", "Conv", "Transpose"]


def test_transposed_branches_that_are_added_become_one() -> None:
    model = channels_last(
        [
            transpose("x", "x1", TO_FIRST),
            node("Conv", ["x1", "w1"], "c1"),
            node("Conv", ["x1", "w2"], "c2"),
            transpose("c1", "t1", TO_LAST),
            transpose("c2", "t2", TO_LAST),
            node("Add", ["t1", "t2"], "a"),
            with_attributes(node("Concat", ["a"], "j"), axis=3),
            with_attributes(node("Clip", ["j", "low", "high"], "k")),
            transpose("k", "back", TO_FIRST),
            node("Conv", ["back", "w3"], "y"),
        ],
        {"w1": normal(5, 3, 3, 3), "w2": normal(5, 3, 3, 3), "w3": normal(4, 5, 3, 3)}
        | {"low": np.array(-1, np.float32), "high": np.array(1, np.float32)},
    )
    cleaned = clean(model)
    assert operators(cleaned).count("Transpose") == 1
    assert_same_bits(model, cleaned, normal(3, 8, 8, 3))


def test_channels_that_are_joined_are_joined_along_their_own_axis() -> None:
    model = channels_last(
        [
            transpose("x", "x1", TO_FIRST),
            node("Conv", ["x1", "w1"], "c1"),
            node("Conv", ["x1", "w2"], "c2"),
            transpose("c1", "t1", TO_LAST),
            transpose("c2", "t2", TO_LAST),
            with_attributes(node("Concat", ["t1", "t2"], "y"), axis=3),
        ],
        {"w1": normal(5, 3, 3, 3), "w2": normal(2, 3, 3, 3)},
    )
    cleaned = clean(model)
    assert operators(cleaned)[-1] == "Transpose"
    assert_same_bits(model, cleaned, normal(3, 8, 8, 3))


def test_two_transposes_in_a_row_become_one_or_none() -> None:
    order = [0, 2, 1, 3]
    model = channels_last(
        [
            transpose("x", "a", TO_FIRST),
            transpose("a", "b", order),
            node("Relu", ["b"], "y"),
        ],
        {},
    )
    cleaned = clean(model)
    assert operators(cleaned).count("Transpose") == 1
    assert_same_bits(model, cleaned, normal(3, 8, 8, 3))


def test_a_transpose_that_others_read_too_stays_where_it_is() -> None:
    model = channels_last(
        [
            transpose("x", "t", TO_FIRST),
            node("Relu", ["t"], "r"),
            node("Softmax", ["t"], "s"),
            node("Add", ["r", "s"], "y"),
        ],
        {},
    )
    cleaned = clean(model)
    assert operators(cleaned) == ["Transpose", "Relu", "Softmax", "Add"]
    assert_same_bits(model, cleaned, normal(3, 8, 8, 3))


def test_nodes_that_change_nothing_go() -> None:
    model = flat(
        [
            node("Relu", ["x"], "a"),
            node("Identity", ["a"], "b"),
            node("Dropout", ["b", "ratio", "training"], "c"),
            with_attributes(node("Cast", ["c"], "d"), to=TensorProto.FLOAT),
            node("Reshape", ["d", "shape"], "e"),
            transpose("e", "f", [0, 1]),
            node("Tanh", ["f"], "y"),
        ],
        {"ratio": np.array(0.5, np.float32), "training": np.array(0, np.bool_)}
        | {"shape": np.array([-1, 4])},
    )
    cleaned = clean(model)
    assert operators(cleaned) == ["Relu", "Tanh"]
    assert not cleaned.graph.initializer
    assert_same_bits(model, cleaned, normal(5, 4))


def test_a_reshape_that_changes_the_shape_stays() -> None:
    model = flat(
        [
            node("Reshape", ["x", "shape"], "a"),
            node("Softmax", ["a"], "b"),
            node("Reshape", ["b", "back"], "y"),
        ],
        {"shape": np.array([1, -1]), "back": np.array([-1, 4])},
    )
    cleaned = clean(model)
    assert operators(cleaned) == ["Reshape", "Softmax", "Reshape"]
    assert_same_bits(model, cleaned, normal(1, 4))


def test_dropout_whose_mask_is_read_stays() -> None:
    dropout = helper.make_node("Dropout", ["x"], ["a", "mask"])
    model = flat(
        [
            dropout,
            with_attributes(node("Cast", ["mask"], "m"), to=TensorProto.FLOAT),
            node("Mul", ["a", "m"], "y"),
        ],
        {},
    )
    assert "Dropout" in operators(clean(model))


def test_a_cast_that_rounds_stays() -> None:
    model = flat(
        [
            with_attributes(node("Cast", ["x"], "a"), to=TensorProto.FLOAT16),
            with_attributes(node("Cast", ["a"], "y"), to=TensorProto.FLOAT),
        ],
        {},
    )
    cleaned = clean(model)
    assert operators(cleaned) == ["Cast", "Cast"]
    assert_same_bits(model, cleaned, normal(5, 4))


def test_what_is_made_of_constants_is_computed() -> None:
    model = flat(
        [
            node("Transpose", ["w"], "turned"),
            node("Mul", ["turned", "k"], "scaled"),
            node("MatMul", ["x", "scaled"], "y"),
        ],
        {"w": normal(3, 4), "k": normal(4, 1)},
        wide=3,
    )
    cleaned = clean(model)
    assert operators(cleaned) == ["MatMul"]
    assert_same_bits(model, cleaned, normal(5, 4))


def test_what_would_take_more_bytes_is_left_to_the_session() -> None:
    model = flat(
        [
            with_attributes(node("Cast", ["small"], "w"), to=TensorProto.FLOAT),
            node("MatMul", ["x", "w"], "y"),
        ],
        {"small": np.ones((4, 90), np.int8)},
        wide=90,
    )
    assert operators(clean(model)) == ["Cast", "MatMul"]


def test_chance_and_what_integer_kernels_look_for_are_no_constants() -> None:
    random = with_attributes(node("RandomNormalLike", ["k"], "noise"), seed=1.0)
    back = node("DequantizeLinear", ["q", "scale", "zero"], "b")
    model = flat(
        [random, back, node("Add", ["noise", "b"], "s"), node("Add", ["x", "s"], "y")],
        {"k": normal(4), "q": np.ones(4, np.int8), "scale": np.array(0.5, np.float32)}
        | {"zero": np.array(0, np.int8)},
    )
    kept = operators(clean(model))
    assert kept[:2] == ["RandomNormalLike", "DequantizeLinear"]


@pytest.mark.parametrize("opset", [9, 11, 17, 21])
def test_attributes_that_hold_the_default_go(opset: int) -> None:
    conv = with_attributes(
        node("Conv", ["x", "w"], "c"),
        strides=[1, 1],
        dilations=[1, 1],
        pads=[0, 0, 0, 0],
        group=1,
        kernel_shape=[3, 3],
        auto_pad="NOTSET",
    )
    pool = with_attributes(
        node("MaxPool", ["c"], "y"), kernel_shape=[2, 2], strides=[2, 2], ceil_mode=0
    )
    if opset < 10:
        del pool.attribute[-1]
    model = networks.model(
        [conv, pool],
        {"w": normal(2, 3, 3, 3)},
        inputs={"x": ["n", 3, 8, 8]},
        outputs={"y": ["n", 2, 3, 3]},
        opset=opset,
    )
    cleaned = clean(model)
    kept = [[entry.name for entry in n.attribute] for n in cleaned.graph.node]
    assert kept[1] == ["kernel_shape", "strides"]
    assert opset < 11 or not kept[0]
    assert_same_bits(model, cleaned, normal(2, 3, 8, 8))


def test_attributes_that_differ_from_the_default_stay() -> None:
    gemm = with_attributes(node("Gemm", ["x", "w"], "y"), alpha=0.5, beta=1.0, transB=1)
    cleaned = clean(flat([gemm], {"w": normal(3, 4)}, wide=3))
    assert [e.name for e in cleaned.graph.node[0].attribute] == ["alpha", "transB"]


def test_the_side_map_says_what_each_short_name_was() -> None:
    model = networks.classifier()
    named = clean_named(model)
    assert named.model == clean(model)
    originals = {name for n in model.graph.node for name in (*n.input, *n.output)}
    assert set(named.names.values()) <= originals
    back = {e.name: numpy_helper.to_array(e) for e in model.graph.initializer}
    for entry in named.model.graph.initializer:
        values = numpy_helper.to_array(entry)
        np.testing.assert_array_equal(values, back[named.names[entry.name]])


def test_the_side_map_of_a_folded_model_leads_to_the_original_too() -> None:
    model = flat(
        [
            node("MatMul", ["x", inner("w")], inner("m")),
            node("Mul", [inner("m"), inner("k")], inner("scaled")),
            node("Relu", [inner("scaled")], "y"),
        ],
        {inner("w"): normal(4, 4), inner("k"): normal(4)},
    )
    named = simplify_named(model)
    assert named.model == simplify(model)
    assert set(named.names.values()) == {inner("w/folded"), inner("scaled")}
    assert not interface(named.model.graph) & named.names.keys()
