"""The findings as one self-contained HTML page. It loads nothing, from nowhere."""

from collections.abc import Iterator
from datetime import datetime
from html import escape

from edgekit.fleet.drifting import drawing, words
from edgekit.fleet.drifting.evidence import Subject
from edgekit.fleet.drifting.findings import ColumnFinding, Findings, Outlier
from edgekit.html_page import filled
from edgekit.telemetry.drift import Level

_CHIPS = {
    Level.DRIFT: "refused",
    Level.SHIFT: "allowed",
    Level.UNKNOWN: "unknown",
    Level.STABLE: "good",
}
_OPEN = (Level.DRIFT, Level.SHIFT)  # of the others the bars are folded away
_MOST_OUTLIERS = 50


def page(subject: Subject, found: Findings, *, since: datetime, until: datetime) -> str:
    """Return the page."""
    return filled(
        "edgekit.fleet.drifting",
        "drift.html",
        title=escape(f"{subject.model} {subject.version} in {subject.stage}"),
        subtitle=escape(
            f"{since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC: {words.counted(found)}"
        ),
        chip=_chip(found.level),
        lead=escape(words.lead(found)),
        cards="".join(_cards(found)),
        rows="\n".join(_row(number, one) for number, one in enumerate(found.columns)),
        columns="\n".join(_column(number, one) for number, one in enumerate(found.columns)),
        outliers=_outliers(found.outliers),
        bundles=", ".join(f"<code>{one[:12]}</code>" for one in sorted(subject.bundles)),
    )


def _chip(level: Level) -> str:
    return f'<span class="chip {_CHIPS[level]}">{words.VERDICTS[level]}</span>'


def _cards(found: Findings) -> Iterator[str]:
    reference = found.reference
    failed = f"{found.errors:,} failed" if found.errors else "none failed"
    refused = sum(one.violations for one in found.columns) + found.refused
    for title, figure, text in (
        ("Rows", f"{found.rows:,}", f"in {found.requests:,} requests, {failed}"),
        ("Devices", f"{len(found.devices):,}", _some(found.devices)),
        ("Reference rows", f"{reference.rows:,}", f"from the {reference.source}"),
        ("Refused requests", f"{refused:,}", "by the model's signature"),
    ):
        yield (
            f'<div class="card"><h3>{title}</h3><strong>{figure}</strong>'
            f"<p>{escape(text)}</p></div>"
        )


def _row(number: int, one: ColumnFinding) -> str:
    drift = one.drift
    known = drift.rows > 0
    cells = (
        f'<a href="#c{number}">{escape(one.name)}</a> <small>{one.side}</small>',
        _chip(drift.level),
        f"{drift.psi:.3f}" if known else "",
        f"{drift.noise:.3f}" if known else "",
        f"{drift.rows:,}",
        escape(words.moved(one.shift)),
        escape(words.missing(one)),
        f"{one.violations:,}" if one.violations else "",
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _column(number: int, one: ColumnFinding) -> str:
    drift = one.drift
    told = [words.needed(one)]
    if drift.rows:
        told.insert(0, f"PSI {drift.psi:.3f}, by chance up to {drift.noise:.3f}")
    if one.shift:
        told.append(f"median moved by {words.moved(one.shift)}")
    if words.missing(one):
        told.append(f"missing {words.missing(one)}")
    if one.violations:
        told.append(f"{one.violations:,} requests refused for it")
    chart = drawing.bars(words.bins(one))
    days = drawing.line(one.days)
    line = f"<h4>PSI by days</h4>{days}" if days else ""
    opened = " open" if drift.level in _OPEN else ""
    return (
        f'<details id="c{number}"{opened}><summary>{escape(one.name)}'
        f"<small>{one.side}</small> {_chip(drift.level)}</summary>"
        f'<p class="small">{escape("; ".join(part for part in told if part))}</p>'
        f'<div class="charts"><div>{chart}</div><div>{line}</div></div></details>'
    )


def _outliers(outliers: tuple[Outlier, ...]) -> str:
    if not outliers:
        return '<p class="small">No device differs from all the others together.</p>'
    shown = "".join(
        f"<li>{escape(words.outlier(one))}</li>" for one in outliers[:_MOST_OUTLIERS]
    )
    more = len(outliers) - _MOST_OUTLIERS
    rest = f'<p class="small">and {more} more</p>' if more > 0 else ""
    return f"<ul>{shown}</ul>{rest}"


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:4])
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown  # noqa: PLR2004 - as many as fit
