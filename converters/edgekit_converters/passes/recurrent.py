"""Write a Loop that steps through time as ONNX's own RNN, GRU or LSTM.

tf2onnx knows Keras's LSTM, but neither its GRU nor its SimpleRNN: they come as a Loop of
some twenty nodes, which is slower, larger, and hides the weights from what would store
them smaller. What a Loop computes is told from its sums (`affine`, `cells`); one that
does anything else, such as one that skips masked steps, stays. Answers are equal up to
float32's rounding, not to the bit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, helper, numpy_helper

from edgekit.table import Array
from edgekit_converters.passes.affine import Step, constants_of
from edgekit_converters.passes.cells import Cell, cell
from edgekit_converters.passes.invariants import body_of
from edgekit_converters.passes.lengths import Lengths
from edgekit_converters.passes.walk import (
    copied,
    interface,
    opset_of,
    replace_nodes,
    standard,
    unused_name,
    used_names,
)

_AXES_INPUT = 13  # the opset in which axes of Squeeze and Unsqueeze became an input
_CONDITION = 1  # of the Loop's inputs, and outputs of its body
_RANK = 3  # steps, rows, inputs
_BEFORE = 2  # inputs of a Loop and of its body before what is carried


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A Loop that is a recurrent layer: its data [steps, rows, inputs], and its results.

    `states` are (value before the first step, value after the last), the answer's first;
    `steps` are the values that hold the answers of all steps.
    """

    cell: Cell
    data: str
    states: Sequence[tuple[str, str]]
    steps: Sequence[str]


def loops_to_recurrent(model: ModelProto) -> ModelProto:
    """Return the model with RNN, GRU and LSTM for the Loops that are nothing else."""
    out = copied(model)
    while _replace_one(out):  # what a Loop's shapes leave open, its operator tells
        pass
    return out


def _replace_one(model: ModelProto) -> bool:
    loops = [n for n in model.graph.node if standard(n) and n.op_type == "Loop"]
    if not loops:
        return False
    reader = _Reader(model)
    for loop in loops:
        found = reader.found(loop)
        if found is not None:
            placed: list[NodeProto] = []
            for node in model.graph.node:
                placed += _Writer(model).nodes(found) if node is loop else [node]
            replace_nodes(model, placed)
            return True
    return False


class _Reader:
    """Tells which Loop of a graph is which recurrent layer."""

    def __init__(self, model: ModelProto) -> None:
        self._lengths = Lengths(model)
        self._constants = constants_of(model, interface(model.graph))
        self._opset = opset_of(model)
        self._read = used_names(model.graph)

    def found(self, loop: NodeProto) -> _Found | None:
        """Return the layer that a Loop is, None if it is another computation."""
        body = body_of(loop)
        own = {tensor.name: numpy_helper.to_array(tensor) for tensor in body.initializer}
        step = Step(list(body.node), {**self._constants, **own}, self._opset)
        carried = len(loop.input) - _BEFORE
        if not 0 < carried <= len(loop.output):
            return None
        names = [value.name for value in body.input[_BEFORE:]]
        made = [step.origin(value.name) for value in body.output[_CONDITION:]]
        counting = self._counting(loop, step, names, made)
        counters = [body.input[0].name, *(names[place] for place in counting)]
        places = [place for place in range(carried) if place not in counting]
        data, gathered = _data(step, body.node, counters)
        if self._lengths.rank(data) != _RANK or not self._is_scan(
            loop, step, data, counters
        ):
            return None
        if any(loop.output[place] in self._read for place in counting):
            return None
        found = cell(step, gathered, {names[place]: made[place] for place in places})
        if found is None:
            return None
        places.sort(key=lambda place: found.states.index(names[place]))
        if any(name != made[places[0]] for name in made[carried:]):
            return None
        return _Found(
            cell=found,
            data=data,
            states=[(loop.input[_BEFORE + p], loop.output[p]) for p in places],
            steps=list(loop.output[carried:]),
        )

    def _counting(
        self, loop: NodeProto, step: Step, names: list[str], made: list[str]
    ) -> list[int]:
        return [
            place
            for place, name in enumerate(names)
            if self._lengths.counts(step, name, made[place], loop.input[_BEFORE + place])
        ]

    def _is_scan(self, loop: NodeProto, step: Step, data: str, counters: list[str]) -> bool:
        """Whether the Loop takes one step for each of the data's, and no fewer."""
        condition = body_of(loop).output[0].name
        return self._lengths.is_trips(loop.input, data) and self._lengths.ends(
            step, condition, data, counters
        )


def _data(step: Step, nodes: Iterable[NodeProto], counters: list[str]) -> tuple[str, str]:
    """Return the value that a step takes its entry of, and what it calls that; or ""s."""
    found = [
        (node.input[0], node.output[0])
        for node in nodes
        if node.op_type == "Gather"
        and step.origin(node.input[1]) in counters
        and not any(attribute.i for attribute in node.attribute)  # along the first axis
    ]
    return found[0] if len(found) == 1 else ("", "")


def _attributes(layer: Cell) -> list[AttributeProto]:
    given: dict[str, object] = {
        "activations": [one.name for one in layer.activations],
        "hidden_size": layer.hidden,
        **layer.attributes,
    }
    parameters = [one.parameters for one in layer.activations if one.parameters]
    if parameters:  # of those that take some, in their order
        alphas, betas = zip(*parameters, strict=True)
        given |= {"activation_alpha": alphas, "activation_beta": betas}
    return [helper.make_attribute(*pair) for pair in given.items()]


class _Writer:
    """Adds a layer's constants to a model and makes its nodes."""

    def __init__(self, model: ModelProto) -> None:
        self._model = model
        self._axes = opset_of(model) >= _AXES_INPUT

    def nodes(self, found: _Found) -> list[NodeProto]:
        """Return the operator, and the nodes that bring its values into shape."""
        layer, base = found.cell, next(filter(None, [*found.steps, found.states[0][1]]))
        before: list[NodeProto] = []
        firsts = []
        for number, (first, _) in enumerate(found.states):
            firsts.append(self._name(f"{base}/first{number}"))
            before.append(self._reshaped("Unsqueeze", first, firsts[-1], 0))
        steps = self._name(f"{base}/steps")
        lasts = [self._name(f"{base}/last{n}") for n in range(len(found.states))]
        operator = helper.make_node(
            layer.operator,
            [
                found.data,
                self._constant(f"{base}/W", layer.inputs[None]),
                self._constant(f"{base}/R", layer.recurrent[None]),
                self._constant(f"{base}/B", layer.bias[None]),
                "",
                *firsts,
            ],
            [steps, *lasts],
        )
        operator.attribute.extend(_attributes(layer))
        after = [self._reshaped("Squeeze", steps, name, 1) for name in found.steps if name]
        after += [
            self._reshaped("Squeeze", last, name, 0)
            for last, (_, name) in zip(lasts, found.states, strict=True)
            if name
        ]
        return [*before, operator, *after]

    def _reshaped(self, operator: str, value: str, result: str, axis: int) -> NodeProto:
        if not self._axes:
            return helper.make_node(operator, [value], [result], axes=[axis])
        axes = self._constant(f"{result}/axes", np.array([axis]))
        return helper.make_node(operator, [value, axes], [result])

    def _constant(self, wanted: str, values: Array) -> str:
        name = self._name(wanted)
        entry = numpy_helper.from_array(np.asarray(values, order="C"), name)
        self._model.graph.initializer.append(entry)
        return name

    def _name(self, wanted: str) -> str:
        return unused_name(self._model.graph, wanted)
