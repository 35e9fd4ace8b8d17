import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.binding import Predictions
from edgekit.errors import TrustError
from edgekit.telemetry import reference
from edgekit.telemetry.drift import Level, compare, psi, shift
from edgekit.telemetry.profile import CategoryColumn, NumberColumn, Profile
from edgekit.telemetry.tally import Tally

RANDOM = np.random.default_rng(7)


def number(name: str = "x", *, rows: int = 2_000) -> NumberColumn:
    values = RANDOM.normal(size=rows)
    built = reference.build({name: values}, Predictions(prediction=values), classes=())
    column = built.inputs[0]
    assert isinstance(column, NumberColumn)
    return column


def test_a_profile_reads_back_what_was_written() -> None:
    rows = 400
    labels = np.array(["cat", "dog", "cat", None] * 100, object)
    inputs = {
        "size": RANDOM.normal(size=rows),
        "room": RANDOM.integers(0, 5, size=rows),
        "serial": np.arange(rows),
        "open": RANDOM.integers(0, 2, size=rows).astype(bool),
        "kind": labels,
    }
    shares = RANDOM.dirichlet((1, 1, 1), size=rows)
    answers = Predictions(prediction=shares.argmax(axis=1), probabilities=shares)
    profile = reference.build(inputs, answers, classes=("a", "b", "c"))
    assert Profile.from_json(profile.to_json()) == profile
    kinds = {column.name: type(column) for column in profile.inputs + profile.outputs}
    assert kinds == {
        "size": NumberColumn,
        "room": CategoryColumn,
        "serial": NumberColumn,
        "open": CategoryColumn,
        "kind": CategoryColumn,
        "prediction": CategoryColumn,
        "probabilities.confidence": NumberColumn,
    }
    texts = profile.inputs[4]
    assert texts == CategoryColumn(
        name="kind", values=("cat", "dog"), counts=(200, 100, 0), missing=100
    )


def test_each_bin_holds_a_sixteenth_of_the_reference() -> None:
    column = number(rows=1_600)
    assert len(column.counts) == 16
    assert set(column.counts) == {100}


def test_what_a_column_mostly_is_has_a_bin_of_its_own() -> None:
    values = np.array([0.0] * 60 + [1.5] * 40)
    profile = reference.build({"x": values}, Predictions(prediction=values), classes=())
    column = profile.inputs[0]
    assert isinstance(column, NumberColumn)
    tally = Tally([column])
    tally.add({"x": np.array([-3.0, 0.0, 0.5, 1.5, 2.0])})
    (seen,) = tally.take()
    assert sorted(seen) == [0, 1, 1, 1, 1, 1]


def test_tensors_are_columns_of_elements_or_one_of_all() -> None:
    small, large = RANDOM.normal(size=(50, 2, 3)), RANDOM.normal(size=(50, 65))
    shares = RANDOM.dirichlet((1, 1), size=50).astype(np.float32)
    profile = reference.build(
        {"s": small, "l": large}, Predictions(prediction=shares), classes=()
    )
    assert [column.name for column in profile.inputs] == [
        *(f"s[{i},{j}]" for i in range(2) for j in range(3)),
        "l",
    ]
    assert [column.name for column in profile.outputs] == [
        "prediction.confidence",
        "prediction.label",
    ]
    assert sum(profile.inputs[-1].counts) == 50 * 65
    assert sum(profile.outputs[1].counts) == 50


@given(
    st.lists(
        st.one_of(st.floats(width=32), st.just(math.nan), st.just(math.inf)), max_size=40
    )
)
def test_rows_at_once_and_one_by_one_fall_into_the_same_bins(values: list[float]) -> None:
    column = NumberColumn(
        name="x", edges=(-1.0, 0.0, 0.5, 1e30), counts=(1,) * 5, missing=0
    )
    together, apart = Tally([column]), Tally([column])
    together.add({"x": np.array(values, np.float64)})
    for value in values:
        apart.add({"x": np.array([value])})
    (counted,) = together.take()
    assert (counted,) == apart.take()
    assert sum(counted) == len(values)
    assert counted[-1] == sum(map(math.isnan, values))
    assert counted[0] == sum(value <= -1 for value in values)


def test_a_class_is_the_same_whatever_its_type() -> None:
    labels = np.array([0, 1, 1, 0] * 10)
    profile = reference.build(
        {"x": labels}, Predictions(prediction=labels.astype(float)), classes=("0", "1")
    )
    tally = Tally(profile.outputs)
    tally.add({"prediction": np.array([1.0, 0.0, 7.0, np.nan])})
    assert tally.take() == ((1, 1, 1, 1),)


def test_what_has_no_bins_is_left_out() -> None:
    inputs = {
        "at": np.array(["2026-01-01", "2026-01-02"], "datetime64[s]"),
        "list": np.array([[1, 2], {"a": 1}, None], object)[:2],
        "x": np.array([1.0, 2.0]),
    }
    built = reference.build(inputs, Predictions(prediction=np.ones(2)), classes=())
    assert [column.name for column in built.inputs] == ["x"]


GOOD = (
    b'{"format":1,"rows":3,"source":"samples","outputs":[],"inputs":'
    b'[{"name":"x","kind":"number","edges":[1.0,2.0],"counts":[1,1,1],"missing":0}]}'
)


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    [
        (b'"format":1', b'"format":2', "format"),
        (b"[1.0,2.0]", b"[2.0,1.0]", "ascending"),
        (b"[1.0,2.0]", b"[1.0,1.0]", "ascending"),
        (b"[1.0,2.0]", b"[1.0]", "2 whole numbers"),
        (b"[1.0,2.0]", b"[1.0,NaN]", "not JSON"),
        (b"[1,1,1]", b"[1,1,-1]", "counts"),
        (b'"number"', b'"curve"', "number or category"),
        (b'"missing":0', b'"missing":null', "missing"),
        (b"[1.0,2.0]", b"[" + b",".join(b"%d" % n for n in range(16)) + b"]", "up to 15"),
        (b"{", b" " * 2**20 + b"{", "bytes"),
    ],
)
def test_a_profile_that_cannot_be_right_is_refused(
    was: bytes, becomes: bytes, told: str
) -> None:
    Profile.from_json(GOOD)
    with pytest.raises(TrustError, match=told):
        Profile.from_json(GOOD.replace(was, becomes, 1))


def test_psi_is_the_textbooks() -> None:
    # Siddiqi's form, sum (p - q) ln(p / q), by hand for two bins of 80/20 against 50/50
    want = (0.8 - 0.5) * math.log(0.8 / 0.5) + (0.2 - 0.5) * math.log(0.2 / 0.5)
    assert psi([80_000, 20_000], [50_000, 50_000]) == pytest.approx(want, rel=1e-3)
    assert psi([1, 2, 3], [10, 20, 30]) == pytest.approx(0, abs=0.05)
    with pytest.raises(ValueError, match="bins"):
        psi([1], [1, 2])


def test_without_drift_psi_is_what_is_expected_and_no_drift_is_called() -> None:
    column = number(rows=1_000)
    found = []
    for _ in range(200):
        tally = Tally([column])
        tally.add({"x": RANDOM.normal(size=300)})
        found.append(compare(column, tally.take()[0]))
    assert np.mean([one.psi for one in found]) == pytest.approx(found[0].expected, rel=0.25)
    called = sum(one.level in (Level.SHIFT, Level.DRIFT) for one in found)
    assert called <= 2


def test_few_rows_tell_nothing_and_many_tell_a_drift() -> None:
    column = number()
    few, many = Tally([column]), Tally([column])
    few.add({"x": RANDOM.normal(size=30)})
    many.add({"x": RANDOM.normal(size=5_000) + 1.0})
    assert compare(column, few.take()[0]).level is Level.UNKNOWN
    seen = many.take()[0]
    assert compare(column, seen).level is Level.DRIFT
    moved = shift(column, seen)
    assert moved is not None
    assert moved.median_bins > 3
    assert moved.median_iqr == pytest.approx(1 / 1.349, rel=0.15)


def test_nothing_seen_is_unknown() -> None:
    column = number()
    assert compare(column, (0,) * len(column.histogram)).level is Level.UNKNOWN
    assert shift(column, (0,) * len(column.histogram)) is None


@pytest.mark.parametrize(
    "values",
    [
        np.r_[np.full(520, 1.0), np.full(40, np.nextafter(1.0, 0.0)), RANDOM.random(80)],
        np.repeat(RANDOM.normal(size=6), 50),  # the leaves of a small tree
        np.full(30, 5.1),
        np.r_[np.zeros(30), RANDOM.random(30)],
        RANDOM.normal(size=1_000),
        np.r_[RANDOM.normal(size=300), 1e15],
    ],
    ids=["saturated", "leaves", "constant", "resting", "continuous", "outlier"],
)
def test_what_is_computed_in_float32_falls_into_the_bins_of_the_original(
    values: np.ndarray,
) -> None:
    profile = reference.build({"x": values}, Predictions(prediction=values), classes=())
    (column,) = profile.outputs
    assert isinstance(column, NumberColumn)
    for noise in (0.0, 1e-7, -1e-7):
        tally = Tally([column])
        tally.add({"prediction": (values * (1 + noise)).astype(np.float32)})
        (seen,) = tally.take()
        moved = sum(abs(a - b) for a, b in zip(seen, column.histogram, strict=True))
        assert moved <= 2
    assert not set(column.edges) & set(values.tolist())
