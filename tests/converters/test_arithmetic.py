import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgekit import board
from edgekit.manifest import RuntimeNeeds
from edgekit.runtime import Session
from edgekit.table import Array
from edgekit_converters.encoding import encode
from edgekit_converters.flavors import FLAVORS, Built, Source
from edgekit_converters.passes import clean
from edgekit_converters.passes.quantised import (
    EXACT_OPTION,
    exact_options,
    integer_operators,
    may_saturate,
    unsigned_weights,
)
from edgekit_converters.verdict.arithmetic import (
    needed_isas,
    processor_saturates,
    saturates,
    semantics,
)
from tests.converters import networks
from tests.converters.networks import node

PI = board.load("raspberry-pi-4")
OLD_PC = board.load("generic-x86-64")
NEW_PC = replace(OLD_PC, name="new-pc", isa=("avx2", "vnni"))
_CPUINFO = Path("/proc/cpuinfo")
HERE_SATURATES = _CPUINFO.exists() and processor_saturates(
    platform.machine(), _CPUINFO.read_text("ascii", errors="replace")
)


def signed(weight: Array) -> ModelProto:
    """x in uint8 steps of 1/255 times int8 weights, one scale per column, as exported."""
    constants: dict[str, Array] = {
        "xs": np.array(1 / 255, np.float32),
        "xz": np.array(0, np.uint8),
        "ws": np.full(weight.shape[1], 1 / 127, np.float32),
        "wz": np.zeros(weight.shape[1], np.int8),
    }
    model = networks.model(
        [
            node("QuantizeLinear", ["x", "xs", "xz"], "xq"),
            node("DequantizeLinear", ["xq", "xs", "xz"], "xd"),
            node("DequantizeLinear", ["wq", "ws", "wz"], "wd"),
            node("MatMul", ["xd", "wd"], "y"),
        ],
        constants,
        inputs={"x": ["n", weight.shape[0]]},
        outputs={"y": ["n", weight.shape[1]]},
    )
    model.graph.node[2].attribute.append(helper.make_attribute("axis", 1))
    model.graph.initializer.append(numpy_helper.from_array(weight.astype(np.int8), "wq"))
    return model


LARGE = signed(np.full((64, 8), 120))
SMALL = signed(np.full((64, 8), 60))


def ours() -> Built:
    built = FLAVORS["int8-static"](
        Source(
            model=clean(networks.classifier()), calibration={"image": networks.images(40)}
        )
    )
    assert isinstance(built, Built)
    return built


@pytest.mark.parametrize(
    ("model", "options", "measured_saturating", "expected"),
    [
        (LARGE, {}, False, ("neon", "vnni")),
        (LARGE, EXACT_OPTION, False, ()),  # any processor then computes exactly
        (LARGE, {}, True, ()),  # no extension is had by saturating processors alone
        (SMALL, {}, False, ()),
    ],
)
def test_a_verdict_of_exact_integers_asks_for_processors_that_have_them(
    model: ModelProto,
    options: dict[str, str],
    measured_saturating: bool,  # noqa: FBT001 - a case
    expected: tuple[str, ...],
) -> None:
    needed = needed_isas(model, options, measured_saturating=measured_saturating)
    assert needed == expected
    if needed:
        having = [one.name for one in (PI, OLD_PC, NEW_PC) if {*one.isa} & {*needed}]
        assert having == [PI.name, NEW_PC.name]


def test_two_large_products_of_one_sign_may_saturate_and_small_ones_not() -> None:
    assert may_saturate(LARGE)
    assert not may_saturate(SMALL)
    assert may_saturate(signed(np.full((64, 8), -120)))
    lone = np.zeros((64, 8))
    lone[3, 2] = 127
    assert not may_saturate(signed(lone))


def test_weights_of_operators_in_integer_form_count_too() -> None:
    model = networks.model(
        [node("MatMulInteger", ["x", "w"], "y")],
        {"w": np.full((8, 8), 127, np.int8)},
        inputs={"x": ["n", 8]},
        outputs={"y": ["n", 8]},
    )
    assert may_saturate(model)
    assert integer_operators(model) == {"MatMulInteger": 1}


def test_our_own_flavors_cannot_saturate() -> None:
    model = clean(ours().model)
    assert integer_operators(model)
    assert not may_saturate(model)
    assert exact_options(model) == {}


def test_int8_weights_that_unfold_to_floats_are_no_integer_arithmetic() -> None:
    built = FLAVORS["int8"](Source(model=clean(networks.classifier()), calibration={}))
    assert isinstance(built, Built)
    assert integer_operators(built.model) == {}
    assert not may_saturate(built.model)
    said = semantics(built.model, {}, (OLD_PC,), measured_saturating=True)
    assert said == "float32 arithmetic"


def test_boards_that_saturate_are_x86_without_vnni() -> None:
    assert [saturates(one) for one in (PI, OLD_PC, NEW_PC)] == [False, True, False]
    assert processor_saturates("x86_64", "flags : avx2 fma")
    assert not processor_saturates("x86_64", "flags : avx2 avx512_vnni")
    assert not processor_saturates("aarch64", "Features : asimd")


@pytest.mark.parametrize(
    ("model", "options", "measured_saturating", "said"),
    [
        (SMALL, {}, True, "its weights cannot saturate, with or without VNNI"),
        (LARGE, EXACT_OPTION, True, "x64quantprecision=1 keeps x86-64 without VNNI from"),
        (LARGE, {}, True, "saturating integer arithmetic: this x86-64 has no VNNI"),
        (LARGE, {}, False, "would saturate on its int8 weights: generic-x86-64"),
    ],
)
def test_a_verdict_says_under_which_arithmetic_it_is(
    model: ModelProto,
    options: dict[str, str],
    measured_saturating: bool,  # noqa: FBT001 - a case of the table
    said: str,
) -> None:
    sentence = semantics(
        model, options, (PI, OLD_PC, NEW_PC), measured_saturating=measured_saturating
    )
    assert said in sentence
    assert "new-pc" not in sentence


def test_exact_arithmetic_is_asked_for_where_int8_weights_could_saturate() -> None:
    assert exact_options(LARGE) == EXACT_OPTION
    assert exact_options(SMALL) == {}
    assert exact_options(networks.classifier()) == {}


def answer(model: ModelProto, options: dict[str, str] | None = None) -> Array:
    needs = RuntimeNeeds(
        opsets={}, ir_version=8, min_onnxruntime="", session_options=options or {}
    )
    ones = np.ones((2, 64), np.float32)
    return Session.load(encode(clean(model)), needs).run({"x": ones})["y"]


def dynamic(kind: str) -> ModelProto:
    """x quantised as it comes, times int8 weights."""
    product = {
        "MatMulInteger": [
            node("MatMulInteger", ["xq", "w", "xz", "wz"], "whole"),
            node("Cast", ["whole"], "y"),
        ],
        "Gemm": [
            node("DequantizeLinear", ["xq", "xs", "xz"], "xd"),
            node("DequantizeLinear", ["w", "ws"], "wd"),
            node("Gemm", ["xd", "wd"], "y"),
        ],
    }[kind]
    quantise = helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"])
    weight = np.random.default_rng(3).integers(-127, 128, (64, 8)).astype(np.int8)
    model = networks.model(
        [quantise, *product],
        {"w": weight, "wz": np.array(0, np.int8), "ws": np.array(0.01, np.float32)},
        inputs={"x": ["n", 64]},
        outputs={"y": ["n", 8]},
    )
    if kind == "MatMulInteger":
        model.graph.node[2].attribute.append(helper.make_attribute("to", 1))
    return model


def integer_form() -> ModelProto:
    """The same as LARGE in operators of integers."""
    constants: dict[str, Array] = {
        "s": np.array(1 / 255, np.float32),
        "z": np.array(0, np.uint8),
        "w": np.full((64, 8), 120, np.int8),
        "ws": np.array(1 / 127, np.float32),
        "wz": np.array(0, np.int8),
        "ys": np.array(0.5, np.float32),
    }
    return networks.model(
        [
            node("QuantizeLinear", ["x", "s", "z"], "xq"),
            node("QLinearMatMul", ["xq", "s", "z", "w", "ws", "wz", "ys", "z"], "yq"),
            node("DequantizeLinear", ["yq", "ys", "z"], "y"),
        ],
        constants,
        inputs={"x": ["n", 64]},
        outputs={"y": ["n", 8]},
    )


@pytest.mark.parametrize(
    "model",
    [LARGE, dynamic("MatMulInteger"), integer_form()],
    ids=["QDQ", "dynamic", "operators"],
)
@pytest.mark.skipif(HERE_SATURATES, reason="this processor is wrong about int8 weights")
def test_weights_as_uint8_give_the_very_same_answers(model: ModelProto) -> None:
    unsigned = unsigned_weights(model)
    assert may_saturate(model)
    assert not may_saturate(clean(unsigned))
    np.testing.assert_array_equal(answer(unsigned), answer(model))


def test_weights_as_uint8_are_right_on_every_processor() -> None:
    np.testing.assert_allclose(answer(unsigned_weights(LARGE)), TRUE_ANSWER, rtol=1e-5)


def test_weights_that_two_layers_share_are_shifted_once() -> None:
    model = signed(np.full((64, 64), 120))
    model.graph.node.extend(
        [
            node("QuantizeLinear", ["y", "xs", "xz"], "yq"),
            node("DequantizeLinear", ["yq", "xs", "xz"], "yd"),
            node("MatMul", ["yd", "wd"], "again"),
        ]
    )
    model.graph.output[0].name = "again"
    unsigned = clean(unsigned_weights(model))
    assert not may_saturate(unsigned)
    kinds = [t.data_type for t in unsigned.graph.initializer if len(t.dims) > 1]
    assert kinds == [TensorProto.UINT8]


def test_weights_beside_int8_data_stay_and_the_option_is_asked_for() -> None:
    model = signed(np.full((64, 8), 120))
    for tensor in model.graph.initializer:
        if tensor.name == "xz":
            tensor.CopyFrom(numpy_helper.from_array(np.array(0, np.int8), "xz"))
    unsigned = unsigned_weights(model)
    assert may_saturate(unsigned)
    assert exact_options(unsigned) == EXACT_OPTION


def test_a_model_without_large_int8_weights_is_left_as_it_is() -> None:
    for model in (SMALL, networks.classifier(), dynamic("Gemm")):
        assert unsigned_weights(model) is model or may_saturate(model)


TRUE_ANSWER = 64 * 120 / 127


def test_with_the_option_the_answer_is_exact_on_every_processor() -> None:
    np.testing.assert_allclose(answer(LARGE, dict(EXACT_OPTION)), TRUE_ANSWER, rtol=1e-5)


@pytest.mark.skipif(
    not HERE_SATURATES,
    reason="this processor does not saturate; run it on an x86-64 without VNNI (before"
    " Ice Lake or Zen 4)",
)
def test_without_the_option_this_processor_is_wrong() -> None:
    assert np.abs(answer(LARGE) - TRUE_ANSWER).max() > 1.0


@pytest.mark.skipif(HERE_SATURATES, reason="this processor saturates, see the test above")
def test_without_the_option_this_processor_is_right() -> None:
    np.testing.assert_allclose(answer(LARGE), TRUE_ANSWER, rtol=1e-5)
