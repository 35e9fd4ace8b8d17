"""Let transposes meet and cancel. Promises equal outputs.

tf2onnx writes a Transpose before and after each operator that wants channels first. A
Transpose sinks below operators that treat every number alike, until it meets another;
two become one, or none.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgekit_converters.passes.constants import drop_dead
from edgekit_converters.passes.walk import (
    copied,
    interface,
    nodes,
    replace_nodes,
    reread,
    standard,
    unused_name,
)

_ALIKE = {
    *("Abs", "Cast", "Clip", "Elu", "Erf", "Exp", "HardSigmoid", "HardSwish", "Identity"),
    *("LeakyRelu", "Log", "Neg", "Reciprocal", "Relu", "Selu", "Sigmoid", "Softplus"),
    *("Sqrt", "Tanh", "ThresholdedRelu"),
}
_PAIRWISE = {"Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "PRelu", "Sum", "Mean"}
_JOINED = {"Concat"}


def cancel_transposes(model: ModelProto) -> ModelProto:
    """Return the model with its transposes sunk as far as they go, pairs of them merged."""
    out = copied(model)
    while True:
        moved = _merged(out) or _sunk(out)
        if moved is None:
            return out
        out = moved


@dataclass(frozen=True, slots=True, kw_only=True)
class _Uses:
    """Who makes a value, and how many read it."""

    makers: dict[str, NodeProto]
    reads: Counter[str]

    @classmethod
    def of(cls, model: ModelProto) -> "_Uses":
        kept = interface(model.graph)
        reads = Counter(name for node in nodes(model.graph) for name in node.input)
        reads.update(dict.fromkeys(kept, 2))  # callers read them too
        return cls(
            makers={name: node for node in model.graph.node for name in node.output},
            reads=reads,
        )

    def transpose(self, name: str) -> NodeProto | None:
        """Return the Transpose that makes a value."""
        node = self.makers.get(name)
        return node if node is not None and _order(node) else None


def _merged(model: ModelProto) -> ModelProto | None:
    """Return the model with one pair of transposes merged; None when there is none."""
    uses = _Uses.of(model)
    for node in model.graph.node:
        first = uses.transpose(node.input[0]) if _order(node) else None
        if first is None:
            continue
        both = [_order(first)[axis] for axis in _order(node)]
        if both == sorted(both):
            if node.output[0] in interface(model.graph):
                continue
            reread(model.graph, {node.output[0]: first.input[0]})
            left = [one for one in model.graph.node if one.output != node.output]
        else:
            new = helper.make_node("Transpose", [first.input[0]], node.output, perm=both)
            left = [new if one.output == node.output else one for one in model.graph.node]
        replace_nodes(model, left)
        return drop_dead(model)
    return None


def _sunk(model: ModelProto) -> ModelProto | None:
    """Return the model with transposes moved below one node; None when none can be."""
    uses = _Uses.of(model)
    constants = {entry.name: entry for entry in model.graph.initializer}
    for node in model.graph.node:
        order = _common_order(node, uses, constants)
        if order is None:
            continue
        above = {
            name: uses.makers[name].input[0]
            for name in node.input
            if uses.transpose(name) is not None
        }
        new = NodeProto()
        new.CopyFrom(node)
        turned = {
            name: _turned(model, constants[name], order)
            for name in node.input
            if name in constants and node.op_type not in _ALIKE
        }
        new.input[:] = [(above | turned).get(name, name) for name in node.input]
        new.output[0] = unused_name(model.graph, f"{node.output[0]}/turned")
        if node.op_type in _JOINED:
            axis = next(entry for entry in new.attribute if entry.name == "axis")
            axis.i = order[axis.i]
        below = helper.make_node("Transpose", new.output, node.output, perm=order)
        left: list[NodeProto] = []
        for one in model.graph.node:
            if one.output == node.output:
                left.extend([new, below])
            elif not set(one.output) & above.keys():
                left.append(one)
        replace_nodes(model, left)
        return model
    return None


def _common_order(
    node: NodeProto, uses: _Uses, constants: dict[str, TensorProto]
) -> list[int] | None:
    """Return the order that all inputs are transposed in, if it may go below the node."""
    if not standard(node) or node.op_type not in _ALIKE | _PAIRWISE | _JOINED:
        return None
    data = node.input[:1] if node.op_type in _ALIKE else node.input
    variable = [name for name in data if name not in constants]
    orders = [_order(uses.makers[name]) for name in variable if name in uses.makers]
    alone = all(uses.reads[name] == variable.count(name) for name in variable)
    if not orders or len(orders) < len(variable) or not alone:
        return None
    same = all(order and order == orders[0] for order in orders)
    rank = len(orders[0])
    fixed = [name for name in data if name in constants]
    fits = all(len(constants[name].dims) <= rank for name in fixed)
    if node.op_type in _JOINED:
        fits = fits and all(e.i >= 0 for e in node.attribute if e.name == "axis")
        fits = fits and all(len(constants[name].dims) == rank for name in fixed)
    return orders[0] if same and fits else None


def _turned(model: ModelProto, constant: TensorProto, order: list[int]) -> str:
    """Return the name of a constant as it is before the Transpose."""
    values = numpy_helper.to_array(constant)
    if values.size == 1:
        return constant.name
    wide = values.reshape((1,) * (len(order) - values.ndim) + values.shape)
    name = unused_name(model.graph, f"{constant.name}/turned")
    turned = np.asarray(wide.transpose(np.argsort(order)), order="C")
    model.graph.initializer.append(numpy_helper.from_array(turned, name))
    return name


def _order(node: NodeProto) -> list[int]:
    """Return a Transpose's order, [] for other nodes or where it is left unsaid."""
    if not standard(node) or node.op_type != "Transpose":
        return []
    return next((list(e.ints) for e in node.attribute if e.name == "perm"), [])
