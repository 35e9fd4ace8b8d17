"""Write a forest as one TreeEnsemble node of ai.onnx.ml 5. Knows no graph around it.

A leaf of it votes once; equal leaves are stored once, those that most splits lead to
first, because small numbers take fewer bytes. Equal subtrees are written out: onnxruntime
refuses a split that two others lead to.
"""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgekit.errors import ConversionError
from edgekit_converters.passes.forest import Forest, Split

_MODES = (
    b"BRANCH_LEQ",
    b"BRANCH_LT",
    b"BRANCH_GTE",
    b"BRANCH_GT",
    b"BRANCH_EQ",
    b"BRANCH_NEQ",
)
_AGGREGATES = (b"AVERAGE", b"SUM", b"MIN", b"MAX")
SUM = b"SUM"


def tree_ensemble(
    forest: Forest, *, read: str, into: str, targets: int, aggregate: bytes = SUM
) -> NodeProto:
    """Return the node: `read` float32 [rows, features] -> `into` float32 [rows, targets].

    ConversionError when a leaf does not vote exactly once.
    """
    leaves = _leaves(forest)
    votes = [_only_vote(forest, leaf) for leaf in leaves]
    splits, roots = _written_out(forest)
    of_leaf = {leaf: number for number, leaf in enumerate(leaves)}
    true, false = [s.true for s in splits], [s.false for s in splits]
    attributes: dict[str, Any] = {
        "n_targets": targets,
        "nodes_featureids": [split.feature for split in splits],
        "nodes_splits": _floats([split.threshold for split in splits]),
        "nodes_modes": _modes(splits),
        "nodes_truenodeids": [of_leaf.get(place, place) for place in true],
        "nodes_falsenodeids": [of_leaf.get(place, place) for place in false],
        "nodes_trueleafs": [int(place < 0) for place in true],
        "nodes_falseleafs": [int(place < 0) for place in false],
        "leaf_targetids": [target for target, _ in votes],
        "leaf_weights": _floats([weight for _, weight in votes]),
        "tree_roots": roots,
    }
    missing = [split.missing_is_true for split in splits]
    if any(missing):
        attributes["nodes_missing_value_tracks_true"] = missing
    if aggregate != SUM:
        attributes["aggregate_function"] = _AGGREGATES.index(aggregate)
    return helper.make_node(
        "TreeEnsemble", [read], [into], domain="ai.onnx.ml", **attributes
    )


def _written_out(forest: Forest) -> tuple[list[Split], list[int]]:
    """Return the splits, parents first, each led to once, and where the trees begin."""
    splits: list[Split] = []
    roots: list[int] = []
    for root in forest.roots:
        roots.append(len(splits))
        if root < 0:  # a lone leaf is a split with it on both sides
            splits.append(Split(0, 0.0, _MODES[0], 0, root, root))
            continue
        waiting: list[tuple[int, int | None]] = [(root, None)]
        while waiting:
            place, parent = waiting.pop()
            split, number = forest.splits[place], len(splits)
            if parent is not None:  # whose false side this is
                splits[parent] = replace(splits[parent], false=number)
            if split.false >= 0:
                waiting.append((split.false, number))
            if split.true >= 0:
                waiting.append((split.true, None))
                split = replace(split, true=number + 1)
            splits.append(split)
    return splits, roots


def _leaves(forest: Forest) -> list[int]:
    ways = [place for split in forest.splits for place in (split.true, split.false)]
    counts = Counter(place for place in (*ways, *forest.roots) if place < 0)
    return sorted(counts, key=lambda place: (-counts[place], -place))


def _only_vote(forest: Forest, place: int) -> tuple[int, float]:
    votes = forest.leaves[-1 - place]
    if len(votes) != 1:
        raise ConversionError(f"a leaf votes {len(votes)} times, once is expected")
    return votes[0]


def _modes(splits: list[Split]) -> TensorProto:
    unknown = {split.mode for split in splits} - set(_MODES)
    if unknown:
        raise ConversionError(f"splits of mode {min(unknown).decode(errors='replace')}")
    modes = np.array([_MODES.index(split.mode) for split in splits], dtype=np.uint8)
    return numpy_helper.from_array(modes, "m")


def _floats(values: list[float]) -> TensorProto:
    return numpy_helper.from_array(np.array(values, dtype=np.float32), "v")
