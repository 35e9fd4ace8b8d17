from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pytest

from edgekit import runtime
from edgekit.errors import ProofError
from edgekit.table import Array
from edgekit_converters.verdict.cap import capped
from edgekit_converters.verdict.measure import Rival, Trial, answer, measure
from tests.converters import networks
from tests.converters.extractions import outputs_of

pytestmark = pytest.mark.slow

_MB = 2**20
IMAGES = networks.images(100)
with capped(64 * _MB) as group:
    CAN_CAP = group is not None


@pytest.fixture(scope="module")
def trial() -> Trial:
    model = networks.classifier().SerializeToString()
    return measure(model, session_options={}, feeds={"image": IMAGES})


def test_every_row_is_answered_as_in_this_process(trial: Trial) -> None:
    model = networks.classifier().SerializeToString()
    expected = outputs_of(model, {"image": IMAGES})["probabilities"]
    np.testing.assert_allclose(trial.outputs["probabilities"], expected, atol=1e-6)


def test_the_figures_are_those_of_a_process_with_onnxruntime(trial: Trial) -> None:
    cost = trial.cost
    assert cost.model_bytes == len(networks.classifier().SerializeToString())
    assert 30 * _MB < cost.peak_rss_bytes < 150 * _MB
    assert 0 < cost.one_row_p50_us <= cost.one_row_p95_us
    assert cost.batch_us_per_row > 0
    assert cost.load_us > cost.one_row_p50_us
    assert "one thread" in trial.measured_on


def test_the_rows_of_the_samples_do_not_count_as_memory_of_the_model() -> None:
    many = networks.images(60_000)
    model = networks.classifier().SerializeToString()
    few = measure(model, session_options={}, feeds={"image": IMAGES}).cost
    cost = measure(model, session_options={}, feeds={"image": many}).cost
    assert many.nbytes > 30 * _MB
    assert cost.peak_rss_bytes - few.peak_rss_bytes < 8 * _MB


def test_texts_go_in_and_come_out() -> None:
    model = networks.model(
        [networks.node("Identity", ["x"], "y")],
        {},
        inputs={"x": ["n"]},
        outputs={"y": ["n"]},
    )
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = 8  # a text
    words = np.array(["red", "grün", ""], object)
    trial = measure(model.SerializeToString(), session_options={}, feeds={"x": words})
    assert trial.outputs["y"].tolist() == ["red", "grün", ""]


def test_a_graph_with_a_fixed_batch_is_fed_that_many_rows_at_a_time() -> None:
    model = networks.classifier()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    trial = measure(
        model.SerializeToString(), session_options={}, feeds={"image": IMAGES[:7]}
    )
    assert trial.outputs["probabilities"].shape == (7, networks.CLASSES)


def test_a_model_that_cannot_be_loaded_is_refused_without_naming_a_path() -> None:
    with pytest.raises(
        ProofError, match=r"^model: onnxruntime .* cannot load it"
    ) as caught:
        measure(b"not a model", session_options={}, feeds={"image": IMAGES})
    assert "/" not in str(caught.value)


def test_a_model_that_fails_on_its_input_is_refused() -> None:
    model = networks.classifier().SerializeToString()
    with pytest.raises(ProofError, match="it failed on its input"):
        measure(model, session_options={}, feeds={"image": IMAGES[:, :, :5]})


def test_a_model_that_gives_another_number_of_rows_is_refused() -> None:
    model = networks.model(
        [networks.node("ReduceSum", ["x"], "y")],
        {},
        inputs={"x": ["n"]},
        outputs={"y": [1]},
    )
    rows = np.ones(5, np.float32)
    with pytest.raises(ProofError, match="output y: 1 rows for 5 rows of input"):
        measure(model.SerializeToString(), session_options={}, feeds={"x": rows})


def test_a_model_that_hangs_is_given_up() -> None:
    model = networks.classifier().SerializeToString()
    with pytest.raises(ProofError, match=r"it was not done after 0\.05 s"):
        measure(model, session_options={}, feeds={"image": IMAGES}, timeout_s=0.05)


def test_memory_is_told_before_during_and_after_loading(trial: Trial) -> None:
    cost = trial.cost
    assert 30 * _MB < cost.runtime_floor_bytes < cost.first_load_rss_bytes
    assert cost.first_load_rss_bytes <= cost.peak_rss_bytes


def test_a_brief_answer_is_the_same() -> None:
    model = networks.classifier().SerializeToString()
    brief = answer(model, session_options={}, feeds={"image": IMAGES})
    expected = outputs_of(model, {"image": IMAGES})
    np.testing.assert_allclose(
        brief.outputs["probabilities"], expected["probabilities"], atol=1e-6
    )
    assert brief.onnxruntime == runtime.version()
    assert not brief.capped


@pytest.mark.skipif(not CAN_CAP, reason="no writable memory cgroup here: run as root")
def test_a_candidate_that_takes_more_than_the_cap_is_killed_and_the_group_is_gone() -> None:
    model = networks.classifier().SerializeToString()
    with pytest.raises(
        ProofError, match=r"^killed: it takes more memory than the 8 MB it may$"
    ):
        answer(model, session_options={}, feeds={"image": IMAGES}, cap_bytes=8 * _MB)
    ample = answer(model, session_options={}, feeds={"image": IMAGES}, cap_bytes=200 * _MB)
    assert ample.capped
    with capped(200 * _MB) as once:
        assert once is not None
    assert not once.folder.exists()


@pytest.mark.skipif(not CAN_CAP, reason="no writable memory cgroup here: run as root")
def test_under_a_cap_another_failure_keeps_its_own_reason() -> None:
    with pytest.raises(ProofError, match="cannot load it"):
        answer(
            b"not a model", session_options={}, feeds={"image": IMAGES}, cap_bytes=99 * _MB
        )


def test_a_candidate_takes_turns_with_its_rival() -> None:
    small, large = networks.classifier(filters=4), networks.classifier(filters=64)
    rival = Rival(model=small.SerializeToString(), session_options={})
    feeds = {"image": IMAGES}
    cost = measure(
        large.SerializeToString(), session_options={}, feeds=feeds, rival=rival
    ).cost
    same = measure(
        small.SerializeToString(), session_options={}, feeds=feeds, rival=rival
    ).cost
    assert cost.times_baseline > 1.5
    assert 0.7 < same.times_baseline < 1.4


def test_without_a_rival_no_ratio_is_told(trial: Trial) -> None:
    assert trial.cost.times_baseline == 0


def dense(width: int, layers: int) -> bytes:
    """Layers of so many units each."""
    names = ["x", *(f"h{number}" for number in range(1, layers)), "y"]
    nodes = [
        networks.node("MatMul", [before, f"w{number}"], after)
        for number, (before, after) in enumerate(pairwise(names))
    ]
    model = networks.model(
        nodes,
        {
            f"w{n}": np.full((width, width), 0.001 + n / 1e6, np.float32)
            for n in range(layers)
        },
        inputs={"x": ["n", width]},
        outputs={"y": ["n", width]},
    )
    return bytes(model.SerializeToString())


def grown(small: bytes, large: bytes, feeds: Sequence[Mapping[str, Array]]) -> float:
    """What a larger model takes more, estimated over measured, in processes of this run.

    What onnxruntime itself takes differs by processor, and is in both.
    """
    first, second = (
        measure(model, session_options={}, feeds=given).cost
        for model, given in zip((small, large), feeds, strict=True)
    )
    measured = second.peak_rss_bytes - first.peak_rss_bytes
    assert measured > 12 * _MB
    return (second.memory_estimate_bytes - first.memory_estimate_bytes) / measured


@pytest.mark.parametrize("layers", [3, 10])
def test_the_estimate_from_the_graph_alone_grows_as_the_peak_does(layers: int) -> None:
    """Also of many large weights: each is given back as soon as it is packed."""
    feeds = [{"x": np.ones((4, width), np.float32)} for width in (64, 1024)]
    ratio = grown(dense(64, layers), dense(1024, layers), feeds)
    assert ratio == pytest.approx(1, abs=0.1)


def test_the_estimate_of_convolutions_grows_nearly_as_the_peak_does() -> None:
    """They are stored in blocks that are wider on some processors."""
    small, large = (networks.classifier(filters=n) for n in (8, 300))
    feeds = [{"image": IMAGES[:4]}] * 2
    ratio = grown(small.SerializeToString(), large.SerializeToString(), feeds)
    assert ratio == pytest.approx(1, abs=0.25)
