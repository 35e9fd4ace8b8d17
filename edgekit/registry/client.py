"""The registry port over MLflow: the only file that imports it, and only when opened.

Works with mlflow-skinny where the registry is a tracking server; a local SQLite registry
needs the full mlflow. Calls only what both 2.9 and 3.x clients and servers have, but for
the lineage link between logged models, which older servers lack (the tags say the same).
"""

import contextlib
import difflib
import logging
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from edgekit.conversion import Conversion, ConversionRequest, Progress
from edgekit.errors import RegistryError
from edgekit.registry import address, lineage
from edgekit.registry.uri import (
    AliasUri,
    LatestUri,
    RunUri,
    StageUri,
    VersionUri,
    parse,
)
from edgekit.registry.version import ModelVersion, Registry, RunFacts

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion
    from mlflow.entities.model_registry import RegisteredModel
    from mlflow.exceptions import MlflowException

_CHATTY = ("alembic.runtime.migration", "mlflow.store.db.utils")
_ABSENT = "RESOURCE_DOES_NOT_EXIST"
_LOGGED_MODEL = "models:/m-"
_MAX_NAMED = 8  # names an error message lists
_MAX_SENTENCE = 300  # characters of MLflow's own message that are passed on


def open(  # noqa: A001 - read as registry.open(uri)
    uri: str | None = None, *, progress: Progress = lambda _: None
) -> Registry:
    """Open the registry at `uri` (default: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db).

    `progress` hears one sentence before anything that may take over a second.
    RegistryError when MLflow is not installed or the registry cannot be reached.
    """
    chosen = address.choose(uri)
    address.limit_patience()
    progress(f"opening the registry {chosen}")
    try:
        from mlflow import MlflowClient  # noqa: PLC0415 - seconds to import; rarely needed
    except ImportError as error:
        raise RegistryError(
            f"{chosen}: {error}; pip install 'edgekit-core[embedded]' (or [registry], which"
            " is enough for a tracking server)"
        ) from error
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    with _answering(chosen):
        client = MlflowClient(tracking_uri=chosen, registry_uri=chosen)
    return MlflowRegistry(client, chosen, progress)


class MlflowRegistry:
    """An MLflow tracking server or database. Implements the registry port."""

    def __init__(self, client: "MlflowClient", uri: str, progress: Progress) -> None:
        self._client = client
        self._uri = uri
        self._progress = progress

    def resolve(self, model_uri: str) -> ModelVersion:
        """Return the version that the URI means now, pinned; RegistryError if none."""
        wanted = parse(model_uri)
        with _answering(self._uri):
            match wanted:
                case VersionUri(name=name, version=number):
                    pass
                case RunUri(run_id=run_id, path=path):
                    return self._logged(model_uri, run_id, path)
                case AliasUri(name=name, alias=alias):
                    model = self._model(model_uri, name)
                    number = self._behind(model_uri, model, alias)
                case StageUri(name=name, stage=stage):
                    model = self._model(model_uri, name)
                    number = self._newest_in(model_uri, model, stage)
                case LatestUri(name=name):
                    number = self._newest(model_uri, self._model(model_uri, name))
                case _:
                    assert_never(wanted)
            return self._version(model_uri, name, number)

    def download(self, version: ModelVersion, folder: Path) -> Path:
        """Copy the version's files into `folder` (absent or empty); return their folder."""
        import mlflow.artifacts  # noqa: PLC0415 - see open

        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise RegistryError(f"{folder}: not empty, a fresh folder is expected")
        folder.mkdir(parents=True, exist_ok=True)
        self._progress(f"downloading {version.uri}")
        with _answering(self._uri):
            source = version.source
            if version.registered:
                source = self._client.get_model_version_download_uri(
                    version.name, version.version
                )
            return Path(
                mlflow.artifacts.download_artifacts(
                    artifact_uri=source, dst_path=str(folder), tracking_uri=self._uri
                )
            )

    def run(self, run_id: str) -> RunFacts:
        """Return what the registry remembers of a run."""
        with _answering(self._uri):
            run = self._run(f"run {run_id}", run_id)
            experiment = self._client.get_experiment(run.info.experiment_id)
        return _facts(run, experiment.name)

    def log_conversion(
        self, version: ModelVersion, conversion: Conversion, request: ConversionRequest
    ) -> str:
        """Record a conversion as a run with lineage to `version`; return its id.

        The flavors and the report are the run's own artifacts, which every server since
        2.9 stores. A run that could not be completed is left behind marked FAILED.
        """
        facts = lineage.describe(version, conversion, request)
        self._progress(f"logging the conversion of {version.uri}")
        with _answering(self._uri):
            experiment = self._experiment(f"edgekit/{version.name}")
            run = self._client.create_run(
                experiment, tags=dict(facts.tags), run_name=f"convert {version.version}"
            )
            run_id = str(run.info.run_id)
            with self._finishing(run_id):
                self._write(run_id, facts)
                self._link(run_id, version)
            if version.registered:
                self._tag(version, run_id, facts)
        return run_id

    def _version(self, subject: str, name: str, number: str) -> ModelVersion:
        try:
            found = self._client.get_model_version(name, number)
        except _mlflow_exception() as error:
            if error.error_code != _ABSENT:
                raise
            newest = self._newest(subject, self._model(subject, name))
            raise RegistryError(
                f"{subject}: there is no version {number}; the newest is {newest}"
            ) from error
        return ModelVersion(
            name=name,
            version=number,
            run_id=found.run_id or "",
            source=found.source or "",
            stage=found.current_stage or "",
        )

    def _model(self, subject: str, name: str) -> "RegisteredModel":
        try:
            return self._client.get_registered_model(name)
        except _mlflow_exception() as error:
            if error.error_code != _ABSENT:
                raise
            known = [m.name for m in self._client.search_registered_models()]
            raise RegistryError(
                f"{subject}: no registered model {name} in {self._uri};"
                f" {_nearest(name, known, 'models')}"
            ) from error

    def _behind(self, subject: str, model: "RegisteredModel", alias: str) -> str:
        if alias in model.aliases:
            return str(model.aliases[alias])
        raise RegistryError(
            f"{subject}: {model.name} has no alias {alias};"
            f" {_nearest(alias, model.aliases, 'aliases')}"
        )

    def _newest_in(self, subject: str, model: "RegisteredModel", stage: str) -> str:
        versions = self._versions(model.name)
        here = sorted(int(v.version) for v in versions if v.current_stage == stage)
        if not here:
            stages = {v.current_stage for v in versions} - {"None"}
            raise RegistryError(
                f"{subject}: no version of {model.name} is in stage {stage};"
                f" {_nearest(stage, stages, 'stages with a version')}"
            )
        if len(here) > 1:
            self._progress(
                f"{subject}: versions {_listed(map(str, here))} are all in {stage};"
                f" {here[-1]}, the newest, is meant"
            )
        return str(here[-1])

    def _newest(self, subject: str, model: "RegisteredModel") -> str:
        numbers = [int(version.version) for version in model.latest_versions]
        if not numbers:
            raise RegistryError(f"{subject}: {model.name} has no versions yet")
        return str(max(numbers))

    def _versions(self, name: str) -> "list[MlflowVersion]":
        quote = '"' if "'" in name else "'"
        return list(self._client.search_model_versions(f"name = {quote}{name}{quote}"))

    def _logged(self, subject: str, run_id: str, path: str) -> ModelVersion:
        self._run(subject, run_id)
        name = path.rsplit("/", 1)[-1]
        return ModelVersion(
            name=name, version=run_id, run_id=run_id, source=subject, registered=False
        )

    def _run(self, subject: str, run_id: str) -> "Run":
        try:
            return self._client.get_run(run_id)
        except _mlflow_exception() as error:
            if error.error_code != _ABSENT:
                raise
            raise RegistryError(
                f"{subject}: there is no such run in {self._uri}"
            ) from error

    def _experiment(self, name: str) -> str:
        known = self._client.get_experiment_by_name(name)
        if known is None:
            location = address.artifact_location(self._uri, name)
            return str(self._client.create_experiment(name, location))
        if known.lifecycle_stage != "active":
            raise RegistryError(
                f"experiment {name}: it was deleted; bring it back with"
                f" `mlflow experiments restore -x {known.experiment_id}`"
            )
        return str(known.experiment_id)

    def _write(self, run_id: str, facts: lineage.ConversionFacts) -> None:
        for name, text in facts.params.items():
            self._client.log_param(run_id, name, text)
        for name, number in facts.metrics.items():
            self._client.log_metric(run_id, name, number)
        for path, folder in facts.artifacts:
            if path.is_dir():
                self._client.log_artifacts(run_id, str(path), folder)
            else:
                self._client.log_artifact(run_id, str(path), folder or None)

    def _link(self, run_id: str, version: ModelVersion) -> None:
        """Draw the line from the source's logged model to the run, where MLflow can."""
        if not version.source.startswith(_LOGGED_MODEL):
            return
        try:
            from mlflow.entities import LoggedModelInput  # noqa: PLC0415 - new in 3.0

            source = LoggedModelInput(model_id=version.source.removeprefix("models:/"))
            self._client.log_inputs(run_id, models=[source])
        except (ImportError, TypeError, _mlflow_exception()) as error:
            self._progress(f"{version.uri}: lineage is in tags only here ({error})")

    def _tag(
        self, version: ModelVersion, run_id: str, facts: lineage.ConversionFacts
    ) -> None:
        tags = {"edgekit.conversion_run_id": run_id, **facts.version_tags}
        for key, value in tags.items():
            self._client.set_model_version_tag(version.name, version.version, key, value)

    @contextlib.contextmanager
    def _finishing(self, run_id: str) -> Iterator[None]:
        status = "FAILED"
        try:
            yield
            status = "FINISHED"
        finally:
            self._client.set_terminated(run_id, status)


@contextlib.contextmanager
def _answering(uri: str) -> Iterator[None]:
    """Turn whatever MLflow raises into RegistryError, and what it prints into talk.

    It tells links to runs on standard output, which belongs to a command's data.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except ImportError as error:
        raise RegistryError(
            f"registry {uri}: {error}; a database needs the full MLflow,"
            " pip install 'edgekit-core[embedded]', and the database's own driver"
        ) from error
    except _unanswered() as error:
        raise RegistryError(
            f"registry {uri}: {_first_line(error)}; check the URI, and that it is up"
        ) from error


def _mlflow_exception() -> "type[MlflowException]":
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - see open

    found: type[MlflowException] = MlflowException
    return found


def _unanswered() -> tuple[type[Exception], ...]:
    """Return what MLflow raises, and what its SQL stores and file copies let through."""
    with contextlib.suppress(ImportError):
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - only full MLflow has it

        return (_mlflow_exception(), SQLAlchemyError, OSError)
    return (_mlflow_exception(), OSError)


def _first_line(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return first.split(" with exception ")[0][:_MAX_SENTENCE]


def _nearest(wanted: str, known: Iterable[str], what: str) -> str:
    names = sorted(known)
    if not names:
        return f"it has no {what}"
    near = difflib.get_close_matches(wanted, names, n=1)
    return f"did you mean {near[0]}?" if near else f"{what}: {_listed(names)}"


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _MAX_NAMED} more" if len(every) > _MAX_NAMED else ""
    return ", ".join(every[:_MAX_NAMED]) + more


def _facts(run: "Run", experiment: str) -> RunFacts:
    started = run.info.start_time
    return RunFacts(
        run_id=run.info.run_id,
        name=run.info.run_name or "",
        experiment=experiment,
        user=run.data.tags.get("mlflow.user", ""),
        status=str(run.info.status),
        started=datetime.fromtimestamp(started / 1000, UTC) if started else None,
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
    )
