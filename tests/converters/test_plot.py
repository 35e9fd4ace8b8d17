from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from edgekit_converters.outcome.plot import Axis, Mark, Point, front, scatter

FAST = Point(label="fast", detail="", x=90.0, y=5.0, kind="good")
SMALL = Point(label="small", detail="", x=20.0, y=9.0, kind="allowed", low=8.0, high=9.5)
BEATEN = Point(label="beaten", detail="", x=95.0, y=9.5, kind="good")
REFUSED = Point(label="refused", detail="", x=1.0, y=1.0, kind="refused")
X, Y = Axis(title="x"), Axis(title="y")


def drawn(points: list[Point], *, x: Axis = X, y: Axis = Y) -> ET.Element:
    return ET.fromstring(scatter(points, x=x, y=y))  # noqa: S314 - drawn by the code under test


def across(svg: ET.Element) -> list[float]:
    return [float(circle.attrib["cx"]) for circle in svg.iter("circle")]


def down(svg: ET.Element) -> list[float]:
    return [float(circle.attrib["cy"]) for circle in svg.iter("circle")]


def test_the_front_joins_what_no_other_kept_flavor_beats() -> None:
    assert front([FAST, BEATEN, REFUSED, SMALL]) == [SMALL, FAST]


@pytest.mark.parametrize("factor", [1e-3, 1, 7.3, 1e6])
@pytest.mark.parametrize("sign", [1, -1])
def test_every_point_lies_within_the_frame_at_any_scale(factor: float, sign: int) -> None:
    points = [
        replace(point, x=point.x * factor, y=sign * point.y * factor, low=None, high=None)
        for point in (FAST, SMALL, BEATEN, REFUSED)
    ]
    svg = drawn(points, x=Axis(title="x", mark=Mark(at=100 * factor, text="here")))
    _, _, width, height = (float(n) for n in svg.attrib["viewBox"].split())
    assert len(across(svg)) == 4
    assert all(0 < x < width for x in across(svg))
    assert all(0 < y < height for y in down(svg))
    assert 4 <= len([t for t in svg.iter("text") if t.attrib["class"] == "tick end"]) <= 8


def test_sizes_far_apart_are_drawn_on_a_logarithmic_axis_that_says_so() -> None:
    sizes = (10.0, 100.0, 1_000.0)
    svg = drawn([replace(FAST, x=size) for size in sizes])
    first, second, third = across(svg)
    assert second - first == pytest.approx(third - second, abs=0.2)
    assert any(text.text == "x (logarithmic)" for text in svg.iter("text"))


def test_what_is_far_off_the_scale_does_not_squeeze_the_others() -> None:
    svg = drawn([FAST, SMALL, replace(REFUSED, y=4_000.0)], y=Axis(title="y", cap=10.0))
    fast, small, off = down(svg)
    assert fast - small > 50
    assert 0 < off < small


def test_an_interval_is_a_whisker_from_its_low_to_its_high_end() -> None:
    svg = drawn([SMALL, FAST])
    whiskers = [line for line in svg.iter("line") if line.attrib["class"] == "whisker"]
    assert len(whiskers) == 1
    assert float(whiskers[0].attrib["y1"]) > down(svg)[0] > float(whiskers[0].attrib["y2"])


def test_labels_at_one_height_do_not_lie_on_each_other() -> None:
    points = [replace(FAST, label=str(n), x=20.0 + n / 100) for n in range(4)]
    heights = [
        float(t.attrib["y"])
        for t in drawn(points).iter("text")
        if t.attrib["class"] == "name"
    ]
    assert min(b - a for a, b in pairwise(sorted(heights))) >= 12


def test_a_label_with_room_stays_beside_its_point() -> None:
    svg = drawn([replace(FAST, x=10.0), replace(FAST, x=90.0)])
    heights = {t.attrib["y"] for t in svg.iter("text") if t.attrib["class"] == "name"}
    assert len(heights) == 1


def test_a_crowd_of_labels_is_drawn_all_the_same() -> None:
    assert len(down(drawn([FAST] * 100))) == 100


def test_a_plot_of_zeros_is_drawn() -> None:
    assert len(down(drawn([replace(FAST, y=0.0), replace(SMALL, y=0.0)]))) == 2


def test_names_cannot_break_out_of_the_picture() -> None:
    evil = replace(FAST, label="<script>", detail='"><script>')
    assert "<script>" not in scatter([evil], x=X, y=Y)
