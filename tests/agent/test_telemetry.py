import numpy as np

from edgekit.binding import Predictions
from edgekit.telemetry import reference
from edgekit.telemetry.counts import BundleCounts
from edgekit_agent.service.telemetry import Counter

ROWS = {"a": np.array([1.0, 2.0, 3.0, 4.0] * 20), "b": np.array(["x", "y"] * 40, object)}
ANSWERS = Predictions(prediction=np.array([0, 1, 1, 1] * 20))
PROFILE = reference.build(ROWS, ANSWERS, classes=("0", "1"))


def taken(counter: Counter) -> BundleCounts | None:
    return counter.take(model="wine", version="1", flavor="f", sha256="a" * 64)


def test_each_request_is_counted_once_and_its_values_in_the_references_bins() -> None:
    counter = Counter(PROFILE, ROWS)
    counter.answered(rows=80, us=100, inputs=ROWS, answers=ANSWERS)
    counter.refused("b")
    counter.refused("unheard of")
    counter.failed()
    found = taken(counter)
    assert found is not None
    assert (found.requests, found.rows, found.errors) == (4, 80, 1)
    assert found.violations == {"b": 1, "": 1}
    assert found.percentile_us(0.95) == found.most_us == 100
    assert found.inputs == tuple(column.histogram for column in PROFILE.inputs)
    assert found.outputs == tuple(column.histogram for column in PROFILE.outputs)
    assert taken(counter) is None


def test_without_a_profile_requests_are_counted_all_the_same() -> None:
    counter = Counter()
    counter.answered(rows=80, us=1, inputs=ROWS, answers=ANSWERS)
    found = taken(counter)
    assert found is not None
    assert (found.requests, found.inputs, found.outputs) == (1, (), ())


def test_values_that_no_bin_can_hold_cost_no_request() -> None:
    counter = Counter(PROFILE, ROWS)
    odd = {
        "a": np.array([np.ones(2), None, "text", 2**2000, {}], object),
        "b": np.array([[1], None, "x", 3, b"y"], object),
    }
    counter.answered(rows=5, us=1, inputs=odd, answers=Predictions(prediction=odd["a"]))
    found = taken(counter)
    assert found is not None
    assert found.requests == 1


def test_a_signature_of_very_many_columns_does_not_make_windows_long() -> None:
    counter = Counter(None, (f"c{number}" for number in range(5_000)))
    for number in range(5_000):
        counter.refused(f"c{number}")
    found = taken(counter)
    assert found is not None
    assert found.violations == {"": 5_000}
