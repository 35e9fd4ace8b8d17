"""Draw points in a plane as one inline SVG. Knows no candidates, only points and axes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

_WIDTH, _HEIGHT = 760, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 132, 26, 48
_HEADROOM = 0.12
_LABEL_GAP = 15
_LABEL_STEP = 5
_LETTER = 7.5  # about the width of one
_TICKS = 5
_WIDE = 30.0  # a ratio of largest to smallest from which a linear axis hides the small
_BEYOND = 1.06  # a point off the scale is drawn this far up the axis


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A flavor in the plot; `kind` is its CSS class (good, allowed, refused).

    `low` and `high` are the ends of an interval around `y`, if there is one.
    """

    label: str
    detail: str
    x: float
    y: float
    kind: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A dashed line across the plot, with words."""

    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What is measured along one side. `cap` is the most that is drawn to scale."""

    title: str
    mark: Mark | None = None
    cap: float | None = None


def scatter(points: Sequence[Point], *, x: Axis, y: Axis) -> str:
    """Return an SVG element. What lies beyond an axis's cap is drawn at its end."""
    across = _Scale.of(
        [p.x for p in points], x, start=_LEFT, end=_WIDTH - _RIGHT, may_be_logarithmic=True
    )
    heights = [n for p in points for n in (p.y, p.low, p.high) if n is not None]
    down = _Scale.of(
        heights, y, start=_HEIGHT - _BOTTOM, end=_TOP, may_be_logarithmic=False
    )
    title = f"{escape(y.title)} against {escape(x.title)}"
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">']
    parts += _grid(across, down)
    parts += _marks(across, down, x.mark, y.mark)
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    words = f"{x.title} (logarithmic)" if across.logarithmic else x.title
    parts.append(_text("axis middle", middle, _HEIGHT - 10, words))
    parts.append(_text("axis", 4, 14, y.title))
    parts.append(_front(points, across, down))
    places = [(across.place(point.x), down.place(point.y)) for point in points]
    labels = _spaced(places, [point.label for point in points])
    for point, label_y in zip(points, labels, strict=True):
        parts.append(_dot(point, across, down, label_y))
    return "\n".join([*parts, "</svg>"])


def front(points: Sequence[Point]) -> list[Point]:
    """Return the kept points that no other kept one beats in both, by size."""
    kept = sorted((p for p in points if p.kind != "refused"), key=lambda p: (p.x, p.y))
    best: list[Point] = []
    for point in kept:
        if not best or point.y < best[-1].y:
            best.append(point)
    return best


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """Values to places: `least` lies at `start`, `most` at `end`."""

    least: float
    most: float
    start: float
    end: float
    cap: float
    logarithmic: bool = False

    @classmethod
    def of(
        cls,
        values: Sequence[float],
        axis: Axis,
        *,
        start: float,
        end: float,
        may_be_logarithmic: bool,
    ) -> "_Scale":
        """Fit the values and the mark, and zero where the axis is linear."""
        cap = float("inf") if axis.cap is None else axis.cap
        shown = [min(value, cap) for value in values]
        if axis.mark is not None:
            shown.append(axis.mark.at)
        least, most = min(shown), max(shown)
        if may_be_logarithmic and least > 0 and most / least > _WIDE:
            return cls(
                least=10.0 ** floor(log10(least)),
                most=10.0 ** ceil(log10(most)),
                start=start,
                end=end,
                cap=cap,
                logarithmic=True,
            )
        least, most = min(least, 0.0), max(most, 0.0)
        room = _HEADROOM * ((most - least) or 1.0)
        return cls(
            least=least - room if least < 0 else 0.0,
            most=most + room,
            start=start,
            end=end,
            cap=cap,
        )

    def place(self, value: float) -> float:
        if self.logarithmic:
            value, least, most = log10(value), log10(self.least), log10(self.most)
        else:
            least, most = self.least, self.most
            value = min(value, self.cap * _BEYOND)
        return self.start + (value - least) / (most - least) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return round numbers, about _TICKS of them, or powers of ten."""
        if self.logarithmic:
            first, last = round(log10(self.least)), round(log10(self.most))
            return [10.0**power for power in range(first, last + 1)]
        rough = (self.most - self.least) / _TICKS
        unit = 10.0 ** floor(log10(rough))
        step = next(unit * k for k in (1, 2, 2.5, 5, 10) if unit * k >= rough)
        first, last = ceil(self.least / step), floor(self.most / step)
        return [step * count for count in range(first, last + 1)]


def _grid(across: _Scale, down: _Scale) -> list[str]:
    parts = []
    for value in across.ticks():
        at = across.place(value)
        parts.append(_line("grid", at, _HEIGHT - _BOTTOM, at, _TOP))
        parts.append(_text("tick middle", at, _HEIGHT - _BOTTOM + 18, _number(value)))
    for value in down.ticks():
        at = down.place(value)
        parts.append(_line("grid", _LEFT, at, _WIDTH - _RIGHT, at))
        parts.append(_text("tick end", _LEFT - 8, at + 4, _number(value)))
    return parts


def _marks(across: _Scale, down: _Scale, x: Mark | None, y: Mark | None) -> list[str]:
    parts = []
    if x is not None:
        at = across.place(x.at)
        parts.append(_line("mark", at, _HEIGHT - _BOTTOM, at, _TOP))
        parts.append(_text("tick middle", at, _TOP - 6, x.text))
    if y is not None:
        at = down.place(y.at)
        parts.append(_line("mark", _LEFT, at, _WIDTH - _RIGHT, at))
        parts.append(_text("tick", _LEFT + 6, at - 5, y.text))
    return parts


def _front(points: Sequence[Point], across: _Scale, down: _Scale) -> str:
    line = " ".join(f"{across.place(p.x):.1f},{down.place(p.y):.1f}" for p in front(points))
    return f'<polyline class="front" points="{line}"/>'


def _dot(point: Point, across: _Scale, down: _Scale, label_y: float) -> str:
    x, y = across.place(point.x), down.place(point.y)
    whisker = ""
    if point.low is not None and point.high is not None:
        whisker = _line("whisker", x, down.place(point.low), x, down.place(point.high))
    return (
        f'<g class="{point.kind}">{whisker}<circle cx="{x:.1f}" cy="{y:.1f}" r="6">'
        f"<title>{escape(point.detail)}</title></circle>"
        f'<text class="name" x="{x + 12:.1f}" y="{label_y + 4:.1f}">{escape(point.label)}'
        "</text></g>"
    )


def _spaced(places: Sequence[tuple[float, float]], labels: Sequence[str]) -> list[float]:
    """Return a height for each label, beside its point, moved until none lies on another.

    Heights are tried outwards from the point, so that a label stays near what it names.
    """
    taken: list[tuple[float, float, float]] = []
    heights = []
    for (x, y), label in zip(places, labels, strict=True):
        width = _LETTER * len(label) + _LABEL_GAP
        free = (
            tried
            for tried in _outwards(y)
            if not any(
                x < right and left < x + width and abs(tried - other) < _LABEL_GAP
                for left, right, other in taken
            )
        )
        height = next(free, y)  # of very many labels, some lie on others
        taken.append((x, x + width, height))
        heights.append(height)
    return heights


def _outwards(height: float) -> Iterator[float]:
    yield height
    for distance in range(_LABEL_STEP, _HEIGHT, _LABEL_STEP):
        for tried in (height - distance, height + distance):
            if _TOP <= tried <= _HEIGHT - _BOTTOM:
                yield tried


def _number(value: float) -> str:
    return f"{value:,.10g}"


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line class="{kind}" {ends}/>'


def _text(kind: str, x: float, y: float, text: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
