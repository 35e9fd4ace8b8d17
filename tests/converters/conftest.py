"""Models made once per session, in processes of their own.

TensorFlow and MLflow warn when they are imported and when they save; here warnings are
errors, so they do both elsewhere.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

QUIET = {
    "CUDA_VISIBLE_DEVICES": "",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PYTHONWARNINGS": "ignore",
}


@pytest.fixture(scope="session")
def keras_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made("tests.converters.keras_models", tmp_path_factory.mktemp("keras"))


@pytest.fixture(scope="session")
def mlflow_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made("tests.converters.mlflow_models", tmp_path_factory.mktemp("mlflow"))


@pytest.fixture(scope="session")
def torch_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made("tests.converters.torch_models", tmp_path_factory.mktemp("torch"))


@pytest.fixture(scope="session")
def tflite_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made("tests.converters.tflite_models", tmp_path_factory.mktemp("tflite"))


def made(module: str, folder: Path) -> Path:
    result = subprocess.run(
        [sys.executable, "-m", module, str(folder)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **QUIET},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return folder
