"""The registry port: what edgekit asks of a model registry, and the nouns it gets back.

Knows no MLflow; edgekit.registry.client implements it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from edgekit.conversion import Conversion, ConversionRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One pinned version: an alias or a stage that moves later does not change it.

    `registered` is False for a model that a run logged and nobody registered; its `name`
    is then the last part of its path and its `version` the run. `source` is where MLflow
    says its files are.
    """

    name: str
    version: str
    run_id: str
    source: str
    registered: bool = True
    stage: str = ""

    @property
    def uri(self) -> str:
        """The URI that means this version for ever."""
        return f"models:/{self.name}/{self.version}" if self.registered else self.source


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What the registry remembers of the run that trained a version."""

    run_id: str
    name: str
    experiment: str
    user: str
    status: str
    started: datetime | None
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


class Registry(Protocol):
    """A model registry. Everything raises RegistryError that says what to do next."""

    def resolve(self, model_uri: str) -> ModelVersion:
        """Return the version that the URI means now, pinned."""

    def download(self, version: ModelVersion, folder: Path) -> Path:
        """Copy the version's files into `folder` (absent or empty); return their folder."""

    def run(self, run_id: str) -> RunFacts:
        """Return what is known of a run."""

    def log_conversion(
        self, version: ModelVersion, conversion: Conversion, request: ConversionRequest
    ) -> str:
        """Record a conversion as a run with lineage to `version`; return its id.

        Nothing is written into the version's own files; a registered version gets tags.
        """
