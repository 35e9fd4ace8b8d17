"""An autoencoder is gated by what it is for: the AUC of its reconstruction, by clip."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, save_model
from sklearn import metrics as theirs

from edgekit.cli import main
from edgekit_converters.tables import load_npz

pytestmark = pytest.mark.slow

WIDTH, CODE, CLIPS, WINDOWS = 64, 6, 80, 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A projection onto six directions, and windows of clips that lie off them if odd."""
    home = tmp_path_factory.mktemp("autoencoder")
    rng = np.random.default_rng(3)
    basis = np.linalg.qr(rng.normal(size=(WIDTH, CODE)))[0].astype(np.float32)
    weights = {"down": basis, "up": np.ascontiguousarray(basis.T)}
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["window", "down"], ["code"]),
            helper.make_node("MatMul", ["code", "up"], ["rebuilt"]),
        ],
        "autoencoder",
        [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["n", WIDTH])],
        [helper.make_tensor_value_info("rebuilt", TensorProto.FLOAT, ["n", WIDTH])],
        [
            helper.make_tensor(name, TensorProto.FLOAT, value.shape, value.ravel())
            for name, value in weights.items()
        ],
    )
    opset = [helper.make_opsetid("", 17)]
    save_model(
        helper.make_model(graph, opset_imports=opset, ir_version=8), home / "ae.onnx"
    )
    clips = np.repeat(np.arange(CLIPS), WINDOWS)
    odd = clips % 2
    noise = 0.30 + 0.03 * odd
    windows = rng.normal(size=(len(clips), CODE)) @ basis.T
    windows += noise[:, None] * rng.normal(size=windows.shape)
    np.savez(home / "clips.npz", window=windows.astype(np.float32), odd=odd, clip=clips)
    return home


def convert(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        main,
        [
            *("convert", str(folder / "ae.onnx"), "--quantize", "--json"),
            *("--samples", str(folder / "clips.npz"), "--target", "odd"),
            *("--out", str(folder / "out"), "--search-seconds", "5", *arguments),
        ],
    )


def test_the_gate_judges_the_auc_of_whole_recordings(folder: Path) -> None:
    result = convert(folder, "--metric", "auc", "--score=reconstruction", "--group", "clip")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    rows = load_npz(folder / "clips.npz")
    weights = np.linalg.qr(np.random.default_rng(3).normal(size=(WIDTH, CODE)))[0]
    rebuilt = rows["window"] @ weights @ weights.T
    errors = ((rebuilt - rows["window"]) ** 2).mean(axis=1).reshape(CLIPS, WINDOWS)
    auc = theirs.roc_auc_score(np.arange(CLIPS) % 2, errors.mean(axis=1))
    fp32 = told["candidates"][0]
    assert fp32["metric"] == "auc"
    assert fp32["metric_original"] == pytest.approx(auc, abs=1e-6)
    assert 0.6 < auc < 0.999
    int8 = next(one for one in told["candidates"] if one["flavor"] == "int8")
    assert "80 groups of rows, 480 in all" in int8["reason"]


def test_by_auto_an_autoencoder_with_labels_is_judged_by_auc_too(folder: Path) -> None:
    result = convert(folder, "--group", "clip")
    assert result.exit_code == 0, result.stderr
    assert "judged by auc (auto)" in result.stderr


def test_windows_of_one_recording_of_two_kinds_are_refused(folder: Path) -> None:
    rows = load_npz(folder / "clips.npz")
    mixed = folder / "mixed.npz"
    rows["odd"] = np.arange(CLIPS * WINDOWS) % 2
    np.savez(mixed, allow_pickle=False, **rows)
    result = convert(folder, "--group", "clip", "--samples", str(mixed))
    assert result.exit_code == 5
    assert "group: 80 of 80 groups hold rows of several classes" in result.stderr
