"""What forests lose is never missed: each lossless step against the trees as they were.

Trees of ties, equal thresholds, zeros of both signs, denormals, infinities and NaN; rows
on the thresholds, one float32 beside them, and missing.
"""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import NodeProto, helper, numpy_helper

from edgekit.table import Array
from edgekit_converters.encoding import encode
from edgekit_converters.flavors.trees import tree_columns
from edgekit_converters.flavors.trees.tree_answers import Sums
from edgekit_converters.flavors.trees.tree_columns import (
    MODES,
    Columns,
    by_level,
    columns,
)
from edgekit_converters.flavors.trees.tree_ensemble import tree_ensemble
from edgekit_converters.flavors.trees.tree_ensemble_v1 import tree_ensemble_regressor
from edgekit_converters.passes.forest import Forest, Split, joined, read, write
from edgekit_converters.passes.reachable import drop_decided
from tests.converters.extractions import outputs_of
from tests.converters.test_trees import Tree, ensemble, split

TINY = float(np.finfo(np.float32).smallest_subnormal)
INFINITY = float("inf")
THRESHOLDS = (-INFINITY, -1.0, -TINY, -0.0, 0.0, TINY, 0.1, 1.0, 3.4e38, INFINITY)
FEATURES = 2


def _values() -> Array:
    exact = np.array(THRESHOLDS, np.float32)
    beside = [np.nextafter(exact, np.float32(way)) for way in (-np.inf, np.inf)]
    return np.unique(np.concatenate([exact, *beside, [np.float32(np.nan)]]))


VALUES = np.append(_values(), np.float32(-0.0))
ROWS = np.array(list(itertools.product(VALUES, repeat=FEATURES)), np.float32)
COMPARE = {
    "BRANCH_LEQ": lambda x, t: x <= t,
    "BRANCH_LT": lambda x, t: x < t,
    "BRANCH_GTE": lambda x, t: x >= t,
    "BRANCH_GT": lambda x, t: x > t,
    "BRANCH_EQ": lambda x, t: x == t,
    "BRANCH_NEQ": lambda x, t: x != t,
}


def ends(tree: Tree, row: Array) -> float:
    """The weight of the leaf that a row ends in, by the operator's specification."""
    while not isinstance(tree, dict):
        feature, threshold, mode, missing, true, false = tree
        value = row[feature]
        holds = COMPARE[mode](value, np.float32(threshold)) or (np.isnan(value) and missing)
        tree = true if holds else false
    return tree[0]


def walked(forest: Forest, number: int, row: Array) -> float:
    """The same for a tree of a forest."""
    place = forest.roots[number]
    while place >= 0:
        test = forest.splits[place]
        value = row[test.feature]
        compared = COMPARE[test.mode.decode()](value, np.float32(test.threshold))
        holds = compared or (np.isnan(value) and test.missing_is_true)
        place = test.true if holds else test.false
    return forest.leaves[-1 - place][0][1]


def strolled(listed: Columns, number: int, row: Array) -> float:
    """The same for a tree of columns."""
    place = int(listed.roots[number])
    while place >= 0:
        value = row[listed.feature[place]]
        mode = MODES[listed.mode[place]].decode()
        compared = COMPARE[mode](value, listed.threshold[place])
        holds = compared or (np.isnan(value) and listed.missing[place])
        place = int(listed.true[place] if holds else listed.false[place])
    return float(listed.weights[-1 - place])


def trees(modes: list[str]) -> st.SearchStrategy[list[Tree]]:
    test = st.tuples(
        st.integers(0, FEATURES - 1),
        st.sampled_from(THRESHOLDS),
        st.sampled_from(modes),
        st.integers(0, 1),
    )
    leaf = st.sampled_from([1.0, 2.0, 4.0]).map(lambda weight: {0: weight})
    tree = st.recursive(
        leaf,
        lambda side: st.builds(lambda t, a, b: (*t, a, b), test, side, side),
        max_leaves=16,
    )
    return st.lists(tree, min_size=1, max_size=3)


def node_of(grown: list[Tree]) -> NodeProto:
    return ensemble("TreeEnsembleRegressor", grown, ["y"], n_targets=1)


@settings(max_examples=150, deadline=None)
@given(trees(list(COMPARE)))
def test_every_row_ends_in_an_equal_leaf_after_each_lossless_step(
    grown: list[Tree],
) -> None:
    forest = read(node_of(grown))
    lighter = drop_decided(forest)
    again = read(write(node_of(grown), lighter))
    listed = columns(lighter)
    ordered = listed.ordered(by_level(listed))
    forms = [one for form in (listed, ordered) for one in (form, form.leaves_as_met())]
    for number, tree in enumerate(grown):
        for row in ROWS[:: 1 + number]:
            expected = ends(tree, row)
            assert walked(forest, number, row) == expected
            assert walked(lighter, number, row) == expected
            assert walked(again, number, row) == expected
            assert [strolled(form, number, row) for form in forms] == [expected] * len(
                forms
            )


@settings(max_examples=40, deadline=None)
@given(trees(["BRANCH_LEQ"]), trees(["BRANCH_LT", "BRANCH_EQ"]))
def test_onnxruntime_ends_in_the_same_leaves_in_either_version(
    one: list[Tree], other: list[Tree]
) -> None:
    both = joined([(read(node_of(one)), 1), (read(node_of(other)), 1)])
    sums = Sums(forest=both, read="x", into="y", targets=2)
    expected = [
        [sum(ends(tree, row) for tree in part) for part in (one, other)] for row in ROWS
    ]
    for node, opset in ((tree_ensemble(sums), 5), (tree_ensemble_regressor(sums), 3)):
        answer = outputs_of(_model(node, opset, 2), {"x": ROWS})["y"]
        np.testing.assert_array_equal(answer, np.array(expected, np.float32))


def _model(node: NodeProto, opset: int, targets: int) -> bytes:
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", FEATURES])],
        [helper.make_tensor_value_info("y", 1, ["n", targets])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", opset)]
    return encode(helper.make_model(graph, opset_imports=opsets, ir_version=8))


def splits(forest: Forest) -> set[tuple[int, float]]:
    return {(one.feature, one.threshold) for one in forest.splits}


A, B, C = {0: 1.0}, {0: 2.0}, {0: 3.0}


def test_a_split_that_an_ancestor_decided_goes() -> None:
    below = split(0, 1.0, split(0, 2.0, A, B), split(0, 0.5, B, C))
    missing_elsewhere = (0, 1.0, "BRANCH_LEQ", 1, below[4], below[5])
    assert splits(drop_decided(read(node_of([below])))) == {(0, 1.0)}
    left = drop_decided(read(node_of([missing_elsewhere])))
    assert splits(left) == {(0, 1.0), (0, 2.0)}


def test_a_split_stays_that_only_missing_values_need() -> None:
    finds_missing = split(0, INFINITY, A, split(1, 0.0, B, C))
    assert len(drop_decided(read(node_of([finds_missing]))).splits) == 2


def test_a_split_whose_child_decides_the_same_goes() -> None:
    ladder = split(0, 1.0, A, split(0, 2.0, A, B))
    mirrored = split(0, 2.0, split(0, 1.0, A, B), B)
    assert splits(read(node_of([ladder]))) == {(0, 2.0)}
    assert splits(read(node_of([mirrored]))) == {(0, 1.0)}


def test_nothing_decided_gives_the_same_forest_back() -> None:
    forest = read(node_of([split(0, 1.0, A, split(1, 1.0, B, C))]))
    assert drop_decided(forest) is forest


def test_a_tree_of_one_leaf_has_two_so_that_every_onnxruntime_reads_it() -> None:
    listed = columns(read(node_of([A, split(0, 0.0, A, B), B])))
    assert (listed.true != listed.false).all()
    assert [strolled(listed, n, ROWS[0]) for n in (0, 2)] == [1.0, 2.0]


def held(grown: list[Tree]) -> dict[str, Any]:
    sums = Sums(forest=read(node_of(grown)), read="x", into="y", targets=1)
    attributes = tree_ensemble(sums).attribute
    return {one.name: helper.get_attribute_value(one) for one in attributes}


def test_missing_values_that_all_go_one_way_cost_no_bytes_of_their_own() -> None:
    missing = (0, 1.0, "BRANCH_LEQ", 1, A, B)
    assert "nodes_missing_value_tracks_true" not in held([missing])


APART = (0, 1.0, "BRANCH_LEQ", 1, A, split(1, 2.0, B, C))


def test_a_large_forest_that_sends_missing_values_apart_pays_no_byte_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tree_columns, "MANY_SPLITS", 2)
    node = held([APART])
    assert "nodes_missing_value_tracks_true" not in node
    assert sorted(numpy_helper.to_array(node["nodes_modes"]).tolist()) == [0, 3]


def test_splits_that_send_missing_values_apart_keep_one_comparison() -> None:
    node = held([APART])
    assert sorted(node["nodes_missing_value_tracks_true"]) == [0, 1]
    modes = numpy_helper.to_array(node["nodes_modes"])
    assert modes.tolist() == [0, 0]


def test_version_1_stores_a_leaf_that_true_sides_share_once_a_tree() -> None:
    forest = read(node_of([split(0, 0.0, A, split(1, 0.0, A, B))]))
    node = tree_ensemble_regressor(Sums(forest=forest, read="x", into="y", targets=1))
    (modes,) = [one.strings for one in node.attribute if one.name == "nodes_modes"]
    assert sorted(modes) == [b"BRANCH_LEQ"] * 2 + [b"LEAF"] * 2


def test_the_order_by_level_neither_loses_nor_repeats_a_split() -> None:
    forest = read(node_of([split(0, t, A, split(1, t, B, C)) for t in (0.0, 0.1, 1.0)]))
    listed = columns(forest)
    assert sorted(by_level(listed).tolist()) == list(range(6))


def test_a_split_is_a_plain_tuple_of_numbers() -> None:
    assert Split(0, 1.0, b"BRANCH_LEQ", 0, -1, -2)._replace(true=3).true == 3
