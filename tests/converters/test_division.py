import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit_converters.verdict import division
from edgekit_converters.verdict.division import divide

EVER = [2, 6, 7, 8, 12, 15, 22, 24, 26, 28, 29, 31]


@given(
    rows=st.integers(division.FEWEST, 2_000),
    classes=st.integers(1, 40),
    grouped=st.booleans(),
)
def test_no_row_and_no_group_is_on_both_sides(
    rows: int, classes: int, *, grouped: bool
) -> None:
    labels = np.arange(rows) % classes
    groups = np.arange(rows) // 3 if grouped else None
    divided = divide(rows, labels=labels, groups=groups)
    if divided.shared:
        assert grouped
        assert rows < 3 * division.FEWEST
        return
    both = np.concatenate([divided.search, divided.gate])
    assert sorted(both.tolist()) == list(range(rows))
    if groups is not None:
        assert not set(groups[divided.search]) & set(groups[divided.gate])


def test_each_class_is_divided_in_the_same_proportion() -> None:
    labels = np.array(["rare"] * 30 + ["common"] * 870 + ["some"] * 300, object)
    divided = divide(1_200, labels=labels)
    names, counts = np.unique(labels[divided.search].astype(str), return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == {
        "rare": 10,
        "common": 290,
        "some": 100,
    }


def test_true_numbers_are_divided_evenly_over_their_range() -> None:
    values = np.random.default_rng(1).normal(size=900)
    divided = divide(900, labels=values)
    for quarter in (25, 50, 75):
        assert np.percentile(values[divided.search], quarter) == pytest.approx(
            np.percentile(values[divided.gate], quarter), abs=0.02
        )


def test_rows_with_a_rhythm_are_not_followed() -> None:
    rhythm = np.arange(900) % 3
    chosen = rhythm[divide(900).search]
    assert 60 < (chosen == 0).sum() < 140


def test_few_rows_serve_both_and_it_says_so() -> None:
    divided = divide(199)
    assert divided.shared
    assert divided.search.tolist() == divided.gate.tolist() == list(range(199))
    assert divided.sentence == (
        "199 rows, fewer than 200: the same ones served to search and to judge"
    )


def test_few_groups_of_many_rows_are_few() -> None:
    divided = divide(10_000, groups=np.arange(10_000) // 100)
    assert divided.shared
    assert divided.sentence.startswith("100 groups of rows, fewer than 200")


def test_very_many_rows_are_not_all_needed() -> None:
    divided = divide(300_000, labels=np.arange(300_000) % 2)
    assert len(divided.search) == division.MOST_SEARCH
    assert len(divided.gate) == division.MOST_GATE
    assert not np.intersect1d(divided.search, divided.gate).size
    assert divided.sentence.endswith("275,904 not needed")


def test_the_division_is_the_same_for_ever() -> None:
    divided = divide(300, labels=np.arange(300) // 100)
    assert divided.search[:12].tolist() == EVER
    assert divided.sentence == "100 rows to search on, 200 others to judge on"
