"""Drop nodes that give what they are given. Promises equal outputs.

Identity, Dropout outside training, a Cast to the type of the value, a Reshape to the shape
that it has, a Transpose that moves nothing.
"""

from collections.abc import Mapping, Sequence

from onnx import ModelProto, NodeProto, TensorProto, TypeProto, helper, numpy_helper

from edgekit_converters.passes.walk import (
    copied,
    interface,
    nodes,
    replace_nodes,
    reread,
    standard,
    types,
)

_TRAINING_MODE = 2  # Dropout's third input


def drop_no_ops(model: ModelProto) -> ModelProto:
    """Return the model without nodes that change nothing, between two others."""
    out = copied(model)
    known = types(out)
    constants = {entry.name: entry for entry in out.graph.initializer}
    kept = interface(out.graph)
    used = {name for node in nodes(out.graph) for name in node.input}
    left: list[NodeProto] = []
    source: dict[str, str] = {}
    for node in out.graph.node:
        others = used.intersection(node.output[1:]) or kept & set(node.output)
        if not others and standard(node) and _changes_nothing(node, known, constants):
            source[node.output[0]] = source.get(node.input[0], node.input[0])
        else:
            left.append(node)
    replace_nodes(out, left)
    reread(out.graph, source)
    return out


def _changes_nothing(
    node: NodeProto,
    known: Mapping[str, TypeProto.Tensor],
    constants: Mapping[str, TensorProto],
) -> bool:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "Identity":
        return True
    if node.op_type == "Dropout":
        return not _is_set(node.input[_TRAINING_MODE:], constants)
    if node.op_type == "Cast":
        before = known.get(node.input[0])
        return before is not None and before.elem_type == attributes["to"]
    if node.op_type == "Transpose":
        order = list(attributes.get("perm", []))
        return bool(order) and order == sorted(order)
    if node.op_type == "Reshape":
        return _same_shape(
            _sizes(known.get(node.input[0])), constants.get(node.input[1]), attributes
        )
    return False


def _is_set(flag: Sequence[str], constants: Mapping[str, TensorProto]) -> bool:
    if not flag or not flag[0]:
        return False
    known = constants.get(flag[0])
    return known is None or bool(numpy_helper.to_array(known).any())


def _same_shape(
    before: list[int | str] | None,
    wanted: TensorProto | None,
    attributes: Mapping[str, object],
) -> bool:
    """Whether every size is said to be what it is, one at most left to be found."""
    if before is None or wanted is None or attributes.get("allowzero", 0):
        return False
    after = numpy_helper.to_array(wanted).tolist()
    if len(after) != len(before):
        return False
    unknown = [
        size
        for size, asked in zip(before, after, strict=True)
        if asked != 0 and (asked == -1 or asked != size)
    ]
    return len(unknown) <= 1 and after.count(-1) == len(unknown)


def _sizes(kind: TypeProto.Tensor | None) -> list[int | str] | None:
    if kind is None or not kind.HasField("shape"):
        return None
    return [
        size.dim_value if size.HasField("dim_value") else size.dim_param or "?"
        for size in kind.shape.dim
    ]
