"""Write a forest as one TreeEnsemble node of ai.onnx.ml 5. Knows no graph around it.

A leaf of it votes once. Of several orders of the splits, all with equal answers, the one
is taken that compresses best, for that is what goes over the wire.
"""

from typing import Any

import numpy as np
from onnx import NodeProto, helper, numpy_helper

from edgekit.bundle import wire_bytes
from edgekit.table import Array
from edgekit_converters.encoding import encode
from edgekit_converters.flavors.trees.tree_answers import SUM, Sums
from edgekit_converters.flavors.trees.tree_columns import Columns, by_level, columns

_AGGREGATES = (b"AVERAGE", b"SUM", b"MIN", b"MAX")
_MANY_SPLITS = 400_000  # from here on one order is tried: each takes ten seconds or more


def tree_ensemble(sums: Sums, *, quick: bool = False) -> NodeProto:
    """Return the node. ConversionError when a leaf does not vote exactly once."""
    listed = columns(sums.forest)
    if quick:
        best = _node(listed, sums.by)
    else:
        ordered = [listed.ordered(by_level(listed))]
        if len(listed.feature) < _MANY_SPLITS:
            ordered.append(listed)  # depth first: best for some small ones, and many leaves
        forms = [form for one in ordered for form in (one, one.leaves_as_met())]
        best = min((_node(form, sums.by) for form in forms), key=_wire_bytes)
    best.input.append(sums.read)
    best.output.append(sums.into)
    best.attribute.append(helper.make_attribute("n_targets", sums.targets))
    return best


def _node(form: Columns, aggregate: bytes) -> NodeProto:
    true, false = form.true, form.false
    attributes: dict[str, Any] = {
        "leaf_targetids": form.targets.tolist(),
        "leaf_weights": numpy_helper.from_array(form.weights, "v"),
        "nodes_falseleafs": (false < 0).astype(np.int64).tolist(),
        "nodes_falsenodeids": _numbers(false),
        "nodes_featureids": form.feature.tolist(),
        "nodes_modes": numpy_helper.from_array(form.mode, "m"),
        "nodes_splits": numpy_helper.from_array(form.threshold, "v"),
        "nodes_trueleafs": (true < 0).astype(np.int64).tolist(),
        "nodes_truenodeids": _numbers(true),
        "tree_roots": form.roots.tolist(),
    }
    if form.missing.any():
        attributes["nodes_missing_value_tracks_true"] = form.missing.astype(int).tolist()
    if aggregate != SUM:
        attributes["aggregate_function"] = _AGGREGATES.index(aggregate)
    return helper.make_node("TreeEnsemble", [], [], domain="ai.onnx.ml", **attributes)


def _numbers(sides: Array) -> list[int]:
    found: list[int] = np.where(sides < 0, -1 - sides, sides).tolist()
    return found


def _wire_bytes(node: NodeProto) -> int:
    model = helper.make_model(helper.make_graph([node], "g", [], []))
    return wire_bytes(encode(model))
