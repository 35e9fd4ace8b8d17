"""Drop what exporters put around RNN, GRU and LSTM, and the operators do themselves.

First states of zeros, which are the default; the last step cut out of all steps, which
is an output of its own; sequences turned round before and after, which is a direction.
Promises equal outputs.
"""

from collections import defaultdict
from collections.abc import MutableSequence

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from edgekit_converters.passes.affine import Step, constants_of
from edgekit_converters.passes.constants import drop_dead
from edgekit_converters.passes.lengths import Lengths
from edgekit_converters.passes.walk import (
    copied,
    interface,
    opset_of,
    standard,
    used_names,
)

_FIRST_STATES = (5, 6)  # of the inputs
_LENGTHS = 4
_RECURRENT = {"RNN", "GRU", "LSTM"}
_OF_ZEROS = {"Cast", "Expand", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
_END = 2**31 - 1


def trim_recurrent(model: ModelProto) -> ModelProto:
    """Return the model with recurrent operators that do as much as they can."""
    out = copied(model)
    if not any(_plain(node) for node in out.graph.node):
        return out
    _drop_zero_states(out)
    _read_last_steps(out)
    out = drop_dead(out)
    _turn_round(out)
    used = used_names(out.graph)
    for node in out.graph.node:
        if _plain(node):
            node.output[:] = [name if name in used else "" for name in node.output]
            _trim(node.output)
    return out


def _plain(node: NodeProto) -> bool:
    given = {a.name for a in node.attribute}
    return standard(node) and node.op_type in _RECURRENT and "layout" not in given


def _step(model: ModelProto) -> Step:
    constants = constants_of(model, interface(model.graph))
    return Step(list(model.graph.node), constants, opset_of(model))


def _drop_zero_states(model: ModelProto) -> None:
    step = _step(model)
    for node in model.graph.node:
        if _plain(node):
            for place in _FIRST_STATES:
                if place < len(node.input) and _zero(step, node.input[place]):
                    node.input[place] = ""
            _trim(node.input)


def _zero(step: Step, name: str) -> bool:
    return bool(name) and all(
        _only_zeros(step, part) for part in step.parts(name, "Concat")
    )


def _only_zeros(step: Step, name: str) -> bool:
    """Whether a value is zeros, shaped anew or not."""
    constant = step.constant(name)
    if constant is not None:
        return not constant.any()
    node = step.maker(name)
    if node is None:
        return False
    if node.op_type == "ConstantOfShape":
        return not any(numpy_helper.to_array(a.t).any() for a in node.attribute)
    return node.op_type in _OF_ZEROS and _zero(step, node.input[0])


def _read_last_steps(model: ModelProto) -> None:
    """Let what cuts the last step out of all of them read the last state."""
    step, readers = _step(model), _readers(model)
    for node in model.graph.node:
        if not _plain(node) or not _is_forward(node) or len(node.output) < 2:  # noqa: PLR2004 - the last state
            continue
        for squeezed in readers[node.output[0]]:
            if squeezed.op_type != "Squeeze" or _axes(step, squeezed) != [1]:
                continue
            for cut in readers[squeezed.output[0]]:
                if _is_last(step, cut):
                    _read_state(step, readers[cut.output[0]], node)


def _read_state(step: Step, readers: list[NodeProto], node: NodeProto) -> None:
    for reader in readers:
        if reader.op_type == "Squeeze" and _axes(step, reader) == [0]:
            reader.input[0] = node.output[1]


class _Turning:
    """Finds sequences that are turned round, and who reads them."""

    def __init__(self, model: ModelProto) -> None:
        self._lengths, self._step = Lengths(model), _step(model)
        self._readers, self._kept = _readers(model), interface(model.graph)

    def before(self, layer: NodeProto) -> NodeProto | None:
        """Return the node that turns a layer's data round."""
        node = self._step.maker(layer.input[0])
        return node if node is not None and self._turns(node) else None

    def after(self, layer: NodeProto) -> list[NodeProto] | None:
        """Return the nodes that turn its answers round; None if anybody else reads."""
        found: list[NodeProto] = []
        for squeezed in self._readers[layer.output[0]]:
            if squeezed.op_type != "Squeeze" or _axes(self._step, squeezed) != [1]:
                return None
            if squeezed.output[0] in self._kept:
                return None
            for reader in self._readers[squeezed.output[0]]:
                if self._turns(reader):
                    found.append(reader)
                elif not self._asks_shape(reader):
                    return None
        return found

    def _turns(self, node: NodeProto) -> bool:
        """Whether a node turns all of [steps, rows, ...] round."""
        if node.op_type != "ReverseSequence":
            return False
        given = {a.name: a.i for a in node.attribute}
        axes = given.get("time_axis", 0), given.get("batch_axis", 1)
        return axes == (0, 1) and self._lengths.is_whole(node.input[1], node.input[0], 0)

    def _asks_shape(self, node: NodeProto) -> bool:
        """Whether a node asks for a shape alone, which is the same either way round."""
        if node.op_type == "Transpose" and node.output[0] not in self._kept:
            return all(self._asks_shape(each) for each in self._readers[node.output[0]])
        return node.op_type == "Shape"


def _turn_round(model: ModelProto) -> None:
    """Run layers backwards whose sequences are turned round before and after."""
    turning = _Turning(model)
    for node in model.graph.node:
        if (
            _plain(node)
            and _is_forward(node)
            and node.output[0] not in interface(model.graph)
        ):
            before, after = turning.before(node), turning.after(node)
            if before is None or after is None:
                continue
            node.input[0] = before.input[0]
            node.attribute.append(helper.make_attribute("direction", "reverse"))
            for each in after:
                _copy(each)


def _copy(node: NodeProto) -> None:
    """Make a node that turned its input round hand it on."""
    node.op_type = "Identity"
    del node.input[1:]
    node.ClearField("attribute")


def _is_forward(node: NodeProto) -> bool:
    """Whether a layer runs forwards over all steps."""
    given = {a.name: a.s for a in node.attribute if a.name == "direction"}
    whole = len(node.input) <= _LENGTHS or not node.input[_LENGTHS]
    return whole and given.get("direction", b"forward") == b"forward"


def _is_last(step: Step, node: NodeProto) -> bool:
    """Whether a Slice takes the last entry of the first dimension."""
    if node.op_type != "Slice" or len(node.input) < 4:  # noqa: PLR2004 - with axes
        return False
    found = [step.constant(name) for name in node.input[1:]]
    if any(values is None or values.size != 1 for values in found):
        return False
    start, end, axis, *stride = (int(v.reshape(-1)[0]) for v in found if v is not None)
    return start == -1 and end >= _END and axis == 0 and stride in ([], [1])


def _axes(step: Step, node: NodeProto) -> list[int]:
    if len(node.input) > 1:
        values = step.constant(node.input[1])
        return [] if values is None else [int(axis) for axis in np.ravel(values)]
    return [int(axis) for a in node.attribute if a.name == "axes" for axis in a.ints]


def _readers(model: ModelProto) -> defaultdict[str, list[NodeProto]]:
    found: defaultdict[str, list[NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        for name in dict.fromkeys(node.input):
            if name:
                found[name].append(node)
    return found


def _trim(names: MutableSequence[str]) -> None:
    """Drop the last of names that are optional and not there."""
    while names and not names[-1]:
        del names[-1]
