"""The registry against a real MLflow: SQLite file, local folder."""

import json
import math
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from edgekit import board, registry
from edgekit.conversion import Candidate, Conversion, ConversionRequest
from edgekit.errors import RegistryError
from edgekit.manifest import ModelIdentity
from edgekit.registry import ModelVersion, Registry, source_digest
from tests.brokers import free_port

pytestmark = [
    pytest.mark.slow,
    # MLflow 3.17 on SQLAlchemy 2.1.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
    # Stages are what many registries hold; MLflow announces their removal at each use.
    pytest.mark.filterwarnings("ignore:(?s).*model registry stages:FutureWarning"),
]


def model_folder(path: Path, content: bytes) -> Path:
    path.mkdir()
    (path / "MLmodel").write_text("flavors: {}\n")
    (path / "model.bin").write_bytes(content)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def uri(place: Path) -> str:
    return f"sqlite:///{place}/mlflow.db"


@pytest.fixture(scope="module")
def client(uri: str, place: Path) -> Any:  # noqa: ANN401 - MLflow ships no types
    """A registry with three wines, two of them in Production, and one logged model."""
    mlflow = MlflowClient(tracking_uri=uri, registry_uri=uri)
    training = mlflow.create_experiment("training", str(place / "artifacts"))
    mlflow.create_registered_model("wine")
    for number in ("1", "2", "3"):
        run = mlflow.create_run(training, run_name=f"fit {number}")
        run_id = run.info.run_id
        mlflow.log_param(run_id, "C", number)
        mlflow.log_metric(run_id, "accuracy", 0.9)
        folder = model_folder(place / f"wine{number}", number.encode())
        mlflow.log_artifacts(run_id, str(folder), "model")
        mlflow.set_terminated(run_id)
        mlflow.create_model_version("wine", f"{run.info.artifact_uri}/model", run_id)
    for number in ("1", "3"):
        mlflow.transition_model_version_stage("wine", number, "Production")
    mlflow.set_registered_model_alias("wine", "champion", "2")
    mlflow.create_registered_model("it's empty")
    mlflow.create_registered_model("it's logged")
    logged = mlflow.create_logged_model(training, name="logged")
    folder = model_folder(place / "logged", b"logged")
    mlflow.log_model_artifacts(logged.model_id, str(folder))
    mlflow.finalize_logged_model(logged.model_id, "READY")
    with pytest.MonkeyPatch.context() as environment:  # this call ignores its client's URI
        environment.setenv("MLFLOW_TRACKING_URI", uri)
        mlflow.create_model_version("it's logged", f"models:/{logged.model_id}")
    return mlflow


@pytest.fixture
def talk() -> list[str]:
    return []


@pytest.fixture
def opened(client: object, uri: str, talk: list[str]) -> Registry:
    assert client
    return registry.open(uri, progress=talk.append)


@pytest.mark.parametrize(
    ("model_uri", "version"),
    [
        ("models:/wine/1", "1"),
        ("models:/wine/production", "3"),
        ("models:/wine@champion", "2"),
        ("models:/wine/latest", "3"),
        ("models:/it's logged/None", "1"),
    ],
)
def test_every_form_is_pinned_to_a_version(
    opened: Registry, model_uri: str, version: str
) -> None:
    assert opened.resolve(model_uri).version == version


def test_several_versions_in_a_stage_are_said_and_the_newest_taken(
    opened: Registry, talk: list[str]
) -> None:
    opened.resolve("models:/wine/Production")

    assert talk[-1] == (
        "models:/wine/Production: versions 1, 3 are all in Production; 3, the newest, is"
        " meant"
    )


@pytest.mark.parametrize(
    ("model_uri", "sentence"),
    [
        ("models:/wnie/1", "no registered model wnie in {uri}; did you mean wine?"),
        ("models:/wine/9", "there is no version 9; the newest is 3"),
        ("models:/wine@Champion", "wine has no alias Champion; did you mean champion?"),
        ("models:/wine@edge", "wine has no alias edge; aliases: champion"),
        (
            "models:/wine/Staging",
            "no version of wine is in stage Staging; stages with a version: Production",
        ),
        ("models:/it's empty/latest", "it's empty has no versions yet"),
        ("models:/it's empty@x", "it's empty has no alias x; it has no aliases"),
        ("runs:/abc/model", "there is no such run in {uri}"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(
    opened: Registry, uri: str, model_uri: str, sentence: str
) -> None:
    with pytest.raises(RegistryError) as raised:
        opened.resolve(model_uri)

    assert str(raised.value) == f"{model_uri}: {sentence.format(uri=uri)}"


def test_a_moved_alias_does_not_change_a_pinned_version(
    opened: Registry,
    client: Any,  # noqa: ANN401 - MLflow ships no types
    tmp_path: Path,
) -> None:
    client.set_registered_model_alias("wine", "moving", "1")
    pinned = opened.resolve("models:/wine@moving")
    client.set_registered_model_alias("wine", "moving", "2")

    folder = opened.download(pinned, tmp_path / "fresh")

    assert (folder / "model.bin").read_bytes() == b"1"


def test_a_download_leaves_the_source_as_it_was(
    opened: Registry, place: Path, tmp_path: Path
) -> None:
    before = sorted(place.rglob("*"))
    folder = opened.download(opened.resolve("models:/wine/1"), tmp_path / "fresh")

    assert source_digest(folder) == source_digest(place / "wine1")
    assert folder.is_relative_to(tmp_path)
    assert sorted(place.rglob("*")) == before


def test_a_logged_model_and_a_run_are_downloaded_too(
    opened: Registry, tmp_path: Path
) -> None:
    logged = opened.download(opened.resolve("models:/it's logged/1"), tmp_path / "logged")
    run_id = opened.resolve("models:/wine/2").run_id
    of_run = opened.resolve(f"runs:/{run_id}/model")
    folder = opened.download(of_run, tmp_path / "run")

    assert (logged / "model.bin").read_bytes() == b"logged"
    assert (folder / "model.bin").read_bytes() == b"2"
    assert not of_run.registered
    assert of_run.uri == f"runs:/{run_id}/model"


def test_a_folder_with_something_in_it_is_not_downloaded_into(
    opened: Registry, tmp_path: Path
) -> None:
    (tmp_path / "mine").write_text("precious")

    with pytest.raises(RegistryError, match="a fresh folder is expected"):
        opened.download(opened.resolve("models:/wine/1"), tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_training_runs_facts_can_be_read(opened: Registry) -> None:
    run = opened.run(opened.resolve("models:/wine/2").run_id)

    assert (run.name, run.experiment, run.status) == ("fit 2", "training", "FINISHED")
    assert run.params == {"C": "2"}
    assert run.metrics == {"accuracy": 0.9}
    assert run.started is not None


def test_an_unknown_run_is_said(opened: Registry, uri: str) -> None:
    with pytest.raises(RegistryError) as raised:
        opened.run("abc")

    assert str(raised.value) == f"run abc: there is no such run in {uri}"


def candidate(flavor: str, folder: Path | None) -> Candidate:
    return Candidate(
        flavor=flavor,
        accepted=folder is not None,
        reason="",
        model_bytes=1000,
        bundle_bytes=900,
        peak_rss_bytes=2**26,
        one_row_p50_us=50,
        one_row_p95_us=80,
        batch_us_per_row=math.nan,
        agreement=1.0,
        drop=0.0,
        boards=("generic-x86-64",),
        folder=folder,
    )


def conversion(folder: Path) -> tuple[Conversion, ConversionRequest]:
    (folder / "int8").mkdir()
    (folder / "int8" / "model.onnx").write_bytes(b"onnx")
    (folder / "report.json").write_text("{}")
    (folder / "report.html").write_text("<html>")
    request = ConversionRequest(
        model_folder=folder,
        identity=ModelIdentity(
            name="wine", version="3", run_id="r", source_sha256="ab" * 32
        ),
        boards=[board.load("raspberry-pi-4")],
        out=folder,
        quantize=True,
        samples=folder / "holdout.csv",
    )
    done = Conversion(
        candidates=(candidate("int8", folder / "int8"), candidate("fp16", None)),
        choices={"raspberry-pi-4": "int8"},
        source_bytes=5000,
        fp32_bytes=2000,
        samples=60,
        report_json=folder / "report.json",
        report_html=folder / "report.html",
    )
    return done, request


def log(opened: Registry, version: ModelVersion, folder: Path) -> str:
    done, request = conversion(folder)
    return opened.log_conversion(version, done, request)


def test_a_conversion_is_logged_with_lineage_and_read_again(
    opened: Registry,
    client: Any,  # noqa: ANN401 - MLflow ships no types
    tmp_path: Path,
) -> None:
    version = opened.resolve("models:/wine/3")
    run_id = log(opened, version, tmp_path)

    run = opened.run(run_id)
    assert (run.experiment, run.status) == ("edgekit/wine", "FINISHED")
    assert run.params["samples"] == "holdout.csv"
    assert run.metrics["int8.bundle_bytes"] == 900
    assert "int8.batch_us_per_row" not in run.metrics, "NaN must not reach the registry"
    tags = client.get_run(run_id).data.tags
    assert tags["edgekit.source"] == "models:/wine/3"
    assert tags["edgekit.source_run_id"] == version.run_id
    assert tags["edgekit.flavors"] == "int8"
    stored = {f.path for f in client.list_artifacts(run_id, "int8")}
    assert stored == {"int8/model.onnx"}
    assert {f.path for f in client.list_artifacts(run_id)} == {
        "int8",
        "report.html",
        "report.json",
    }
    on_version = client.get_model_version("wine", "3").tags
    assert on_version["edgekit.conversion_run_id"] == run_id
    assert json.loads(on_version["edgekit.flavor.int8"])["bundle_bytes"] == 900


def test_logging_a_conversion_never_writes_into_the_source_version(
    opened: Registry, tmp_path: Path
) -> None:
    version = opened.resolve("models:/wine/3")
    before = source_digest(opened.download(version, tmp_path / "before"))
    (tmp_path / "work").mkdir()
    log(opened, version, tmp_path / "work")

    after = source_digest(opened.download(version, tmp_path / "after"))

    assert after == before


def test_a_logged_models_lineage_is_linked(
    opened: Registry,
    client: Any,  # noqa: ANN401 - MLflow ships no types
    tmp_path: Path,
    talk: list[str],
) -> None:
    version = opened.resolve("models:/it's logged/1")
    run_id = log(opened, version, tmp_path)

    inputs = client.get_run(run_id).inputs.model_inputs
    assert [f"models:/{i.model_id}" for i in inputs] == [version.source]
    assert not [line for line in talk if "lineage" in line]


def test_a_conversion_that_cannot_be_logged_whole_is_marked_failed(
    opened: Registry,
    client: Any,  # noqa: ANN401 - MLflow ships no types
    tmp_path: Path,
) -> None:
    done, request = conversion(tmp_path)
    done.report_html.unlink()

    with pytest.raises(RegistryError, match="No such"):
        opened.log_conversion(opened.resolve("models:/wine/1"), done, request)

    experiment = client.get_experiment_by_name("edgekit/wine").experiment_id
    newest = client.search_runs([experiment], max_results=1)[0]
    assert newest.info.status == "FAILED"
    assert "edgekit.conversion_run_id" not in client.get_model_version("wine", "1").tags


def test_the_runs_of_a_local_registry_lie_beside_it(
    opened: Registry,
    client: Any,  # noqa: ANN401 - MLflow ships no types
    place: Path,
    tmp_path: Path,
) -> None:
    run_id = log(opened, opened.resolve("models:/wine/2"), tmp_path)

    artifacts = Path(client.get_run(run_id).info.artifact_uri.removeprefix("file://"))
    assert artifacts.is_relative_to(place / "mlruns")


@pytest.fixture(scope="module")
def server(client: object, uri: str, place: Path) -> Iterator[str]:
    """A tracking server in front of the same database."""
    assert client
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--workers=1", f"--port={port}"]
    command += [f"--backend-store-uri={uri}", f"--artifacts-destination={place}/served"]
    with (
        (place / "server.log").open("wb") as log,
        subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True
        ) as process,
    ):
        _until_healthy(f"http://localhost:{port}", process)
        yield f"http://localhost:{port}"
        os.killpg(process.pid, signal.SIGTERM)


def _until_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(240):
        assert process.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=1):  # noqa: S310 - ours
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"{url}: no answer")


def test_a_tracking_server_serves_as_well_and_standard_output_stays_clean(
    server: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = registry.open(server)
    version = opened.resolve("models:/wine@champion")
    folder = opened.download(version, tmp_path / "fresh")
    (tmp_path / "work").mkdir()
    run_id = log(opened, version, tmp_path / "work")

    assert (version.version, opened.resolve("models:/wine/production").version) == (
        "2",
        "3",
    )
    assert source_digest(folder) == source_digest(place / "wine2")
    assert opened.run(run_id).status == "FINISHED"
    assert capsys.readouterr().out == ""


def test_a_registry_file_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(RegistryError) as raised:
        registry.open(f"sqlite:///{tmp_path}/mlflow.db")

    assert str(raised.value) == (
        f"sqlite:///{tmp_path}/mlflow.db: no such file; name the registry with"
        " MLFLOW_TRACKING_URI, or as uri under [registry] in fleet.toml"
    )
    assert not list(tmp_path.iterdir())


def test_a_damaged_database_is_a_registry_error(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 100)

    with pytest.raises(RegistryError, match="file is not a database; check the URI"):
        registry.open(f"sqlite:///{tmp_path}/mlflow.db")


def test_a_server_that_does_not_answer_is_a_registry_error() -> None:
    with pytest.raises(
        RegistryError, match=r"registry http://localhost:1: .*check the URI"
    ):
        registry.open("http://localhost:1").resolve("models:/wine/1")


def test_the_environment_names_the_registry(
    uri: str, client: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)

    assert registry.open().resolve("models:/wine@champion").version == "2"
