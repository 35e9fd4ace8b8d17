"""Where the registry is, and how long to wait for it.

The one place that touches MLflow's environment variables.
"""

import os
from pathlib import Path

from edgekit.errors import RegistryError
from edgekit.statement import slug

DEFAULT_URI = "sqlite:///mlflow.db"
URI_VARIABLE = "MLFLOW_TRACKING_URI"
_SQLITE = "sqlite:///"
# MLflow's own defaults (7 tries, doubling) let a command hang for minutes on a dead server.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


def choose(uri: str | None) -> str:
    """Return `uri`, else MLFLOW_TRACKING_URI, else the embedded default.

    RegistryError when it names an SQLite file that does not exist: MLflow would make an
    empty one and then not find the model in it.
    """
    chosen = uri or os.environ.get(URI_VARIABLE) or DEFAULT_URI
    path = _database(chosen)
    if path is not None and not path.is_file():
        seen_from = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise RegistryError(
            f"{chosen}: no such file{seen_from}; name the registry with {URI_VARIABLE}, or"
            " as uri under [registry] in fleet.toml"
        )
    return chosen


def artifact_location(uri: str, experiment: str) -> str | None:
    """Return where a new experiment of a local registry keeps its files: beside it.

    None for a server, which decides by itself. (MLflow's own default is a folder below
    wherever the command happens to run.)
    """
    path = _database(uri)
    return (
        None if path is None else str(path.absolute().parent / "mlruns" / slug(experiment))
    )


def limit_patience() -> None:
    """Have MLflow give up on a dead server within a minute, unless the user said else."""
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)


def _database(uri: str) -> Path | None:
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None
