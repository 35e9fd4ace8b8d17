"""Loops that are recurrent layers become them; loops that are anything else stay."""

from collections import Counter

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgekit.table import Array
from edgekit_converters.flavors import FLAVORS, Built, Source
from edgekit_converters.passes import clean, simplify
from edgekit_converters.passes.walk import nodes
from tests.converters.loops import (
    INPUTS,
    STEPS,
    UNITS,
    Body,
    Cell,
    Frame,
    looped,
    matrix,
)

ROWS = np.random.default_rng(2).normal(0, 2, (3, STEPS, INPUTS)).astype(np.float32)
ROUNDING = 1e-5  # float32's, summed up over twenty steps


def gru(body: Body, data: str, states: list[str]) -> list[str]:
    """Keras's, whose reset gate multiplies what the state gives."""
    from_data = body.add(
        "Add",
        body.add("MatMul", data, body.constant(matrix(INPUTS, 3 * UNITS))),
        body.constant(matrix(3 * UNITS)),
    )
    from_state = body.add(
        "Add",
        body.add("MatMul", states[0], body.constant(matrix(UNITS, 3 * UNITS))),
        body.constant(matrix(3 * UNITS)),
    )
    update, reset, new = body.split(from_data, 3)
    mine = [body.cut(from_state, n * UNITS, (n + 1) * UNITS) for n in range(3)]
    z = body.add("Sigmoid", body.add("Add", update, mine[0]))
    r = body.add("Sigmoid", body.add("Add", mine[1], reset))
    candidate = body.add("Tanh", body.add("Add", new, body.add("Mul", r, mine[2])))
    return [_mixed(body, z, z, candidate, states[0])]


def gru_reset_before(body: Body, data: str, states: list[str]) -> list[str]:
    """Of Cho et al.: the reset gate multiplies the state."""
    z, r = (_gate(body, "Sigmoid", data, states[0]) for _ in range(2))
    left = body.add("Mul", r, states[0])
    return [_mixed(body, z, z, _gate(body, "Tanh", data, left), states[0])]


def rnn(body: Body, data: str, states: list[str]) -> list[str]:
    return [_gate(body, "Relu", data, states[0])]


def lstm(body: Body, data: str, states: list[str]) -> list[str]:
    gates = [_gate(body, "Sigmoid", data, states[0]) for _ in range(3)]
    return _lstm(body, data, states, gates)


def _lstm(body: Body, data: str, states: list[str], gates: list[str]) -> list[str]:
    first, forget, last = gates
    new = body.add("Mul", first, _gate(body, "Tanh", data, states[0]))
    memory = body.add("Add", body.add("Mul", forget, states[1]), new)
    return [body.add("Mul", last, body.add("Tanh", memory)), memory]


def hard_gru(body: Body, data: str, states: list[str]) -> list[str]:
    """Of Keras 2's first years, with its hard sigmoid."""
    z, r = (_hard(body, _total(body, data, states[0])) for _ in range(2))
    left = body.add("Mul", r, states[0])
    return [_mixed(body, z, z, _gate(body, "Tanh", data, left), states[0])]


def hard_lstm(body: Body, data: str, states: list[str]) -> list[str]:
    """Of Keras 3, with its hard sigmoid."""
    gates = [_harder(body, _total(body, data, states[0])) for _ in range(3)]
    return _lstm(body, data, states, gates)


def too_hard(body: Body, data: str, states: list[str]) -> list[str]:
    """No RNN: its sigmoid goes up to two."""
    return [_hard(body, _total(body, data, states[0]), top=2.0)]


def _hard(body: Body, value: str, top: float = 1.0) -> str:
    numbers = [body.constant(np.array(n, np.float32)) for n in (0.2, 0.5, 0.0, top)]
    scaled = body.add("Add", body.add("Mul", value, numbers[0]), numbers[1])
    return body.add("Clip", scaled, *numbers[2:])


def _harder(body: Body, value: str) -> str:
    numbers = [body.constant(np.array(n, np.float32)) for n in (3.0, 0.0, 6.0)]
    clipped = body.add("Clip", body.add("Add", value, numbers[0]), *numbers[1:])
    return body.add("Div", clipped, numbers[2])


def other_gates(body: Body, data: str, states: list[str]) -> list[str]:
    """No GRU: what is kept and what is new do not add up to one."""
    z, y = (_gate(body, "Sigmoid", data, states[0]) for _ in range(2))
    return [_mixed(body, z, y, _gate(body, "Tanh", data, states[0]), states[0])]


def masked(body: Body, data: str, states: list[str]) -> list[str]:
    """No RNN: steps of zeros alone leave the state as it was."""
    (new,) = rnn(body, data, states)
    total = body.add("ReduceMax", data, axes=[1])
    some = body.add("Greater", total, body.constant(np.zeros(1, np.float32)))
    return [body.add("Where", some, new, states[0])]


def counted(body: Body, data: str, states: list[str]) -> list[str]:
    """No RNN: it knows which step it is."""
    step = body.add("Cast", "t", to=TensorProto.FLOAT)
    return [body.add("Add", rnn(body, data, states)[0], step)]


def peeping(body: Body, data: str, states: list[str]) -> list[str]:
    """No LSTM of ONNX's three gates: a gate sees the memory."""
    _, memory = lstm(body, data, states)
    last = _gate(body, "Sigmoid", data, memory)
    return [body.add("Mul", last, body.add("Tanh", memory)), memory]


def _gate(body: Body, activation: str, data: str, state: str) -> str:
    return body.add(activation, _total(body, data, state))


def _total(body: Body, data: str, state: str) -> str:
    one = body.add("MatMul", data, body.constant(matrix(INPUTS, UNITS)))
    other = body.add("MatMul", state, body.constant(matrix(UNITS, UNITS)))
    return body.add("Add", body.add("Add", one, body.constant(matrix(UNITS))), other)


def _mixed(body: Body, kept: str, new: str, candidate: str, state: str) -> str:
    rest = body.add("Sub", body.constant(np.array(1.0, np.float32)), new)
    return body.add("Add", body.add("Mul", kept, state), body.add("Mul", rest, candidate))


def answers(model: ModelProto, rows: Array = ROWS) -> list[Array]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return [np.asarray(value) for value in session.run(None, {"batch": rows})]


def operators(model: ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in nodes(model.graph))


@pytest.mark.parametrize(
    ("cell", "states", "operator"),
    [
        (gru, 1, "GRU"),
        (gru_reset_before, 1, "GRU"),
        (hard_gru, 1, "GRU"),
        (hard_lstm, 2, "LSTM"),
        (lstm, 2, "LSTM"),
        (rnn, 1, "RNN"),
    ],
)
def test_a_loop_over_time_becomes_the_operator(
    cell: Cell, states: int, operator: str
) -> None:
    loop = looped(cell, states)
    layer = simplify(loop)
    assert operators(layer)[operator] == 1
    assert not operators(layer).keys() & {"Loop", "ConstantOfShape", "Shape"}
    for rows in (ROWS, ROWS[:1, :1], np.repeat(ROWS, 4, axis=1)):
        for got, wanted in zip(answers(layer, rows), answers(loop, rows), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize(
    ("cell", "states"),
    [(other_gates, 1), (masked, 1), (counted, 1), (too_hard, 1), (peeping, 2)],
)
def test_a_loop_that_computes_anything_else_stays(cell: Cell, states: int) -> None:
    loop = looped(cell, states)
    stayed = simplify(loop)
    assert "Loop" in operators(stayed)
    for got, wanted in zip(answers(stayed), answers(loop), strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    "frame",
    [
        Frame(trips=STEPS - 1),
        Frame(trips=STEPS),  # of these rows; of others there are more
        Frame(until=STEPS - 2),
        Frame(first=1, trips=STEPS - 1),
        Frame(stride=0),
    ],
)
def test_a_loop_that_skips_steps_stays(frame: Frame) -> None:
    loop = looped(rnn, frame=frame)
    stayed = simplify(loop)
    assert "Loop" in operators(stayed)
    for got, wanted in zip(answers(stayed), answers(loop), strict=True):
        np.testing.assert_array_equal(got, wanted)


def endless(body: Body, data: str, states: list[str]) -> list[str]:
    """No RNN: a sum that doubles so often that nobody could write out its terms."""
    total = _total(body, data, states[0])
    for _ in range(2_000):
        total = body.add("Add", total, total)
    return [body.add("Tanh", total)]


def test_a_step_that_adds_its_own_sums_takes_no_time() -> None:
    assert "Loop" in operators(simplify(looped(endless)))


def test_the_passes_that_promise_equal_bits_leave_the_loop() -> None:
    loop = looped(gru)
    cleaned = clean(loop)
    assert "Loop" in operators(cleaned)
    for got, wanted in zip(answers(cleaned), answers(loop), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_a_loop_no_longer_carries_what_it_does_not_change() -> None:
    (before,) = (n for n in looped(masked).graph.node if n.op_type == "Loop")
    (after,) = (n for n in clean(looped(masked)).graph.node if n.op_type == "Loop")
    assert len(before.input) - len(after.input) == 1


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_the_last_step_is_read_from_the_last_state(direction: str) -> None:
    model = surrounded(direction=direction, turned=False)
    trimmed = clean(model)
    same_bits(trimmed, model)
    assert ("Slice" in operators(trimmed)) == (direction == "reverse")


@pytest.mark.parametrize("lengths", ["whole", "less"])
def test_turning_round_before_and_after_is_a_direction(lengths: str) -> None:
    model = surrounded(direction="forward", turned=True, less=lengths == "less")
    trimmed = clean(model)
    same_bits(trimmed, model)
    assert ("ReverseSequence" in operators(trimmed)) == (lengths == "less")


def same_bits(one: ModelProto, other: ModelProto) -> None:
    for got, wanted in zip(answers(one), answers(other), strict=True):
        np.testing.assert_array_equal(got, wanted)


def surrounded(*, direction: str, turned: bool, less: bool = False) -> ModelProto:
    """Return a GRU with what exporters put around it: all steps, and the last of them."""
    lengths = np.full(len(ROWS), STEPS - less)
    fixed = {
        "W": matrix(1, 3 * UNITS, INPUTS),
        "R": matrix(1, 3 * UNITS, UNITS),
        "one": np.array([1]),
        "zero": np.array([0]),
        "last": np.array([-1]),
        "end": np.array([2**31 - 1]),
        "lengths": lengths,
        "zeros": np.zeros((1, len(ROWS), UNITS), np.float32),
    }
    gru_inputs = ["round" if turned else "x", "W", "R", "", "", "zeros"]
    nodes = [
        helper.make_node("Transpose", ["batch"], ["x"], perm=[1, 0, 2]),
        _turn("x", "round"),
        helper.make_node("GRU", gru_inputs, ["y"], hidden_size=UNITS, direction=direction),
        helper.make_node("Squeeze", ["y", "one"], ["steps"]),
        _turn("steps", "back"),
        helper.make_node("Relu", ["back" if turned else "steps"], ["every"]),
        helper.make_node("Slice", ["steps", "last", "end", "zero"], ["cut"]),
        helper.make_node("Squeeze", ["cut", "zero"], ["final"]),
    ]
    nodes[2].output.append("state")
    outputs = ["every"] if turned else ["every", "final"]
    used = nodes[: 6 if turned else 8]
    graph = helper.make_graph(
        used if turned else [n for n in used if n.op_type != "ReverseSequence"],
        "surrounded",
        [
            helper.make_tensor_value_info(
                "batch", TensorProto.FLOAT, [len(ROWS), STEPS, INPUTS]
            )
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(values, name) for name, values in fixed.items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )


def _turn(value: str, result: str) -> NodeProto:
    return helper.make_node(
        "ReverseSequence", [value, "lengths"], [result], batch_axis=1, time_axis=0
    )


def test_weights_of_such_a_layer_are_stored_in_eight_bits() -> None:
    layer = simplify(looped(lstm, 2))
    big = simplify(_wider(layer))
    built = FLAVORS["int8"](Source(model=big, calibration={}))
    assert isinstance(built, Built)
    assert "in 2 tensors as int8" in built.note


def _wider(layer: ModelProto) -> ModelProto:
    """Return the layer with more units than its weights would be too small for."""
    units = 32
    node = next(n for n in layer.graph.node if n.op_type == "LSTM")
    del node.output[1:]
    attribute = next(a for a in node.attribute if a.name == "hidden_size")
    attribute.i = units
    shapes = [(1, 4 * units, INPUTS), (1, 4 * units, units), (1, 8 * units)]
    weights = [
        numpy_helper.from_array(matrix(*shape), name)
        for shape, name in zip(shapes, node.input[1:4], strict=True)
    ]
    graph = helper.make_graph(
        [helper.make_node("Transpose", ["batch"], [node.input[0]], perm=[1, 0, 2]), node],
        "wide",
        list(layer.graph.input),
        [helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)],
        weights,
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )


def test_gates_put_in_order_by_an_exporter_are_constants() -> None:
    model = reordered(shared=False)
    cleaned = clean(model)
    same_bits(cleaned, model)
    assert operators(cleaned) == {"Transpose": 1, "LSTM": 1}


def test_a_weight_that_is_read_elsewhere_too_is_not_stored_twice() -> None:
    model = reordered(shared=True)
    cleaned = clean(model)
    same_bits(cleaned, model)
    assert operators(cleaned)["Slice"] == 4


def reordered(*, shared: bool) -> ModelProto:
    """Return an LSTM as PyTorch exports it: its gates in another order."""
    units = 32
    fixed = {
        "W": matrix(1, 4 * units, INPUTS),
        "weight": matrix(4 * units, units),
        "axis": np.array([0]),
        **{f"at{n}": np.array([n * units]) for n in range(5)},
    }
    cuts = [
        helper.make_node("Slice", ["weight", f"at{n}", f"at{n + 1}", "axis"], [f"gate{n}"])
        for n in range(4)
    ]
    nodes = [
        helper.make_node("Transpose", ["batch"], ["x"], perm=[1, 0, 2]),
        *cuts,
        helper.make_node("Concat", ["gate0", "gate3", "gate1", "gate2"], ["all"], axis=0),
        helper.make_node("Unsqueeze", ["all", "axis"], ["R"]),
        helper.make_node("LSTM", ["x", "W", "R"], ["y"], hidden_size=units),
    ]
    outputs = ["y"]
    if shared:
        fixed["projection"] = fixed.pop("weight").T.copy()
        nodes.insert(0, helper.make_node("Transpose", ["projection"], ["weight"]))
        nodes.append(helper.make_node("MatMul", ["y", "projection"], ["z"]))
        outputs.append("z")
    graph = helper.make_graph(
        nodes,
        "reordered",
        [helper.make_tensor_value_info("batch", TensorProto.FLOAT, ["n", "t", INPUTS])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(values, name) for name, values in fixed.items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
