from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from edgekit_converters.outcome.plot import Point, front, scatter

FAST = Point(label="fast", detail="", x=90.0, y=5.0, kind="good")
SMALL = Point(label="small", detail="", x=20.0, y=9.0, kind="allowed")
BEATEN = Point(label="beaten", detail="", x=95.0, y=9.5, kind="good")
REFUSED = Point(label="refused", detail="", x=1.0, y=1.0, kind="refused")


def test_the_front_joins_what_no_other_kept_flavor_beats() -> None:
    assert front([FAST, BEATEN, REFUSED, SMALL]) == [SMALL, FAST]


@pytest.mark.parametrize("factor", [1e-3, 1, 7.3, 1e6])
def test_every_point_lies_within_the_frame_at_any_scale(factor: float) -> None:
    points = [
        replace(point, x=point.x * factor, y=point.y * factor)
        for point in (FAST, SMALL, BEATEN, REFUSED)
    ]
    svg = ET.fromstring(  # noqa: S314 - drawn by the code under test
        scatter(points, x_title="x", y_title="y", mark=100 * factor)
    )
    _, _, width, height = (float(n) for n in svg.attrib["viewBox"].split())
    circles = list(svg.iter("circle"))
    assert len(circles) == 4
    for circle in circles:
        assert 0 < float(circle.attrib["cx"]) < width
        assert 0 < float(circle.attrib["cy"]) < height
    assert 4 <= len([t for t in svg.iter("text") if t.attrib["class"] == "tick end"]) <= 7


def test_labels_at_one_height_do_not_lie_on_each_other() -> None:
    points = [replace(FAST, label=str(n), x=20.0 + n) for n in range(3)]
    svg = ET.fromstring(  # noqa: S314 - drawn by the code under test
        scatter(points, x_title="x", y_title="y", mark=30)
    )
    heights = [
        float(t.attrib["y"]) for t in svg.iter("text") if t.attrib["class"] == "name"
    ]
    assert min(b - a for a, b in pairwise(heights)) >= 12


def test_names_cannot_break_out_of_the_picture() -> None:
    evil = replace(FAST, label="<script>", detail='"><script>')
    drawn = scatter([evil], x_title="x", y_title="y", mark=1)
    assert "<script>" not in drawn
