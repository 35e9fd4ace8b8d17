import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper

from edgekit.table import Array
from edgekit_converters.encoding import encode
from edgekit_converters.passes import FOLDS, clean, simplify
from edgekit_converters.passes.walk import interface
from tests.converters import networks
from tests.converters.extractions import outputs_of
from tests.converters.networks import inner, node

RNG = np.random.default_rng(11)
WIDE = 6


def normal(*shape: int) -> Array:
    return RNG.normal(0, 1, shape).astype(np.float32)


def normalisation(data: str, output: str, **attributes: float) -> NodeProto:
    made = node("BatchNormalization", [data, "scale", "shift", "mean", "var"], output)
    for name, value in attributes.items():
        made.attribute.append(helper.make_attribute(name, value))
    return made


def statistics(channels: int, *, mean: float = 0.5) -> dict[str, Array]:
    return {
        "scale": normal(channels) + 2,
        "shift": normal(channels),
        "mean": normal(channels) + np.float32(mean),
        "var": normal(channels) ** 2 + np.float32(0.1),
    }


def rows_model(nodes: list[NodeProto], constants: dict[str, Array]) -> ModelProto:
    return networks.model(
        nodes, constants, inputs={"x": ["n", WIDE]}, outputs={"y": ["n", "c"]}
    )


def images_model(nodes: list[NodeProto], constants: dict[str, Array]) -> ModelProto:
    return networks.model(
        nodes,
        constants,
        inputs={"x": ["n", 3, 8, 8]},
        outputs={"y": ["n", "c", "h", "w"]},
    )


def assert_folded(model: ModelProto, feed: Array, operators: list[str]) -> None:
    small = simplify(model)
    assert [n.op_type for n in small.graph.node] == operators
    assert interface(small.graph) == {"x", "y"}
    assert len(encode(small)) < len(encode(clean(model)))
    before = outputs_of(encode(model), {"x": feed})["y"]
    after = outputs_of(encode(small), {"x": feed})["y"]
    np.testing.assert_allclose(after, before, rtol=2e-5, atol=2e-5 * np.abs(before).max())


@pytest.mark.parametrize("biased", [True, False])
def test_normalisation_after_a_convolution_is_in_its_weights(*, biased: bool) -> None:
    inputs = ["x", "w", "b"][: 3 if biased else 2]
    model = images_model(
        [
            node("Conv", inputs, "c"),
            normalisation("c", "n", epsilon=1e-3),
            node("Relu", ["n"], "y"),
        ],
        {"w": normal(5, 3, 3, 3), "b": normal(5), **statistics(5)},
    )
    assert_folded(model, normal(4, 3, 8, 8), ["Conv", "Relu"])


def test_normalisation_after_a_grouped_convolution_is_in_its_weights() -> None:
    conv = node("Conv", ["x", "w"], "c")
    conv.attribute.append(helper.make_attribute("group", 3))
    model = images_model(
        [conv, normalisation("c", "y")], {"w": normal(6, 1, 3, 3), **statistics(6)}
    )
    assert_folded(model, normal(4, 3, 8, 8), ["Conv"])


def test_normalisation_after_a_transposed_convolution_is_in_its_weights() -> None:
    model = images_model(
        [node("ConvTranspose", ["x", "w", "b"], "c"), normalisation("c", "y")],
        {"w": normal(3, 5, 3, 3), "b": normal(5), **statistics(5)},
    )
    assert_folded(model, normal(2, 3, 8, 8), ["ConvTranspose"])


@pytest.mark.parametrize("flipped", [0, 1])
def test_normalisation_after_gemm_is_in_its_weights(flipped: int) -> None:
    gemm = node("Gemm", ["x", "w", "b"], "g")
    for name, value in {"transB": flipped, "alpha": 0.5, "beta": 2.0}.items():
        gemm.attribute.append(helper.make_attribute(name, value))
    weight = normal(5, WIDE) if flipped else normal(WIDE, 5)
    model = rows_model(
        [gemm, normalisation("g", "y")], {"w": weight, "b": normal(5), **statistics(5)}
    )
    assert_folded(model, normal(9, WIDE), ["Gemm"])


def test_what_tf2onnx_writes_for_a_normalisation_is_in_the_weights() -> None:
    model = rows_model(
        [
            node("MatMul", ["x", "w"], inner("m")),
            node("Add", [inner("m"), "b"], inner("a")),
            node("Mul", [inner("a"), "factor"], inner("s")),
            node("Add", ["offset", inner("s")], inner("t")),
            node("Relu", [inner("t")], "y"),
        ],
        {"w": normal(WIDE, 5), "b": normal(5), "factor": normal(1, 5)}
        | {"offset": normal(1, 5)},
    )
    assert_folded(model, normal(9, WIDE), ["Gemm", "Relu"])


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("operator", ["Mul", "Add", "Sub", "Div"])
def test_arithmetic_with_a_constant_per_channel_is_in_the_weights(
    operator: str, *, first: bool
) -> None:
    after = ["c", "k"] if first else ["k", "c"]
    model = images_model(
        [node("Conv", ["x", "w"], "c"), node(operator, after, "y")],
        {"w": normal(5, 3, 3, 3), "k": np.abs(normal(5, 1, 1)) + 1},
    )
    if operator == "Div" and not first:  # a constant divided by the channel
        assert [n.op_type for n in simplify(model).graph.node] == ["Conv", "Div"]
    else:
        assert_folded(model, normal(4, 3, 8, 8), ["Conv"])


def test_a_product_of_three_dimensions_keeps_one_addition() -> None:
    model = networks.model(
        [
            node("MatMul", ["x", "w"], "m"),
            node("Add", ["m", "b"], "a"),
            node("Mul", ["a", "factor"], "s"),
            node("Sub", ["s", "offset"], "y"),
        ],
        {"w": normal(WIDE, 5), "b": normal(5), "factor": normal(5), "offset": normal(5)},
        inputs={"x": ["n", 4, WIDE]},
        outputs={"y": ["n", 4, 5]},
    )
    assert_folded(model, normal(3, 4, WIDE), ["MatMul", "Add"])


@pytest.mark.parametrize("operator", ["Gemm", "MatMul"])
def test_normalisation_before_a_dense_layer_is_in_its_weights(operator: str) -> None:
    model = rows_model(
        [normalisation("x", "n"), node(operator, ["n", "w"], "y")],
        {"w": normal(WIDE, 5), **statistics(WIDE)},
    )
    operators = ["Gemm"]  # the shift became a bias
    assert_folded(model, normal(9, WIDE), operators)


def test_a_mean_far_from_zero_stays_out_of_the_bias_where_it_would_cancel() -> None:
    model = rows_model(
        [normalisation("x", "n"), node("Gemm", ["n", "w"], "y")],
        {"w": normal(WIDE, 5), **statistics(WIDE, mean=1e5)},
    )
    assert [n.op_type for n in simplify(model).graph.node] == ["BatchNormalization", "Gemm"]


def test_a_value_that_another_node_reads_is_not_folded_away() -> None:
    model = images_model(
        [
            node("Conv", ["x", "w"], "c"),
            normalisation("c", "n"),
            node("Add", ["c", "n"], "y"),
        ],
        {"w": normal(5, 3, 3, 3), **statistics(5)},
    )
    assert [n.op_type for n in simplify(model).graph.node] == [
        "Conv",
        "BatchNormalization",
        "Add",
    ]


def test_a_weight_that_two_layers_share_is_not_split() -> None:
    model = rows_model(
        [
            node("MatMul", ["x", "w"], "m"),
            node("Mul", ["m", "k"], "s"),
            node("MatMul", ["s", "w"], "y"),
        ],
        {"w": normal(WIDE, WIDE), "k": normal(WIDE)},
    )
    assert [n.op_type for n in simplify(model).graph.node] == ["MatMul", "Mul", "MatMul"]


def test_a_constant_across_positions_is_no_channel() -> None:
    model = images_model(
        [node("Conv", ["x", "w"], "c"), node("Mul", ["c", "k"], "y")],
        {"w": normal(6, 3, 3, 3), "k": normal(6)},  # along the last axis, width 6
    )
    assert [n.op_type for n in simplify(model).graph.node] == ["Conv", "Mul"]


def test_normalisation_that_learns_stays() -> None:
    model = images_model(
        [node("Conv", ["x", "w"], "c"), normalisation("c", "y", training_mode=1)],
        {"w": normal(5, 3, 3, 3), **statistics(5)},
    )
    assert "BatchNormalization" in [n.op_type for n in simplify(model).graph.node]


def test_a_fold_beyond_float32_is_left_undone() -> None:
    model = rows_model(
        [node("Gemm", ["x", "w"], "g"), node("Mul", ["g", "k"], "y")],
        {"w": np.full((WIDE, 5), 1e30, np.float32), "k": np.full(5, 1e30, np.float32)},
    )
    assert [n.op_type for n in simplify(model).graph.node] == ["Gemm", "Mul"]


@pytest.mark.parametrize("name", FOLDS)
def test_no_fold_changes_the_model_it_is_given(name: str) -> None:
    model = images_model(
        [node("Conv", ["x", "w"], "c"), normalisation("c", "y")],
        {"w": normal(5, 3, 3, 3), **statistics(5)},
    )
    before = model.SerializeToString(deterministic=True)
    FOLDS[name](model)
    assert model.SerializeToString(deterministic=True) == before


def test_an_inner_normalisation_keeps_types_and_shapes_of_the_interface() -> None:
    model = images_model(
        [node("Conv", ["x", "w"], "c"), normalisation("c", "y")],
        {"w": normal(5, 3, 3, 3), **statistics(5)},
    )
    small = simplify(model)
    assert small.graph.input[0].type == model.graph.input[0].type
    assert small.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
