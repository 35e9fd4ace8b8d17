"""Drift of a fleet: what changed is found, in its column, and what did not is not."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import reduce
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.fleet.drifting import page, words
from edgekit.fleet.drifting.evidence import Subject
from edgekit.fleet.drifting.findings import ColumnFinding, Findings, Seen, find
from edgekit.telemetry.counts import BundleCounts
from edgekit.telemetry.drift import Level
from tests.core import drift_cases as cases
from tests.core.reports import SHA

KNOWN = cases.profile()
COLUMNS = {"alcohol", "hue", "colour", "prediction", "probabilities.confidence"}
SINCE = datetime(2026, 3, 1, tzinfo=UTC)
UNTIL = datetime(2026, 3, 8, 12, tzinfo=UTC)


def calm(rows: int = 400, seed: int = 1, **more: object) -> Seen:
    return cases.seen(KNOWN, cases.table(rows, seed), **more)  # type: ignore[arg-type]  # device, day


def level_of(found: Findings, name: str) -> Level:
    return column(found, name).drift.level


def column(found: Findings, name: str) -> ColumnFinding:
    return next(one for one in found.columns if one.name == name)


def rendered(found: Findings) -> str:
    subject = Subject(
        model="wine",
        stage="production",
        version="3",
        profile=KNOWN,
        bundles=frozenset([SHA]),
    )
    return page.page(subject, found, since=SINCE, until=UNTIL)


def test_rows_like_the_references_are_calm() -> None:
    found = find(KNOWN, [calm(1_000, seed) for seed in (1, 2)])
    assert {one.name for one in found.columns} == COLUMNS
    assert {one.drift.level for one in found.columns} == {Level.STABLE}
    assert words.lead(found) == "Calm: all 5 columns are as in the reference data."


def test_a_drift_is_told_in_its_column_and_the_worst_comes_first() -> None:
    moved = cases.seen(KNOWN, cases.table(1_000, 3, hue=2.0))
    found = find(KNOWN, [moved])
    assert found.level is Level.DRIFT
    assert {one.name for one in found.at(Level.DRIFT)} >= {"hue", "prediction"}
    levels = [one.drift.level for one in found.columns]
    assert levels == sorted(levels, key=[Level.DRIFT, Level.SHIFT, Level.STABLE].index)
    assert (level_of(found, "alcohol"), level_of(found, "colour")) == (Level.STABLE,) * 2
    shift = column(found, "hue").shift
    assert shift is not None
    assert shift.median_iqr is not None
    assert shift.median_iqr > 1
    assert "hue" in words.lead(found)
    assert words.mix(column(found, "prediction")).startswith("1 ")


def test_a_category_more_frequent_than_it_was_is_told() -> None:
    found = find(KNOWN, [cases.seen(KNOWN, cases.table(2_000, 4, rose=0.6))])
    assert found.columns[0].name == "colour"
    assert found.level is Level.DRIFT
    assert words.mix(found.columns[0]).startswith("rose ")
    assert words.moved(found.columns[0].shift) == ""


def test_values_that_are_missing_now_are_drift_too() -> None:
    asked = cases.table(1_000, 5)
    asked["alcohol"][:400] = np.nan
    found = find(KNOWN, [cases.seen(KNOWN, asked)])
    assert found.columns[0].name == "alcohol"
    assert words.missing(found.columns[0]) == "40.0% (was 0.0%)"
    assert words.bins(found.columns[0])[-1] == ("missing", 0.0, 0.4)


def test_of_too_few_rows_nothing_is_said_but_how_many_are_needed() -> None:
    found = find(KNOWN, [calm(40)])
    assert found.level is Level.UNKNOWN
    needed = column(found, "hue").needed_rows
    assert needed is not None
    enough = find(KNOWN, [calm(needed + 20)])
    assert level_of(enough, "hue") is Level.STABLE
    assert "are needed" in words.lead(found)


def test_a_reference_of_few_rows_says_so_itself() -> None:
    known = cases.profile(rows=60)
    found = find(known, [cases.seen(known, cases.table(5_000, 6))])
    hue = column(found, "hue")
    assert hue.drift.level in {Level.UNKNOWN, Level.SHIFT}
    assert hue.needed_rows is None


def test_nothing_heard_is_nothing_said() -> None:
    found = find(KNOWN, [])
    assert (found.level, found.rows) == (Level.UNKNOWN, 0)
    assert words.lead(found) == "No rows were counted: nothing can be said."
    assert "No rows were counted" in rendered(found)


@given(st.permutations(range(6)), st.integers(1, 5))
def test_how_time_is_cut_changes_nothing(order: Sequence[int], cut: int) -> None:
    parts = [calm(50, seed=seed, day=1 + seed) for seed in range(6)]
    one, other = parts[:cut], parts[cut:]
    merged = [replace(group[0], counts=_sum(group)) for group in (one, other) if group]
    whole = find(KNOWN, merged)
    shuffled = find(KNOWN, [parts[at] for at in order])
    assert [c.seen for c in whole.columns] == [c.seen for c in shuffled.columns]
    assert [c.drift for c in whole.columns] == [c.drift for c in shuffled.columns]


def _sum(group: list[Seen]) -> BundleCounts:
    return reduce(BundleCounts.plus, (one.counts for one in group))


def test_refused_requests_are_counted_by_their_column() -> None:
    told = calm()
    violations = {"hue": 7, "colour": 1, "": 2, "unheard of": 3}
    found = find(KNOWN, [replace(told, counts=replace(told.counts, violations=violations))])
    assert column(found, "hue").violations == 7
    assert column(found, "prediction").violations == 0
    assert found.refused == 5


def test_rows_without_histograms_are_said_and_change_no_verdict() -> None:
    told = calm(1_000)
    bare = replace(told, counts=replace(told.counts, inputs=(), outputs=()))
    foreign = replace(told, counts=replace(told.counts, inputs=((1, 2),), outputs=()))
    found = find(KNOWN, [told, bare, foreign])
    assert (found.rows, found.uncounted) == (3_000, 2_000)
    assert column(found, "hue").drift.rows == 1_000
    assert "of 2,000 rows the devices sent no histograms" in words.counted(found)


def test_one_device_unlike_the_others_is_named_and_the_others_are_not() -> None:
    told = [calm(500, seed, device=f"pi-{seed}") for seed in range(1, 5)]
    asked = cases.table(500, 9)
    asked["alcohol"] = asked["alcohol"] + 3
    told.append(cases.seen(KNOWN, asked, device="pi-9"))
    found = find(KNOWN, told)
    assert [(one.device, one.column) for one in found.outliers] == [("pi-9", "alcohol")]
    assert words.outlier(found.outliers[0]).startswith(
        "pi-9 differs from the fleet in column alcohol (PSI "
    )


def test_a_fleet_of_one_has_no_others_to_differ_from() -> None:
    moved = cases.seen(KNOWN, cases.table(1_000, 3, hue=3.0))
    assert find(KNOWN, [moved]).outliers == ()


def test_the_days_tell_when_it_began() -> None:
    told = [
        cases.seen(KNOWN, cases.table(500, day, hue=0.0 if day < 5 else 2.0), day=day)
        for day in (6, 1, 2, 5, 3)
    ]
    days = column(find(KNOWN, told), "hue").days
    assert [one.day[-2:] for one in days] == ["01", "02", "03", "05", "06"]
    assert max(one.psi for one in days[:3]) < 0.1
    assert min(one.psi for one in days[3:]) > 0.25


class _Balanced(HTMLParser):
    """Refuses tags that do not match."""

    VOID = frozenset({"meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        del attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        """A tag that closes itself opens nothing."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_loads_nothing_and_shows_every_column() -> None:
    told = [
        cases.seen(KNOWN, cases.table(500, day, hue=day / 3), day=day) for day in (1, 2)
    ]
    text = rendered(find(KNOWN, told))
    parser = _Balanced()
    parser.feed(text)
    assert parser.open == []
    assert not re.search(r"(?:src|href)=\"(?!#)|url\(|@import|<script", text)
    assert all(f">{name}<" in text for name in COLUMNS)
    assert text.count("<details") == len(COLUMNS)
    assert text.count('<polyline class="psi"') == len(COLUMNS)


def test_names_from_devices_and_data_do_no_harm_on_the_page() -> None:
    known = replace(
        KNOWN,
        inputs=tuple(replace(one, name=f"<script>{one.name}") for one in KNOWN.inputs),
    )
    told = replace(calm(), device="<img src=x onerror=alert(1)>")
    text = rendered(find(known, [told, calm(device="pi-8")]))
    assert "<script" not in text
    assert "<img" not in text


@pytest.mark.parametrize("edges", [(), (1.0,), (1.0, 2.5)])
def test_each_bin_of_numbers_has_a_name(edges: tuple[float, ...]) -> None:
    hue = next(one for one in KNOWN.inputs if one.name == "hue")
    named = words.bin_names(replace(hue, edges=edges))  # type: ignore[arg-type]  # a number's
    assert len(named) == len(edges) + 1
    assert named[0] == ("up to 1" if edges else "any")
