import json
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from mlflow import MlflowClient
from mlflow.models import infer_signature
from mlflow.sklearn import save_model
from onnx import TensorProto, helper
from sklearn.compose import ColumnTransformer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from edgekit.cli import main
from edgekit.manifest import Manifest

pytestmark = [
    pytest.mark.slow,
    # MLflow of itself, when a model is saved.
    pytest.mark.filterwarnings("ignore:(?s).*Any type hint is inferred:UserWarning"),
    # MLflow 3.17 on SQLAlchemy 2.1.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]


BOARDS = Path(__file__).parents[2] / "boards"


def edgekit(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an MLflow model of a pipeline with texts, and samples.csv."""
    folder = tmp_path_factory.mktemp("machine")
    rng = np.random.default_rng(4)
    rows = pd.DataFrame(
        {
            "load": rng.normal(5, 2, 400),
            "heat": rng.normal(60, 9, 400),
            "site": rng.choice(["north", "south", "harbour"], 400),
        }
    )
    worn = (rows["heat"] + 4 * rows["load"] > 80) & (rows["site"] != "harbour")
    state = np.where(worn, "worn", "good").astype(object)
    pipeline = make_pipeline(
        ColumnTransformer(
            [
                ("numbers", StandardScaler(), ["load", "heat"]),
                ("site", OneHotEncoder(), ["site"]),
            ]
        ),
        MLPClassifier((48, 32), max_iter=80, random_state=1, early_stopping=True),
    )
    pipeline.fit(rows, state)
    save_model(
        pipeline,
        folder / "model",
        signature=infer_signature(rows, pipeline.predict(rows)),
        serialization_format="cloudpickle",
        pip_requirements=["scikit-learn"],
    )
    rows.assign(state=state).to_csv(folder / "samples.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def converted(machine: Path) -> Result:
    return edgekit(
        *("convert", machine / "model", "--quantize", "--trust-pickle"),
        *("--samples", machine / "samples.csv", "--target", "state"),
        *("--board", "raspberry-pi-zero-2-w", "--max-drop", "0.02"),
        *("--out", machine / "flavors", "--json"),
    )


def test_a_pipeline_with_texts_becomes_flavors_for_a_board(converted: Result) -> None:
    assert converted.exit_code == 0, converted.stderr
    document = json.loads(converted.stdout)
    assert document["choices"]["raspberry-pi-zero-2-w"] not in {"fp32", "fp16"}
    assert document["samples"] == 400
    int8 = next(one for one in document["candidates"] if one["flavor"] == "int8")
    assert int8["accepted"]
    assert int8["metric"] == "accuracy"
    assert int8["low"] <= int8["drop"] <= int8["high"]
    assert "267 others to judge on" in " ".join(document["notes"])
    for name in ("model.onnx", "manifest.json", "golden.json"):
        assert (Path(int8["folder"]) / name).is_file()
    assert Path(document["report_html"]).is_file()


def test_talk_goes_to_standard_error_and_data_to_standard_output(
    converted: Result,
) -> None:
    assert "fp32: measuring" in converted.stderr
    assert "measuring" not in converted.stdout


def test_the_table_names_every_candidate_its_verdict_and_why(machine: Path) -> None:
    result = edgekit(
        *("convert", machine / "model", "--trust-pickle"),
        *("--samples", machine / "samples.csv", "--board", "raspberry-pi-4"),
        *("--prove-runtime", "never", "--out", machine / "plain"),
    )
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    heading = next(line for line in lines if "FLAVOR" in line)
    assert heading.split()[:3] == ["FLAVOR", "VERDICT", "MODEL"]
    assert any(line.split()[:2] == ["fp32", "lossless"] for line in lines)
    assert any(
        line.startswith("fp32  flips 0.0000: all 267 labels stay; drop 0.0000, 95 %")
        for line in lines
    )
    assert any(line.startswith("raspberry-pi-4  gets fp32, ") for line in lines)


def test_a_pickle_is_refused_without_trust_and_nothing_is_written(machine: Path) -> None:
    out = machine / "untrusted"
    result = edgekit(
        *("convert", machine / "model", "--samples", machine / "samples.csv"),
        *("--out", out),
    )
    assert result.exit_code == 5
    assert "--trust-pickle" in result.stderr
    assert not out.exists()


def test_a_board_nobody_knows_is_refused_before_any_work(machine: Path) -> None:
    result = edgekit("convert", machine / "model", "--board", "rapsberry-pi-4")
    assert result.exit_code == 6
    assert "did you mean raspberry-pi-4?" in result.stderr


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    result = edgekit("convert", tmp_path / "nothing.onnx")
    assert result.exit_code == 3
    assert "nothing.onnx: no such file or folder" in result.stderr


def test_a_negative_drop_is_a_usage_error() -> None:
    assert edgekit("convert", "model.onnx", "--max-drop", "-1").exit_code == 2


def test_a_drop_in_hundredths_is_a_usage_error_not_a_licence() -> None:
    result = edgekit("convert", "model.onnx", "--max-drop", "0.5")
    assert result.exit_code == 2
    assert "0<=x<0.5" in result.stderr


def test_a_registered_model_is_pinned_converted_and_logged_back(
    machine: Path, tmp_path: Path
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    training = client.create_experiment("training", str(tmp_path / "artifacts"))
    run = client.create_run(training)
    client.log_artifacts(run.info.run_id, str(machine / "model"), "model")
    client.create_registered_model("machine state")
    client.create_model_version(
        "machine state", f"{run.info.artifact_uri}/model", run.info.run_id
    )
    client.set_registered_model_alias("machine state", "production", "1")
    result = edgekit(
        *("convert", "models:/machine state@production", "--registry", uri),
        *("--trust-pickle", "--samples", machine / "samples.csv"),
        *("--out", tmp_path / "flavors", "--json"),
    )
    assert result.exit_code == 0, result.stderr
    manifest = Manifest.from_json((tmp_path / "flavors/fp32/manifest.json").read_bytes())
    assert manifest.model.name == "machine state"
    assert (manifest.model.version, manifest.model.run_id) == ("1", run.info.run_id)
    logged = client.get_run(json.loads(result.stdout)["run_id"])
    assert logged.info.status == "FINISHED"
    assert logged.data.metrics["samples"] == 400
    assert logged.data.tags["edgekit.source"] == "models:/machine state/1"


def test_help_teaches_by_example() -> None:
    said = edgekit("convert", "--help").stdout
    assert "edgekit convert models:/wine/Production --quantize" in said
    assert "Exit code 5" in said


@pytest.fixture
def contributed(tmp_path: Path) -> Path:
    """A model with an operator that onnxruntime has and ONNX has not; rows beside it."""
    rows = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 4]) for n in "xy"]
    node = helper.make_node("QuickGelu", ["x"], ["y"], domain="com.microsoft")
    graph = helper.make_graph([node], "g", rows[:1], rows[1:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(
        helper.make_model(graph, opset_imports=opsets, ir_version=8),
        tmp_path / "model.onnx",
    )
    np.save(tmp_path / "rows.npy", np.random.default_rng(1).normal(size=(40, 4)))
    return tmp_path


def profile(folder: Path, more: str) -> Path:
    """The Raspberry Pi 4's profile with one line more."""
    text = (BOARDS / "raspberry-pi-4.toml").read_text("utf-8")
    path = folder / "mine.toml"
    path.write_text(f"{more}\n{text}")
    return path


def test_contributed_operators_go_only_to_boards_that_allow_them(contributed: Path) -> None:
    def convert(board: Path) -> Result:
        return edgekit(
            *("convert", contributed / "model.onnx", "--board", board),
            *("--samples", contributed / "rows.npy", "--prove-runtime", "never"),
            *("--out", contributed / "flavors", "--json"),
        )

    refused = convert(profile(contributed, ""))
    assert refused.exit_code == 6
    assert "fp32, needs com.microsoft.QuickGelu, which ONNX does not" in refused.stderr
    assert 'allow_domains = ["com.microsoft"] in the board' in refused.stderr
    assert not (contributed / "flavors").exists()
    board = profile(contributed, 'allow_domains = ["com.microsoft"]')
    kept = convert(board)
    assert kept.exit_code == 0, kept.stderr
    assert json.loads(kept.stdout)["choices"] == {"raspberry-pi-4": "fp32"}
    told = edgekit("inspect", contributed / "model.onnx", "--board", board)
    assert told.exit_code == 0, told.output
    assert "one that has com.microsoft.QuickGelu" in told.output
