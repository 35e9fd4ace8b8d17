"""Draw size against latency as one inline SVG. Knows no candidates, only points."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10

_WIDTH, _HEIGHT = 760, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 120, 20, 52
_HEADROOM = 1.15
_LABEL_GAP = 15
_TICKS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A flavor in the plot; `kind` is its CSS class (good, allowed, refused)."""

    label: str
    detail: str
    x: float
    y: float
    kind: str


def scatter(points: Sequence[Point], *, x_title: str, y_title: str, mark: float) -> str:
    """Return an SVG element; both axes start at zero, `mark` is a dashed x."""
    most_x = _HEADROOM * max([mark, *(point.x for point in points)])
    most_y = _HEADROOM * max(point.y for point in points)

    def across(value: float) -> float:
        return _LEFT + value / most_x * (_WIDTH - _LEFT - _RIGHT)

    def down(value: float) -> float:
        return _HEIGHT - _BOTTOM - value / most_y * (_HEIGHT - _TOP - _BOTTOM)

    title = f"{escape(y_title)} against {escape(x_title)}"
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">']
    for value in _ticks(most_x):
        parts.append(_line("grid", across(value), down(0), across(value), _TOP))
        parts.append(_text("tick middle", across(value), down(0) + 18, f"{value:,.10g}"))
    for value in _ticks(most_y):
        parts.append(_line("grid", _LEFT, down(value), _WIDTH - _RIGHT, down(value)))
        parts.append(_text("tick end", _LEFT - 8, down(value) + 4, f"{value:,.10g}"))
    parts.append(_line("mark", across(mark), down(0), across(mark), _TOP))
    parts.append(_text("tick middle", across(mark), _TOP - 6, "ONNX as exported"))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(_text("axis middle", middle, _HEIGHT - 10, x_title))
    parts.append(_text("axis", 4, _TOP - 6, y_title))
    parts.append(_front(points, across, down))
    labels = _spaced([down(point.y) for point in points])
    for point, label_y in zip(points, labels, strict=True):
        parts.append(_dot(point, across(point.x), down(point.y), label_y))
    return "\n".join([*parts, "</svg>"])


def front(points: Sequence[Point]) -> list[Point]:
    """Return the kept points that no other kept one beats in both, by size."""
    kept = sorted((p for p in points if p.kind != "refused"), key=lambda p: (p.x, p.y))
    best: list[Point] = []
    for point in kept:
        if not best or point.y < best[-1].y:
            best.append(point)
    return best


def _front(
    points: Sequence[Point],
    across: Callable[[float], float],
    down: Callable[[float], float],
) -> str:
    line = " ".join(f"{across(p.x):.1f},{down(p.y):.1f}" for p in front(points))
    return f'<polyline class="front" points="{line}"/>'


def _dot(point: Point, x: float, y: float, label_y: float) -> str:
    return (
        f'<g class="{point.kind}"><circle cx="{x:.1f}" cy="{y:.1f}" r="6">'
        f"<title>{escape(point.detail)}</title></circle>"
        f'<text class="name" x="{x + 12:.1f}" y="{label_y + 4:.1f}">{escape(point.label)}'
        "</text></g>"
    )


def _spaced(heights: Sequence[float]) -> list[float]:
    """Move labels down until none lies on another."""
    placed: dict[int, float] = {}
    lowest = float("-inf")
    for number, height in sorted(enumerate(heights), key=lambda entry: entry[1]):
        lowest = max(height, lowest + _LABEL_GAP)
        placed[number] = lowest
    return [placed[number] for number in range(len(heights))]


def _ticks(most: float) -> list[float]:
    """Return round numbers from zero to `most`, about _TICKS of them."""
    rough = most / _TICKS
    unit = 10.0 ** floor(log10(rough))
    step = next(unit * k for k in (1, 2, 2.5, 5, 10) if unit * k >= rough)
    return [step * count for count in range(floor(most / step) + 1)]


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line class="{kind}" {ends}/>'


def _text(kind: str, x: float, y: float, text: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
