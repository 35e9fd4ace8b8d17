"""Compute what is made of constants alone. Promises equal outputs.

onnxruntime itself computes each node, as it would on loading. Only results that take no
more bytes than what they are made of are kept: weights stored small stay small.
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


def fold_constants(model: ModelProto) -> ModelProto:
    """Return the model without nodes whose results take no more bytes than they do."""
    out = copied(model)
    constants = {
        entry.name: entry
        for entry in out.graph.initializer
        if entry.name not in interface(out.graph)
    }
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
    return out


def _computed(
    node: NodeProto, constants: dict[str, TensorProto], model: ModelProto
) -> dict[str, Array] | None:
    inputs = [name for name in node.input if name]
    if not standard(node) or node.op_type in _LEFT or not inputs:
        return None
    if any(name not in constants for name in inputs) or _nested(node):
        return None
    graph = helper.make_graph(
        [node],
        "one",
        [],
        [helper.make_empty_tensor_value_info(name) for name in node.output if name],
        [constants[name] for name in dict.fromkeys(inputs)],
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
