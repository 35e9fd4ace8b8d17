from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgekit.table import Array
from edgekit_converters.encoding import encode
from edgekit_converters.flavors import FLAVORS, Built, DoesNotApply, Source
from edgekit_converters.flavors.flavor import NO_OPTIONS
from edgekit_converters.flavors.stored.compensation import Codes, round_alone, round_weights
from edgekit_converters.flavors.stored.formats import (
    FORMATS,
    INT4,
    INT5,
    INT8,
    Format,
    pack,
    powers,
)
from edgekit_converters.flavors.stored.layers import activations, constant_values, layers
from edgekit_converters.flavors.stored.layout import HEAVY, unfolding_options
from edgekit_converters.flavors.stored.rounding import Moments, round_for_inputs, round_rows
from edgekit_converters.flavors.stored.storing import storable, store_weights
from edgekit_converters.flavors.stored.weights import Weight, weights
from edgekit_converters.passes import clean, simplify
from edgekit_converters.passes.walk import copied
from tests.converters import networks
from tests.converters.extractions import outputs_of
from tests.converters.networks import node

RNG = np.random.default_rng(5)
UNFOLDING = {"Cast", "Mul", "Div", "Mod", "Sub", "Split", "Reshape"}


def normal(*shape: int, spread: float = 1.0) -> Array:
    return RNG.normal(0, spread, shape).astype(np.float32)


def dense(opset: int = 17) -> ModelProto:
    """Three layers, two of a shape, a bias each."""
    return networks.model(
        [
            node("Gemm", ["x", "w1", "b1"], "g1"),
            node("Relu", ["g1"], "r1"),
            node("Gemm", ["r1", "w2", "b2"], "g2"),
            node("Relu", ["g2"], "r2"),
            node("Gemm", ["r2", "w3", "b3"], "y"),
        ],
        {
            "w1": normal(24, 32),
            "w2": normal(32, 32),
            "w3": normal(32, 20),
            "b1": normal(32),
            "b2": normal(32),
            "b3": normal(20),
        },
        inputs={"x": ["n", 24]},
        outputs={"y": ["n", 20]},
        opset=opset,
    )


def recurrent(operator: str) -> ModelProto:
    gates = {"LSTM": 4, "GRU": 3}[operator]
    cell = helper.make_node(operator, ["x", "w", "r", "b"], ["h"], hidden_size=16)
    return networks.model(
        [cell, node("Squeeze", ["h"], "y")],
        {
            "w": normal(1, gates * 16, 12, spread=0.3),
            "r": normal(1, gates * 16, 16, spread=0.3),
            "b": normal(1, 2 * gates * 16, spread=0.1),
        },
        inputs={"x": [7, 3, 12]},
        outputs={"y": [7, 3, 16]},
    )


def embedding() -> ModelProto:
    model = networks.model(
        [node("Gather", ["table", "x"], "y")],
        {"table": normal(40, 16)},
        inputs={"x": ["n", 5]},
        outputs={"y": ["n", 5, 16]},
    )
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    return model


def convolutions() -> ModelProto:
    first = node("Conv", ["x", "w1", "b1"], "c1")
    first.attribute.extend(
        [
            helper.make_attribute("strides", [2, 1]),
            helper.make_attribute("pads", [1, 0, 2, 1]),
            helper.make_attribute("dilations", [1, 2]),
        ]
    )
    second = node("Conv", ["c1", "w2"], "c2")
    second.attribute.append(helper.make_attribute("group", 4))
    return networks.model(
        [first, second, node("ConvTranspose", ["c2", "w3"], "y")],
        {"w1": normal(8, 3, 3, 3), "b1": normal(8), "w2": normal(16, 2, 3, 3)}
        | {"w3": normal(16, 6, 2, 2)},
        inputs={"x": ["n", 3, 12, 12]},
        outputs={"y": ["n", 6, "h", "w"]},
    )


NETWORKS = {
    "dense": (dense, {"x": normal(40, 24)}),
    "convolutions": (convolutions, {"x": normal(6, 3, 12, 12)}),
    "lstm": (lambda: recurrent("LSTM"), {"x": normal(7, 3, 12)}),
    "gru": (lambda: recurrent("GRU"), {"x": normal(7, 3, 12)}),
    "embedding": (embedding, {"x": np.arange(35).reshape(7, 5)}),
}


def everything(model: ModelProto, form: Format) -> dict[str, Format]:
    return {weight.name: form for weight in storable(model, form)}


def unfolded(model: ModelProto, codes: dict[str, Codes], biases: dict[str, Array]) -> bytes:
    out = copied(model)
    for entry in out.graph.initializer:
        if entry.name in codes:
            values = codes[entry.name].values
        elif entry.name in biases:
            values = biases[entry.name].astype(np.float16).astype(np.float32)
        else:
            continue
        entry.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), entry.name))
    return encode(out)


def optimised(
    model: bytes, folder: Path, entries: Mapping[str, str] = NO_OPTIONS
) -> list[str]:
    """The operators that onnxruntime runs once it has optimised a graph."""
    options = onnxruntime.SessionOptions()
    for entry in entries.items():
        options.add_session_config_entry(*entry)
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return [n.op_type for n in onnx.load(folder / "optimised.onnx").graph.node]


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@given(st.data())
def test_every_code_comes_back_out_of_its_number(form: Format, data: st.DataObject) -> None:
    codes = np.array(
        data.draw(st.lists(st.integers(-form.largest, form.largest), min_size=1))
    )
    if not form.packed:
        assert form.bits == 8
        return
    numbers = pack(codes, form)
    assert (numbers >= 0).all()
    digits = numbers[:, None] // powers(form) % form.entries - form.largest
    np.testing.assert_array_equal(digits.reshape(-1)[: len(codes)], codes)


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_unfolds_to_the_codes_chosen_bit_by_bit(name: str, form: Format) -> None:
    make, feeds = NETWORKS[name]
    model = clean(make())
    plan = everything(model, form)
    found = round_weights(model, plan, feeds)
    stored = encode(clean(store_weights(model, plan, feeds)))
    assert plan
    assert len(stored) < 0.6 * len(encode(model))
    expected = outputs_of(unfolded(model, dict(found.codes), dict(found.biases)), feeds)
    np.testing.assert_array_equal(outputs_of(stored, feeds)["y"], expected["y"])


@pytest.mark.parametrize("form", [INT8, INT5], ids=["int8", "int5"])
@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_that_unfolds_weights_runs_after_loading(
    name: str, form: Format, tmp_path: Path
) -> None:
    make, feeds = NETWORKS[name]
    model = clean(make())
    stored = encode(clean(store_weights(model, everything(model, form), feeds)))
    assert UNFOLDING & {n.op_type for n in onnx.load_from_string(stored).graph.node}
    assert optimised(stored, tmp_path) == optimised(encode(model), tmp_path)


@pytest.mark.parametrize("opset", [11, 13, 18, 21])
def test_weights_are_stored_in_the_opset_that_the_model_has(opset: int) -> None:
    model = clean(dense(opset))
    feeds = {"x": normal(40, 24)}
    stored = clean(store_weights(model, everything(model, INT5), feeds))
    assert [o.version for o in stored.opset_import] == [opset]
    assert outputs_of(encode(stored), feeds)["y"].shape == (40, 20)


@pytest.mark.slow
@pytest.mark.parametrize("form", [INT5, INT4], ids=["int5", "int4"])
@pytest.mark.parametrize("make", [dense, networks.classifier])
def test_samples_make_the_answers_to_other_rows_better(
    make: Callable[[], ModelProto], form: Format
) -> None:
    model = clean(make())
    value = model.graph.input[0]
    shape = [d.dim_value or 200 for d in value.type.tensor_type.shape.dim]
    mixing = normal(shape[-1], shape[-1])  # inputs that go together, as real ones do
    seen, unseen = ({value.name: normal(*shape) @ mixing} for _ in range(2))
    output = model.graph.output[0].name
    wanted = outputs_of(encode(model), unseen)[output]
    plan = everything(model, form)
    knowing, blind = (
        outputs_of(encode(clean(store_weights(model, plan, feeds))), unseen)[output]
        for feeds in (seen, {})
    )
    errors = [float(np.mean((got - wanted) ** 2)) for got in (knowing, blind)]
    assert errors[0] < 0.5 * errors[1]


@pytest.mark.parametrize("name", ["dense", "convolutions"])
def test_a_layers_rows_times_its_inputs_are_its_outputs(name: str) -> None:
    make, feeds = NETWORKS[name]
    model = make()
    constants = constant_values(model)
    found = layers(model)
    assert len(found) == {"dense": 3, "convolutions": 2}[name]
    for layer in found:
        reader = next(n for n in model.graph.node if layer.weight in n.input)
        data = activations(model, [layer.data], feeds)[layer.data]
        wanted = activations(model, [reader.output[0]], feeds)[reader.output[0]]
        rows = layer.rows(constants[layer.weight])
        products = np.einsum("goi,gsi->sgo", rows, layer.inputs(data, 10**9))
        got = products.reshape(len(products[:, 0]), -1)
        if layer.bias is not None:
            got = got + constants[layer.bias]
        flat = np.moveaxis(wanted, 1, -1).reshape(len(got), -1)
        np.testing.assert_allclose(got, flat, rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(layer.back(rows), constants[layer.weight])


@pytest.mark.parametrize("rows", [65, 128])
def test_layers_may_see_the_rows_in_another_than_the_first_axis(rows: int) -> None:
    turned = node("Transpose", ["x"], "t")
    turned.attribute.append(helper.make_attribute("perm", [1, 0, 2]))
    model = networks.model(
        [turned, node("MatMul", ["t", "w"], "m"), node("ReduceMean", ["m"], "y")],
        {"w": normal(8, 40)},
        inputs={"x": ["n", 3, 8]},
        outputs={"y": [1, 1, 1]},
    )
    plan = everything(model, INT8)
    found = round_weights(model, plan, {"x": normal(rows, 3, 8)})
    alone = round_alone(next(weights(model)), INT8)
    assert plan
    assert (found.codes["w"].numbers != alone.numbers).any()  # the samples had a say


@pytest.mark.slow
def test_each_format_is_smaller_than_the_one_before() -> None:
    model = clean(networks.classifier(filters=32))
    feeds = {"image": networks.images(20)}
    sizes = [
        len(encode(clean(store_weights(model, everything(model, form), feeds))))
        for form in FORMATS.values()
    ]
    assert sizes == sorted(set(sizes), reverse=True)


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("wide", [300, 301])
def test_large_weights_unfold_to_the_codes_chosen_too(
    wide: int, form: Format, tmp_path: Path
) -> None:
    model = networks.model(
        [
            node("MatMul", ["x", "w1"], "m"),
            node("Relu", ["m"], "r"),
            node("MatMul", ["r", "w2"], "y"),
        ],
        {"w1": normal(250, wide), "w2": normal(wide, 9)},
        inputs={"x": ["n", 250]},
        outputs={"y": ["n", 9]},
    )
    model, feeds = clean(model), {"x": normal(3, 250)}
    plan = everything(model, form)
    found = round_weights(model, plan, {})
    stored = encode(clean(store_weights(model, plan, {})))
    expected = outputs_of(unfolded(model, dict(found.codes), {}), feeds)
    np.testing.assert_array_equal(outputs_of(stored, feeds)["y"], expected["y"])
    assert optimised(stored, tmp_path) == optimised(encode(model), tmp_path)
    if form.packed:
        assert len(stored) < len(encode(model)) * (form.bits + 0.5) / 32


@pytest.mark.parametrize("form", [INT8, INT4], ids=["int8", "int4"])
@pytest.mark.parametrize("name", NETWORKS)
def test_weights_of_large_models_unfold_in_one_step(
    name: str, form: Format, tmp_path: Path
) -> None:
    make, feeds = NETWORKS[name]
    model = clean(make())
    plan = everything(model, form)
    found = round_weights(model, plan, feeds)
    heavy = clean(store_weights(model, plan, feeds, heavy_from=1))
    kinds = {n.op_type for n in heavy.graph.node}
    assert "DequantizeLinear" in kinds
    assert not kinds & {"Div", "Sub"}
    options = unfolding_options(heavy)
    assert options == {"session.disable_quant_qdq": "1"}
    expected = outputs_of(unfolded(model, dict(found.codes), dict(found.biases)), feeds)
    answered = outputs_of(encode(heavy), feeds, options)
    np.testing.assert_array_equal(answered["y"], expected["y"])
    assert optimised(encode(heavy), tmp_path, options) == optimised(encode(model), tmp_path)


@pytest.mark.slow
def test_large_models_take_codes_that_unfold_in_little_memory() -> None:
    model = networks.model(
        [node("MatMul", ["x", "w"], "y")],
        {"w": normal(1_000, HEAVY // 1_000)},
        inputs={"x": ["n", 1_000]},
        outputs={"y": ["n", HEAVY // 1_000]},
    )
    source = Source(model=clean(model), calibration={})
    for flavor in ("int8", "int4"):
        built = FLAVORS[flavor](source)
        assert isinstance(built, Built)
        assert built.session_options == {"session.disable_quant_qdq": "1"}
    refused = FLAVORS["int5"](source)
    assert isinstance(refused, DoesNotApply)
    assert "several times the memory" in refused.reason


def test_a_large_model_with_integer_kernels_keeps_them() -> None:
    model = networks.model(
        [
            node("QuantizeLinear", ["x", "scale"], "q"),
            node("DequantizeLinear", ["q", "scale"], "d"),
            node("MatMul", ["d", "w"], "y"),
        ],
        {"w": normal(1_000, HEAVY // 1_000), "scale": np.array(0.1, np.float32)},
        inputs={"x": ["n", 1_000]},
        outputs={"y": ["n", HEAVY // 1_000]},
    )
    built = FLAVORS["int8"](Source(model=model, calibration={}))
    assert isinstance(built, Built)
    assert built.session_options == {}


def test_layers_of_one_shape_share_a_tensor_and_their_nodes() -> None:
    model = clean(dense())
    model.graph.initializer[0].CopyFrom(model.graph.initializer[0])
    stored = store_weights(model, everything(model, INT8), {})
    int8 = [t for t in stored.graph.initializer if t.data_type == TensorProto.INT8]
    assert len(int8) == 2  # 24 inputs, 32 inputs
    assert [n.op_type for n in stored.graph.node].count("Mul") == 2


def test_same_samples_same_bytes() -> None:
    model, feeds = clean(dense()), {"x": normal(30, 24)}
    plan = everything(model, INT5)
    first, second = (encode(clean(store_weights(model, plan, feeds))) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    "rows",
    [np.zeros((9, 24)), np.ones((1, 24)), np.full((9, 24), np.inf)],
    ids=["zeros", "one row", "infinite"],
)
def test_samples_that_say_nothing_do_no_harm(rows: Array) -> None:
    model = clean(dense())
    feeds = {"x": normal(50, 24)}
    plan = everything(model, INT8)
    stored = clean(store_weights(model, plan, {"x": rows.astype(np.float32)}))
    wanted = outputs_of(encode(model), feeds)["y"]
    got = outputs_of(encode(stored), feeds)["y"]
    assert np.abs(got - wanted).max() < 0.1 * np.abs(wanted).max()


def test_a_search_that_is_spent_rounds_the_rest_without_samples() -> None:
    model, feeds = clean(dense()), {"x": normal(30, 24)}
    plan = everything(model, INT5)
    hurried = round_weights(model, plan, feeds, spent=lambda: True)
    assert not hurried.biases
    for weight in weights(model):
        alone = round_alone(weight, INT5)
        np.testing.assert_array_equal(hurried.codes[weight.name].values, alone.values)


def test_scales_beyond_float16_stay_float32() -> None:
    model = clean(dense())
    tiny = numpy_helper.to_array(model.graph.initializer[0]) * np.float32(1e-7)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(tiny, "a"))
    names = [weight.name for weight in weights(model)]
    found = round_weights(model, dict.fromkeys(names, INT8), {})
    for weight in weights(model):
        error = np.abs(found.codes[weight.name].values - weight.values).max()
        assert error < 0.01 * np.abs(weight.values).max()


def test_a_bias_that_float16_would_move_stays_float32() -> None:
    model = clean(dense())
    plan = everything(model, INT8)
    for entry in model.graph.initializer:
        if len(entry.dims) == 1:
            far = numpy_helper.to_array(entry) + np.float32(1e5)
            entry.CopyFrom(numpy_helper.from_array(far, entry.name))
    stored = store_weights(model, plan, {})
    biases = {layer.bias for layer in layers(model)}
    floats = {t.name for t in stored.graph.initializer if t.data_type == TensorProto.FLOAT}
    assert biases <= floats


@given(st.integers(1, 5), st.integers(1, 40), st.sampled_from(list(FORMATS.values())))
def test_scales_are_no_worse_than_those_of_the_widest_weight(
    channels: int, inputs: int, form: Format
) -> None:
    rows = np.random.default_rng(inputs).standard_t(3, (channels, inputs))
    codes, scales = round_rows(rows, form.largest, np.ones_like(rows))
    widest = np.abs(rows).max(axis=1, keepdims=True) / form.largest
    plain = np.clip(np.rint(rows / widest), -form.largest, form.largest) * widest
    assert np.abs(codes).max() <= form.largest
    errors = [((one - rows) ** 2).sum() for one in (codes * scales[:, None], plain)]
    halves = (rows**2).sum() * 2.0**-20  # what the scale's rounding to float16 may add
    assert errors[0] <= errors[1] * 1.1 + halves


def test_a_channel_of_zeros_stays_zero() -> None:
    values = np.zeros((2, 64), np.float32)
    values[0] = 1
    codes = round_alone(Weight(name="w", values=values, channel_axis=0), INT8)
    np.testing.assert_allclose(codes.values, values, atol=1e-3)
    np.testing.assert_array_equal(codes.values[1], values[1])


def test_carrying_errors_over_beats_rounding_each_weight() -> None:
    inputs = RNG.normal(0, 1, (500, 8)) @ RNG.normal(0, 1, (8, 30))
    inputs += RNG.normal(0, 0.1, inputs.shape)
    rows = RNG.normal(0, 1, (10, 30))
    wanted = inputs @ rows.T
    codes, scales = round_for_inputs(rows, 7, Moments.of(inputs, inputs))
    plain, widths = round_rows(rows, 7, np.ones_like(rows))
    errors = [
        np.var(inputs @ (one * size[:, None]).T - wanted)
        for one, size in ((codes, scales), (plain, widths))
    ]
    assert errors[0] < 0.3 * errors[1]


def test_normalisation_is_folded_before_weights_are_stored() -> None:
    model = networks.model(
        [node("MatMul", ["x", "w"], "m"), node("Mul", ["m", "k"], "y")],
        {"w": normal(24, 32), "k": normal(32)},
        inputs={"x": ["n", 24]},
        outputs={"y": ["n", 32]},
    )
    small = simplify(model)
    assert [weight.values.shape for weight in weights(small)] == [(24, 32)]
