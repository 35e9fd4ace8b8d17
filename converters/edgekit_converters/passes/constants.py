"""Keep each constant once, as an initialiser, in its shortest encoding; drop dead ones.

Promises equal outputs. Changes only the outermost graph's constants.
"""

from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgekit_converters.passes.walk import copied, interface, reread, used_names

_NUMBERS = {
    "value_float": TensorProto.FLOAT,
    "value_floats": TensorProto.FLOAT,
    "value_int": TensorProto.INT64,
    "value_ints": TensorProto.INT64,
}
_SHORT_VARINT_BYTES = 7  # longer ones are worth no more than eight raw bytes


def lift_constants(model: ModelProto) -> ModelProto:
    """Return the model with its Constant nodes turned into initialisers."""
    out = copied(model)
    kept = interface(out.graph)
    nodes: list[NodeProto] = []
    for node in out.graph.node:
        tensor = None if node.output[:1] and node.output[0] in kept else _constant(node)
        if tensor is None:
            nodes.append(node)
        else:
            tensor.name = node.output[0]
            out.graph.initializer.append(tensor)
    del out.graph.node[:]
    out.graph.node.extend(nodes)
    return out


def dedupe_initialisers(model: ModelProto) -> ModelProto:
    """Return the model with equal initialisers stored once."""
    out = copied(model)
    kept = interface(out.graph)
    first: dict[bytes, str] = {}
    same: dict[str, str] = {}
    tensors: list[TensorProto] = []
    for tensor in out.graph.initializer:
        key = _content(tensor)
        if key in first and tensor.name not in kept:
            same[tensor.name] = first[key]
        else:
            first.setdefault(key, tensor.name)
            tensors.append(tensor)
    del out.graph.initializer[:]
    out.graph.initializer.extend(tensors)
    reread(out.graph, same)
    return out


def drop_dead(model: ModelProto) -> ModelProto:
    """Return the model without unread results and unread constants."""
    out = copied(model)
    while True:
        used = used_names(out.graph)
        alive = [node for node in out.graph.node if used.intersection(node.output)]
        if len(alive) == len(out.graph.node):
            break
        del out.graph.node[:]
        out.graph.node.extend(alive)
    tensors = [tensor for tensor in out.graph.initializer if tensor.name in used]
    del out.graph.initializer[:]
    out.graph.initializer.extend(tensors)
    return out


def shorten_integers(model: ModelProto) -> ModelProto:
    """Return the model with small int64 constants as variable-length integers."""
    out = copied(model)
    for tensor in out.graph.initializer:
        if tensor.data_type == TensorProto.INT64 and tensor.HasField("raw_data"):
            values = numpy_helper.to_array(tensor).ravel().tolist()
            limit = 1 << (7 * _SHORT_VARINT_BYTES)
            if values and all(0 <= value < limit for value in values):
                tensor.ClearField("raw_data")
                tensor.int64_data.extend(values)
    return out


def _constant(node: NodeProto) -> TensorProto | None:
    if node.op_type != "Constant" or node.domain not in {"", "ai.onnx"}:
        return None
    attribute = node.attribute[0]
    if attribute.name == "value":
        tensor = TensorProto()
        tensor.CopyFrom(attribute.t)
        return tensor
    if attribute.name in _NUMBERS:
        value = helper.get_attribute_value(attribute)
        many = attribute.name.endswith("s")
        return helper.make_tensor(
            node.output[0],
            _NUMBERS[attribute.name],
            [len(value)] if many else [],
            value if many else [value],
        )
    return None  # texts and sparse ones are rare: they stay


def _content(tensor: TensorProto) -> bytes:
    anonymous = TensorProto()
    anonymous.CopyFrom(tensor)
    anonymous.ClearField("name")
    return bytes(anonymous.SerializeToString(deterministic=True))
