"""Fold what is computed from one tree's answer into its leaves, and sums of trees into one.

Whatever nodes make of the answer of a single tree, row by row, is a number for each leaf:
a tree with other weights. skl2onnx writes an isolation forest as 27 such nodes a tree;
folded, and added up, it is one ensemble. The nodes are run once for each leaf by
onnxruntime itself, so every number is the one they would have computed.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from edgekit.errors import ConversionError, ProofError
from edgekit.manifest import RuntimeNeeds
from edgekit.runtime import Session
from edgekit.table import Array
from edgekit_converters.encoding import encode
from edgekit_converters.flavors.trees.tree_reading import reading_of
from edgekit_converters.passes.constants import drop_dead
from edgekit_converters.passes.forest import REGRESSOR, Forest, joined, read, write
from edgekit_converters.passes.walk import copied

_ROW_BY_ROW = {
    *("Abs", "Add", "And", "Cast", "Div", "Equal", "Exp", "Greater", "Identity"),
    *("LabelEncoder", "Less", "Log", "Max", "Min", "Mul", "Neg", "Not", "Or", "Pow"),
    *("Sigmoid", "Sqrt", "Sub", "Where"),
}
_SUMS = {"Add", "Sum"}
_OTHERWISE = {"aggregate_function", "base_values", "post_transform"}


def folded(model: ModelProto) -> ModelProto:
    """Return the model with such nodes folded; the same one where there are none."""
    trees = {node.output[0]: node for node in model.graph.node if _is_one_tree(node)}
    if not trees:
        return model
    owners = _owners(model, trees)
    weights = _weights(model, owners, trees)
    if not weights:
        return model
    out = copied(model)
    grown: dict[str, tuple[NodeProto, Forest]] = {}
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        name = node.output[0] if node.output else ""
        if name in weights:
            root = trees[owners[name]]
            grown[name] = _regrown(model, root, name, weights[name])
            nodes.append(grown[name][0])
        elif node.op_type in _SUMS and _all_grown(node, grown):
            nodes.append(_added(node, grown))
        else:
            nodes.append(node)
    del out.graph.node[:]
    out.graph.node.extend(nodes)
    return drop_dead(out)


def _is_one_tree(node: NodeProto) -> bool:
    if node.op_type != REGRESSOR or {a.name for a in node.attribute} & _OTHERWISE:
        return False
    numbers = [set(a.ints) for a in node.attribute if a.name == "nodes_treeids"]
    targets = [a.i for a in node.attribute if a.name == "n_targets"]
    return targets == [1] and len(numbers) == 1 and len(numbers[0]) == 1


def _owners(model: ModelProto, trees: Mapping[str, NodeProto]) -> dict[str, str]:
    """Return of each value that comes from one tree alone the name of its answer."""
    constants = {tensor.name for tensor in model.graph.initializer}
    owners = {name: name for name in trees}
    for node in model.graph.node:
        read_too = [name for name in node.input if name and name not in constants]
        of = {owners.get(name, "") for name in read_too}
        if node.op_type in _ROW_BY_ROW and len(of) == 1 and "" not in of:
            owners.update(dict.fromkeys(node.output, of.pop()))
    return owners


def _weights(
    model: ModelProto, owners: Mapping[str, str], trees: Mapping[str, NodeProto]
) -> dict[str, Array]:
    """Return the new weights of each value that something else than its tree reads."""
    ends = {value.name for value in model.graph.output}
    for node in model.graph.node:
        mine = owners.get(node.output[0] if node.output else "", "")
        ends.update(name for name in node.input if owners.get(name, mine) != mine)
    wanted: dict[str, list[str]] = {}
    for name in ends:
        if name in owners and name not in trees:
            wanted.setdefault(owners[name], []).append(name)
    found: dict[str, Array] = {}
    for root, names in sorted(wanted.items()):
        found.update(_evaluated(model, owners, root, sorted(names), trees[root]))
    return found


def _evaluated(
    model: ModelProto,
    owners: Mapping[str, str],
    root: str,
    names: Sequence[str],
    tree: NodeProto,
) -> dict[str, Array]:
    """Run what is made of a tree's answer once for each of its leaves."""
    try:
        leaves = read(tree).leaves
    except ConversionError:
        return {}
    if any(len(votes) != 1 for votes in leaves):
        return {}
    asked = copied(model)
    nodes = [n for n in model.graph.node if n.output and owners.get(n.output[0]) == root]
    for field in ("node", "input", "output"):
        asked.graph.ClearField(field)
    asked.graph.node.extend(node for node in nodes if node.output[0] != root)
    kind = TensorProto.FLOAT
    asked.graph.input.append(helper.make_tensor_value_info(root, kind, ["leaves", 1]))
    asked.graph.output.extend(helper.make_tensor_value_info(n, kind, None) for n in names)
    given = np.array([[votes[0][1]] for votes in leaves], dtype=np.float32)
    needs = RuntimeNeeds(opsets={}, ir_version=model.ir_version, min_onnxruntime="")
    try:
        answers = Session.load(encode(drop_dead(asked)), needs).run({root: given})
    except ProofError:  # an end is no float: its tree stays as it is
        return {}
    if any(values.shape != given.shape for values in answers.values()):
        return {}
    return {name: values[:, 0] for name, values in answers.items()}


def _regrown(
    model: ModelProto, tree: NodeProto, name: str, weights: Array
) -> tuple[NodeProto, Forest]:
    """Return a tree with other weights, and its node, which answers as `name`."""
    forest = read(tree)
    reading = reading_of(model, tree.input[0])
    if reading.columns:
        forest = forest.with_features(reading.columns)
    number = {votes: place for place, votes in enumerate(forest.leaves)}
    changed = forest.with_leaves(lambda _, votes: ((0, float(weights[number[votes]])),))
    node = write(tree, changed)
    node.input[0], node.output[0] = reading.value, name
    return node, changed


def _all_grown(node: NodeProto, grown: Mapping[str, tuple[NodeProto, Forest]]) -> bool:
    read_too = {grown[name][0].input[0] for name in node.input if name in grown}
    return all(name in grown for name in node.input) and len(read_too) == 1


def _added(node: NodeProto, grown: dict[str, tuple[NodeProto, Forest]]) -> NodeProto:
    """Return one ensemble for a sum of ensembles that read the same."""
    together = joined([(grown[name][1], 0) for name in node.input])
    one = write(grown[node.input[0]][0], together)
    one.output[0] = node.output[0]
    grown[node.output[0]] = one, together
    return one
