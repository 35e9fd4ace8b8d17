"""The child process: what it leaves, and what becomes of one that fails."""

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import board
from edgekit.conversion import ConversionRequest
from edgekit.errors import ConversionError
from edgekit.manifest import ModelIdentity
from edgekit_converters import extraction
from edgekit_converters.extraction import Extraction
from edgekit_converters.job import Order
from edgekit_converters.native import child as native
from edgekit_converters.native.extract import extract
from edgekit_converters.runtimes import common, supported
from tests.converters.conftest import QUIET
from tests.converters.natives import answers, assert_same

IDENTITY = ModelIdentity(name="m", version="1", run_id="r", source_sha256="0" * 64)


def request(model: Path, *, trust_pickle: bool = False) -> ConversionRequest:
    return ConversionRequest(
        model_folder=model,
        identity=IDENTITY,
        boards=[board.load("raspberry-pi-4")],
        out=model.parent / "out",
        trust_pickle=trust_pickle,
    )


def told(_line: str) -> None:
    """Progress that nobody reads."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["skops", "forest", "tensorflow", "keras", "onnx"])
def test_what_mlflow_logged_answers_as_mlflows_own_function(
    name: str, mlflow_folders: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    asked = request(mlflow_folders / name, trust_pickle=name == "forest")
    found = extract(asked, tmp_path, said.append)
    assert len(said) == 1
    wanted = np.load(f"{mlflow_folders / name}.answers.npy", allow_pickle=True)
    original = found.original.prediction
    got = next(iter(original.values())) if isinstance(original, dict) else original
    if wanted.dtype.kind == "f":
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    else:
        assert got.tolist() == wanted.tolist()
    assert_same(answers(found), found.original)
    assert not found.signature_derived
    assert found.source_bytes > 0
    assert "onnx" in found.tools


class Bad:
    """A pickle that calls a function when it is loaded."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def bad(folder: Path, function: Callable[..., object], *arguments: object) -> Path:
    path = folder / "model.pkl"
    path.write_bytes(pickle.dumps(Bad(function, *arguments)))
    return path


@pytest.mark.slow
def test_a_child_that_is_killed_is_a_clear_error(tmp_path: Path) -> None:
    path = bad(tmp_path, os.abort)
    with pytest.raises(ConversionError, match=r"model\.pkl: .* ended by signal 6"):
        extract(request(path, trust_pickle=True), work(tmp_path), told)


@pytest.mark.slow
def test_a_child_that_just_leaves_is_a_clear_error(tmp_path: Path) -> None:
    path = bad(tmp_path, os._exit, 0)
    with pytest.raises(ConversionError, match=r"reference\.npz: not a readable"):
        extract(request(path, trust_pickle=True), work(tmp_path), told)


@pytest.mark.slow
def test_the_last_words_of_a_child_are_told(tmp_path: Path) -> None:
    script = "raise SystemExit('the disk melted')"
    path = bad(tmp_path, exec, script)
    with pytest.raises(ConversionError, match=r"failed with code 1: .*the disk melted"):
        extract(request(path, trust_pickle=True), work(tmp_path), told)


@pytest.mark.slow
def test_a_child_that_hangs_is_ended(tmp_path: Path) -> None:
    path = bad(tmp_path, time.sleep, 600)
    started = time.monotonic()
    with pytest.raises(ConversionError, match="not converted after 5 s, given up"):
        extract(request(path, trust_pickle=True), work(tmp_path), told, timeout_s=5)
    assert time.monotonic() - started < 60


@pytest.mark.slow
def test_a_child_sees_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_PASSPHRASE", "secret")
    script = "import os; raise SystemExit(os.environ.get('EDGEKIT_PASSPHRASE', 'nothing'))"
    path = bad(tmp_path, exec, script)
    with pytest.raises(ConversionError, match=r"code 1: .*nothing"):
        extract(request(path, trust_pickle=True), work(tmp_path), told)


def work(folder: Path) -> Path:
    path = folder / "work"
    path.mkdir()
    return path


def test_an_untrusted_pickle_starts_no_child(tmp_path: Path) -> None:
    path = bad(tmp_path, Path.touch, tmp_path / "sprung")
    folder = work(tmp_path)
    with pytest.raises(ConversionError, match="--trust-pickle"):
        extract(request(path), folder, told)
    assert list(folder.iterdir()) == []
    assert not tmp_path.joinpath("sprung").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["forest", "keras"])
def test_the_same_model_gives_the_same_bytes_whatever_the_hash_seed(
    name: str, mlflow_folders: Path, tmp_path: Path
) -> None:
    first, second = (
        converted(mlflow_folders / name, tmp_path / seed, seed) for seed in ("1", "2")
    )
    assert first.model == second.model
    assert first.binding == second.binding


def converted(model: Path, out: Path, seed: str) -> Extraction:
    out.mkdir()
    order = Order(model=model, out=out, supported=supported("1.20"), trust_pickle=True)
    out.joinpath("order.json").write_bytes(order.to_json())
    subprocess.run(
        [sys.executable, "-P", "-m", native.__name__, str(out / "order.json")],
        env={**os.environ, **QUIET, "PYTHONHASHSEED": seed},
        check=True,
        capture_output=True,
    )
    return extraction.load(out)


def test_an_order_survives_the_way_to_the_child() -> None:
    order = Order(
        model=Path("m"),
        out=Path("o"),
        supported=supported("1.20"),
        samples=Path("s.csv"),
        target="y",
        trust_pickle=True,
    )
    assert Order.from_json(order.to_json()) == order
    bare = Order(model=Path("m"), out=Path("o"), supported=supported("1.20"))
    assert Order.from_json(bare.to_json()) == bare


@pytest.mark.parametrize(
    ("version", "opset", "ml_opset"),
    [("1.13", 17, 3), ("1.20", 21, 4), ("1.20.1", 21, 4), ("1.21", 22, 5), ("1.23", 23, 5)],
)
def test_a_newer_runtime_runs_what_an_older_one_does(
    version: str, opset: int, ml_opset: int
) -> None:
    found = supported(version)
    assert (found.opset, found.ml_opset) == (opset, ml_opset)


@pytest.mark.parametrize("version", ["1.12", "0.1", "new", ""])
def test_a_runtime_too_old_or_unknown_is_refused(version: str) -> None:
    with pytest.raises(ConversionError, match="is expected"):
        supported(version)


def test_the_oldest_board_decides() -> None:
    assert common([board.load("raspberry-pi-4")]) == supported("1.22")
    assert common([]).opset >= supported("1.22").opset
    assert supported("99.0") == common([])
