"""Write down a judged flavor: its manifest, golden vectors and bundle. Knows no files.

Equal inputs give equal bytes but for what was measured (`footprint`, and the same figures
of each candidate in `conversion`): model.onnx, golden.json and profile.json never differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from edgekit import __version__, bundle
from edgekit.conversion import ConversionRequest
from edgekit.manifest import (
    GOLDEN_NAME,
    MODEL_NAME,
    PROFILE_NAME,
    Footprint,
    Manifest,
)
from edgekit.table import rows
from edgekit.telemetry.profile import Profile
from edgekit_converters.extraction import Extraction
from edgekit_converters.outcome.vectors import golden_vectors, tolerance
from edgekit_converters.passes import FOLDS, PASSES
from edgekit_converters.verdict.candidates import Fallen, Judged

_INTEGER_KERNELS = {"int8-static"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A flavor as it goes into a bundle, and how long that bundle is."""

    judged: Judged
    manifest: Manifest
    members: Mapping[str, bytes]
    bundle_bytes: int


def write(
    request: ConversionRequest,
    extraction: Extraction,
    judged: Judged,
    tried: Sequence[Judged | Fallen],
    *,
    profile: Profile | None = None,
) -> Written:
    """Return the flavor's manifest and members; every candidate's numbers are in it."""
    golden = golden_vectors(
        extraction.samples,
        judged.trial.outputs,
        judged.predictions,
        binding=extraction.binding,
        model_bytes=len(judged.model),
    )
    members = {MODEL_NAME: judged.model, GOLDEN_NAME: golden}
    if profile is not None:
        members[PROFILE_NAME] = profile.to_json()
    allowed, because = tolerance(
        judged.trial.outputs, integer_kernels=judged.flavor in _INTEGER_KERNELS
    )
    manifest = Manifest(
        model=request.identity,
        flavor=judged.flavor,
        files={name: bundle.describe(content) for name, content in members.items()},
        runtime=judged.needs,
        footprint=_footprint(judged),
        signature=extraction.signature,
        binding=extraction.binding,
        tolerance=allowed,
        conversion={
            **_record(request, extraction),
            "candidates": [_numbers(candidate) for candidate in tried],
            "tolerance_reason": because,
        },
        tools=tools(extraction),
    )
    packed = bundle.pack(manifest, members)
    return Written(
        judged=judged, manifest=manifest, members=members, bundle_bytes=len(packed)
    )


def tools(extraction: Extraction) -> dict[str, str]:
    """Return the name and version of every tool that had a hand in the conversion."""
    return {
        **extraction.tools,
        "edgekit": __version__,
        "numpy": np.__version__,
        "onnx": version("onnx"),
        "onnxruntime": version("onnxruntime"),
    }


def _footprint(judged: Judged) -> Footprint:
    cost = judged.trial.cost
    return Footprint(
        model_bytes=cost.model_bytes,
        peak_rss_bytes=cost.peak_rss_bytes,
        load_us=cost.load_us,
        one_row_p50_us=cost.one_row_p50_us,
        one_row_p95_us=cost.one_row_p95_us,
        measured_on=judged.trial.measured_on,
        load_peak_rss_bytes=cost.first_load_rss_bytes,
        runtime_floor_bytes=cost.runtime_floor_bytes,
        estimated_peak_bytes=cost.memory_estimate_bytes,
    )


def _record(request: ConversionRequest, extraction: Extraction) -> dict[str, object]:
    return {
        "task": extraction.task.value,
        "framework": extraction.framework,
        "predict": extraction.predict,
        "signature_derived": extraction.signature_derived,
        "source_bytes": extraction.source_bytes,
        "fp32_bytes": len(extraction.model),
        "samples": rows(extraction.samples),
        "true_labels": extraction.labels is not None,
        "max_drop": request.max_drop,
        "metric": request.metric,
        "proven_only": request.proven_only,
        "quantize": request.quantize,
        "passes": [*PASSES, *FOLDS],
    }


def _numbers(candidate: Judged | Fallen) -> dict[str, object]:
    if isinstance(candidate, Fallen):
        return {
            "flavor": candidate.flavor,
            "accepted": False,
            "reason": candidate.reason,
        }
    cost = candidate.trial.cost
    return {
        "flavor": candidate.flavor,
        "accepted": candidate.verdict.accepted,
        "reason": candidate.verdict.reason,
        "note": candidate.note,
        "agreement": round(candidate.comparison.agreement, 6),
        "metric": str(candidate.comparison.metric),
        "original": round(candidate.comparison.original, 6),
        "value": round(candidate.comparison.flavor, 6),
        "drop": round(candidate.comparison.drop, 6),
        "low": round(candidate.comparison.interval.low, 6),
        "high": round(candidate.comparison.interval.high, 6),
        "method": candidate.comparison.interval.method,
        "enough": candidate.verdict.enough,
        "model_bytes": cost.model_bytes,
        "measured": {
            "peak_rss_bytes": cost.peak_rss_bytes,
            "load_peak_rss_bytes": cost.first_load_rss_bytes,
            "runtime_floor_bytes": cost.runtime_floor_bytes,
            "estimated_peak_bytes": cost.memory_estimate_bytes,
            "load_us": cost.load_us,
            "one_row_p50_us": cost.one_row_p50_us,
            "one_row_p95_us": cost.one_row_p95_us,
            "batch_us_per_row": float(f"{cost.batch_us_per_row:.3g}"),
        },
    }
