"""Build, measure and judge every flavor of one model. Knows no board and writes no file."""

import math
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from onnx import ModelProto

from edgekit.binding import Predictions, results
from edgekit.board import Board
from edgekit.conversion import DEFAULT_SECONDS
from edgekit.errors import ConversionError, ProofError
from edgekit.manifest import RuntimeNeeds
from edgekit.table import Array
from edgekit_converters import runtimes
from edgekit_converters.encoding import decode, encode
from edgekit_converters.extraction import Extraction
from edgekit_converters.flavors import FLAVORS, Built, DoesNotApply, Finding, Source
from edgekit_converters.passes import clean_named, simplify_named
from edgekit_converters.passes.quantised import exact_options, integer_operators
from edgekit_converters.verdict.arithmetic import (
    needed_isas,
    processor_saturates,
    semantics,
)
from edgekit_converters.verdict.budget import Budget, Share, stopped_by_interrupt
from edgekit_converters.verdict.compare import Comparison
from edgekit_converters.verdict.gate import BASELINE, Verdict, judge
from edgekit_converters.verdict.measure import Rival, Trial, measure
from edgekit_converters.verdict.papers import Papers
from edgekit_converters.verdict.search import SampleSearch

ML_DOMAIN = "ai.onnx.ml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A flavor that ran, and what is thought of it."""

    flavor: str
    note: str
    model: bytes
    needs: RuntimeNeeds
    trial: Trial
    predictions: Predictions
    comparison: Comparison
    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    semantics: str = ""  # which arithmetic the verdict holds for
    names: Mapping[str, str] = field(default_factory=dict)  # inner name -> the original's


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallen:
    """A flavor that could not be judged, and why: it does not apply, or does not run."""

    flavor: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    """What all flavors of one model share."""

    extraction: Extraction
    papers: Papers
    max_drop: float
    proven_only: bool
    boards: Sequence[Board]
    searched: bool = False  # whether the flavor in hand was chosen by its drop

    def drop_of(self, outputs: Mapping[str, Array]) -> float:
        """Return how much worse raw outputs for the search rows are."""
        return self.papers.search.drop(results(self.extraction.binding, outputs))

    def search(self, share: Share, progress: Callable[[str], None]) -> SampleSearch:
        """Return what a builder may ask, within its share of the time."""
        return SampleSearch(
            feeds=self.papers.search_feeds,
            drop_of=self.drop_of,
            max_drop=self.max_drop,
            share=share,
            progress=progress,
        )


def try_flavors(  # noqa: PLR0913 - the model, the rows, and what was asked for
    extraction: Extraction,
    papers: Papers,
    *,
    quantize: bool,
    max_drop: float,
    progress: Callable[[str], None],
    seconds: float = DEFAULT_SECONDS,
    proven_only: bool = False,
    boards: Sequence[Board] = (),
) -> tuple[Judged | Fallen, ...]:
    """Return what became of each flavor, float32 first; only that one unless `quantize`.

    The flavors are searched for `seconds`, or until the first Ctrl-C: what was found by
    then is judged, what was not begun is named. ConversionError when float32 itself does
    not run or does not answer as the original.
    """
    bench = _Bench(
        extraction=extraction,
        papers=papers,
        max_drop=max_drop,
        proven_only=proven_only,
        boards=boards,
    )
    budget = Budget(seconds)
    with stopped_by_interrupt(budget, progress):
        simple = simplify_named(decode(extraction.model))
        source = Source(
            model=simple.model, calibration=papers.search_feeds, names=simple.names
        )
        progress(f"{BASELINE}: measuring")
        baseline = _baseline(bench, source)
        if quantize:
            return _try_others(bench, source, baseline, budget, progress)
    return (baseline,)


def _try_others(
    bench: _Bench,
    source: Source,
    baseline: Judged,
    budget: Budget,
    progress: Callable[[str], None],
) -> tuple[Judged | Fallen, ...]:
    others = [flavor for flavor in FLAVORS if flavor != BASELINE]
    against = _already_quantised(source.model)
    tried: list[Judged | Fallen] = [baseline]
    for number, flavor in enumerate(others):
        if against or budget.spent():
            reason = against or f"not tried: {budget.why}"
            tried.append(Fallen(flavor=flavor, reason=reason))
            continue
        stage = f"{flavor} ({number + 1} of {len(others)})"
        progress(f"{stage}: building; {_best(tried)}")
        share = budget.share(len(others) - number)
        search = bench.search(share, _prefixed(progress, stage))
        found = _build(flavor, replace(source, search=search))
        if isinstance(found, Fallen):
            tried.append(found)
            continue
        if share.ran_out:
            found = replace(found, note=f"{found.note}; cut short: {budget.why}")
        known = replace(bench, searched=search.tried > 0)
        tried.append(_measure(flavor, known, found, tried, _prefixed(progress, stage)))
    return tuple(tried)


def _already_quantised(model: ModelProto) -> str:
    counts = integer_operators(model)
    if not counts:
        return ""
    told = ", ".join(f"{count} {operator}" for operator, count in counts.items())
    return f"does not apply: the model is quantised already ({told})"


def _prefixed(progress: Callable[[str], None], stage: str) -> Callable[[str], None]:
    return lambda text: progress(f"{stage}: {text}")


def _best(tried: Sequence[Judged | Fallen]) -> str:
    kept = [one for one in tried if isinstance(one, Judged) and one.verdict.accepted]
    smallest = min(kept, key=lambda one: len(one.model))
    return f"smallest so far {smallest.flavor}, {len(smallest.model):,} bytes"


def runtime_needs(model: ModelProto, session_options: Mapping[str, str]) -> RuntimeNeeds:
    """Return what an onnxruntime must be to run the model."""
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    return RuntimeNeeds(
        opsets=opsets,
        ir_version=model.ir_version,
        min_onnxruntime=runtimes.oldest(
            opset=opsets.get("", 0),
            ml_opset=opsets.get(ML_DOMAIN, 0),
            ir_version=model.ir_version,
        ),
        session_options=dict(session_options),
    )


def _baseline(bench: _Bench, source: Source) -> Judged:
    try:
        judged = _judged_exactly(bench, source)
    except ProofError as error:
        raise ConversionError(f"{BASELINE}: the ONNX form does not run: {error}") from error
    if not judged.verdict.accepted:
        raise ConversionError(
            f"{BASELINE}: the ONNX form does not answer as the original does:"
            f" {judged.verdict.reason}. More samples, or a larger --max-drop if this much"
            " is acceptable, may let it pass"
        )
    return judged


def _judged_exactly(bench: _Bench, source: Source) -> Judged:
    """Judge float32, or what came quantised, where integer sums are exact."""
    built = FLAVORS[BASELINE](source)
    if isinstance(built, DoesNotApply):
        raise ConversionError(f"{BASELINE}: {built.reason}")
    built = _cleaned(built, source)
    options = exact_options(built.model)
    if options:
        with suppress(ProofError):  # some graphs that share constants do not load so
            return _judge(BASELINE, bench, replace(built, session_options=options), None)
    return _judge(BASELINE, bench, built, None)


def _build(flavor: str, source: Source) -> Built | Fallen:
    try:
        built = FLAVORS[flavor](source)
    except ProofError as error:
        return Fallen(flavor=flavor, reason=f"does not run: {error}")
    if isinstance(built, DoesNotApply):
        return Fallen(flavor=flavor, reason=f"does not apply: {built.reason}")
    return _cleaned(built, source)


def _cleaned(built: Built, source: Source) -> Built:
    named = clean_named(built.model)
    names = {short: source.original_name(name) for short, name in named.names.items()}
    findings = tuple(_finite(one) for one in built.findings)
    return replace(built, model=named.model, names=names, findings=findings)


def _finite(finding: Finding) -> Finding:
    """Return a finding whose value a report can hold: a variant that never ran has none."""
    known = finding.value is not None and math.isfinite(finding.value)
    return finding if known else replace(finding, value=None)


def _measure(
    flavor: str,
    bench: _Bench,
    built: Built,
    tried: Sequence[Judged | Fallen],
    progress: Callable[[str], None],
) -> Judged | Fallen:
    """Judge what can win: not what is no smaller than float32, or was judged already."""
    judged = [one for one in tried if isinstance(one, Judged)]
    model = encode(built.model)
    if len(model) >= len(judged[0].model):
        return Fallen(
            flavor=flavor,
            reason=f"no smaller: {len(model):,} bytes, {BASELINE} has"
            f" {len(judged[0].model):,}",
        )
    for one in judged:
        if (one.model, one.needs.session_options) == (model, built.session_options):
            return Fallen(flavor=flavor, reason=f"the same bytes as {one.flavor}")
    progress("measuring")
    try:
        return _judge(flavor, bench, built, judged[0])
    except ProofError as error:
        return Fallen(flavor=flavor, reason=f"does not run: {error}")


def _judge(flavor: str, bench: _Bench, built: Built, baseline: Judged | None) -> Judged:
    model = encode(built.model)
    trial = measure(
        model,
        session_options=built.session_options,
        feeds=bench.papers.feeds,
        rival=_rival(baseline) if baseline else None,
    )
    predictions = results(bench.extraction.binding, trial.outputs)
    comparison = bench.papers.judge(predictions)
    verdict = judge(
        flavor,
        comparison=comparison,
        cost=trial.cost,
        baseline=baseline.trial.cost if baseline else trial.cost,
        max_drop=bench.max_drop,
        proven_only=bench.proven_only,
        unseen=not (bench.searched and bench.papers.shared),
    )
    saturating = processor_saturates(platform.machine(), _cpuinfo())
    return Judged(
        flavor=flavor,
        note=built.note,
        model=model,
        needs=replace(
            runtime_needs(built.model, built.session_options),
            isas=needed_isas(
                built.model, built.session_options, measured_saturating=saturating
            ),
        ),
        trial=trial,
        predictions=predictions,
        comparison=comparison,
        verdict=verdict,
        findings=built.findings,
        names=built.names,
        semantics=semantics(
            built.model,
            built.session_options,
            bench.boards,
            measured_saturating=saturating,
        ),
    )


def _rival(baseline: Judged) -> Rival:
    return Rival(model=baseline.model, session_options=baseline.needs.session_options)


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text("ascii", errors="replace")
    except OSError:
        return ""
