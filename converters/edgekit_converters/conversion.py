"""The converter itself: from a model in its framework to flavors on disk and a report.

The entry point `convert` of the group edgekit.converters. Only order is decided here:
extract, try every flavor, choose for each board, and only then write anything.
"""

from collections.abc import Mapping, Sequence

from edgekit import golden, scratch
from edgekit.binding import Predictions
from edgekit.conversion import Candidate, Conversion, ConversionRequest, Progress
from edgekit.document import canonical_json
from edgekit.latency import on_board
from edgekit.manifest import GOLDEN_NAME, MANIFEST_NAME
from edgekit.table import rows
from edgekit_converters.encoding import decode
from edgekit_converters.extraction import Extraction
from edgekit_converters.flavors import LOSSLESS
from edgekit_converters.native.extract import extract
from edgekit_converters.needs.contract import beyond_onnx
from edgekit_converters.outcome import python_function, reference_profile, shelf
from edgekit_converters.outcome.page import page
from edgekit_converters.outcome.records import Written, tools, write
from edgekit_converters.outcome.report import Detail, Report
from edgekit_converters.verdict import missing
from edgekit_converters.verdict.asking import ask
from edgekit_converters.verdict.candidates import Fallen, Judged, try_flavors
from edgekit_converters.verdict.choice import explained
from edgekit_converters.verdict.fit import Need, choose, misfits
from edgekit_converters.verdict.proof import Prover, Subject


def convert(request: ConversionRequest, progress: Progress) -> Conversion:
    """Convert, measure and gate one model, and write `request.out`.

    ConversionError when it cannot be done faithfully, BoardError when nothing fits one of
    the boards, ConfigError when `out` holds other things. On any error `out` is as it was.
    """
    shelf.check(request.out)
    scratch.sweep()
    with scratch.folder("convert") as workdir:
        extraction = extract(request, workdir, progress)
    return convert_extraction(request, extraction, progress)


def convert_extraction(
    request: ConversionRequest, extraction: Extraction, progress: Progress
) -> Conversion:
    """Convert a model that is already out of its framework; see `convert`."""
    profile = reference_profile.profile(request, extraction)
    told = reference_profile.sentence(profile)
    asked = ask(request, extraction)
    extraction, notes = asked.extraction, (*asked.notes, told)
    for note in notes:
        progress(note)
    tried = try_flavors(
        extraction,
        asked.papers,
        quantize=request.quantize,
        max_drop=request.max_drop,
        seconds=request.seconds,
        proven_only=request.proven_only,
        boards=request.boards,
        progress=progress,
    )
    written = {
        one.flavor: write(request, extraction, one, tried, profile=profile)
        for one in tried
        if isinstance(one, Judged)
    }
    needs = [_need(one) for one in written.values() if one.judged.verdict.accepted]
    prover = Prover(map(_subject, written.values()), request.prove_runtime, progress)
    choices = choose(request.boards, needs, refusal=prover.refusal)
    gaps = missing.sentence(extraction.samples, asked.papers.whole, _kept(tried))
    notes = (*notes, *([gaps] if gaps else []), *prover.sentences())
    progress(f"writing {request.out}")
    candidates = tuple(
        _candidate(request, one, written.get(one.flavor), prover) for one in tried
    )
    why = explained(choices, candidates)
    report = _report(
        request,
        extraction,
        candidates=candidates,
        choices=choices,
        reasons=why,
        written=written,
        notes=notes,
    )
    shelf.place(request.out, _files(report, extraction, written))
    return Conversion(
        candidates=candidates,
        choices=choices,
        source_bytes=extraction.source_bytes,
        fp32_bytes=len(extraction.model),
        samples=rows(extraction.samples),
        report_json=request.out / shelf.REPORT_JSON,
        report_html=request.out / shelf.REPORT_HTML,
        reasons=why,
        notes=notes,
    )


def _report(  # noqa: PLR0913 - everything that the report shows
    request: ConversionRequest,
    extraction: Extraction,
    *,
    candidates: Sequence[Candidate],
    choices: Mapping[str, str],
    reasons: Mapping[str, str],
    written: Mapping[str, Written],
    notes: tuple[str, ...],
) -> Report:
    return Report(
        identity=request.identity,
        framework=extraction.framework,
        task=extraction.task.value,
        samples=rows(extraction.samples),
        true_labels=extraction.labels is not None,
        max_drop=request.max_drop,
        source_bytes=extraction.source_bytes,
        fp32_bytes=len(extraction.model),
        boards=tuple(request.boards),
        candidates=tuple(candidates),
        choices=choices,
        reasons=reasons,
        notes=notes,
        details={flavor: _detail(one) for flavor, one in written.items()},
        tools=tools(extraction),
        measured_on=next(one.judged.trial.measured_on for one in written.values()),
    )


def _detail(written: Written) -> Detail:
    judged = written.judged
    return Detail(
        semantics=judged.semantics,
        findings=judged.findings,
        needs=judged.needs,
        cost=judged.trial.cost,
        tolerance=written.manifest.tolerance,
        tolerance_reason=str(written.manifest.conversion["tolerance_reason"]),
        golden=golden.decode(written.members[GOLDEN_NAME]),
    )


def _files(
    report: Report, extraction: Extraction, written: Mapping[str, Written]
) -> dict[str, bytes]:
    files = {
        shelf.REPORT_JSON: report.to_json(),
        shelf.REPORT_HTML: page(report).encode(),
    }
    for flavor, one in written.items():
        if one.judged.verdict.accepted:
            files[f"{flavor}/{MANIFEST_NAME}"] = one.manifest.to_json()
            beside = {
                **python_function.files(extraction, one.manifest),
                shelf.NAMES: canonical_json(dict(one.judged.names)),
            }
            for name, content in {**one.members, **beside}.items():
                files[f"{flavor}/{name}"] = content
    return files


def _need(written: Written) -> Need:
    cost = written.judged.trial.cost
    return Need(
        flavor=written.judged.flavor,
        bundle_bytes=written.bundle_bytes,
        model_bytes=cost.model_bytes,
        peak_rss_bytes=cost.peak_rss_bytes,
        min_onnxruntime=written.judged.needs.min_onnxruntime,
        sure=written.judged.verdict.enough or written.judged.flavor in LOSSLESS,
        contributed=beyond_onnx(decode(written.judged.model)),
        isas=written.judged.needs.isas,
    )


def _kept(tried: Sequence[Judged | Fallen]) -> list[tuple[str, Predictions]]:
    return [
        (one.flavor, one.predictions)
        for one in tried
        if isinstance(one, Judged) and one.verdict.accepted
    ]


def _subject(written: Written) -> Subject:
    return Subject(
        flavor=written.judged.flavor,
        model=written.judged.model,
        session_options=written.judged.needs.session_options,
        binding=written.manifest.binding,
        golden=written.members[GOLDEN_NAME],
        tolerance=written.manifest.tolerance,
    )


def _candidate(
    request: ConversionRequest,
    tried: Judged | Fallen,
    written: Written | None,
    prover: Prover,
) -> Candidate:
    if isinstance(tried, Fallen) or written is None:
        return Candidate(
            flavor=tried.flavor,
            accepted=False,
            reason=tried.reason if isinstance(tried, Fallen) else tried.verdict.reason,
            model_bytes=0,
            bundle_bytes=0,
            peak_rss_bytes=0,
            one_row_p50_us=0,
            one_row_p95_us=0,
            batch_us_per_row=0.0,
            agreement=0.0,
            drop=0.0,
        )
    cost = tried.trial.cost
    need = _need(written)
    accepted = tried.verdict.accepted
    fits = tuple(
        board.name
        for board in request.boards
        if not misfits(board, need) and not prover.refused(board, tried.flavor)
    )
    return Candidate(
        flavor=tried.flavor,
        accepted=accepted,
        reason=tried.verdict.reason,
        model_bytes=cost.model_bytes,
        bundle_bytes=written.bundle_bytes,
        peak_rss_bytes=cost.peak_rss_bytes,
        one_row_p50_us=cost.one_row_p50_us,
        one_row_p95_us=cost.one_row_p95_us,
        batch_us_per_row=cost.batch_us_per_row,
        agreement=tried.comparison.agreement,
        drop=tried.comparison.drop,
        metric=str(tried.comparison.metric),
        metric_original=tried.comparison.original,
        metric_flavor=tried.comparison.flavor,
        metric_scale=tried.comparison.scale,
        low=tried.comparison.interval.low,
        high=tried.comparison.interval.high,
        enough=tried.verdict.enough,
        lossless=tried.flavor in LOSSLESS,
        note=tried.note,
        boards=fits if accepted else (),
        latencies=tuple(on_board(b, cost.one_row_p50_us) for b in request.boards),
        folder=request.out / tried.flavor if accepted else None,
        manifest=written.manifest if accepted else None,
    )
