"""Draw a column's bins, and its PSI by days, as inline SVG. Knows no verdicts."""

import math
from collections.abc import Iterator, Sequence
from html import escape

from edgekit.fleet.drifting.findings import Day

_WIDTH, _HEIGHT = 560, 190
_LEFT, _RIGHT, _BOTTOM, _TOP = 46, 34, 34, 10
_GAP = 0.24  # of the room of a bin, between it and the next
_LONGEST = 14  # characters below a bar
_LIMITS = (0.1, 0.25)  # PSI of a shift, and of a drift
_MOST_CHANCE = 1.0  # what is above is of too few rows to be drawn to scale
_LINE = 14.0  # the height of a line of words


def bars(bins: Sequence[tuple[str, float, float]]) -> str:
    """Return two bars for each bin (name, share in the reference, share now)."""
    top = _nice(max((1e-9, *(share for _, *both in bins for share in both))))
    scale = (_HEIGHT - _TOP - _BOTTOM) / top
    room = (_WIDTH - _LEFT - _RIGHT) / len(bins)
    parts = [_opened(_HEIGHT, "shares of the reference and of now, by bin")]
    for share in (0.0, top / 2, top):
        parts += _ruled("grid", _HEIGHT - _BOTTOM - share * scale, f"{100 * share:.3g}%")
    for at, (name, was, now) in enumerate(bins):
        x = _LEFT + room * (at + _GAP / 2)
        width = room * (1 - _GAP) / 2
        told = f"{name}: {now:.1%} now, {was:.1%} in the reference"
        parts.append(f"<g><title>{escape(told)}</title>")
        parts.append(_bar("was", x, width, was * scale))
        parts.append(_bar("now", x + width, width, now * scale))
        parts.append("</g>")
    parts += _below([name for name, *_ in bins], room)
    return "".join([*parts, "</svg>"])


def line(days: Sequence[Day]) -> str:
    """Return PSI by days over the band of what chance makes; "" for fewer than two."""
    if len(days) < 2:  # noqa: PLR2004 - one day is no line
        return ""
    chance = [min(day.noise, _MOST_CHANCE) for day in days]
    top = max(0.3, *(day.psi for day in days), *chance) * 1.08
    scale = (_HEIGHT - _TOP - _BOTTOM) / top
    step = (_WIDTH - _LEFT - _RIGHT - 12) / (len(days) - 1)
    base = _HEIGHT - _BOTTOM

    def place(at: int, psi: float) -> str:
        return f"{_LEFT + 6 + at * step:.1f},{base - psi * scale:.1f}"

    parts = [_opened(_HEIGHT, "PSI by days")]
    band = [place(at, noise) for at, noise in enumerate(chance)]
    ends = [place(len(days) - 1, 0.0), place(0, 0.0)]
    parts.append(f'<polygon class="chance" points="{" ".join([*band, *ends])}"/>')
    parts += _ruled("grid", base, "0")
    for limit in _LIMITS:
        far = scale * limit >= _LINE or limit == _LIMITS[-1]
        parts += _ruled("mark", base - limit * scale, f"{limit:g}" if far else "")
    highest = max(day.psi for day in days)
    if highest > 2 * _LIMITS[-1]:
        parts += _ruled("grid", base - highest * scale, f"{highest:.2g}")
    points = " ".join(place(at, day.psi) for at, day in enumerate(days))
    parts.append(f'<polyline class="psi" points="{points}"/>')
    for at, day in enumerate(days):
        x, _, y = place(at, day.psi).partition(",")
        told = (
            f"{day.day}: PSI {day.psi:.3f}, chance up to {day.noise:.3f}, {day.rows:,} rows"
        )
        title = f"<title>{escape(told)}</title>"
        parts.append(f'<circle class="psi" cx="{x}" cy="{y}" r="3">{title}</circle>')
    below, end = base + 16, _WIDTH - _RIGHT
    parts.append(f'<text x="{_LEFT}" y="{below}">{escape(days[0].day)}</text>')
    parts.append(f'<text class="end" x="{end}" y="{below}">{escape(days[-1].day)}</text>')
    return "".join([*parts, "</svg>"])


def _ruled(kind: str, y: float, text: str) -> Iterator[str]:
    """Yield a line across, and words before it."""
    yield f'<line class="{kind}" x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
    if text:
        yield f'<text class="end" x="{_LEFT - 6}" y="{y + 4:.1f}">{text}</text>'


def _opened(height: int, label: str) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{label}">'


def _bar(kind: str, x: float, width: float, height: float) -> str:
    y = _HEIGHT - _BOTTOM - height
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}"'
        f' height="{height:.1f}"/>'
    )


def _below(names: Sequence[str], room: float) -> Iterator[str]:
    """Name as many bins as there is room for, the first always."""
    every = max(1, math.ceil(_LONGEST * 7.2 / room))
    for at in range(0, len(names), every):
        name = names[at]
        shown = (
            name
            if len(name) <= _LONGEST
            else f"{name[: _LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
        )
        x = _LEFT + room * (at + 0.5)
        anchor = "middle" if at else "middle first"
        yield (
            f'<text class="{anchor}" x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16}">'
            f"{escape(shown)}</text>"
        )


def _nice(most: float) -> float:
    """Return the next share of 1, 2, 5 ... percent and their tens."""
    for share in (0.05, 0.1, 0.2, 0.4, 0.6, 0.8):
        if most <= share:
            return share
    return 1.0
