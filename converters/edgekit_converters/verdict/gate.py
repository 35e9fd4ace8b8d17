"""Decide whether a flavor stays, from what was measured. Pure; knows no files or clock.

Never worse: a flavor that is less accurate than allowed, no smaller than float32, or far
slower or hungrier falls, and the sentence says by how much. Speed and memory are measured
on a shared machine, so only differences that noise does not make count against a flavor.
"""

import math
from dataclasses import dataclass

from edgekit_converters.verdict.compare import Comparison
from edgekit_converters.verdict.measure import Cost

BASELINE = "fp32"
SLOWER = 2.0  # times float32's time, for one row and in a batch both
SLOWER_US = 100  # and at least this much a row
HUNGRIER_BYTES = 8 * 2**20  # more than float32's peak RSS
FEW_ROWS = 30  # below it nothing can be said about numbers either


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a flavor stays, and the sentence with the numbers."""

    accepted: bool
    reason: str


def judge(
    flavor: str,
    *,
    comparison: Comparison,
    cost: Cost,
    baseline: Cost,
    max_drop: float,
) -> Verdict:
    """Judge one flavor; `baseline` is what float32 costs, `max_drop` is a share."""
    against = [_less_accurate(comparison, max_drop)]
    if flavor != BASELINE:
        against += [
            _no_smaller(cost, baseline),
            _slower(cost, baseline),
            _hungrier(cost, baseline),
        ]
    refused = [reason for reason in against if reason]
    clauses = [*refused, comparison.sentence, few_samples(comparison, max_drop)]
    return Verdict(
        accepted=not refused, reason="; ".join(clause for clause in clauses if clause)
    )


def few_samples(comparison: Comparison, max_drop: float) -> str:
    """Say what so few rows cannot show, or "" when they can show `max_drop`."""
    by_rows = comparison.judged_on in {"accuracy", "changed labels"}
    if by_rows and max_drop > 0 and 1 / comparison.rows > max_drop:
        one_row = 1 / comparison.rows
        return (
            f"only {comparison.rows} samples: one row is {one_row:.2%},"
            f" at least {math.ceil(1 / max_drop)} rows can show {max_drop:.2%}"
        )
    if comparison.rows < FEW_ROWS:
        return f"only {comparison.rows} samples: {FEW_ROWS} or more say more"
    return ""


def _less_accurate(comparison: Comparison, max_drop: float) -> str:
    if comparison.drop <= max_drop:
        return ""
    return (
        f"less accurate: {comparison.drop:.2%} by {comparison.judged_on},"
        f" at most {max_drop:.2%} is allowed"
    )


def _no_smaller(cost: Cost, baseline: Cost) -> str:
    if cost.model_bytes < baseline.model_bytes:
        return ""
    return (
        f"no smaller: {cost.model_bytes:,} bytes, {BASELINE} has {baseline.model_bytes:,}"
    )


def _slower(cost: Cost, baseline: Cost) -> str:
    one = cost.one_row_p50_us > SLOWER * baseline.one_row_p50_us
    batch = cost.batch_us_per_row > SLOWER * baseline.batch_us_per_row
    noticeable = cost.one_row_p50_us - baseline.one_row_p50_us >= SLOWER_US
    if not (one and batch and noticeable):
        return ""
    return (
        f"slower: {cost.one_row_p50_us:,} us a row, {BASELINE} takes"
        f" {baseline.one_row_p50_us:,}"
    )


def _hungrier(cost: Cost, baseline: Cost) -> str:
    more = cost.peak_rss_bytes - baseline.peak_rss_bytes
    if more <= HUNGRIER_BYTES:
        return ""
    return (
        f"hungrier: {cost.peak_rss_bytes / 2**20:.1f} MiB at its peak, {BASELINE} takes"
        f" {baseline.peak_rss_bytes / 2**20:.1f}"
    )
