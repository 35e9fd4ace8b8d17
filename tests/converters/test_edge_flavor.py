"""An edge flavor beside its original, both as MLflow's python_function."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from edgekit import pyfunc, registry
from edgekit.conversion import ConversionRequest
from edgekit.errors import ConfigError, SchemaError
from edgekit_converters.conversion import convert
from edgekit_converters.extraction import Extraction
from tests.converters.conftest import QUIET
from tests.converters.edge_folders import IDENTITY, written
from tests.converters.natives import extracted, signed

ROOT = Path(__file__).parents[2]
NAMES = {
    "labels",
    "lightgbm",
    "matrix",
    "onnx",
    "probabilities",
    "pytorch",
    "several",
    "xgboost",
}


def run(*arguments: str, tracking: str = "") -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.converters.edge_models", *arguments],
        cwd=ROOT,
        env={**os.environ, **QUIET, "MLFLOW_TRACKING_URI": tracking},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.fixture(scope="session")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edge")
    run("log", str(folder))
    return folder


@pytest.mark.slow
def test_every_flavor_answers_as_its_original_through_mlflow(
    logged: Path, tmp_path: Path
) -> None:
    for name in NAMES:
        written(tmp_path / name, extracted(logged / name, trust_pickle=True))
    run("compare", str(logged), str(tmp_path))


@pytest.mark.slow
def test_keras_answers_as_its_original_through_mlflow(
    mlflow_folders: Path, tmp_path: Path
) -> None:
    home = tmp_path / "models"
    edges = tmp_path / "edges"
    edges.mkdir()
    for name in ("keras", "tensorflow"):  # MLflow loads nothing through a symbolic link
        shutil.copytree(mlflow_folders / name, home / name)
        written(edges / name, extracted(mlflow_folders / name))
    run("compare", str(home), str(edges))


@pytest.mark.slow
# MLflow 3.17 on SQLAlchemy 2.1.
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
def test_a_converted_model_is_loaded_from_the_tracking_server(
    logged: Path, tmp_path: Path
) -> None:
    request = ConversionRequest(
        model_folder=logged / "labels",
        identity=IDENTITY,
        boards=[],
        out=tmp_path / "out",
        trust_pickle=True,
    )
    done = convert(request, lambda _: None)
    assert {path.name for path in tmp_path.joinpath("out", "fp32").iterdir()} >= {
        "MLmodel",
        "requirements.txt",
    }
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    version = registry.ModelVersion(
        name="labels", version="1", run_id="r", source="models:/labels/1", registered=False
    )
    run("empty", uri, tracking=uri)
    run_id = registry.open(uri).log_conversion(version, done, request)
    run("compare-one", str(logged / "labels"), f"runs:/{run_id}/fp32", tracking=uri)


@pytest.fixture(scope="session")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of texts, its columns named."""
    sklearn = pytest.importorskip("sklearn.linear_model")
    folder = tmp_path_factory.mktemp("classifier")
    frame = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 0.0, 1.0, 0.0]})
    model = sklearn.LogisticRegression().fit(frame, ["no", "no", "yes", "yes"])
    return written(folder / "fp32", _taken(folder, model, frame))


def _taken(folder: Path, model: object, frame: pd.DataFrame) -> Extraction:
    frame.to_csv(folder / "rows.csv", index=False)
    home = signed(folder, model, frame)
    return extracted(home, folder / "rows.csv", trust_pickle=True)


@pytest.mark.slow
def test_the_same_texts_come_back_in_numpys_own_type(edge: Path) -> None:
    model = pyfunc._load_pyfunc(str(edge))  # noqa: SLF001 - the name that MLflow calls
    rows = {"b": np.array([0.0]), "a": np.array([9.0])}
    answer = model.predict(pd.DataFrame(rows))
    assert isinstance(answer, np.ndarray)
    assert (answer.dtype.str, answer.tolist()) == ("<U3", ["yes"])
    assert np.array_equal(answer, np.asarray(model.predict(rows)))
    assert np.array_equal(answer, np.asarray(model.predict(np.array([[9.0, 0.0]]))))


@pytest.mark.slow
def test_rows_that_do_not_fit_are_refused_with_a_sentence(edge: Path) -> None:
    model = pyfunc._load_pyfunc(str(edge))  # noqa: SLF001 - the name that MLflow calls
    with pytest.raises(SchemaError, match=r"missing inputs \['b'\]"):
        model.predict(pd.DataFrame({"a": [1.0]}))
    with pytest.raises(SchemaError, match="takes 2 columns, a, b first"):
        model.predict(np.zeros((1, 3)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "expected"),
    [({"answers": "poetry"}, "answers"), ({"text_dtype": "O"}, "text_dtype")],
)
def test_a_strange_description_is_refused(
    changed: dict[str, str], expected: str, edge: Path, tmp_path: Path
) -> None:
    home = tmp_path / "fp32"
    home.mkdir()
    for path in edge.iterdir():
        home.joinpath(path.name).write_bytes(path.read_bytes())
    document = json.loads(home.joinpath("MLmodel").read_text())
    document["flavors"]["edgekit"].update(changed)
    home.joinpath("MLmodel").write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=expected):
        pyfunc._load_pyfunc(str(home))  # noqa: SLF001 - the name that MLflow calls


def test_a_folder_that_is_no_flavor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="as `edgekit convert` wrote it"):
        pyfunc._load_pyfunc(str(tmp_path))  # noqa: SLF001 - the name that MLflow calls
