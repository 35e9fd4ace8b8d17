"""Drop what a tree ensemble stores without need. Knows no pruning that costs accuracy.

Promises bit-equal outputs: an attribute goes only when the operator's specification
gives the same value for its absence (ai.onnx.ml TreeEnsembleClassifier and -Regressor),
a split only when every float32 row ends in an equal leaf without it, a vote only when it
counts nothing.
"""

from onnx import AttributeProto, ModelProto, NodeProto

from edgekit.errors import ConversionError
from edgekit_converters.passes.forest import (
    CLASSIFIER,
    ENSEMBLES,
    Forest,
    Votes,
    prefix,
    read,
    write,
)
from edgekit_converters.passes.reachable import drop_decided
from edgekit_converters.passes.walk import copied, nodes

_UNREAD = {"nodes_hitrates", "nodes_hitrates_as_tensor"}  # a hint; onnxruntime ignores it


def drop_tree_defaults(model: ModelProto) -> ModelProto:
    """Return the model with tree ensembles that store no hit rates and no zero flags."""
    out = copied(model)
    for node in nodes(out.graph):
        if node.op_type in ENSEMBLES:
            kept = [entry for entry in node.attribute if not _default(entry)]
            del node.attribute[:]
            node.attribute.extend(kept)
    return out


def merge_subtrees(model: ModelProto) -> ModelProto:
    """Return the model without splits that decide nothing.

    Their sides are identical, or a split above or below them decides the same.

    Ensembles that cannot be read (float64 tensors, broken trees) stay as they are.
    """
    out = copied(model)
    for node in nodes(out.graph):
        if node.op_type in ENSEMBLES:
            try:
                smaller = _smaller(node)
            except ConversionError:
                continue
            node.CopyFrom(smaller)
    return out


def _smaller(node: NodeProto) -> NodeProto:
    forest = drop_decided(read(node))
    if node.op_type == CLASSIFIER and _only_sums(forest):
        forest = forest.with_leaves(lambda _, votes: tuple(v for v in votes if v[1]))
    merged = write(node, forest)
    return merged if _entries(merged) < _entries(node) else node


def _only_sums(forest: Forest) -> bool:
    """Whether votes of zero change nothing but the file.

    A class that got no vote at all is not answered, and with votes for only one of two
    classes another rule decides. So: no vote below zero, in each leaf one above, and the
    same classes with and without the zeros.
    """
    everywhere = [vote for votes in forest.leaves for vote in votes]
    counting = {target for target, weight in everywhere if weight > 0}
    return (
        all(weight >= 0 for _, weight in everywhere)
        and all(_counts(votes) for votes in forest.leaves)
        and counting == {target for target, _ in everywhere}
    )


def _counts(votes: Votes) -> bool:
    return any(weight > 0 for _, weight in votes)


def _entries(node: NodeProto) -> int:
    counted = {"nodes_modes", f"{prefix(node)}_ids"}
    return sum(
        len(entry.strings) + len(entry.ints)
        for entry in node.attribute
        if entry.name in counted
    )


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
