"""A conversion on the screen, and as JSON. Decides nothing."""

import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields

from rich import box
from rich.console import Console
from rich.table import Table

from edgekit.conversion import Candidate, Conversion

_PIPED_COLUMNS = 160
_ENDLESS = 10_000  # columns of a terminal that any table fits
_MB = 2**20
_INDENT = "    "
_WIRE = (
    "is the bundle: the model compressed, and beside it the manifest, the golden rows"
    " that a device proves it with, and the reference profile"
)


def show(conversion: Conversion) -> None:
    """Print every candidate, why it stays or falls, and what each board gets."""
    console = Console(width=None if sys.stdout.isatty() else _PIPED_COLUMNS)
    console.print(_fitting(conversion.candidates, console))
    if any(one.bundle_bytes > one.model_bytes for one in conversion.candidates):
        _line(console, "WIRE B", _WIRE)
    for reason, flavors in _by_reason(conversion.candidates).items():
        _line(console, ", ".join(flavors), reason)
    console.print()
    for one in conversion.candidates:
        if one.note:
            _line(console, one.flavor, one.note)
    console.print()
    for name, text in _choices(conversion):
        _line(console, name, text)
    for note in conversion.notes:
        _line(console, "note", note)
    _line(console, "report", str(conversion.report_html))


def _fitting(candidates: Sequence[Candidate], console: Console) -> Table:
    """Return the table with all columns that the terminal is wide enough for."""
    ranks = sorted({column.rank for column in _COLUMNS}, reverse=True)
    tables = [_table(candidates, rank) for rank in ranks]
    endless = console.options.update(max_width=_ENDLESS)
    fits = (
        one
        for one in tables
        if console.measure(one, options=endless).maximum <= console.width
    )
    return next(fits, tables[-1])


def _table(candidates: Sequence[Candidate], most: int) -> Table:
    """Return the columns up to a rank, a row for each flavor that ran.

    Why the others do not apply, or run, stands below it.
    """
    shown = [column for column in _COLUMNS if column.rank <= most]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for number, column in enumerate(shown):
        table.add_column(column.heading, justify="left" if number < 2 else "right")  # noqa: PLR2004 - names left, figures right
        table.columns[-1].no_wrap = True
    for one in candidates:
        if one.model_bytes:
            table.add_row(*(column.figure(one) for column in shown))
    return table


def _by_reason(candidates: Sequence[Candidate]) -> dict[str, list[str]]:
    """Return the reasons with their flavors: many stay, or fall, for the same one."""
    found: dict[str, list[str]] = {}
    for one in candidates:
        found.setdefault(one.reason, []).append(one.flavor)
    return found


def _line(console: Console, name: str, text: str) -> None:
    """Print a name and a text: in a terminal wrapped below itself, else as one line."""
    line = f"{name}  {text}"
    if sys.stdout.isatty():
        line = textwrap.fill(line, console.width, subsequent_indent=_INDENT)
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _choices(conversion: Conversion) -> Iterator[tuple[str, str]]:
    """Say what each board gets, and why if that is not simply the smallest."""
    by_name = {one.flavor: one for one in conversion.candidates}
    kept = [one for one in conversion.candidates if one.accepted]
    if not conversion.choices and kept:
        best = min(kept, key=lambda one: (not one.sure, one.bundle_bytes, one.flavor))
        yield "smallest", f"{_sized(best)}; name a board with --board to choose for it"
    for name, flavor in conversion.choices.items():
        why = conversion.reasons.get(name)
        text = f"gets {_sized(by_name[flavor])}{_time(by_name[flavor], name)}"
        yield name, f"{text}; {why}" if why else text


def _time(one: Candidate, board: str) -> str:
    """Say how long a row takes on a board; nothing is timed there."""
    for told in one.latencies:
        if told.board == board:
            sure = "" if told.calibrated else " (estimated)"
            return f", about {told.one_row_p50_us:,} us a row{sure}"
    return ""


def _sized(one: Candidate) -> str:
    doubt = "" if one.sure else " (not proven)"
    return f"{one.flavor}{doubt}, {one.bundle_bytes:,} bytes on the wire"


def _verdict(one: Candidate) -> str:
    if one.accepted:
        return "kept" if one.enough else "lossless" if one.lossless else "unproven"
    return "refused" if one.enough else "too few"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """A column of the table; the higher its rank, the sooner a terminal leaves it out."""

    heading: str
    figure: Callable[[Candidate], str]
    rank: int = 0


_COLUMNS = (
    _Column(heading="FLAVOR", figure=lambda one: one.flavor),
    _Column(heading="VERDICT", figure=_verdict),
    _Column(heading="MODEL B", figure=lambda one: f"{one.model_bytes:,}"),
    _Column(heading="WIRE B", figure=lambda one: f"{one.bundle_bytes:,}"),
    _Column(
        heading="RSS MB",
        figure=lambda one: f"{one.peak_rss_bytes / _MB:.1f}",
        rank=1,
    ),
    _Column(heading="P50 us", figure=lambda one: f"{one.one_row_p50_us:,}", rank=1),
    _Column(heading="P95 us", figure=lambda one: f"{one.one_row_p95_us:,}", rank=3),
    _Column(
        heading="BATCH us/ROW",
        figure=lambda one: f"{one.batch_us_per_row:,.1f}",
        rank=4,
    ),
    _Column(heading="METRIC", figure=lambda one: one.metric_title, rank=2),
    _Column(heading="VALUE", figure=lambda one: f"{one.metric_flavor:.4f}"),
    _Column(heading="DROP", figure=lambda one: f"{one.drop:z.4f}"),
    _Column(
        heading="95 % INTERVAL", figure=lambda one: f"{one.low:z.4f} .. {one.high:z.4f}"
    ),
)


def document(conversion: Conversion) -> dict[str, object]:
    """Return all of it for a script."""
    return {
        "candidates": [_figures(one) for one in conversion.candidates],
        "choices": dict(conversion.choices),
        "reasons": dict(conversion.reasons),
        "source_bytes": conversion.source_bytes,
        "fp32_bytes": conversion.fp32_bytes,
        "samples": conversion.samples,
        "notes": list(conversion.notes),
        "report_json": str(conversion.report_json),
        "report_html": str(conversion.report_html),
    }


def _figures(one: Candidate) -> dict[str, object]:
    figures = {field.name: getattr(one, field.name) for field in fields(one)}
    del figures["manifest"]  # it lies in the folder
    figures["latencies"] = [asdict(told) for told in one.latencies]
    figures["folder"] = None if one.folder is None else str(one.folder)
    return figures
