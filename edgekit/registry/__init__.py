"""Models come from an MLflow registry: resolve, pin, download, and log back.

Knows no boards, bundles or keys. Only edgekit.registry.client imports MLflow, and only
when a registry is opened.
"""

from edgekit.registry.client import open  # noqa: A004 - reads as registry.open(uri)
from edgekit.registry.digest import source_digest
from edgekit.registry.logged import logged_metrics
from edgekit.registry.version import ModelVersion, Registry, RunFacts

__all__ = [
    "ModelVersion",
    "Registry",
    "RunFacts",
    "logged_metrics",
    "open",
    "source_digest",
]
