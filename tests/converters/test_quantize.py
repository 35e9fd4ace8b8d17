import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgekit.manifest import RuntimeNeeds
from edgekit.runtime import Session
from edgekit.table import Array
from edgekit_converters.encoding import encode
from edgekit_converters.flavors import FLAVORS, Built, DoesNotApply, Source
from edgekit_converters.passes import clean
from edgekit_converters.passes.widened import widened
from tests.converters import networks
from tests.converters.extractions import outputs_of
from tests.converters.networks import node

pytestmark = pytest.mark.slow

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


def test_float32_comes_first() -> None:
    assert next(iter(FLAVORS)) == "fp32"


@pytest.mark.parametrize(
    ("flavor", "share", "error"),
    [
        ("fp16", 0.53, 1e-3),
        ("int8", 0.29, 1e-2),
        ("int5", 0.21, 5e-2),
        ("int4", 0.18, 1e-1),
        ("int8-static", 0.42, 6e-2),
    ],
)
def test_a_flavor_is_smaller_and_answers_alike(
    flavor: str, share: float, error: float
) -> None:
    fp32 = encode(clean(networks.classifier()))
    smaller = built(flavor, networks.classifier(), image=IMAGES)
    assert len(encode(clean(smaller.model))) < share * len(fp32)
    assert np.abs(answers(smaller) - original()).max() < error


@pytest.mark.parametrize("flavor", ["fp16", "int8", "int5", "int4"])
def test_stored_weights_need_no_session_option(flavor: str) -> None:
    assert built(flavor, networks.classifier(), image=IMAGES).session_options == {}


def test_same_model_gives_the_same_bytes() -> None:
    for flavor in ("fp32", "fp16", "int8", "int5", "int8-static"):
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


def test_numbers_beyond_float16_stay_float32() -> None:
    huge = np.full((4, 16), 1e6, np.float32)
    fine = np.ones((16, 16), np.float32)
    flavor = built("fp16", _products(huge, fine), x=np.ones((2, 4), np.float32))
    kinds = sorted(t.data_type for t in flavor.model.graph.initializer)
    assert kinds == [TensorProto.FLOAT, TensorProto.FLOAT16]


def halved() -> ModelProto:
    """A network in float16 throughout, its input and output too, with a branch."""
    chance = np.random.default_rng(2)
    weights = {name: chance.normal(0, 0.2, (64, 64)) for name in "ab"}
    branches = {
        f"{way}_branch": helper.make_graph(
            [node(kind, ["h"], f"{way}_y")],
            way,
            [],
            [helper.make_tensor_value_info(f"{way}_y", TensorProto.FLOAT16, None)],
        )
        for way, kind in (("then", "Relu"), ("else", "Neg"))
    }
    model = networks.model(
        [
            node("MatMul", ["x", "a"], "m"),
            helper.make_node("Cast", ["m"], ["h"], to=TensorProto.FLOAT16),
            helper.make_node("If", ["yes"], ["i"], **branches),
            node("MatMul", ["i", "b"], "y"),
        ],
        {
            **{name: w.astype(np.float16) for name, w in weights.items()},
            "yes": np.array(1, dtype=bool),
        },
        inputs={"x": ["n", 64]},
        outputs={"y": ["n", 64]},
    )
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    return model


def test_a_network_in_float16_is_stored_in_8_bits_and_keeps_its_ends() -> None:
    rows = np.random.default_rng(7).normal(size=(50, 64)).astype(np.float16)
    flavor = built("int8", halved(), x=rows)
    assert flavor.note == "8,192 weights in 2 tensors as int8, float16 computed in float32"
    kinds = [value.type.tensor_type.elem_type for value in flavor.model.graph.input]
    assert kinds == [TensorProto.FLOAT16]
    said = [
        outputs_of(model.SerializeToString(), {"x": rows})["y"].astype(np.float32)
        for model in (halved(), flavor.model, widened(halved()))
    ]
    spread = said[0].std()
    assert np.abs(said[2] - said[0]).max() < 0.01 * spread
    assert np.sqrt(np.mean((said[1] - said[0]) ** 2)) < 0.02 * spread
    assert len(encode(flavor.model)) < 0.65 * len(encode(halved()))


def test_a_weight_that_would_not_get_smaller_stays() -> None:
    tiny, large = np.ones((4, 4), np.float32), np.ones((4, 64), np.float32)
    flavor = built("int8", _products(tiny, large), x=np.ones((2, 4), np.float32))
    assert flavor.note == "256 weights in 1 tensor as int8"


def test_a_weight_that_is_not_finite_stays() -> None:
    broken = np.full((4, 64), np.inf, np.float32)
    result = FLAVORS["int8"](
        source(
            _products(broken, np.eye(64, dtype=np.float32)), x=np.ones((2, 4), np.float32)
        )
    )
    assert isinstance(result, Built)
    assert result.note == "4,096 weights in 1 tensor as int8"


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
