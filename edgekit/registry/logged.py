"""What the run that trained a model version has logged about it. Knows no MLflow."""

from collections.abc import Mapping

from edgekit.conversion import Progress
from edgekit.errors import RegistryError
from edgekit.registry.version import ModelVersion, Registry


def logged_metrics(
    registry: Registry, version: ModelVersion, *, progress: Progress
) -> Mapping[str, float]:
    """Return the run's metrics by name; none, and a word about it, where it is gone."""
    if not version.run_id:
        return {}
    try:
        return registry.run(version.run_id).metrics
    except RegistryError as error:
        progress(f"{version.uri}: its run's metrics are not there to compare with: {error}")
        return {}
