"""Compute what is made of constants alone. Promises equal outputs.

onnxruntime itself computes each node, as it would on loading. Only results that take no
more bytes than what they are made of are kept: weights stored small stay small. What only
cuts and joins constants is looked at as a whole: PyTorch exports the gates of an LSTM in
another order than ONNX's, and puts them right by four Slices and a Concat.
"""

from collections import Counter

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgekit.errors import ProofError
from edgekit.manifest import RuntimeNeeds
from edgekit.runtime import Session
from edgekit.table import Array
from edgekit_converters.passes.walk import (
    copied,
    interface,
    nodes,
    replace_nodes,
    standard,
)

_NODE_BYTES = 24  # what a node takes at least, with its constant's name and shape
_LEFT = {
    "QuantizeLinear",  # integer kernels look for these two beside them
    "DequantizeLinear",
    "Constant",
    "Bernoulli",  # and what is random is no constant
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}


_MOVING = {
    *("Concat", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze"),
    *("Transpose", "Unsqueeze"),
}


def fold_constants(model: ModelProto) -> ModelProto:
    """Return the model without nodes whose results take no more bytes than they do."""
    out = copied(model)
    _fold_nodes(out)
    _fold_moves(out)
    return out


def _fold_nodes(out: ModelProto) -> None:
    constants = _constants(out)
    reads = Counter(name for node in nodes(out.graph) for name in node.input)
    kept = interface(out.graph)
    left: list[NodeProto] = []
    for node in out.graph.node:
        result = None if kept & set(node.output) else _computed(node, constants, out)
        if result is None or _bytes(result) > _freed(node, constants, reads):
            left.append(node)
            continue
        for name, values in result.items():
            entry = numpy_helper.from_array(np.asarray(values, order="C"), name)
            out.graph.initializer.append(entry)
            constants[name] = entry
    replace_nodes(out, left)


def _fold_moves(out: ModelProto) -> None:
    """Fold constants that are only cut and joined, where nobody else reads a part."""
    moves = _Moves(out)
    for root in moves.roots():
        region = moves.region(root)
        result = _run(region, moves.constants, [root], out)
        if result is None or _bytes(result) > moves.freed(region, root):
            continue
        entry = numpy_helper.from_array(np.asarray(result[root], order="C"), root)
        out.graph.initializer.append(entry)
        moves.gone.add(id(moves.makers[root]))
    replace_nodes(out, [node for node in moves.nodes if id(node) not in moves.gone])


class _Moves:
    """Which constants are made of others by moving numbers alone, and who reads what."""

    def __init__(self, model: ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.constants = _constants(model)
        self.makers: dict[str, NodeProto] = {}
        self.gone: set[int] = set()  # ids of nodes, which live as long as `nodes`
        self._reads = Counter(name for node in nodes(model.graph) for name in node.input)
        self._reads.update(interface(model.graph))
        for node in self.nodes:
            inputs = [name for name in node.input if name]
            known = all(n in self.constants or n in self.makers for n in inputs)
            if standard(node) and node.op_type in _MOVING and inputs and known:
                self.makers.update(dict.fromkeys(node.output, node))

    def roots(self) -> list[str]:
        """Return the results of several moves that something else reads, once each."""
        moving = {id(node) for node in self.makers.values()}
        read = (n for node in self.nodes if id(node) not in moving for n in node.input)
        return [name for name in dict.fromkeys(read) if len(self.region(name)) > 1]

    def region(self, root: str) -> list[NodeProto]:
        """Return the moves that a result comes from, in order."""
        wanted, found = {root}, []
        for node in reversed(self.nodes):
            if wanted & set(node.output) & self.makers.keys():
                found.append(node)
                wanted.update(node.input)
        return found[::-1]

    def freed(self, region: list[NodeProto], root: str) -> int:
        """Return the bytes that nothing needs once the result is a constant."""
        own, freed = Counter({root: self._reads[root]}), 0
        for node in reversed(region):
            if all(own[name] == self._reads[name] for name in node.output if name):
                own.update(node.input)
                freed += _NODE_BYTES
        for name in own.keys() & self.constants.keys():
            if own[name] == self._reads[name]:
                freed += numpy_helper.to_array(self.constants[name]).nbytes
        return freed


def _constants(model: ModelProto) -> dict[str, TensorProto]:
    kept = interface(model.graph)
    return {
        entry.name: entry for entry in model.graph.initializer if entry.name not in kept
    }


def _computed(
    node: NodeProto, constants: dict[str, TensorProto], model: ModelProto
) -> dict[str, Array] | None:
    inputs = [name for name in node.input if name]
    if not standard(node) or node.op_type in _LEFT or not inputs:
        return None
    if any(name not in constants for name in inputs) or _nested(node):
        return None
    return _run([node], constants, [name for name in node.output if name], model)


def _run(
    region: list[NodeProto],
    constants: dict[str, TensorProto],
    wanted: list[str],
    model: ModelProto,
) -> dict[str, Array] | None:
    """Return what nodes of constants give, None where onnxruntime cannot tell."""
    read = dict.fromkeys(name for node in region for name in node.input)
    graph = helper.make_graph(
        region,
        "some",
        [],
        [helper.make_empty_tensor_value_info(name) for name in wanted],
        [constants[name] for name in read if name in constants],
    )
    alone = helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version
    )
    needs = RuntimeNeeds(opsets={}, ir_version=model.ir_version, min_onnxruntime="")
    try:
        found = Session.load(alone.SerializeToString(), needs).run({})
    except ProofError:  # it has no kernel for these types: whoever runs the model sees it
        return None
    arrays = [isinstance(values, np.ndarray) for values in found.values()]
    plain = all(arrays) and all(v.dtype.kind in "biuf" for v in found.values())
    return found if plain else None


def _nested(node: NodeProto) -> bool:
    kinds = {AttributeProto.GRAPH, AttributeProto.GRAPHS}
    return any(entry.type in kinds for entry in node.attribute)


def _freed(node: NodeProto, constants: dict[str, TensorProto], reads: Counter[str]) -> int:
    """Return the bytes that nothing needs once the node is gone."""
    own = [name for name in set(node.input) if name in constants and reads[name] == 1]
    arrays = [numpy_helper.to_array(constants[name]) for name in own]
    return _NODE_BYTES + sum(values.nbytes for values in arrays)


def _bytes(result: dict[str, Array]) -> int:
    return sum(values.nbytes for values in result.values())
