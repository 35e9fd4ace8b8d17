"""What a conversion found, as one JSON document. Knows no files and draws no conclusion.

docs/formats/report.md lists its fields; outcome/page.py shows the same to people.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from edgekit.board import Board
from edgekit.conversion import UNITS, Candidate
from edgekit.document import canonical_json
from edgekit.golden import Golden
from edgekit.manifest import ModelIdentity, RuntimeNeeds, Tolerance
from edgekit_converters.flavors import Finding
from edgekit_converters.verdict.measure import Cost

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """More about a flavor that ran: how it is judged, made, run and proven."""

    semantics: str  # under which integer arithmetic the verdict holds
    findings: tuple[Finding, ...]
    needs: RuntimeNeeds
    cost: Cost
    tolerance: Tolerance
    tolerance_reason: str
    golden: Golden


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that is shown. `notes` are sentences about the whole conversion."""

    identity: ModelIdentity
    framework: str
    task: str
    samples: int
    true_labels: bool
    max_drop: float
    source_bytes: int
    fp32_bytes: int
    boards: tuple[Board, ...]
    candidates: tuple[Candidate, ...]
    choices: Mapping[str, str]
    reasons: Mapping[str, str]  # board -> why no smaller one, or one that is not proven
    notes: tuple[str, ...]
    details: Mapping[str, Detail]  # by flavor
    tools: Mapping[str, str]
    measured_on: str

    @property
    def metric(self) -> str:
        """What the flavors are judged by."""
        return next((one.metric for one in self.candidates if one.metric), "")

    @property
    def metric_title(self) -> str:
        """What the flavors are judged by, with its unit."""
        return next((one.metric_title for one in self.candidates if one.metric), "")

    @property
    def metric_scale(self) -> float:
        """What turns the metric's values into the target's own unit."""
        return next((one.metric_scale for one in self.candidates if one.metric), 1.0)

    def to_json(self) -> bytes:
        """Encode canonically. No paths and no times of day are in it."""
        return canonical_json(
            {
                "format": FORMAT,
                "model": {
                    "name": self.identity.name,
                    "version": self.identity.version,
                    "run_id": self.identity.run_id,
                    "source_sha256": self.identity.source_sha256,
                },
                "framework": self.framework,
                "task": self.task,
                "samples": self.samples,
                "true_labels": self.true_labels,
                "metric": self.metric,
                "metric_unit": UNITS.get(self.metric, ""),
                "metric_scale": self.metric_scale,
                "max_drop": self.max_drop,
                "source_bytes": self.source_bytes,
                "fp32_bytes": self.fp32_bytes,
                "measured_on": self.measured_on,
                "notes": list(self.notes),
                "candidates": [self._candidate(one) for one in self.candidates],
                "frontier": [one.flavor for one in frontier(self.candidates)],
                "choices": dict(self.choices),
                "reasons": dict(self.reasons),
                "boards": {
                    board.name: {
                        "model_ram_mb": board.model_ram_mb,
                        "model_flash_mb": board.model_flash_mb,
                        "onnxruntime": board.onnxruntime,
                    }
                    for board in self.boards
                },
                "tools": dict(self.tools),
            }
        )

    def _candidate(self, one: Candidate) -> dict[str, object]:
        said = {"flavor": one.flavor, "accepted": one.accepted, "reason": one.reason}
        if not ran(one):
            return dict(said)
        return {
            **said,
            "note": one.note,
            "model_bytes": one.model_bytes,
            "bundle_bytes": one.bundle_bytes,
            "peak_rss_bytes": one.peak_rss_bytes,
            "one_row_p50_us": one.one_row_p50_us,
            "one_row_p95_us": one.one_row_p95_us,
            "batch_us_per_row": one.batch_us_per_row,
            "agreement": one.agreement,
            "metric_original": one.metric_original,
            "metric_flavor": one.metric_flavor,
            "drop": one.drop,
            "drop_low": one.low,
            "drop_high": one.high,
            "enough_samples": one.enough,
            "lossless": one.lossless,
            "boards": list(one.boards),
            "latencies": [asdict(told) for told in one.latencies],
            **_detail(self.details.get(one.flavor)),
        }


def ran(candidate: Candidate) -> bool:
    """Whether there are figures: a flavor that does not apply or run has none."""
    return candidate.model_bytes > 0


def frontier(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the kept flavors that no other kept one beats in size, drop and latency.

    The Pareto front, smallest first. Equal ones are all in it.
    """
    kept = [one for one in candidates if one.accepted]
    best = [one for one in kept if not any(_beats(other, one) for other in kept)]
    return tuple(sorted(best, key=lambda one: (one.model_bytes, one.flavor)))


def _beats(one: Candidate, other: Candidate) -> bool:
    mine, theirs = _goals(one), _goals(other)
    return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))


def _goals(one: Candidate) -> tuple[float, float, float]:
    return one.model_bytes, max(one.drop, 0.0), one.one_row_p50_us


def _detail(detail: Detail | None) -> dict[str, object]:
    if detail is None:
        return {}
    return {
        "semantics": detail.semantics,
        "load_us": detail.cost.load_us,
        "first_load_rss_bytes": detail.cost.first_load_rss_bytes,
        "runtime_floor_bytes": detail.cost.runtime_floor_bytes,
        "memory_estimate_bytes": detail.cost.memory_estimate_bytes,
        "min_onnxruntime": detail.needs.min_onnxruntime,
        "opsets": dict(detail.needs.opsets),
        "session_options": dict(detail.needs.session_options),
        "golden_rows": len(next(iter(detail.golden.inputs.values()))),
        "findings": [
            {"subject": one.subject, "fact": one.fact, "value": one.value}
            for one in detail.findings
        ],
    }
