"""Drop what a tree ensemble stores only to repeat its default. Knows no pruning.

Promises bit-equal outputs: an attribute goes only when the operator's specification
gives the same value for its absence (ai.onnx.ml TreeEnsembleClassifier and -Regressor).
"""

from onnx import AttributeProto, ModelProto

from edgekit_converters.passes.walk import copied, nodes

_ENSEMBLES = {"TreeEnsembleClassifier", "TreeEnsembleRegressor"}
_UNREAD = {"nodes_hitrates", "nodes_hitrates_as_tensor"}  # a hint; onnxruntime ignores it


def drop_tree_defaults(model: ModelProto) -> ModelProto:
    """Return the model with tree ensembles that store no hit rates and no zero flags."""
    out = copied(model)
    for node in nodes(out.graph):
        if node.op_type in _ENSEMBLES:
            kept = [entry for entry in node.attribute if not _default(entry)]
            del node.attribute[:]
            node.attribute.extend(kept)
    return out


def _default(attribute: AttributeProto) -> bool:
    if attribute.name in _UNREAD:
        return True
    if attribute.name == "nodes_missing_value_tracks_true":
        return not any(attribute.ints)
    if attribute.name == "post_transform":
        return attribute.s == b"NONE"
    if attribute.name == "aggregate_function":
        return attribute.s == b"SUM"
    return False
