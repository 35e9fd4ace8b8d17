"""Tree ensembles of version 1 against what is made of them; small ones, by hand."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, helper

from edgekit.errors import ConversionError
from edgekit.table import Array
from edgekit_converters.encoding import encode
from edgekit_converters.flavors import FLAVORS, Built, DoesNotApply, Source
from edgekit_converters.passes import clean
from edgekit_converters.passes.forest import read
from edgekit_converters.passes.trees import merge_subtrees
from edgekit_converters.verdict.candidates import runtime_needs
from tests.converters import networks
from tests.converters.extractions import outputs_of

THRESHOLDS = (-1.0, 0.0, 0.1, 1e-3, 2.5)
_EDGES = [
    np.nextafter(np.float32(t), np.float32(way)) for t in THRESHOLDS for way in (-9, 9)
]
VALUES = np.array([*THRESHOLDS, *_EDGES, np.nan, np.inf, -np.inf, 7, -7], np.float32)
ROWS = np.array(list(itertools.product(VALUES, VALUES)), np.float32)

Leaf = dict[int, float]  # class or target -> weight
Tree = tuple[Any, ...] | Leaf  # (feature, threshold, mode, missing is true, true, false)


def listed(trees: list[Tree], votes: str) -> dict[str, list[Any]]:
    """The attributes of a version 1 ensemble, every leaf and every zero written out."""
    columns: dict[str, list[Any]] = {}

    def put(kind: str, **row: object) -> None:
        for name, value in row.items():
            columns.setdefault(f"{kind}_{name}", []).append(value)

    def add(tree: Tree, number: int, place: int) -> int:
        if isinstance(tree, dict):
            test, true, false = (0, 0.0, "LEAF", 0), 0, 0
            after = place + 1
            for target, weight in tree.items():
                put(votes, treeids=number, nodeids=place, ids=target, weights=weight)
        else:
            test = tree[:4]
            true = place + 1
            false = true + size(tree[4])
            after = false + size(tree[5])
        put(
            "nodes",
            treeids=number,
            nodeids=place,
            featureids=test[0],
            values=test[1],
            modes=test[2],
            truenodeids=true,
            falsenodeids=false,
            missing_value_tracks_true=test[3],
        )
        if not isinstance(tree, dict):
            add(tree[4], number, true)
            add(tree[5], number, false)
        return after

    for number, tree in enumerate(trees):
        add(tree, number, 0)
    return columns


def size(tree: Tree) -> int:
    return 1 if isinstance(tree, dict) else 1 + size(tree[4]) + size(tree[5])


def ensemble(kind: str, trees: list[Tree], outputs: list[str], **more: object) -> NodeProto:
    votes = "class" if kind == "TreeEnsembleClassifier" else "target"
    node = helper.make_node(kind, ["x"], outputs, domain="ai.onnx.ml")
    for name, value in {**listed(trees, votes), **more}.items():
        node.attribute.append(helper.make_attribute(name, value))
    return node


def regressor(trees: list[Tree], *, targets: int = 1, **more: object) -> ModelProto:
    node = ensemble("TreeEnsembleRegressor", trees, ["y"], n_targets=targets, **more)
    return networks.model([node], {}, inputs={"x": ["n", 2]}, outputs={"y": ["n", targets]})


def classifier(trees: list[Tree], labels: list[int | str], **more: object) -> ModelProto:
    kind = "strings" if isinstance(labels[0], str) else "int64s"
    named = {f"classlabels_{kind}": labels, **more}
    node = ensemble("TreeEnsembleClassifier", trees, ["label", "p"], **named)
    model = networks.model(
        [node], {}, inputs={"x": ["n", 2]}, outputs={"p": ["n", len(labels)]}
    )
    element = TensorProto.STRING if kind == "strings" else TensorProto.INT64
    model.graph.output.append(helper.make_tensor_value_info("label", element, ["n"]))
    return model


def built(model: ModelProto) -> Built:
    result = FLAVORS["fp32-trees"](Source(model=clean(model), calibration={}))
    assert isinstance(result, Built), result
    return result


def refusal(model: ModelProto) -> str:
    result = FLAVORS["fp32-trees"](Source(model=clean(model), calibration={}))
    assert isinstance(result, DoesNotApply)
    return result.reason


def both(model: ModelProto) -> tuple[dict[str, Array], dict[str, Array]]:
    """What the model as it is answers, and what its flavor does."""
    flavor = encode(clean(built(model).model))
    return outputs_of(encode(model), {"x": ROWS}), outputs_of(flavor, {"x": ROWS})


def assert_bit_equal(one: dict[str, Array], other: dict[str, Array]) -> None:
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], strict=True)


def split(feature: int, threshold: float, true: Tree, false: Tree) -> Tree:
    return (feature, threshold, "BRANCH_LEQ", 0, true, false)


PURE: list[Tree] = [
    split(0, 0.1, split(1, 0.0, {0: 0.25}, {2: 0.25}), {1: 0.25}),
    split(1, -1.0, {2: 0.25}, {1: 0.25}),
    split(1, 2.5, split(0, 1e-3, {1: 0.25}, {0: 0.25}), {0: 0.25}),
    split(0, 2.5, {2: 0.25}, {0: 0.25}),
]
NUMBERS: list[Tree] = [
    split(0, 0.1, split(1, 0.0, {0: 1.5}, {0: -2.5}), {0: 0.3}),
    split(1, -1.0, {0: 0.3}, {0: 1e-3}),
    {0: 0.7},
]


@pytest.mark.parametrize(
    "mode",
    [f"BRANCH_{test}" for test in ("LEQ", "LT", "GTE", "GT", "EQ", "NEQ")],
)
@pytest.mark.parametrize("missing", [0, 1])
def test_every_comparison_decides_alike_on_its_threshold_beside_it_and_for_nan(
    mode: str, missing: int
) -> None:
    trees: list[Tree] = [
        (0, t, mode, missing, {0: 1.0}, (1, t, mode, 1 - missing, {0: 2.0}, {0: 4.0}))
        for t in THRESHOLDS
    ]
    assert_bit_equal(*both(regressor(trees)))


@pytest.mark.parametrize("by", ["SUM", "AVERAGE", "MIN", "MAX"])
@pytest.mark.parametrize("base", [[], [0.3]])
def test_a_regressor_aggregates_as_before(by: str, base: list[float]) -> None:
    model = regressor(NUMBERS, aggregate_function=by)
    if base:
        model.graph.node[0].attribute.append(helper.make_attribute("base_values", base))
    assert_bit_equal(*both(model))


def test_leaves_of_several_targets_are_added_up_as_before() -> None:
    trees: list[Tree] = [
        split(0, t, {0: 0.1 * t, 1: 3.0}, split(1, t, {1: 0.7}, {0: -0.3, 1: t}))
        for t in THRESHOLDS
    ]
    refused = refusal(regressor(trees, targets=2, base_values=[0.5, -0.5]))
    assert refused == "a target that some rows get no vote for, and base values"
    assert_bit_equal(*both(regressor(trees, targets=2)))
    trees.append({0: 0.2, 1: -0.4})
    assert_bit_equal(*both(regressor(trees, targets=2, base_values=[0.5, -0.5])))


@pytest.mark.parametrize("labels", [[3, 1, 2], ["c", "a", "b"]])
def test_pure_leaves_answer_as_before_ties_included(labels: list[int | str]) -> None:
    old, new = both(classifier(PURE, labels))
    assert_bit_equal(old, new)
    top = np.sort(old["p"], axis=1)
    assert (top[:, -1] == top[:, -2]).any()


def test_shares_of_rows_are_counted_and_ties_fall_as_in_float64() -> None:
    third = float(np.float32(1 / 9))
    leaves = [{0: third, 1: 2 * third}, {1: 1 / 3}, {0: 2 * third, 2: third}, {2: 1 / 3}]
    trees: list[Tree] = [
        split(0, 0.1, split(1, 0.0, leaves[0], leaves[1]), leaves[2]),
        split(1, -1.0, leaves[3], leaves[0]),
        split(0, 2.5, leaves[2], split(1, 2.5, leaves[1], leaves[0])),
    ]
    model = classifier(trees, [0, 1, 2])
    assert built(model).note.endswith("in a table, counted in uint8")
    old, new = both(model)
    np.testing.assert_allclose(new["p"], old["p"], atol=1e-7)
    clear = np.diff(np.sort(old["p"], axis=1)[:, -2:]).ravel() > 1e-6
    np.testing.assert_array_equal(new["label"][clear], old["label"][clear])


def test_shares_that_no_counts_of_rows_give_are_added_up_as_before() -> None:
    weighted = [{0: 0.4711, 1: 0.5289}, {0: 0.1234, 1: 0.5, 2: 0.3766}, {2: 1.0}]
    trees: list[Tree] = [split(0, 0.1, split(1, 0.0, *weighted[:2]), weighted[2])]
    old, new = both(classifier(trees, [0, 1, 2]))
    np.testing.assert_allclose(new["p"], old["p"], atol=1e-6)
    np.testing.assert_array_equal(new["label"], old["label"])


def test_an_even_vote_of_100_trees_goes_to_the_first_class() -> None:
    one, none = {0: float(np.float32(0.01))}, {0: 0.0}
    trees: list[Tree] = [
        split(0, 0.1, *(one, none)[:: 1 - 2 * (n % 2)]) for n in range(100)
    ]
    _, new = both(classifier(trees, [0, 1]))
    assert (new["p"] == 0.5).all()
    assert (new["label"] == 0).all()


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC"])
def test_two_classes_with_one_score_answer_as_before(transform: str) -> None:
    model = classifier(NUMBERS, [4, 7], base_values=[-0.2], post_transform=transform)
    old, new = both(model)
    np.testing.assert_array_equal(new["label"], old["label"])
    np.testing.assert_allclose(new["p"], old["p"], rtol=1e-6)
    assert len(np.unique(old["label"])) == 2


def test_softmax_over_boosted_classes_answers_as_before() -> None:
    trees: list[Tree] = [
        split(c % 2, t, {c: t + 0.1}, {c: -0.5 * c}) for t in THRESHOLDS for c in range(3)
    ]
    more = {"base_values": [0.1, -0.2, 0.0], "post_transform": "SOFTMAX"}
    old, new = both(classifier(trees, [0, 1, 2], **more))
    np.testing.assert_array_equal(new["label"], old["label"])
    np.testing.assert_allclose(new["p"], old["p"], atol=1e-7)


def test_integers_are_read_as_float32() -> None:
    model = classifier(PURE, [0, 1, 2])
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    whole = {"x": np.array([[0, 0], [3, -2], [1, 5]], np.int64)}
    new = outputs_of(encode(clean(built(model).model)), whole)
    assert_bit_equal(outputs_of(encode(model), whole), new)


def test_equal_leaves_are_stored_once_and_equal_subtrees_load() -> None:
    same = split(0, 0.1, {0: 1.0}, {0: 2.0})
    low: Leaf = {0: 1.0}
    old = regressor([split(1, t, same, split(1, t + 1, low, same)) for t in THRESHOLDS])
    assert_bit_equal(*both(old))
    model = built(old).model
    (node,) = (n for n in model.graph.node if n.op_type == "TreeEnsemble")
    held = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    assert len(held["nodes_featureids"]) == 4 * len(THRESHOLDS)
    assert len(held["leaf_targetids"]) == 2
    assert "nodes_missing_value_tracks_true" not in held


def test_the_flavor_needs_onnxruntime_1_21_and_says_what_it_did() -> None:
    flavor = built(regressor(NUMBERS))
    needs = runtime_needs(flavor.model, {})
    assert needs.min_onnxruntime == "1.21"
    assert needs.opsets["ai.onnx.ml"] == 5
    assert flavor.note == "TreeEnsemble 5: 3 trees, 3 splits, 5 different leaves"


def test_a_split_with_two_equal_sides_goes_and_no_bit_changes() -> None:
    same = split(1, 0.0, {0: 1.0}, {0: 2.0})
    model = regressor([split(0, 0.1, same, same), *NUMBERS])
    merged = merge_subtrees(model)
    modes = [
        len(e.strings) for e in merged.graph.node[0].attribute if e.name == "nodes_modes"
    ]
    assert modes == [3 + 5 + 3 + 1]
    feeds = {"x": ROWS}
    assert_bit_equal(outputs_of(encode(model), feeds), outputs_of(encode(merged), feeds))


def test_votes_of_zero_go_and_no_bit_changes() -> None:
    def padded(tree: Tree) -> Tree:
        if isinstance(tree, dict):
            return {c: tree.get(c, 0.0) for c in range(3)}
        return (*tree[:4], padded(tree[4]), padded(tree[5]))

    model = classifier([padded(tree) for tree in PURE], [0, 1, 2])
    merged = merge_subtrees(model)
    assert len(encode(merged)) < len(encode(model))
    feeds = {"x": ROWS}
    assert_bit_equal(outputs_of(encode(model), feeds), outputs_of(encode(merged), feeds))


def trees_of(leaf: st.SearchStrategy[Leaf]) -> st.SearchStrategy[list[Tree]]:
    test = st.tuples(
        st.integers(0, 1),
        st.sampled_from(THRESHOLDS),
        st.sampled_from(["BRANCH_LEQ", "BRANCH_LT"]),
        st.integers(0, 1),
    )
    tree = st.recursive(
        leaf,
        lambda side: st.builds(lambda t, a, b: (*t, a, b), test, side, side),
        max_leaves=12,
    )
    return st.lists(tree, min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(trees_of(st.sampled_from([0.1, -0.3, 2.0]).map(lambda weight: {0: weight})))
def test_any_regressor_keeps_every_bit(trees: list[Tree]) -> None:
    model = regressor(trees)
    old, new = both(model)
    assert_bit_equal(old, new)
    assert_bit_equal(old, outputs_of(encode(merge_subtrees(model)), {"x": ROWS}))


def test_same_model_gives_the_same_bytes() -> None:
    model = classifier(PURE, [0, 1, 2])
    assert encode(clean(built(model).model)) == encode(clean(built(model).model))


def test_what_cannot_be_replaced_says_why() -> None:
    assert refusal(networks.classifier()) == "no tree ensemble of ai.onnx.ml 1 to 3"
    old = regressor(NUMBERS)
    old.opset_import[0].version = 12
    assert refusal(old) == "opset 12, the nodes after the trees need 13"
    double = regressor(NUMBERS)
    double.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    assert refusal(double) == "trees that read DOUBLE, float32 or integers expected"
    probit = regressor(NUMBERS, post_transform="PROBIT")
    assert refusal(probit) == "post-transform PROBIT on such votes"
    unanswered: list[Tree] = [split(0, 0.1, {0: -1.0}, {1: -1.0, 2: 0.5})]
    assert "a class that some rows get no vote for" in refusal(
        classifier(unanswered, [0, 1, 2])
    )


def test_a_tree_that_leads_back_into_itself_is_no_forest() -> None:
    node = ensemble("TreeEnsembleRegressor", NUMBERS, ["y"])
    for entry in node.attribute:
        if entry.name == "nodes_falsenodeids":
            entry.ints[0] = 0
    with pytest.raises(ConversionError, match="a tree leads back into itself"):
        read(node)
