"""What becomes of every flavor of small models, each run in a process of its own."""

import math
from dataclasses import replace

import numpy as np
import pytest
from onnx import ModelProto, TensorProto

from edgekit import board
from edgekit_converters.encoding import encode
from edgekit_converters.extraction import Extraction
from edgekit_converters.flavors import FLAVORS, Built, DoesNotApply, Source
from edgekit_converters.passes import clean
from edgekit_converters.verdict.budget import Budget
from edgekit_converters.verdict.candidates import Fallen, Judged, try_flavors
from edgekit_converters.verdict.papers import Question, lay_out
from edgekit_converters.verdict.search import SampleSearch
from tests.converters import extractions, networks
from tests.converters.networks import node

IMAGES = networks.images(60)


def tried(
    extraction: Extraction,
    *,
    max_drop: float = 0.1,
    seconds: float = 60.0,
    boards: tuple[board.Board, ...] = (),
) -> dict[str, Judged | Fallen]:
    found = try_flavors(
        extraction,
        lay_out(extraction, Question()),
        quantize=True,
        max_drop=max_drop,
        seconds=seconds,
        boards=boards,
        progress=list[str]().append,
    )
    return {one.flavor: one for one in found}


def quantised() -> ModelProto:
    """The classifier in QDQ form, its weights int8 as onnxruntime's own tools have them."""
    built = FLAVORS["int8-static"](
        Source(model=clean(networks.classifier()), calibration={"image": IMAGES})
    )
    assert isinstance(built, Built)
    return signed(clean(built.model))


def signed(model: ModelProto) -> ModelProto:
    """The same weights as int8 around zero instead of uint8 around 128."""
    unfolded = {
        name
        for entry in model.graph.node
        if entry.op_type == "DequantizeLinear"
        for name in (entry.input[0], *entry.input[2:])
    }
    for tensor in model.graph.initializer:
        if (
            tensor.data_type == TensorProto.UINT8
            and tensor.name in unfolded
            and tensor.dims
        ):
            values = np.frombuffer(tensor.raw_data, np.uint8).astype(np.int16) - 128
            tensor.raw_data = values.astype(np.int8).tobytes()
            tensor.data_type = TensorProto.INT8
    return model


def of_vectors(model: ModelProto, width: int, output: str) -> Extraction:
    """60 rows of so many numbers; the original is the model itself."""
    plain = extractions.of_classifier(rows=60)
    rows = np.random.default_rng(1).normal(0, 1, (60, width)).astype(np.float32)
    name = model.graph.input[0].name
    answers = extractions.outputs_of(encode(model), {name: rows})[output]
    (given,), (said,) = plain.binding.inputs, plain.binding.outputs
    return replace(
        plain,
        model=encode(model),
        samples={"": rows},
        original=replace(plain.original, prediction=answers),
        binding=replace(
            plain.binding,
            inputs=(replace(given, name=name, shape=(-1, width)),),
            outputs=(replace(said, tensor=output, shape=(-1, *answers.shape[1:])),),
        ),
    )


def search(max_drop: float, budget: Budget) -> SampleSearch:
    return SampleSearch(
        feeds={"image": IMAGES},
        drop_of=lambda outputs: float(outputs["probabilities"].mean()),
        max_drop=max_drop,
        share=budget.share(1),
        progress=list[str]().append,
    )


def test_a_variant_that_does_not_run_loses_infinitely_much() -> None:
    unknown = networks.classifier()
    unknown.graph.node[0].op_type = "Convolve"
    asked = search(0.1, Budget(60))
    assert math.isinf(asked.drop(unknown))
    assert asked.drop(networks.classifier()) == pytest.approx(1 / networks.CLASSES)


def test_a_search_ends_when_its_share_is_spent() -> None:
    budget = Budget(60)
    asked = search(0.1, budget)
    assert not asked.spent()
    budget.stop()
    assert asked.spent()


def test_a_variant_is_not_run_to_the_end_when_the_time_is_up() -> None:
    budget = Budget(60)
    asked = search(0.1, budget)
    budget.stop()
    assert math.isinf(asked.drop(networks.classifier()))


@pytest.mark.parametrize("flavor", ["int8-static", "int8-mixed"])
def test_a_search_that_was_stopped_before_it_judged_anything_says_so(flavor: str) -> None:
    budget = Budget(60)
    budget.stop()
    result = FLAVORS[flavor](
        Source(
            model=clean(networks.classifier()),
            calibration={"image": IMAGES},
            search=search(0.1, budget),
        )
    )
    assert result == DoesNotApply(reason="the time was up before one variant was judged")


@pytest.mark.slow
def test_a_model_that_is_quantised_already_is_kept_and_not_quantised_twice() -> None:
    found = tried(
        extractions.of_classifier(model=quantised(), rows=60),
        boards=(board.load("generic-x86-64"),),
    )
    baseline = found.pop("fp32")
    assert isinstance(baseline, Judged)
    assert baseline.verdict.accepted
    assert baseline.needs.session_options == {}
    assert baseline.note.endswith("int8 weights as uint8 around 128")
    assert [one.fact for one in baseline.findings] == [
        "3 of 3 weighted operators run in int8 (1 QGemm, 2 QLinearConv)"
    ]
    assert baseline.semantics.startswith("exact integer arithmetic, the same on aarch64")
    for one in found.values():
        assert isinstance(one, Fallen)
        assert one.reason.startswith(
            "does not apply: the model is quantised already (5 QuantizeLinear"
        )


@pytest.mark.slow
def test_verdicts_on_our_own_flavors_hold_on_every_processor() -> None:
    found = tried(extractions.of_classifier(rows=60))
    for flavor, words in {
        "fp32": "float32 arithmetic",
        "int8": "float32 arithmetic",
        "int8-static": "its weights cannot saturate, with or without VNNI",
    }.items():
        one = found[flavor]
        assert isinstance(one, Judged)
        assert one.semantics.endswith(words)
    static = found["int8-static"]
    assert isinstance(static, Judged)
    assert any(line.fact == "2 of 2 convolutions run in int8" for line in static.findings)


@pytest.mark.slow
def test_what_is_no_smaller_is_not_measured() -> None:
    tiny = networks.model(
        [
            node("Gemm", ["image", "w"], "h"),
            node("Gemm", ["h", "w"], "y"),
            node("Softmax", ["y"], "probabilities"),
        ],
        {"w": np.eye(4, dtype=np.float32)},
        inputs={"image": ["n", 4]},
        outputs={"probabilities": ["n", 4]},
    )
    found = tried(of_vectors(tiny, 4, "probabilities"))
    one = found["int8-static"]
    assert isinstance(one, Fallen)
    assert one.reason.startswith("no smaller: ")


@pytest.mark.slow
def test_what_was_found_when_the_time_was_up_says_so() -> None:
    found = tried(extractions.of_classifier(rows=60), seconds=0.5)
    late = [
        one.reason
        for one in found.values()
        if isinstance(one, Fallen) and one.reason.startswith("not tried")
    ]
    assert set(late) <= {"not tried: the 0.5 s of the search were used up"}
    cut = [
        one.note
        for one in found.values()
        if isinstance(one, Judged) and "cut short" in one.note
    ]
    assert late or cut
    assert all(note.endswith("the 0.5 s of the search were used up") for note in cut)
    for one in found.values():
        for line in one.findings if isinstance(one, Judged) else ():
            assert line.value is None or math.isfinite(line.value)


@pytest.mark.slow
def test_a_quantised_model_of_int8_data_is_judged_and_served_with_exact_sums() -> None:
    rng = np.random.default_rng(5)
    model = networks.model(
        [
            node("QuantizeLinear", ["x", "s", "z"], "xq"),
            node("DequantizeLinear", ["xq", "s", "z"], "xd"),
            node("DequantizeLinear", ["w", "s", "z"], "wd"),
            node("MatMul", ["xd", "wd"], "y"),
        ],
        {
            "s": np.array(0.02, np.float32),
            "z": np.array(0, np.int8),
            "w": rng.integers(-127, 128, (32, 8)).astype(np.int8),
        },
        inputs={"x": ["n", 32]},
        outputs={"y": ["n", 8]},
    )
    baseline = tried(of_vectors(model, 32, "y"))["fp32"]
    assert isinstance(baseline, Judged)
    assert baseline.needs.session_options == {"session.x64quantprecision": "1"}
    assert "x64quantprecision=1 keeps" in baseline.semantics
