"""Read what a Loop only hands on from the graph around it. Promises equal outputs.

tf2onnx carries the weights of a recurrent layer through every step of its Loop, where
neither quantisers nor the constant folding of onnxruntime know them for constants.
"""

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

from edgekit_converters.passes.walk import copied, interface, rename, reread, standard

_BEFORE_IN = (
    2  # of the body: the step and the condition; of the node: trip count, condition
)
_BEFORE_OUT = 1  # of the body: the condition


def read_outside(model: ModelProto) -> ModelProto:
    """Return the model with Loops that carry only what their steps change."""
    out = copied(model)
    kept = interface(out.graph)
    for node in out.graph.node:
        if standard(node) and node.op_type == "Loop":
            _free(out.graph, node, kept)
    return out


def body_of(loop: NodeProto) -> GraphProto:
    """Return the graph of a Loop's step."""
    body: GraphProto
    (body,) = (a.g for a in loop.attribute if a.type == AttributeProto.GRAPH)
    return body


def _free(graph: GraphProto, loop: NodeProto, kept: set[str]) -> None:
    body = body_of(loop)
    copies = {
        node.output[0]: node.input[0] for node in body.node if node.op_type == "Identity"
    }
    carried = len(loop.input) - _BEFORE_IN
    for place in reversed(range(min(carried, len(loop.output)))):
        own = body.input[_BEFORE_IN + place].name
        handed = body.output[_BEFORE_OUT + place].name
        while handed in copies:
            handed = copies[handed]
        given, final = loop.input[_BEFORE_IN + place], loop.output[place]
        if handed != own or final in kept:
            continue
        others = [v.name for n, v in enumerate(body.output) if n != _BEFORE_OUT + place]
        if own in others:  # a body may not return what is not its own
            continue
        del body.input[_BEFORE_IN + place]
        del body.output[_BEFORE_OUT + place]
        del loop.input[_BEFORE_IN + place]
        del loop.output[place]
        rename(body, {own: given})
        if final:
            reread(graph, {final: given})
