"""The report of a conversion: one JSON document and one self-contained HTML page.

Knows no files and draws no conclusion of its own: it shows what was measured and judged.
The page loads nothing, from nowhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template

from edgekit.board import Board
from edgekit.conversion import Candidate
from edgekit.document import canonical_json
from edgekit.manifest import ModelIdentity
from edgekit_converters.outcome.plot import Axis, Mark, Point, scatter

FORMAT = 1
_MB = 2**20
_KB = 1_000
_US = "\N{MICRO SIGN}s"
_SHOWN_DROPS = 4  # times the allowed drop: what is worse is drawn at the edge
_METHOD = (
    "Drop is a share. With true labels it is the accuracy lost, in percent of the"
    " sample rows; without, the percentage of rows whose label changed. For numbers it is"
    " the growth of the root mean square error against the true values, or without them"
    " the error against the original's answers, in percent of their standard deviation."
    " Agreement is the share of rows with the original's answer (numbers: within 1 % of"
    " that deviation). Bundle is what travels: the compressed model, manifest and golden"
    " vectors. Peak memory is that of a process with onnxruntime and this session, about"
    " 50 MB of it onnxruntime and numpy. Times and memory were measured on the machine"
    " that converted, with one thread; on another processor they are estimates, which"
    " each device checks again before it serves."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the page shows. `notes` says what each flavor that ran has done."""

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
    notes: Mapping[str, str]
    tools: Mapping[str, str]
    measured_on: str

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
                "max_drop": self.max_drop,
                "source_bytes": self.source_bytes,
                "fp32_bytes": self.fp32_bytes,
                "measured_on": self.measured_on,
                "candidates": [self._numbers(one) for one in self.candidates],
                "choices": dict(self.choices),
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

    def _numbers(self, one: Candidate) -> dict[str, object]:
        said = {"flavor": one.flavor, "accepted": one.accepted, "reason": one.reason}
        if not ran(one):
            return dict(said)
        return {
            **said,
            "note": self.notes.get(one.flavor, ""),
            "model_bytes": one.model_bytes,
            "bundle_bytes": one.bundle_bytes,
            "peak_rss_bytes": one.peak_rss_bytes,
            "one_row_p50_us": one.one_row_p50_us,
            "one_row_p95_us": one.one_row_p95_us,
            "batch_us_per_row": one.batch_us_per_row,
            "agreement": one.agreement,
            "drop": one.drop,
            "boards": list(one.boards),
        }


def ran(candidate: Candidate) -> bool:
    """Whether there are figures: a flavor that does not apply or run has none."""
    return candidate.model_bytes > 0


def page(report: Report) -> str:
    """Return the HTML page."""
    identity = report.identity
    template = Template(
        files("edgekit_converters.outcome").joinpath("report.html").read_text("utf-8")
    )
    return template.substitute(
        title=escape(f"{identity.name} {identity.version}"),
        subtitle=escape(
            f"{report.framework} model, task {report.task}, judged on {report.samples}"
            " samples"
            f"{' with true labels' if report.true_labels else ''},"
            f" at most {report.max_drop:.2%} may be lost"
        ),
        lead=_lead(report),
        choices=_choices(report),
        plots=_plots(report),
        rows="\n".join(_rows(one, report) for one in report.candidates if ran(one)),
        fallen=_fallen([one for one in report.candidates if not ran(one)]),
        provenance=_provenance(report),
        method=_METHOD,
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
    smallest = min(kept, key=lambda one: (one.model_bytes, one.flavor))
    times = report.fp32_bytes / smallest.model_bytes
    return (
        f"<strong>{escape(smallest.flavor)}</strong> is the smallest flavor that passed:"
        f" {size(smallest.model_bytes)}, {times:.1f} times smaller than the exported ONNX"
        f" ({size(report.fp32_bytes)}; the native model has {size(report.source_bytes)})."
        f" {len(kept)} of {len(report.candidates)} candidates were kept."
    )


def _choices(report: Report) -> str:
    if not report.choices:
        return '<p class="small">No board was named.</p>'
    by_flavor = {one.flavor: one for one in report.candidates}
    cards = [
        _card(board, by_flavor[report.choices[board.name]])
        for board in report.boards
        if board.name in report.choices
    ]
    return f'<div class="cards">{"".join(cards)}</div>'


def _card(board: Board, one: Candidate) -> str:
    flash = one.bundle_bytes + one.model_bytes
    return (
        f'<div class="card"><h3>{escape(board.title)}</h3>'
        f"<strong>{escape(one.flavor)}</strong>"
        f"<p>{one.peak_rss_bytes / _MB:.0f} of {board.model_ram_mb} MB memory<br>"
        f"{size(flash)} of {board.model_flash_mb} MB flash</p></div>"
    )


def _plots(report: Report) -> str:
    """Return two plots over the same sizes: what is lost, and how long a row takes."""
    shown = [one for one in report.candidates if ran(one)]
    size_axis = Axis(
        title="model size, kB",
        mark=Mark(at=report.fp32_bytes / _KB, text="ONNX as exported"),
    )
    lost = scatter(
        [_point(one, y=one.drop) for one in shown],
        x=size_axis,
        y=Axis(
            title="drop against the original",
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


def _point(one: Candidate, *, y: float) -> Point:
    return Point(
        label=_label(one),
        detail=f"{one.flavor}: {size(one.model_bytes)},"
        f" {one.one_row_p50_us} {_US} a row, drop {one.drop:.4g}",
        x=one.model_bytes / _KB,
        y=y,
        kind=_kind(one),
    )


def _label(one: Candidate) -> str:
    return one.flavor if one.drop <= 0 else f"{one.flavor}, {one.drop:.2%} lost"


def _kind(one: Candidate) -> str:
    if not one.accepted:
        return "refused"
    return "allowed" if one.drop > 0 else "good"


def _rows(one: Candidate, report: Report) -> str:
    verdict, kind = ("kept", "good") if one.accepted else ("refused", "refused")
    cells = [
        f'<td class="flavor">{escape(one.flavor)}</td>',
        f'<td><span class="chip {kind}">{verdict}</span></td>',
        f"<td>{one.model_bytes:,} B</td>",
        f"<td>{one.bundle_bytes:,} B</td>",
        f"<td>{one.peak_rss_bytes / _MB:.1f} MB</td>",
        f"<td>{one.one_row_p50_us:,} {_US}</td>",
        f"<td>{one.one_row_p95_us:,} {_US}</td>",
        f"<td>{one.batch_us_per_row:,.1f} {_US}/row</td>",
        f"<td>{one.agreement:.2%}</td>",
        f"<td>{one.drop:.2%}</td>",
    ]
    note = report.notes.get(one.flavor, "")
    said = escape(f"{one.reason}; {note}" if note else one.reason)
    return (
        f'<tr class="figures">{"".join(cells)}</tr>'
        f'<tr class="reason"><td colspan="{len(cells)}">{said}</td></tr>'
    )


def _fallen(candidates: Sequence[Candidate]) -> str:
    if not candidates:
        return ""
    items = "".join(
        f"<li><strong>{escape(one.flavor)}</strong>: {escape(one.reason)}</li>"
        for one in candidates
    )
    return f"<h2>What does not apply, or does not run</h2><ul>{items}</ul>"


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
