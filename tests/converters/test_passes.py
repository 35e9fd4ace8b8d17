import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgekit.errors import ConversionError
from edgekit.table import Array
from edgekit_converters.encoding import decode, encode
from edgekit_converters.passes import PASSES, clean
from edgekit_converters.passes.walk import interface
from tests.converters import networks
from tests.converters.extractions import outputs_of
from tests.converters.networks import inner, node

X = np.linspace(-2, 2, 24, dtype=np.float32).reshape(6, 4)


def answer(model: ModelProto, feeds: dict[str, Array]) -> dict[str, Array]:
    return outputs_of(encode(model), feeds)


def assert_same_answers(
    one: ModelProto, other: ModelProto, feeds: dict[str, Array]
) -> None:
    first, second = answer(one, feeds), answer(other, feeds)
    assert first.keys() == second.keys()
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])


def small(nodes: list[object], constants: dict[str, Array]) -> ModelProto:
    return networks.model(
        nodes,  # type: ignore[arg-type]  # a list of nodes, invariance aside
        constants,
        inputs={"x": ["n", 4]},
        outputs={"y": ["n", 4]},
    )


def branching() -> ModelProto:
    """An If whose branches read outer values, as exporters of recurrent cells write."""
    then = helper.make_graph(
        [node("Add", [inner("doubled"), inner("shift")], inner("then"))],
        "then_branch",
        [],
        [helper.make_tensor_value_info(inner("then"), TensorProto.FLOAT, None)],
    )
    otherwise = helper.make_graph(
        [node("Mul", [inner("doubled"), inner("shift")], inner("else"))],
        "else_branch",
        [],
        [helper.make_tensor_value_info(inner("else"), TensorProto.FLOAT, None)],
    )
    choice = helper.make_node("If", [inner("positive")], ["y"], name="choice")
    choice.attribute.append(helper.make_attribute("then_branch", then))
    choice.attribute.append(helper.make_attribute("else_branch", otherwise))
    return small(
        [
            node("Add", ["x", "x"], inner("doubled")),
            node("ReduceMax", ["x"], inner("most")),
            node("Squeeze", [inner("most")], inner("scalar")),
            node("Greater", [inner("scalar"), inner("zero")], inner("positive")),
            choice,
        ],
        {
            inner("shift"): np.full(4, 3, np.float32),
            inner("zero"): np.array(0, np.float32),
        },
    )


@pytest.mark.parametrize("name", PASSES)
def test_no_pass_changes_an_answer_by_one_bit(name: str) -> None:
    model = networks.classifier()
    feeds = {"image": networks.images(20)}
    assert_same_answers(model, PASSES[name](model), feeds)
    assert_same_answers(branching(), PASSES[name](branching()), {"x": X})


@pytest.mark.parametrize("name", PASSES)
def test_no_pass_changes_the_model_it_is_given(name: str) -> None:
    model = networks.classifier()
    before = model.SerializeToString(deterministic=True)
    PASSES[name](model)
    assert model.SerializeToString(deterministic=True) == before


def test_inputs_outputs_opsets_and_ir_version_survive() -> None:
    model = networks.classifier()
    cleaned = clean(model)
    assert interface(cleaned.graph) == {"image", "probabilities"}
    assert cleaned.ir_version == model.ir_version
    assert [(o.domain, o.version) for o in cleaned.opset_import] == [("", 17)]
    shapes = [v.type.SerializeToString() for v in (*model.graph.input, *model.graph.output)]
    kept = [
        v.type.SerializeToString() for v in (*cleaned.graph.input, *cleaned.graph.output)
    ]
    assert kept == shapes


def test_operator_sets_that_nodes_use_stay() -> None:
    assert {o.domain for o in clean(networks.stump()).opset_import} == {"", "ai.onnx.ml"}


def test_nothing_of_the_exporter_is_left() -> None:
    data = encode(clean(networks.classifier()))
    for word in (b"exporter", b"exported", networks.SCOPE.encode(), b"unused"):
        assert word not in data


def test_cleaning_twice_changes_nothing() -> None:
    once = clean(branching())
    assert encode(clean(once)) == encode(once)


def test_short_names_never_meet_an_input_of_the_same_name() -> None:
    model = networks.model(
        [node("Add", ["a", "b"], inner("sum")), node("Relu", [inner("sum")], "c")],
        {},
        inputs={"a": ["n", 4], "b": ["n", 4]},
        outputs={"c": ["n", 4]},
    )
    assert_same_answers(model, clean(model), {"a": X, "b": X - 1})


def test_names_of_more_values_than_letters_stay_apart() -> None:
    values = [inner(f"value_{n}") for n in range(100)]
    chain = [
        node("Add", [before, "x"], after)
        for before, after in zip(["x", *values], [*values, "y"], strict=True)
    ]
    model = small(list(chain), {})
    assert_same_answers(model, clean(model), {"x": X})


def test_equal_constants_are_stored_once_and_constant_nodes_lifted() -> None:
    weight = np.eye(4, dtype=np.float32)
    constant = helper.make_node("Constant", [], [inner("k")], name="k")
    constant.attribute.append(
        helper.make_attribute("value", numpy_helper.from_array(weight))
    )
    model = small(
        [
            constant,
            node("MatMul", ["x", inner("w")], inner("h")),
            node("MatMul", [inner("h"), inner("k")], "y"),
        ],
        {inner("w"): weight},
    )
    cleaned = clean(model)
    assert len(cleaned.graph.initializer) == 1
    assert [n.op_type for n in cleaned.graph.node] == ["MatMul", "MatMul"]
    assert_same_answers(model, cleaned, {"x": X})


def test_unread_results_unread_constants_and_identities_go() -> None:
    model = small(
        [
            node("Identity", ["x"], inner("same")),
            node("Relu", [inner("same")], inner("unread")),
            node("Exp", [inner("unread")], inner("unread2")),
            node("Identity", [inner("same")], inner("again")),
            node("Tanh", [inner("again")], "y"),
        ],
        {inner("nobody"): np.zeros(9, np.float32)},
    )
    cleaned = clean(model)
    assert [n.op_type for n in cleaned.graph.node] == ["Tanh"]
    assert not cleaned.graph.initializer
    assert_same_answers(model, cleaned, {"x": X})


def test_an_identity_that_makes_the_output_stays() -> None:
    model = small([node("Identity", ["x"], "y")], {})
    assert [n.op_type for n in clean(model).graph.node] == ["Identity"]


def test_a_shape_takes_a_byte_a_number_and_still_means_the_same() -> None:
    model = small(
        [
            node("Reshape", ["x", inner("shape")], inner("wide")),
            node("Reshape", [inner("wide"), inner("back")], "y"),
        ],
        {inner("shape"): np.array([3, 8]), inner("back"): np.array([-1, 4])},
    )
    cleaned = clean(model)
    stored = {len(t.raw_data): list(t.int64_data) for t in cleaned.graph.initializer}
    assert stored == {0: [3, 8], 16: []}  # a negative number takes ten bytes as a varint
    assert_same_answers(model, cleaned, {"x": X})


def test_tree_defaults_go_and_no_row_on_a_threshold_changes_its_side() -> None:
    model = networks.stump(40)
    cleaned = clean(model)
    kept = {a.name for a in cleaned.graph.node[0].attribute}
    assert not kept & {"nodes_hitrates", "nodes_missing_value_tracks_true"}
    thresholds = np.arange(40, dtype=np.float32) + np.float32(0.5)
    rows = np.concatenate(
        [thresholds, np.nextafter(thresholds, 99), np.nextafter(thresholds, -99)]
    )
    assert_same_answers(model, cleaned, {"x": rows.astype(np.float32)[:, None]})


def test_a_missing_value_flag_that_is_set_stays() -> None:
    model = networks.stump()
    for attribute in model.graph.node[0].attribute:
        if attribute.name == "nodes_missing_value_tracks_true":
            attribute.ints[:] = [1, 0, 0]
    gap = np.array([[np.nan], [0.0], [9.0]], np.float32)
    cleaned = clean(model)
    assert answer(cleaned, {"x": gap})["y"].ravel().tolist() == [1.0, 1.0, 2.0]


def test_packed_lists_are_smaller_and_read_back_equal() -> None:
    model = networks.stump(100)
    packed = encode(model)
    assert len(packed) < 0.85 * len(model.SerializeToString())
    assert decode(packed) == model


def test_bytes_that_are_no_model_are_refused() -> None:
    with pytest.raises(ConversionError, match=r"^model: not an ONNX file: "):
        decode(b"\x0a\xff\xff\xff\xff\xff not a model")
