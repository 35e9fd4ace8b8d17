"""The same model gives the same bytes, with other hash seeds and threads, and searched."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.converters.conftest import made
from tests.converters.digest_models import PICKLED

FORMS = ("net.keras", "net.h5", "net.saved")  # of digest_keras, which needs TensorFlow

pytestmark = pytest.mark.slow

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
TORCH = ("classifier.pth", "images.pt2")


@pytest.fixture(scope="module")
def digest_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made("tests.converters.digest_models", tmp_path_factory.mktemp("digests"))


@pytest.fixture(scope="module")
def digest_keras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made("tests.converters.digest_keras", tmp_path_factory.mktemp("keras-digests"))


def digests(pairs: Mapping[Path, Path], least: int = 2) -> None:
    """Build all flavors twice, with other seeds and numbers of threads, and compare."""
    first, second = (_run(pairs, number) for number in ("1", "2"))
    assert set(first) == {str(model) for model in pairs}
    for model, flavors in first.items():
        assert flavors == second[model]
        assert sum(isinstance(one, list) for one in flavors.values()) >= least, flavors


def _run(pairs: Mapping[Path, Path], number: str) -> dict[str, dict[str, object]]:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.converters.digests",
            *(f"{model}={rows}" for model, rows in pairs.items()),
        ],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **dict.fromkeys(("PYTHONHASHSEED", *THREADS), number)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, dict[str, object]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", PICKLED)
def test_trees_and_pipelines(digest_models: Path, name: str) -> None:
    digests({digest_models / f"{name}.pkl": digest_models / f"{name}.rows.npy"})


def test_an_onnx_network(digest_models: Path) -> None:
    digests({digest_models / "net.onnx": digest_models / "net.rows.npy"})


def test_keras_and_savedmodels(digest_keras: Path) -> None:
    digests({digest_keras / name: digest_keras / "net.rows.npz" for name in FORMS})


def test_pytorch(torch_files: Path) -> None:
    digests(
        {torch_files / n: torch_files / f"{n.partition('.')[0]}.rows.npz" for n in TORCH}
    )


def test_tflite(tflite_files: Path) -> None:
    names = ("images.float", "images.int8")  # the second has no other flavors
    pairs = {tflite_files / f"{n}.tflite": tflite_files / f"{n}.rows.npy" for n in names}
    digests(pairs, least=1)
