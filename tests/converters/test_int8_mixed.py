import numpy as np
import pytest
from onnx import ModelProto, TensorProto

from edgekit.table import Array
from edgekit_converters.encoding import encode
from edgekit_converters.flavors import FLAVORS, Built, DoesNotApply, Source
from edgekit_converters.passes import clean
from tests.converters import networks
from tests.converters.networks import node
from tests.converters.searches import Shares, answers, searching

pytestmark = pytest.mark.slow

IMAGES = networks.images(150)
BUILD = FLAVORS["int8-mixed"]
ROWS = np.random.default_rng(4).normal(0, 1, (300, 16)).astype(np.float32)


def fragile() -> ModelProto:
    """Four dense layers; what the third reads has one column that dwarfs all others.

    256 steps of its range are too coarse for the others, which the answer depends on.
    """
    rng = np.random.default_rng(9)
    constants = {f"w{n}": rng.normal(0, 0.3, (16, 16)).astype(np.float32) for n in range(4)}
    constants["b"] = rng.normal(0, 0.1, 16).astype(np.float32)
    constants["w1"][:, 0] *= 3_000
    constants["w2"][0, :] *= 1e-6
    nodes = [
        node("Gemm", ["x", "w0", "b"], "dense0"),
        node("Relu", ["dense0"], "r0"),
        node("Gemm", ["r0", "w1", "b"], "dense1"),
        node("Gemm", ["dense1", "w2", "b"], "dense2"),
        node("Relu", ["dense2"], "r2"),
        node("Gemm", ["r2", "w3", "b"], "dense3"),
        node("Relu", ["dense3"], "y"),
    ]
    return networks.model(
        nodes, constants, inputs={"x": ["n", 16]}, outputs={"y": ["n", 16]}
    )


def mixed(model: ModelProto, max_drop: float, **feeds: Array) -> tuple[Built, Shares]:
    source, search = searching(model, feeds, max_drop=max_drop)
    names = dict(
        zip(
            (n.output[0] for n in source.model.graph.node),
            (n.output[0] for n in model.graph.node),
            strict=True,
        )
    )
    built = BUILD(
        Source(
            model=source.model,
            calibration=source.calibration,
            search=search,
            names=names,
        )
    )
    assert isinstance(built, Built), built
    return built, search


def test_the_most_sensitive_layer_stays_in_float_and_the_others_do_not() -> None:
    built, search = mixed(fragile(), 0.05, x=ROWS)
    assert built.note.startswith("3 of 4 layers in int8, ")
    ranking = [one for one in built.findings if "alone in int8" in one.fact]
    assert ranking[0].subject == "dense2"
    assert ranking[0].fact.endswith(", stays in float")
    assert not any(one.fact.endswith("float") for one in ranking[1:])
    values = [one.value for one in ranking]
    assert values == sorted(values, key=lambda value: -(value or 0.0))
    assert search.drop(built.model) <= 0.05


def test_every_layer_is_ranked_in_the_original_words() -> None:
    built, _ = mixed(fragile(), 0.05, x=ROWS)
    ranking = [one for one in built.findings if "alone in int8" in one.fact]
    assert {one.subject for one in ranking} == {f"dense{n}" for n in range(4)}


def test_what_stays_in_float_is_told_by_what_runs() -> None:
    built, _ = mixed(fragile(), 0.05, x=ROWS)
    facts = [one.fact for one in built.findings]
    assert "3 of 4 dense layers run in int8" in facts


def test_layers_in_float_store_small_weights_all_the_same() -> None:
    built, _ = mixed(fragile(), 0.05, x=ROWS)
    kinds = [tensor.data_type for tensor in clean(built.model).graph.initializer]
    assert kinds.count(TensorProto.INT8) == 1


def test_it_answers_under_the_names_of_the_original() -> None:
    built, _ = mixed(fragile(), 0.05, x=ROWS)
    assert answers(clean(built.model), {"x": ROWS})["y"].shape == (300, 16)


def test_where_all_layers_may_be_in_int8_none_is_left_in_float() -> None:
    source, _ = searching(networks.classifier(), {"image": IMAGES}, max_drop=0.5)
    result = BUILD(source)
    assert isinstance(result, DoesNotApply)
    assert result.reason.startswith("with every layer in int8 the drop is 0.0")


def test_where_no_layer_may_be_in_int8_it_says_so() -> None:
    source, _ = searching(networks.classifier(), {"image": IMAGES}, max_drop=-1.0)
    assert BUILD(source) == DoesNotApply(
        reason="even one layer in int8 loses more than is allowed"
    )


def test_a_search_whose_time_is_up_says_after_how_many_layers() -> None:
    source, _ = searching(fragile(), {"x": ROWS}, max_drop=-1.0, patience=10)
    assert BUILD(source) == DoesNotApply(reason="the time was up after 2 of 4 layers")


@pytest.mark.parametrize("patience", [9, 10, 11, 12, 13, 14])
def test_whenever_the_time_is_up_what_is_built_is_allowed(patience: int) -> None:
    source, search = searching(fragile(), {"x": ROWS}, max_drop=0.05, patience=patience)
    result = BUILD(source)
    if isinstance(result, Built):
        assert search.drop(result.model) <= 0.05


def test_a_single_layer_is_no_mixture() -> None:
    model = networks.model(
        [node("MatMul", ["x", "w"], "y")],
        {"w": np.eye(16, dtype=np.float32)},
        inputs={"x": ["n", 16]},
        outputs={"y": ["n", 16]},
    )
    source, _ = searching(model, {"x": ROWS}, max_drop=0.1)
    assert BUILD(source) == DoesNotApply(
        reason="it takes two layers or more, and rows to search on"
    )


def test_trees_are_told_that_there_are_no_layers() -> None:
    source, _ = searching(networks.stump(5), {"x": ROWS[:, :1]}, max_drop=0.1)
    assert BUILD(source) == DoesNotApply(
        reason="no Conv, Gemm or MatMul with constant weights"
    )


def test_equal_models_give_equal_bytes() -> None:
    first, second = (
        encode(clean(mixed(fragile(), 0.05, x=ROWS)[0].model)) for _ in range(2)
    )
    assert first == second
