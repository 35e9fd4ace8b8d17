"""Write a forest as one TreeEnsembleRegressor of ai.onnx.ml 1 to 3. Knows no graph.

For runtimes without TreeEnsemble 5. Its leaves belong to one tree; those on true sides are
shared within it, which takes a quarter of the nodes away: onnxruntime takes a node that
several true sides lead to, since set membership is written so, but no shared false side
(tried on 1.16.3 to 1.31.1).
"""

from typing import Any

import numpy as np
from onnx import NodeProto, helper

from edgekit.bundle import wire_bytes
from edgekit_converters.encoding import encode
from edgekit_converters.flavors.trees.tree_answers import SUM, Sums
from edgekit_converters.flavors.trees.tree_columns import MODES, Columns, columns

_LEAF = "LEAF"
_NODE = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids")
_NODES = tuple(f"nodes_{name}" for name in (*_NODE, "falsenodeids"))
_VOTES = tuple(f"target_{name}" for name in ("treeids", "nodeids", "ids", "weights"))
_MISSING = "nodes_missing_value_tracks_true"


def tree_ensemble_regressor(sums: Sums, *, quick: bool = False) -> NodeProto:
    """Return the node. ConversionError when a leaf does not vote exactly once."""
    listed = columns(sums.forest, smallest=True)  # the model as it came is as fast
    best = _node(listed, sums.by, by_level=True)
    if not quick:
        best = min(best, _node(listed, sums.by, by_level=False), key=_wire_bytes)
    best.input.append(sums.read)
    best.output.append(sums.into)
    best.attribute.append(helper.make_attribute("n_targets", sums.targets))
    return best


def _node(listed: Columns, by: bytes, *, by_level: bool) -> NodeProto:
    held: dict[str, Any] = {name: [] for name in (*_NODES, _MISSING, *_VOTES)}
    for number, root in enumerate(listed.roots.tolist()):
        _Tree(listed, root, by_level=by_level).write(held, number)
    if not any(held[_MISSING]):
        del held[_MISSING]
    if by != SUM:
        held["aggregate_function"] = by
    return helper.make_node("TreeEnsembleRegressor", [], [], domain="ai.onnx.ml", **held)


class _Tree:
    """One tree: its splits in order, then its leaves, numbered from the root's 0 on."""

    def __init__(self, listed: Columns, root: int, *, by_level: bool) -> None:
        self._listed = listed
        self._splits = _by_level(listed, root) if by_level else _depth_first(listed, root)
        number = {split: place for place, split in enumerate(self._splits)}
        self._leaves: list[int] = []
        shared: dict[int, int] = {}
        self._ways: list[tuple[int, int]] = []
        for split in self._splits:
            true, false = int(listed.true[split]), int(listed.false[split])
            if true < 0 and true not in shared:
                shared[true] = self._add(true)
            self._ways.append(
                (
                    number[true] if true >= 0 else shared[true],
                    number[false] if false >= 0 else self._add(false),
                )
            )

    def _add(self, leaf: int) -> int:
        self._leaves.append(-1 - leaf)
        return len(self._splits) + len(self._leaves) - 1

    def write(self, held: dict[str, list[Any]], tree: int) -> None:
        """Append the tree's nodes and votes to the columns."""
        listed, splits, leaves = self._listed, self._splits, self._leaves
        size, ends = len(splits) + len(leaves), [0] * len(leaves)
        rows: tuple[list[Any], ...] = (
            [tree] * size,
            list(range(size)),
            listed.feature[splits].tolist() + ends,
            listed.threshold[splits].tolist() + [0.0] * len(leaves),
            [MODES[mode] for mode in listed.mode[splits].tolist()] + [_LEAF] * len(leaves),
            [true for true, _ in self._ways] + ends,
            [false for _, false in self._ways] + ends,
            listed.missing[splits].astype(np.int64).tolist() + ends,
            [tree] * len(leaves),
            list(range(len(splits), size)),
            listed.targets[leaves].tolist(),
            listed.weights[leaves].tolist(),
        )
        for name, values in zip((*_NODES, _MISSING, *_VOTES), rows, strict=True):
            held[name] += values


def _by_level(listed: Columns, root: int) -> list[int]:
    found = [root]
    for split in found:  # grows while it is read
        sides = int(listed.true[split]), int(listed.false[split])
        found += [side for side in sides if side >= 0]
    return found


def _depth_first(listed: Columns, root: int) -> list[int]:
    found: list[int] = []
    waiting = [root]
    while waiting:
        split = waiting.pop()
        found.append(split)
        sides = int(listed.false[split]), int(listed.true[split])
        waiting += [side for side in sides if side >= 0]
    return found


def _wire_bytes(node: NodeProto) -> int:
    model = helper.make_model(helper.make_graph([node], "g", [], []))
    return wire_bytes(encode(model))
