"""A report as one self-contained HTML page for people. It loads nothing, from nowhere."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

import numpy as np

from edgekit.board import Board
from edgekit.conversion import Candidate
from edgekit.golden import Golden
from edgekit.html_page import filled
from edgekit.table import Array
from edgekit_converters.flavors import Finding
from edgekit_converters.outcome.plot import Axis, Mark, Point, scatter
from edgekit_converters.outcome.report import Detail, Report, frontier, ran

_MB = 2**20
_KB = 1_000
_US = "\N{MICRO SIGN}s"
_SHOWN_DROPS = 4  # times the allowed drop: what is worse is drawn at the edge
_SHOWN_FINDINGS = 40
_SHOWN_COLUMNS = 6
_GOLDEN_ROWS = 3


def page(report: Report) -> str:
    """Return the HTML page."""
    identity = report.identity
    return filled(
        "edgekit_converters.outcome",
        "report.html",
        title=escape(f"{identity.name} {identity.version}"),
        subtitle=escape(
            f"{report.framework} model, task {report.task}, judged by {report.metric_title}"
            f" on {report.samples:,} samples"
            f"{' with true labels' if report.true_labels else ' without true labels'},"
            f" a drop of at most {report.max_drop:g} is allowed"
        ),
        lead=_lead(report),
        notes="".join(f"<li>{escape(note)}</li>" for note in report.notes),
        choices=_choices(report),
        plots=_plots(report),
        metric=escape(report.metric_title),
        rows="\n".join(_rows(one, report) for one in report.candidates if ran(one)),
        fallen=_fallen([one for one in report.candidates if not ran(one)]),
        details="\n".join(_details(report)),
        provenance=_provenance(report),
    )


def size(number: int) -> str:
    """Write a number of bytes for people: 12,345 B becomes 12.3 kB."""
    if number < _KB:
        return f"{number} B"
    if number < _KB**2:
        return f"{number / _KB:,.1f} kB"
    return f"{number / _KB**2:,.2f} MB"


def _lead(report: Report) -> str:
    kept = [one for one in report.candidates if one.accepted]
    smallest = min(kept, key=lambda one: (not one.sure, one.model_bytes, one.flavor))
    passed = "passed" if smallest.enough else "loses nothing"
    times = report.fp32_bytes / smallest.model_bytes
    front = ", ".join(escape(one.flavor) for one in frontier(kept))
    return (
        f"<strong>{escape(smallest.flavor)}</strong> is the smallest flavor that {passed}:"
        f" {size(smallest.model_bytes)}, {times:.1f} times smaller than the exported ONNX"
        f" ({size(report.fp32_bytes)}; the native model has {size(report.source_bytes)})."
        f" {len(kept)} of {len(report.candidates)} candidates were kept. None of them beats"
        f" these in size, accuracy and speed together: {front}."
    )


def _choices(report: Report) -> str:
    if not report.choices:
        return '<p class="small">No board was named.</p>'
    by_flavor = {one.flavor: one for one in report.candidates}
    cards = [
        _card(board, by_flavor[report.choices[board.name]], report.reasons)
        for board in report.boards
        if board.name in report.choices
    ]
    return f'<div class="cards">{"".join(cards)}</div>'


def _card(board: Board, one: Candidate, reasons: Mapping[str, str]) -> str:
    why = escape(reasons.get(board.name, ""))
    flash = one.bundle_bytes + one.model_bytes
    return (
        f'<div class="card"><h3>{escape(board.title)}</h3>'
        f"<strong>{escape(one.flavor)}</strong>"
        f"<p>{one.peak_rss_bytes / _MB:.0f} of {board.model_ram_mb} MB memory<br>"
        f"{size(flash)} of {board.model_flash_mb} MB flash{_latency(board, one)}</p>"
        f"{why and f'<p>{why}</p>'}</div>"
    )


def _latency(board: Board, one: Candidate) -> str:
    for told in one.latencies:
        if told.board == board.name:
            kind = "calibrated" if told.calibrated else "estimated"
            how = escape(told.how, quote=True)
            return (
                f'<br><span title="{how}">about {told.one_row_p50_us:,} {_US} a row,'
                f" {kind}</span>"
            )
    return ""


def _plots(report: Report) -> str:
    """Return two plots over the same sizes: what is lost, and how long a row takes."""
    shown = [one for one in report.candidates if ran(one)]
    size_axis = Axis(
        title="model size, kB",
        mark=Mark(at=report.fp32_bytes / _KB, text="ONNX as exported"),
    )
    lost = scatter(
        [_point(one, y=one.drop, low=one.low, high=one.high) for one in shown],
        x=size_axis,
        y=Axis(
            title=f"{report.metric_title}, drop against the original",
            mark=Mark(at=report.max_drop, text="allowed"),
            cap=_SHOWN_DROPS * report.max_drop or None,
        ),
    )
    slow = scatter(
        [_point(one, y=float(one.one_row_p50_us)) for one in shown],
        x=size_axis,
        y=Axis(title=f"one row, median, {_US}"),
    )
    return f"{lost}\n{slow}"


def _point(
    one: Candidate, *, y: float, low: float | None = None, high: float | None = None
) -> Point:
    return Point(
        label=one.flavor,
        detail=f"{one.flavor}: {size(one.model_bytes)},"
        f" {one.one_row_p50_us} {_US} a row, drop {one.drop:.4g}",
        x=one.model_bytes / _KB,
        y=y,
        kind=_kind(one),
        low=low,
        high=high,
    )


def _kind(one: Candidate) -> str:
    if not one.accepted:
        return "refused"
    return "allowed" if _signed(one.drop).startswith("+") else "good"


def _rows(one: Candidate, report: Report) -> str:
    verdict, kind = _verdict(one)
    interval = f"{_signed(one.low)} to {_signed(one.high)}"
    cells = [
        f'<td class="flavor">{escape(one.flavor)}</td>',
        f'<td><span class="chip {kind}">{verdict}</span></td>',
        f"<td>{one.model_bytes:,} B</td>",
        f"<td>{one.bundle_bytes:,} B</td>",
        f"<td>{one.peak_rss_bytes / _MB:.1f} MB</td>",
        f"<td>{one.one_row_p50_us:,} {_US}</td>",
        f"<td>{one.one_row_p95_us:,} {_US}</td>",
        f"<td>{one.batch_us_per_row:,.1f} {_US}/row</td>",
        f"<td>{one.metric_flavor:.4f}</td>",
        f"<td>{_signed(one.drop)}<br><small>{interval}</small></td>",
        f"<td>{one.agreement:.2%}</td>",
    ]
    detail = report.details.get(one.flavor)
    said = "; ".join(
        part for part in (one.reason, one.note, detail.semantics if detail else "") if part
    )
    return (
        f'<tr class="figures">{"".join(cells)}</tr>'
        f'<tr class="reason"><td colspan="{len(cells)}">{escape(said)}</td></tr>'
    )


def _signed(number: float) -> str:
    """Write a drop with its sign, one that is shown as nothing without."""
    return "0.0000" if f"{number:z.4f}" == "0.0000" else f"{number:+.4f}"


def _verdict(one: Candidate) -> tuple[str, str]:
    if one.accepted:
        if one.enough:
            return "kept", "good"
        return ("lossless", "good") if one.lossless else ("kept, not proven", "allowed")
    return ("refused", "refused") if one.enough else ("not enough samples", "refused")


def _fallen(candidates: Sequence[Candidate]) -> str:
    if not candidates:
        return ""
    by_reason: dict[str, list[str]] = {}
    for one in candidates:
        by_reason.setdefault(one.reason, []).append(one.flavor)
    items = "".join(
        f"<li><strong>{escape(', '.join(flavors))}</strong>: {escape(reason)}</li>"
        for reason, flavors in by_reason.items()
    )
    return f"<h2>What does not apply, or does not run</h2><ul>{items}</ul>"


def _details(report: Report) -> Iterator[str]:
    for one in report.candidates:
        detail = report.details.get(one.flavor)
        if detail is not None:
            yield (
                f"<details><summary>{escape(one.flavor)}"
                f" <small>{escape(_summary(detail))}</small></summary>"
                f"{_memory(detail)}{_findings(detail.findings)}{_golden(detail)}</details>"
            )


def _summary(detail: Detail) -> str:
    needs = detail.needs
    opsets = ", ".join(f"{name or 'ai.onnx'} {n}" for name, n in needs.opsets.items())
    options = ", ".join(f"{key}={value}" for key, value in needs.session_options.items())
    parts = [f"onnxruntime {needs.min_onnxruntime} or newer", opsets, options]
    return "; ".join(part for part in parts if part)


def _memory(detail: Detail) -> str:
    cost = detail.cost
    facts = [f"peak {cost.peak_rss_bytes / _MB:.1f} MB measured"]
    if cost.first_load_rss_bytes:
        facts.append(f"{cost.first_load_rss_bytes / _MB:.1f} MB while loading")
    if cost.runtime_floor_bytes:
        facts.append(f"{cost.runtime_floor_bytes / _MB:.1f} MB of it the runtime alone")
    if cost.memory_estimate_bytes:
        facts.append(f"{cost.memory_estimate_bytes / _MB:.1f} MB told by the graph alone")
    return f"<p>Memory: {', '.join(facts)}. Loads in {cost.load_us / 1_000:.1f} ms.</p>"


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return ""
    rows = [
        f"<tr><td>{escape(one.subject)}</td>"
        f"<td>{'' if one.value is None else f'{one.value:.4g}'}</td>"
        f"<td>{escape(one.fact)}</td></tr>"
        for one in findings[:_SHOWN_FINDINGS]
    ]
    more = len(findings) - _SHOWN_FINDINGS
    if more > 0:
        rows.append(f'<tr><td colspan="3">and {more:,} more in report.json</td></tr>')
    return (
        '<table class="findings"><thead><tr><th>Part</th><th>Value</th><th>Finding</th>'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _golden(detail: Detail) -> str:
    golden = detail.golden
    tolerance = detail.tolerance
    count = len(next(iter(golden.inputs.values())))
    lines = "".join(
        f"<li><code>{escape(_row(golden, number))}</code></li>"
        for number in range(min(_GOLDEN_ROWS, count))
    )
    return (
        f"<p>Proven on each device by {count} golden {'row' if count == 1 else 'rows'},"
        f" within {tolerance.rtol:g} relative and {tolerance.atol:g} absolute:"
        f" {escape(detail.tolerance_reason)}.</p><ul>{lines}</ul>"
    )


def _row(golden: Golden, number: int) -> str:
    given = [
        f"{name or 'input'}={_short(array[number])}"
        for name, array in list(golden.inputs.items())[:_SHOWN_COLUMNS]
    ]
    if len(golden.inputs) > _SHOWN_COLUMNS:
        given.append("\N{HORIZONTAL ELLIPSIS}")
    got = [f"{name}={_short(array[number])}" for name, array in golden.outputs.items()]
    return f"{' '.join(given)} \N{RIGHTWARDS ARROW} {' '.join(got)}"


def _short(value: Array | object) -> str:
    flat = np.asarray(value).reshape(-1)
    shown = [
        f"{number:.4g}" if flat.dtype.kind == "f" else str(number)
        for number in flat[:_SHOWN_COLUMNS].tolist()
    ]
    if flat.size == 1:
        return shown[0]
    more = "\N{HORIZONTAL ELLIPSIS}" if flat.size > _SHOWN_COLUMNS else ""
    return f"[{' '.join(shown)}{more}]"


def _provenance(report: Report) -> str:
    identity = report.identity
    facts = {
        "Model": f"{identity.name}, version {identity.version}",
        "Run": identity.run_id or "none",
        "Source SHA-256": identity.source_sha256,
        "Measured on": report.measured_on,
        "Tools": ", ".join(
            f"{name} {number}" for name, number in sorted(report.tools.items())
        ),
    }
    return "\n".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items()
    )
