"""From a request to the exams: groups, calibration rows, and no more rows than needed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.binding import Predictions
from edgekit.conversion import ConversionRequest
from edgekit.errors import ConversionError
from edgekit.manifest import ModelIdentity, Signature
from edgekit_converters.extraction import Extraction
from edgekit_converters.intake import inputs
from edgekit_converters.verdict import division, papers
from edgekit_converters.verdict.asking import ask
from edgekit_converters.verdict.metrics import Metric
from tests.converters import extractions, networks

IMAGES = inputs.Inputs(
    fields=(
        inputs.Field(name="", dtype="float32", shape=(-1, 1, networks.SIDE, networks.SIDE)),
    ),
    tensors=True,
)


def request(**changes: object) -> ConversionRequest:
    plain = ConversionRequest(
        model_folder=Path("nowhere"),
        identity=ModelIdentity(name="m", version="1", run_id="", source_sha256="ab" * 32),
        boards=(),
        out=Path("nowhere"),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]  # fields by name


@pytest.fixture(scope="module")
def classifier() -> Extraction:
    """240 images, true labels, and a signature that a file can be read by."""
    plain = extractions.of_classifier(rows=240, true_labels=True)
    return replace(plain, signature=Signature(inputs=IMAGES.schema()))


def test_a_third_is_searched_on_and_the_others_judged_on(classifier: Extraction) -> None:
    asked = ask(request(), classifier)
    assert asked.papers.search.rows == 80
    assert asked.papers.gate.rows == 160
    assert asked.papers.search_feeds["image"].shape[0] == 80
    assert asked.papers.feeds["image"].shape[0] == 240
    assert asked.notes == (
        "judged by accuracy (auto)",
        asked.papers.whole.remark,  # all rows are of one class
        "80 rows to search on, 160 others to judge on",
    )


def test_only_rows_of_the_gate_count_in_a_verdict(classifier: Extraction) -> None:
    asked = ask(request(), classifier)
    wrong = np.asarray(classifier.original.prediction).copy()
    searched = np.setdiff1d(np.arange(240), asked.papers.gate_rows)
    wrong[searched] = np.roll(wrong[searched], 1, axis=1)
    broken = Predictions(prediction=wrong)
    assert asked.papers.judge(broken).drop == 0
    assert asked.papers.whole.drop(broken) > 0.2


def test_calibration_rows_are_searched_on_and_all_samples_judged_on(
    classifier: Extraction, tmp_path: Path
) -> None:
    path = tmp_path / "calibration.npz"
    np.savez(path, images=networks.images(50), kind=np.arange(50) % networks.CLASSES)
    asked = ask(request(calibration=path, target="kind"), classifier)
    assert asked.papers.search.rows == 50
    assert asked.papers.search.truth is not None
    assert asked.papers.gate.rows == 240
    assert not asked.papers.shared
    assert asked.notes[-1] == "50 calibration rows to search on, all samples to judge on"


def test_calibration_rows_without_true_labels_are_compared_with_the_original(
    classifier: Extraction, tmp_path: Path
) -> None:
    path = tmp_path / "calibration.npz"
    np.savez(path, images=networks.images(50))
    asked = ask(request(calibration=path, target="kind"), classifier)
    assert asked.papers.search.metric is Metric.FLIPS
    assert asked.papers.gate.metric is Metric.ACCURACY


def test_calibration_rows_of_another_shape_are_refused(
    classifier: Extraction, tmp_path: Path
) -> None:
    path = tmp_path / "calibration.npy"
    np.save(path, np.zeros((4, 3), np.float32))
    with pytest.raises(ConversionError, match=r"calibration\.npy: .* has shape \(4, 3\)"):
        ask(request(calibration=path), classifier)
    with pytest.raises(ConversionError, match="the model has no signature to read it by"):
        ask(request(calibration=path), replace(classifier, signature=Signature()))


def test_groups_come_from_a_column_of_the_samples(
    classifier: Extraction, tmp_path: Path
) -> None:
    path = tmp_path / "samples.npz"
    clips = np.arange(240) // 2
    np.savez(path, images=classifier.samples[""], clip=clips)
    binary = replace(
        classifier,
        labels=(clips % 2).astype(np.int64),
        original=Predictions(
            prediction=np.asarray(classifier.original.prediction)[:, :1].astype(np.float32)
        ),
    )
    asked = ask(request(samples=path, group="clip", metric="auc"), binary)
    assert asked.papers.whole.groups is not None
    assert asked.papers.shared  # 120 clips are fewer than 200
    with pytest.raises(ConversionError, match="no column clop; did you mean clip"):
        ask(request(samples=path, group="clop", metric="auc"), binary)
    with pytest.raises(ConversionError, match="a column of the samples, pass --samples"):
        ask(request(group="clip", metric="auc"), binary)


def test_rows_beyond_what_is_ever_looked_at_are_left_out(
    classifier: Extraction, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (division, papers):
        monkeypatch.setattr(module, "MOST_GATE", 150)
        monkeypatch.setattr(module, "MOST_SEARCH", 60)
    asked = ask(request(), classifier)
    assert asked.papers.feeds["image"].shape[0] == 210
    assert (asked.papers.search.rows, asked.papers.gate.rows) == (60, 150)
    assert "210 of 240 rows are looked at, which is enough" in asked.notes


def test_what_the_run_has_logged_is_said_first(classifier: Extraction) -> None:
    asked = ask(request(logged_metrics={"accuracy": 0.5}), classifier)
    assert asked.reproduction is not None
    assert asked.notes[0].startswith("not reproduced: accuracy 0.5 logged, 1 here on 240")
    with pytest.raises(ConversionError, match="metric f1: the model's run has not logged"):
        ask(request(logged_metrics={"accuracy": 0.5}, logged_metric="f1"), classifier)
