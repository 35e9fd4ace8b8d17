"""Write MatMul and Add of a bias as one Gemm. Promises equal outputs.

onnxruntime does the same when it loads a graph; done before, the file has a node less.
"""

from collections import Counter

from onnx import ModelProto, NodeProto, TensorProto, helper

from edgekit_converters.passes.walk import (
    copied,
    interface,
    nodes,
    ranks,
    replace_nodes,
    standard,
)

_MATRIX = 2


def merge_bias(model: ModelProto) -> ModelProto:
    """Return the model with each MatMul of matrices and its constant bias as a Gemm."""
    out = copied(model)
    constants = {entry.name: entry for entry in out.graph.initializer}
    kept = interface(out.graph)
    reads = Counter(name for node in nodes(out.graph) for name in node.input)
    known = ranks(out)
    products = {
        node.output[0]: node
        for node in out.graph.node
        if standard(node)
        and node.op_type == "MatMul"
        and reads[node.output[0]] == 1
        and node.output[0] not in kept
        and all(known.get(name) == _MATRIX for name in node.input)
        and node.input[1] in constants
    }
    merged: dict[str, NodeProto] = {}
    for node in out.graph.node:
        if standard(node) and node.op_type == "Add":
            for product, bias in (node.input, reversed(node.input)):
                if product in products and _is_bias(
                    constants.get(bias), constants[products[product].input[1]]
                ):
                    matrix = products[product]
                    merged[product] = helper.make_node(
                        "Gemm", [*matrix.input, bias], [node.output[0]]
                    )
                    break
    done = {node.output[0] for node in merged.values()}
    placed = [
        merged.get(node.output[0], node)
        for node in out.graph.node
        if not (node.op_type == "Add" and node.output[0] in done)
    ]
    replace_nodes(out, placed)
    return out


def _is_bias(bias: TensorProto | None, weight: TensorProto) -> bool:
    if bias is None or {bias.data_type, weight.data_type} != {TensorProto.FLOAT}:
        return False
    shape = list(bias.dims)
    return shape in ([weight.dims[1]], [1, weight.dims[1]])
