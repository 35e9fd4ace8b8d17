"""What a conversion leaves behind in the registry. Knows no MLflow: facts in, facts out."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit import __version__
from edgekit.conversion import Candidate, Conversion, ConversionRequest
from edgekit.document import canonical_json
from edgekit.registry.version import ModelVersion

_UNSAFE = re.compile(r"[^0-9A-Za-z_.\- ]")  # MLflow refuses others in names
MAX_VALUE_CHARACTERS = 500  # of a parameter, in the oldest servers


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionFacts:
    """One run to write: parameters, finite metrics, tags, and files by artifact folder.

    `version_tags` go to the source version.
    """

    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    version_tags: Mapping[str, str]
    artifacts: tuple[tuple[Path, str], ...]


def describe(
    version: ModelVersion, conversion: Conversion, request: ConversionRequest
) -> ConversionFacts:
    """Return the facts of a conversion, ready to be written."""
    accepted = [c for c in conversion.candidates if c.accepted]
    return ConversionFacts(
        params={k: v[:MAX_VALUE_CHARACTERS] for k, v in _params(request).items()},
        metrics={k: v for k, v in _metrics(conversion).items() if math.isfinite(v)},
        tags={
            "edgekit.source": version.uri,
            "edgekit.source_run_id": version.run_id,
            "edgekit.source_sha256": request.identity.source_sha256,
            "edgekit.flavors": ",".join(c.flavor for c in accepted),
            "edgekit.version": __version__,
        },
        version_tags={f"edgekit.flavor.{_safe(c.flavor)}": _summary(c) for c in accepted},
        artifacts=_artifacts(conversion, accepted),
    )


def _params(request: ConversionRequest) -> dict[str, str]:
    return {
        "boards": ",".join(board.name for board in request.boards),
        "quantize": str(request.quantize).lower(),
        "samples": request.samples.name if request.samples else "input example",
        "target": request.target or "",
        "max_drop": str(request.max_drop),
        "metric": request.metric,
        "proven_only": str(request.proven_only).lower(),
        "trust_pickle": str(request.trust_pickle).lower(),
    }


def _metrics(conversion: Conversion) -> dict[str, float]:
    metrics = {
        "source_bytes": float(conversion.source_bytes),
        "fp32_bytes": float(conversion.fp32_bytes),
        "samples": float(conversion.samples),
    }
    for candidate in conversion.candidates:
        for name in _MEASURED:
            value = float(getattr(candidate, name))
            metrics[f"{_safe(candidate.flavor)}.{name}"] = value
    return metrics


_MEASURED = (
    "model_bytes",
    "bundle_bytes",
    "peak_rss_bytes",
    "one_row_p50_us",
    "one_row_p95_us",
    "batch_us_per_row",
    "agreement",
    "metric_original",
    "metric_flavor",
    "drop",
    "low",
    "high",
)


def _summary(candidate: Candidate) -> str:
    return canonical_json(
        {
            "path": _safe(candidate.flavor),
            "model_bytes": candidate.model_bytes,
            "bundle_bytes": candidate.bundle_bytes,
            "boards": list(candidate.boards),
        }
    ).decode()


def _artifacts(
    conversion: Conversion, accepted: list[Candidate]
) -> tuple[tuple[Path, str], ...]:
    reports = (conversion.report_json, conversion.report_html)
    folders = [(c.folder, _safe(c.flavor)) for c in accepted]
    return (
        *((report, "") for report in reports),
        *((folder, path) for folder, path in folders if folder is not None),
    )


def _safe(name: str) -> str:
    return _UNSAFE.sub("_", name)
