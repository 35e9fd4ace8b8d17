"""Tell the cell of a recurrent layer from what its step computes: RNN, GRU or LSTM.

Knows ONNX's definitions of the three, and no Loop. Matrices stay as they are, biases
that ONNX adds together are added in float64: a cell answers as its step, up to rounding.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from onnx import NodeProto

from edgekit.table import Array
from edgekit_converters.passes.affine import Step
from edgekit_converters.passes.squashing import Activation, activation


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One of ONNX's recurrent operators, for one direction.

    `inputs` is [gates * hidden, inputs], `recurrent` [gates * hidden, hidden], `bias`
    [2 * gates * hidden]: of the inputs, then of the state; all float32. `states` are the
    names of the states before a step, the one that is its answer first.
    """

    operator: str
    inputs: Array
    recurrent: Array
    bias: Array
    activations: tuple[Activation, ...]
    states: tuple[str, ...]
    attributes: Mapping[str, int] = field(default_factory=dict)

    @property
    def hidden(self) -> int:
        """The number of units."""
        return int(self.recurrent.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gate:
    """What an activation is given: from the inputs, from the state, and what is added."""

    activation: Activation
    inputs: Array  # [inputs, hidden]
    recurrent: Array  # [hidden, hidden]
    bias: Array  # [hidden]
    recurrent_bias: Array  # [hidden]


def cell(step: Step, data: str, states: Mapping[str, str]) -> Cell | None:
    """Return the cell that makes new states (old name -> new name) of `data`.

    The first state is the answer of the step. None where it is another computation.
    """
    old = list(states)
    if len(old) == 1:
        state, made = old[0], states[old[0]]
        return _gru(step, data, state, made) or _rnn(step, data, state, made)
    if len(old) == 2:  # noqa: PLR2004 - a hidden state and a cell state
        return _lstm(step, data, old, states)
    return None


def _rnn(step: Step, data: str, state: str, made: str) -> Cell | None:
    gate = _gate(step, made, data, state)
    return None if gate is None else _written("RNN", [gate], (gate.activation,), (state,))


def _gru(step: Step, data: str, state: str, made: str) -> Cell | None:
    """Match z * state + (1 - z) * candidate."""
    for kept, new in _sums(step, made):
        for update, remembered in _products(step, kept):
            if step.origin(remembered) != state:
                continue
            for rest, candidate in _products(step, new):
                if not _is_rest(step, rest, update):
                    continue
                found = _gru_of(step, data, state, update, candidate)
                if found is not None:
                    return found
    return None


def _gru_of(step: Step, data: str, state: str, update: str, candidate: str) -> Cell | None:
    first = _gate(step, update, data, state)
    last = activation(step, candidate)
    if first is None or last is None:
        return None
    total = step.sum(last[1])
    inner = [name for name in total.terms if name != data]
    from_data = total.terms.get(data)
    if len(total.terms) != 2 or from_data is None:  # noqa: PLR2004 - data, what was reset
        return None
    for reset, remembered in _products(step, inner[0]):
        second = _gate(step, reset, data, state)
        if second is None or second.activation != first.activation:
            continue
        matrix, before = total.terms[inner[0]], step.sum(remembered)
        if matrix is None and before.terms.keys() == {state}:  # after the product
            matrix, shift, order = before.terms[state], before.bias, 1
        elif step.origin(remembered) == state:
            shift, order = np.zeros(1), 0
        else:
            continue
        if matrix is None:
            continue
        third = _Gate(
            activation=last[0],
            inputs=from_data,
            recurrent=matrix,
            bias=total.bias,
            recurrent_bias=shift,
        )
        return _written(
            "GRU",
            [first, second, third],
            (first.activation, third.activation),
            (state,),
            {"linear_before_reset": order},
        )
    return None


def _lstm(step: Step, data: str, old: list[str], states: Mapping[str, str]) -> Cell | None:
    """Match cell = f * cell + i * g, answer = o * activation(cell)."""
    for state, memory in (old, old[::-1]):
        for shown, output in _products(step, states[state]):
            squashed = activation(step, shown)
            if squashed is None or step.origin(squashed[1]) != step.origin(states[memory]):
                continue
            gates = _lstm_gates(step, data, state, memory, states[memory])
            last = _gate(step, output, data, state)
            if gates is None or last is None:
                continue
            first, forget, candidate = gates
            if not first.activation == forget.activation == last.activation:
                continue
            return _written(
                "LSTM",
                [first, last, forget, candidate],
                (first.activation, candidate.activation, squashed[0]),
                (state, memory),
            )
    return None


def _lstm_gates(
    step: Step, data: str, state: str, memory: str, made: str
) -> tuple[_Gate, _Gate, _Gate] | None:
    for kept, new in _sums(step, made):
        for forget, remembered in _products(step, kept):
            if step.origin(remembered) != memory:
                continue
            for one, other in _products(step, new):
                found = [_gate(step, name, data, state) for name in (one, forget, other)]
                first, second, third = found
                if first is None or second is None or third is None:
                    continue
                if first.activation == second.activation:
                    return first, second, third
    return None


def _gate(step: Step, name: str, data: str, state: str) -> _Gate | None:
    """Return an activation of a sum of the data and the state, and of nothing else."""
    found = activation(step, name)
    if found is None:
        return None
    total = step.sum(found[1])
    from_data, from_state = total.terms.get(data), total.terms.get(state)
    if from_data is None or from_state is None or total.terms.keys() != {data, state}:
        return None
    return _Gate(
        activation=found[0],
        inputs=from_data,
        recurrent=from_state,
        bias=total.bias,
        recurrent_bias=np.zeros(1),
    )


def _sums(step: Step, name: str) -> list[tuple[str, str]]:
    return _pairs(step.maker(name), "Add")


def _products(step: Step, name: str) -> list[tuple[str, str]]:
    return _pairs(step.maker(name), "Mul")


def _pairs(node: NodeProto | None, operator: str) -> list[tuple[str, str]]:
    """Return the two inputs of such a node, in both orders."""
    if node is None or node.op_type != operator:
        return []
    first, second = node.input
    return [(first, second), (second, first)]


def _is_rest(step: Step, name: str, update: str) -> bool:
    node = step.maker(name)
    if node is None or node.op_type != "Sub":
        return False
    one = step.constant(node.input[0])
    whole = one is not None and bool((one == 1).all())
    return whole and step.origin(node.input[1]) == step.origin(update)


def _written(
    operator: str,
    gates: list[_Gate],
    activations: tuple[Activation, ...],
    states: tuple[str, ...],
    attributes: Mapping[str, int] | None = None,
) -> Cell | None:
    """Return the gates in ONNX's layout, or None where their sizes disagree."""
    hidden = gates[0].recurrent.shape[0]
    width = gates[0].inputs.shape[0]
    for gate in gates:
        if gate.recurrent.shape != (hidden, hidden) or gate.inputs.shape != (width, hidden):
            return None
    biases = [gate.bias for gate in gates] + [gate.recurrent_bias for gate in gates]
    if any(bias.size not in {1, hidden} for bias in biases):
        return None
    wide = [np.broadcast_to(bias, hidden) for bias in biases]
    return Cell(
        operator=operator,
        inputs=np.concatenate([gate.inputs.T for gate in gates]).astype(np.float32),
        recurrent=np.concatenate([gate.recurrent.T for gate in gates]).astype(np.float32),
        bias=np.concatenate(wide).astype(np.float32),
        activations=activations,
        states=states,
        attributes=attributes or {},
    )
