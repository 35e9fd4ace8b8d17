"""Let a network in float16 compute in float32, which onnxruntime's CPU kernels do anyway.

They have few kernels for float16: casts are put around the others, so little is computed
in it. Answers change by the rounding that is left out. Inputs and outputs stay float16.
"""

from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from edgekit_converters.passes.walk import copied, graphs, nodes, rename

_HALF, _FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT
_KINDS = {"to", "dtype"}  # attributes that name an element type


def widened(model: ModelProto) -> ModelProto:
    """Return the model in float32; the same one where it has no weights in float16."""
    halves = [t for g in graphs(model.graph) for t in g.initializer if _is_half(t)]
    passed = {v.name for v in model.graph.input} & {v.name for v in model.graph.output}
    if not halves or model.functions or passed:
        return model
    out = copied(model)
    outer = out.graph
    for graph in graphs(outer):
        _widen_constants(graph)
        inner = () if graph is outer else (*graph.input, *graph.output)
        for value in (*graph.value_info, *inner):
            _widen_value(value)
    for node in nodes(outer):
        for attribute in node.attribute:
            _widen_attribute(attribute)
    _keep_ends(outer)
    return out


def _is_half(tensor: TensorProto) -> bool:
    return bool(tensor.data_type == _HALF)


def _widen_constants(graph: GraphProto) -> None:
    for tensor in graph.initializer:
        _widen_tensor(tensor)


def _widen_tensor(tensor: TensorProto) -> None:
    if _is_half(tensor):
        values = numpy_helper.to_array(tensor).astype("float32")
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _widen_value(value: ValueInfoProto) -> None:
    if value.type.tensor_type.elem_type == _HALF:
        value.type.tensor_type.elem_type = _FLOAT


def _widen_attribute(attribute: AttributeProto) -> None:
    if attribute.name in _KINDS and attribute.i == _HALF:
        attribute.i = _FLOAT
    elif attribute.type == AttributeProto.TENSOR:
        _widen_tensor(attribute.t)


def _keep_ends(graph: GraphProto) -> None:
    """Cast where the network begins and ends, so that callers see no difference."""
    given = {value.name for value in graph.initializer}
    ends = [
        (value, value in graph.input)
        for value in (*graph.input, *graph.output)
        if value.type.tensor_type.elem_type == _HALF and value.name not in given
    ]
    for value, is_input in ends:
        name, wide = value.name, f"{value.name}/wide"
        rename(graph, {name: wide})
        value.name = name
        if is_input:
            graph.node.insert(0, helper.make_node("Cast", [name], [wide], to=_FLOAT))
        else:
            graph.node.append(helper.make_node("Cast", [wide], [name], to=_HALF))
