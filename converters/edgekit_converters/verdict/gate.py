"""Decide whether a flavor stays, from what was measured. Pure; knows no files or clock.

Never worse: a flavor that is less accurate than allowed, no smaller than float32, or
noticeably slower or hungrier falls, and the sentence says by how much. Of accuracy, the
interval decides (docs/adr/0016-the-gate-is-statistical.md):

    all of it within the limit      kept
    all of it beyond the limit      refused: less accurate
    neither, and nothing lost that  kept, but not proven: it says how many rows would do
    chance does not explain
    neither, otherwise              not enough samples: it falls, and says the same

Speed and memory are measured on a shared machine, so only differences that noise does not
make count against a flavor.
"""

import math
from dataclasses import dataclass

from edgekit_converters.flavors import LOSSLESS
from edgekit_converters.verdict.compare import Comparison
from edgekit_converters.verdict.measure import Cost
from edgekit_converters.verdict.metrics import Metric
from edgekit_converters.verdict.statistics import (
    FEWEST,
    LEVEL,
    paired,
    rows_needed,
)

BASELINE = "fp32"
SLOWER = 1.25  # times float32's time for one row, taking turns with it
SLOWER_US = 50  # and by this much: a tenth of what one answer over HTTP takes
HUNGRIER_BYTES = 10 * 2**20  # more than float32's peak RSS,
HUNGRIER = 1.25  # and more than so many times of it
RECALL_FLOOR = 0.05  # no class may lose more of its rows
_SHOWN = 4  # names of small classes


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a flavor stays, and the sentence with the numbers.

    `enough` is False where the rows could not decide: the flavor is kept but not proven,
    or falls for want of samples alone.
    """

    accepted: bool
    reason: str
    enough: bool = True


def judge(  # noqa: PLR0913 - what it answers, what it costs, and the limits
    flavor: str,
    *,
    comparison: Comparison,
    cost: Cost,
    baseline: Cost,
    max_drop: float,
    proven_only: bool = False,
    unseen: bool = True,
) -> Verdict:
    """Judge one flavor; `baseline` is what float32 costs.

    `max_drop` is in the metric's unit. With `proven_only` what is not proven falls; but
    nothing lossless, which needs no proof to be as good as float32. Not `unseen` are rows
    that the flavor was chosen on: they refuse, but prove nothing.
    """
    accuracy = judge_accuracy(comparison, max_drop, unseen=unseen)
    against = [accuracy.reason] if not accuracy.accepted and accuracy.enough else []
    against.append(_losing_classes(comparison, max_drop))
    if flavor != BASELINE:
        against += [
            _no_smaller(cost, baseline),
            _slower(cost, baseline),
            _hungrier(cost, baseline),
        ]
    refused = [reason for reason in against if reason]
    if refused:
        unsaid = "" if accuracy.reason in refused else comparison.sentence
        return Verdict(accepted=False, reason=_joined(*refused, unsaid))
    if proven_only and not accuracy.enough and flavor not in LOSSLESS:
        return Verdict(accepted=False, reason=accuracy.reason, enough=False)
    return Verdict(
        accepted=accuracy.accepted,
        reason=_joined(accuracy.reason, _small_classes(comparison, max_drop)),
        enough=accuracy.enough,
    )


def judge_accuracy(
    comparison: Comparison, max_drop: float, *, unseen: bool = True
) -> Verdict:
    """Judge the drop alone."""
    drop = comparison.interval
    counted = drop.lost is not None  # its interval holds for any number of rows
    few = not counted and comparison.few < FEWEST
    facts = (
        f"{comparison.sentence}; drop {drop.drop:z.4f} of at most {max_drop:g}"
        if few
        else f"{comparison.sentence}; drop {drop} of at most {max_drop:g}"
    )
    if drop.low > max_drop:
        return Verdict(accepted=False, reason=f"less accurate: {facts}")
    if drop.high <= max_drop and not few:
        if unseen:
            return Verdict(accepted=True, reason=facts)
        reason = f"{facts}; not proven, as it was chosen on the same rows"
        return Verdict(accepted=True, reason=reason, enough=False)
    wanted = _wanted(comparison, max_drop, few=few)
    if drop.drop <= max_drop and (few or drop.low <= 0):
        reason = f"{facts}; not proven by {_units(comparison)}, {wanted}"
        return Verdict(accepted=True, reason=reason, enough=False)
    return Verdict(
        accepted=False, reason=f"not enough samples: {facts}; {wanted}", enough=False
    )


def _wanted(comparison: Comparison, max_drop: float, *, few: bool) -> str:
    if few:
        each = "" if comparison.few == comparison.interval.units else " of each class"
        return f"at least {FEWEST}{each} are needed"
    rows = rows_needed(comparison.interval, max_drop)
    if rows is None:
        return "no number of rows would do, as the drop is at the limit"
    return f"about {_rounded_up(rows):,} are needed"


def _units(comparison: Comparison) -> str:
    units = comparison.interval.units
    if comparison.metric is Metric.RECALL:
        return f"{units:,} rows of the class"
    return f"{units:,} {'rows' if units == comparison.rows else 'groups'}"


def _rounded_up(rows: int) -> int:
    """Round to two figures: an estimate has no more."""
    unit = int(10 ** max(0, len(str(rows)) - 2))
    return math.ceil(rows / unit) * unit


def _joined(*clauses: str) -> str:
    return "; ".join(clause for clause in clauses if clause)


def _losing_classes(comparison: Comparison, max_drop: float) -> str:
    """Name the classes that demonstrably lose rows, and more than the floor."""
    if comparison.metric is Metric.RECALL or not comparison.classes:
        return ""
    floor = max(RECALL_FLOOR, max_drop)
    level = 1 - (1 - LEVEL) / len(comparison.classes)  # of all of them together
    losing = [
        f"{one.label} {drop.drop:.3f} ({one.lost} lost, {one.gained} gained of {one.rows})"
        for one in comparison.classes
        for drop in [paired(one.lost, one.gained, one.rows, level=level)]
        if drop.drop > floor and drop.low > 0
    ]
    if not losing:
        return ""
    return f"less accurate: recall of class {', '.join(losing)}, {floor:g} is allowed"


def _small_classes(comparison: Comparison, max_drop: float) -> str:
    """Say which classes have too few rows for the floor to be watched."""
    if not comparison.classes:
        return ""
    floor = max(RECALL_FLOOR, max_drop)
    enough = rows_needed(paired(0, 0, 1), floor)
    small = [one.label for one in comparison.classes if one.rows < (enough or 0)]
    if not small:
        return ""
    which = ", ".join(small[:_SHOWN]) + (", ..." if len(small) > _SHOWN else "")
    return (
        f"not enough samples of class {which} to see one lose {floor:g}, {enough} of each"
        " are needed"
    )


def _no_smaller(cost: Cost, baseline: Cost) -> str:
    if cost.model_bytes < baseline.model_bytes:
        return ""
    return (
        f"no smaller: {cost.model_bytes:,} bytes, {BASELINE} has {baseline.model_bytes:,}"
    )


def _slower(cost: Cost, baseline: Cost) -> str:
    times = cost.times_baseline or cost.one_row_p50_us / max(baseline.one_row_p50_us, 1)
    more_us = (times - 1) * baseline.one_row_p50_us
    if times <= SLOWER or more_us < SLOWER_US:
        return ""
    return (
        f"slower: {times:.2f} times as long for one row as {BASELINE}, which takes"
        f" {baseline.one_row_p50_us:,} us"
    )


def _hungrier(cost: Cost, baseline: Cost) -> str:
    more = cost.peak_rss_bytes - baseline.peak_rss_bytes
    if more <= max(HUNGRIER_BYTES, (HUNGRIER - 1) * baseline.peak_rss_bytes):
        return ""
    return (
        f"hungrier: {cost.peak_rss_bytes / 2**20:.1f} MiB at its peak, {BASELINE} takes"
        f" {baseline.peak_rss_bytes / 2**20:.1f}"
    )
