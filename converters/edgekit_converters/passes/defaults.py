"""Drop attributes that say what their absence says. Promises equal outputs.

ONNX's schemas know the defaults of single values; for those along each axis of a
convolution or pool the specification says them in words (since operator set 11). The
shape of a kernel is that of its weights.
"""

from onnx import AttributeProto, ModelProto, NodeProto, defs, helper

from edgekit_converters.passes.walk import copied, nodes, standard

_SAID_IN_WORDS_SINCE = 11
_SLIDING = {"Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool"}
_PER_AXIS = {"strides": 1, "dilations": 1, "pads": 0, "output_padding": 0}
_WEIGHTED = {"Conv", "ConvTranspose"}


def drop_defaults(model: ModelProto) -> ModelProto:
    """Return the model without attributes that hold the operator's default."""
    out = copied(model)
    opset = max(
        (o.version for o in out.opset_import if o.domain in {"", "ai.onnx"}), default=0
    )
    for node in nodes(out.graph):
        if standard(node) and defs.has(node.op_type):
            _drop(node, opset)
    return out


def _drop(node: NodeProto, opset: int) -> None:
    schema = defs.get_schema(node.op_type, max_inclusive_version=opset)
    kept = [
        entry
        for entry in node.attribute
        if not (
            _is_default(entry, schema)
            or (opset >= _SAID_IN_WORDS_SINCE and _is_said(entry, node))
        )
    ]
    del node.attribute[:]
    node.attribute.extend(kept)


def _is_default(entry: AttributeProto, schema: defs.OpSchema) -> bool:
    known = schema.attributes.get(entry.name)
    if known is None or not known.default_value.type:
        return False
    return _value(entry) == _value(known.default_value)


def _is_said(entry: AttributeProto, node: NodeProto) -> bool:
    if node.op_type not in _SLIDING:
        return False
    if entry.name == "kernel_shape":
        return node.op_type in _WEIGHTED
    usual = _PER_AXIS.get(entry.name)
    return usual is not None and all(number == usual for number in entry.ints)


def _value(entry: AttributeProto) -> object:
    return entry.type, helper.get_attribute_value(entry)
