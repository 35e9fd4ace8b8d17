import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgekit.manifest import RuntimeNeeds
from edgekit.runtime import Session
from edgekit.table import Array
from edgekit_converters.encoding import encode
from edgekit_converters.flavors import FLAVORS, Built, DoesNotApply, Source
from edgekit_converters.flavors.int8 import LEVELS, quantise
from edgekit_converters.flavors.ranges import observed
from edgekit_converters.passes import clean
from tests.converters import networks
from tests.converters.extractions import outputs_of
from tests.converters.networks import node

IMAGES = networks.images(150)


def source(model: ModelProto, **feeds: Array) -> Source:
    return Source(model=clean(model), calibration=feeds)


def built(flavor: str, model: ModelProto, **feeds: Array) -> Built:
    result = FLAVORS[flavor](source(model, **feeds))
    assert isinstance(result, Built)
    return result


def answers(flavor: Built) -> Array:
    needs = RuntimeNeeds(
        opsets={}, ir_version=8, min_onnxruntime="", session_options=flavor.session_options
    )
    session = Session.load(encode(clean(flavor.model)), needs)
    return session.run({"image": IMAGES})["probabilities"]


def original() -> Array:
    return outputs_of(networks.classifier().SerializeToString(), {"image": IMAGES})[
        "probabilities"
    ]


def test_float32_comes_first_and_every_flavor_is_named_once() -> None:
    assert list(FLAVORS) == ["fp32", "fp32-trees", "fp16", "int8", "int8-static"]


@pytest.mark.parametrize(
    ("flavor", "share", "error"),
    [("fp16", 0.53, 1e-3), ("int8", 0.32, 3e-2), ("int8-static", 0.42, 6e-2)],
)
def test_a_flavor_is_smaller_and_answers_alike(
    flavor: str, share: float, error: float
) -> None:
    fp32 = encode(clean(networks.classifier()))
    smaller = built(flavor, networks.classifier(), image=IMAGES)
    assert len(encode(clean(smaller.model))) < share * len(fp32)
    assert np.abs(answers(smaller) - original()).max() < error


@pytest.mark.parametrize("flavor", ["fp16", "int8"])
def test_stored_weights_need_no_session_option(flavor: str) -> None:
    assert built(flavor, networks.classifier(), image=IMAGES).session_options == {}


def test_static_int8_stores_weights_that_no_processor_saturates() -> None:
    flavor = built("int8-static", networks.classifier(), image=IMAGES)
    kinds = {t.data_type for t in flavor.model.graph.initializer}
    assert kinds == {TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT32}
    assert flavor.session_options == {}


def test_static_int8_leaves_the_softmax_and_what_is_fused_in_float() -> None:
    flavor = built("int8-static", networks.classifier(), image=IMAGES)
    operators = [n.op_type for n in flavor.model.graph.node]
    assert operators.count("QuantizeLinear") == 6
    assert flavor.note == "3 operators in int8, ranges from 128 of the samples"


def test_same_model_gives_the_same_bytes() -> None:
    for flavor in set(FLAVORS) - {"fp32-trees"}:  # no trees in it
        first, second = (
            encode(clean(built(flavor, networks.classifier(), image=IMAGES).model))
            for _ in range(2)
        )
        assert first == second


@pytest.mark.parametrize(
    ("flavor", "reason"),
    [
        ("fp16", "no float constant of 32 or more numbers"),
        ("int8", "no Conv, Gemm, MatMul, recurrent or embedding weights"),
        ("int8-static", "no Conv, Gemm or MatMul with constant weights"),
    ],
)
def test_trees_are_told_that_weights_do_not_apply(flavor: str, reason: str) -> None:
    x = np.zeros((4, 1), np.float32)
    result = FLAVORS[flavor](source(networks.stump(50), x=x))
    assert isinstance(result, DoesNotApply)
    assert result.reason.startswith(reason)


def test_static_int8_pools_with_scalar_scales_as_kernels_want_them() -> None:
    pooling = networks.model(
        [
            node("Conv", ["image", "w"], "c"),
            node("AveragePool", ["c"], "p"),
            node("Softmax", ["p"], "probabilities"),
        ],
        {"w": np.ones((8, 1, 3, 3), np.float32)},
        inputs={"image": ["n", 1, networks.SIDE, networks.SIDE]},
        outputs={"probabilities": ["n", 8, 9, 9]},
    )
    pool = pooling.graph.node[1]
    pool.attribute.append(helper.make_attribute("kernel_shape", [2, 2]))
    flavor = built("int8-static", pooling, image=IMAGES)
    assert answers(flavor).shape == (len(IMAGES), 8, 9, 9)


def test_static_int8_is_not_tried_below_its_opset() -> None:
    model = networks.classifier()
    model.opset_import[0].version = 11
    result = FLAVORS["int8-static"](source(model, image=IMAGES))
    assert result == DoesNotApply(reason="opset 11, per-channel scales need 13")


def test_numbers_beyond_float16_stay_float32() -> None:
    huge = np.full((4, 16), 1e6, np.float32)
    fine = np.ones((16, 16), np.float32)
    flavor = built("fp16", _products(huge, fine), x=np.ones((2, 4), np.float32))
    kinds = sorted(t.data_type for t in flavor.model.graph.initializer)
    assert kinds == [TensorProto.FLOAT, TensorProto.FLOAT16]


def test_a_weight_that_would_not_get_smaller_stays() -> None:
    tiny, large = np.ones((4, 4), np.float32), np.ones((4, 64), np.float32)
    flavor = built("int8", _products(tiny, large), x=np.ones((2, 4), np.float32))
    assert flavor.note == "256 weights in 1 tensors as int8"


def test_a_weight_that_is_not_finite_stays() -> None:
    broken = np.full((4, 64), np.inf, np.float32)
    result = FLAVORS["int8"](
        source(
            _products(broken, np.eye(64, dtype=np.float32)), x=np.ones((2, 4), np.float32)
        )
    )
    assert isinstance(result, Built)
    assert result.note == "4,096 weights in 1 tensors as int8"


def test_a_weight_that_two_operators_share_is_stored_once() -> None:
    weight = np.random.default_rng(3).normal(size=(16, 16)).astype(np.float32)
    model = networks.model(
        [node("MatMul", ["x", "w"], "h"), node("MatMul", ["h", "w"], "y")],
        {"w": weight},
        inputs={"x": ["n", 16]},
        outputs={"y": ["n", 16]},
    )
    flavor = built("int8", model, x=np.ones((2, 16), np.float32))
    small = [t for t in flavor.model.graph.initializer if t.data_type == TensorProto.INT8]
    assert len(small) == 1


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4)),
        elements=st.floats(-1e3, 1e3, width=32),
    ),
    st.integers(0, 2),
)
def test_no_weight_moves_by_more_than_half_a_step_of_its_channel(
    values: Array, axis: int
) -> None:
    stored, scale = quantise(values, axis)
    step = scale.reshape([-1 if n == axis else 1 for n in range(3)])
    assert stored.dtype == np.int8
    assert np.abs(stored).max() <= LEVELS
    assert (np.abs(stored * step - values) <= step * np.float32(0.5001) + 1e-30).all()


def test_a_channel_of_zeros_stays_zero() -> None:
    values = np.zeros((2, 64), np.float32)
    values[0] = 1
    stored, scale = quantise(values, 0)
    np.testing.assert_array_equal(stored * scale, values)


def test_observed_ranges_hold_zero_and_the_extremes_of_inner_values() -> None:
    model = _products(np.eye(4, dtype=np.float32) * 2, np.eye(4, dtype=np.float32))
    x = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
    assert observed(model, ["h", "x"], {"x": x}) == {"h": (0.0, 16.0), "x": (0.0, 8.0)}


def test_ranges_of_a_graph_with_a_fixed_batch_are_observed_row_by_row() -> None:
    model = _products(np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert observed(model, ["h"], {"x": x}) == {"h": (0.0, 11.0)}


def _products(first: Array, second: Array) -> ModelProto:
    model = networks.model(
        [node("MatMul", ["x", "w1"], "h"), node("MatMul", ["h", "w2"], "y")],
        {},
        inputs={"x": ["n", first.shape[0]]},
        outputs={"y": ["n", second.shape[1]]},
    )
    model.graph.initializer.append(numpy_helper.from_array(first, "w1"))
    model.graph.initializer.append(numpy_helper.from_array(second, "w2"))
    return model
