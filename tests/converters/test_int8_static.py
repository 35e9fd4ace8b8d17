import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgekit.table import Array
from edgekit_converters.flavors import FLAVORS, Built, DoesNotApply, Source
from edgekit_converters.flavors.computed.calibration import Method
from edgekit_converters.flavors.computed.integers import edges, layers
from edgekit_converters.flavors.computed.variants import Variant, Workshop
from edgekit_converters.passes import clean
from tests.converters import networks
from tests.converters.networks import node
from tests.converters.searches import answers, searching

IMAGES = networks.images(150)
SQUARE: list[str | int] = ["n", 1, networks.SIDE, networks.SIDE]
BUILD = FLAVORS["int8-static"]


def weights(*shape: int, seed: int = 2, scale: float = 0.3) -> Array:
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def static(model: ModelProto, **feeds: Array) -> Built:
    result = BUILD(Source(model=clean(model), calibration=feeds))
    assert isinstance(result, Built)
    return result


def facts(built: Built) -> list[str]:
    return [one.fact for one in built.findings]


def apart(model: ModelProto, built: Built, **feeds: Array) -> float:
    """How far the largest output moves, as a share of the outputs' range."""
    before, after = answers(model, feeds), answers(clean(built.model), feeds)
    assert before.keys() == after.keys()
    return max(
        float(np.abs(after[name] - values).max() / np.ptp(values))
        for name, values in before.items()
    )


def convolving(*nodes: NodeProto, channels: int = 4, output: str = "y") -> ModelProto:
    """Two convolutions with something between them, from image to y."""
    constants = {
        "w1": weights(channels, 1, 3, 3),
        "b1": weights(channels, seed=3),
        "half": np.array(0.5, np.float32),
        "none": np.array(0, np.float32),
        "six": np.array(6, np.float32),
    }
    return networks.model(
        [node("Conv", ["image", "w1", "b1"], "c"), *nodes],
        constants,
        inputs={"image": SQUARE},
        outputs={output: ["n", "c", "h", "w"]},
    )


def then_conv(model: ModelProto, channels: int) -> ModelProto:
    model.graph.initializer.append(
        numpy_helper.from_array(weights(2, channels, 3, 3, seed=4), "w2")
    )
    return model


def test_weights_are_stored_so_that_no_processor_saturates() -> None:
    built = static(networks.classifier(), image=IMAGES)
    kinds = {tensor.data_type for tensor in clean(built.model).graph.initializer}
    assert kinds == {TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT32}
    assert built.session_options == {}


def test_softmax_and_what_is_fused_stay_float_and_so_do_inputs_and_outputs() -> None:
    built = static(networks.classifier(), image=IMAGES)
    operators = [n.op_type for n in built.model.graph.node]
    assert operators.count("QuantizeLinear") == 5  # the dense layer answers in floats
    kinds = [
        value.type.tensor_type.elem_type
        for value in (*built.model.graph.input, *built.model.graph.output)
    ]
    assert kinds == [TensorProto.FLOAT, TensorProto.FLOAT]


def test_what_really_runs_is_told_layer_by_layer_in_the_original_words() -> None:
    original = networks.classifier()
    source = Source(
        model=clean(original),
        calibration={"image": IMAGES},
        names={n.output[0]: o.output[0] for n, o in _nodes(clean(original), original)},
    )
    built = BUILD(source)
    assert isinstance(built, Built)
    assert facts(built)[:2] == [
        "2 of 2 convolutions run in int8",
        "1 of 1 dense layers run in int8",
    ]
    assert [one.subject for one in built.findings[2:]] == [
        networks.inner(name) for name in ("conv1", "conv2", "dense")
    ]
    assert all(fact.startswith("runs in int8 (Q") for fact in facts(built)[2:])


def _nodes(one: ModelProto, other: ModelProto) -> list[tuple[NodeProto, NodeProto]]:
    return list(zip(one.graph.node, other.graph.node, strict=True))


def test_a_layer_that_falls_back_to_float_is_named() -> None:
    """A bias that is computed has no int32 form, so the kernel is the float one."""
    model = networks.model(
        [
            node("Gemm", ["x", "w"], "h"),
            node("Relu", ["h"], "r"),
            node("Gemm", ["r", "w2", "s"], "y"),
            node("ReduceMean", ["x"], "s"),
        ],
        {"w": weights(8, 8), "w2": weights(8, 8, seed=5)},
        inputs={"x": ["n", 8]},
        outputs={"y": ["n", 8]},
    )
    model.graph.node.insert(0, model.graph.node.pop())
    built = static(model, x=weights(60, 8, seed=6, scale=1.0))
    assert "1 of 2 dense layers run in int8" in facts(built)
    assert sum(fact.startswith("runs in float (Gemm") for fact in facts(built)) == 1


@pytest.mark.parametrize(
    "between",
    [
        [node("Relu", ["c"], "m")],
        [node("Clip", ["c", "none", "six"], "m")],
        [node("LeakyRelu", ["c"], "m")],
        [node("Sigmoid", ["c"], "m")],
        [node("Sigmoid", ["c"], "s"), node("Mul", ["c", "s"], "m")],
        [node("Relu", ["c"], "r"), node("Add", ["c", "r"], "m")],
        [node("HardSwish", ["c"], "m")],
        [node("Mul", ["c", "half"], "m")],
        [node("Transpose", ["c"], "t"), node("Transpose", ["t"], "m")],
        [node("Softmax", ["c"], "m")],
    ],
    ids=lambda nodes: "-".join(n.op_type for n in nodes),
)
def test_what_lies_between_two_layers_runs_and_answers_alike(
    between: list[NodeProto],
) -> None:
    model = then_conv(convolving(*between, node("Conv", ["m", "w2"], "y")), 4)
    built = static(model, image=IMAGES)
    assert apart(model, built, image=IMAGES) < 0.08
    assert "2 of 2 convolutions run in int8" in facts(built)


def test_branches_that_are_concatenated_run_in_int8() -> None:
    model = then_conv(
        convolving(
            node("Relu", ["c"], "r"),
            node("Concat", ["c", "r"], "m"),
            node("Conv", ["m", "w2"], "y"),
        ),
        8,
    )
    model.graph.node[2].attribute.append(helper.make_attribute("axis", 1))
    built = static(model, image=IMAGES)
    assert apart(model, built, image=IMAGES) < 0.08
    assert "2 of 2 convolutions run in int8" in facts(built)


def test_pools_have_scalar_scales_as_kernels_want_them() -> None:
    model = convolving(node("AveragePool", ["c"], "p"), node("Softmax", ["p"], "y"))
    model.graph.node[1].attribute.append(helper.make_attribute("kernel_shape", [2, 2]))
    built = static(model, image=IMAGES)
    assert answers(clean(built.model), {"image": IMAGES})["y"].shape == (150, 4, 9, 9)


def test_a_convolution_that_is_the_output_runs_in_int8_and_keeps_its_name() -> None:
    model = then_conv(
        convolving(node("Relu", ["c"], "m"), node("Conv", ["m", "w2"], "y")), 4
    )
    built = static(model, image=IMAGES)
    assert [value.name for value in built.model.graph.output] == ["y"]
    assert "2 of 2 convolutions run in int8" in facts(built)


def test_an_output_that_another_layer_reads_stays_an_output() -> None:
    model = then_conv(convolving(node("Conv", ["c", "w2"], "y")), 4)
    model.graph.output.append(
        helper.make_tensor_value_info("c", TensorProto.FLOAT, ["n", 4, "h", "w"])
    )
    built = static(model, image=IMAGES)
    assert [value.name for value in built.model.graph.output] == ["y", "c"]
    assert apart(model, built, image=IMAGES) < 0.08


def test_recurrent_layers_stay_float_with_small_weights() -> None:
    hidden, size = 16, 8
    model = networks.model(
        [
            node("LSTM", ["x", "w", "r"], "h"),
            node("Squeeze", ["h", "axis"], "s"),
            node("MatMul", ["s", "dense"], "y"),
        ],
        {
            "w": weights(1, 4 * hidden, size),
            "r": weights(1, 4 * hidden, hidden, seed=5),
            "axis": np.array([1], np.int64),
            "dense": weights(hidden, 32, seed=6),
        },
        inputs={"x": [5, "n", size]},
        outputs={"y": [5, "n", 32]},
    )
    model.graph.node[0].attribute.append(helper.make_attribute("hidden_size", hidden))
    x = weights(5, 3, size, seed=7, scale=1.0)
    built = static(model, x=x)
    assert apart(model, built, x=x) < 0.08
    kinds = [tensor.data_type for tensor in clean(built.model).graph.initializer]
    assert kinds.count(TensorProto.INT8) == 2
    assert facts(built)[:2] == [
        "1 of 1 matrix products run in int8",
        "runs in float (LSTM, not quantised)",
    ]


def test_a_bias_beside_weights_of_zero_keeps_its_value() -> None:
    weight, bias = weights(6, 32), np.array([0.3] * 6, np.float32)
    weight[2] = 0  # such a channel has no scale of its own
    weight[3] *= 1e-12  # nor is there an int32 for 0.3 in steps as small as these
    model = networks.model(
        [node("Gemm", ["x", "w", "b"], "y")],
        {"w": weight, "b": bias},
        inputs={"x": ["n", 32]},
        outputs={"y": ["n", 6]},
    )
    model.graph.node[0].attribute.append(helper.make_attribute("transB", 1))
    x = weights(64, 32, seed=3, scale=1.0)
    after = answers(clean(static(model, x=x).model), {"x": x})["y"]
    np.testing.assert_allclose(after[:, 2:4], 0.3, atol=2e-3)


@pytest.mark.parametrize("attribute", ["alpha", "beta"])
def test_a_dense_layer_with_factors_stays_float(attribute: str) -> None:
    model = networks.model(
        [node("Gemm", ["x", "w", "b"], "y")],
        {"w": weights(8, 8), "b": weights(8, seed=3)},
        inputs={"x": ["n", 8]},
        outputs={"y": ["n", 8]},
    )
    model.graph.node[0].attribute.append(helper.make_attribute(attribute, 0.5))
    result = BUILD(Source(model=model, calibration={"x": weights(50, 8, seed=4)}))
    assert result == DoesNotApply(reason="no Conv, Gemm or MatMul with constant weights")


def test_it_is_not_tried_below_its_opset() -> None:
    model = networks.classifier()
    model.opset_import[0].version = 11
    result = BUILD(Source(model=model, calibration={"image": IMAGES}))
    assert result == DoesNotApply(reason="opset 11, per-channel scales need 13")


def test_every_calibration_is_tried_by_tensor_and_by_channel_and_the_best_is_built() -> (
    None
):
    source, search = searching(networks.classifier(), {"image": IMAGES}, max_drop=0.05)
    built = BUILD(source)
    assert isinstance(built, Built)
    assert len(search.drops) == 2 * len(Method)
    tried = [fact for fact in facts(built) if " calibration, " in fact]
    assert len(tried) == 2 * len(Method)
    (chosen,) = [fact for fact in tried if fact.endswith(", chosen")]
    shifts = {fact: float(fact.split("by ")[1].split("%")[0]) for fact in tried}
    allowed = [
        shift
        for (fact, shift), drop in zip(shifts.items(), search.drops, strict=True)
        if drop <= search.max_drop
    ]
    assert shifts[chosen] == min(allowed)
    assert chosen.partition(":")[0] in built.note


def test_of_variants_that_all_lose_too_much_the_least_bad_is_built() -> None:
    source, search = searching(networks.classifier(), {"image": IMAGES}, max_drop=-1.0)
    built = BUILD(source)
    assert isinstance(built, Built)
    (chosen,) = [one for one in built.findings if one.fact.endswith(", chosen")]
    assert chosen.value == min(search.drops)


def test_progress_says_what_is_tried_how_many_there_are_and_the_best_so_far() -> None:
    source, search = searching(networks.classifier(), {"image": IMAGES}, max_drop=0.05)
    BUILD(source)
    assert search.said[0] == ("variant 1 of 8, min-max calibration, one scale per tensor")
    assert search.said[7].startswith("variant 8 of 8, percentile 99.9 calibration, one")
    assert "; least drop so far 0.0" in search.said[7]


def test_a_search_whose_time_is_up_builds_the_best_so_far() -> None:
    source, search = searching(
        networks.classifier(), {"image": IMAGES}, max_drop=0.05, patience=3
    )
    built = BUILD(source)
    assert isinstance(built, Built)
    assert len(search.drops) == 3
    assert len([fact for fact in facts(built) if " calibration, " in fact]) == 3


def test_layers_of_a_part_need_no_more_tensors_than_those_of_the_whole() -> None:
    model = clean(networks.classifier())
    found = layers(model)
    whole = set(edges(model, found))
    for layer in found:
        assert set(edges(model, [layer])) <= whole


def test_one_scale_per_tensor_is_smaller_than_one_per_channel() -> None:
    source = Source(model=clean(networks.classifier()), calibration={"image": IMAGES})
    workshop = Workshop(source, layers(source.model))
    sizes = [
        clean(
            workshop.build(Variant(method=Method.MIN_MAX, per_channel=per_channel))
        ).ByteSize()
        for per_channel in (False, True)
    ]
    assert sizes[0] < sizes[1]


def test_a_layer_that_reads_what_onnx_knows_no_type_of_stays_float() -> None:
    model = then_conv(
        convolving(node("Gelu", ["c"], "m"), node("Conv", ["m", "w2"], "y")), 4
    )
    model.graph.node[1].domain = "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    built = static(model, image=IMAGES)
    assert facts(built)[0] == "1 of 2 convolutions run in int8"
    assert facts(built)[-1] == "runs in float (Conv, not quantised)"
    assert apart(model, built, image=IMAGES) < 0.08


def test_a_layer_of_constants_alone_is_none() -> None:
    model = networks.model(
        [node("MatMul", ["w", "w2"], "c"), node("MatMul", ["x", "c"], "y")],
        {"w": weights(8, 8), "w2": weights(8, 8, seed=3)},
        inputs={"x": ["n", 8]},
        outputs={"y": ["n", 8]},
    )
    result = BUILD(Source(model=model, calibration={"x": weights(50, 8, seed=4)}))
    assert result == DoesNotApply(reason="no Conv, Gemm or MatMul with constant weights")
