import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto

from edgekit.table import Array
from edgekit_converters.flavors.computed.calibration import Method, range_of
from edgekit_converters.flavors.computed.ranges import BINS, MAX_ROWS, Spread, observed
from tests.converters import networks
from tests.converters.networks import node


def spread(values: Array) -> Spread:
    least, most = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    counts, _ = np.histogram(values, bins=BINS, range=(least, most))
    return Spread(least=least, most=most, counts=counts)


def products(first: Array, second: Array) -> ModelProto:
    return networks.model(
        [node("MatMul", ["x", "w1"], "h"), node("MatMul", ["h", "w2"], "y")],
        {"w1": first, "w2": second},
        inputs={"x": ["n", first.shape[0]]},
        outputs={"y": ["n", second.shape[1]]},
    )


EYE = np.eye(4, dtype=np.float32)
BULK = np.random.default_rng(5).normal(0, 1, 100_000)


def test_observed_values_hold_zero_and_the_extremes_of_inner_ones() -> None:
    x = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
    seen = observed(products(EYE * 2, EYE), ["h", "x"], {"x": x})
    assert {name: (one.least, one.most) for name, one in seen.items()} == {
        "h": (0.0, 16.0),
        "x": (0.0, 8.0),
    }
    assert seen["h"].counts.sum() == 8


@pytest.mark.parametrize("batch", [1, 2])
def test_a_graph_with_a_fixed_batch_is_observed_in_batches_of_it(batch: int) -> None:
    model = products(EYE, EYE)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    seen = observed(model, ["h"], {"x": x})["h"]
    assert (seen.least, seen.most) == (0.0, 11.0)


def test_what_is_no_number_is_not_observed() -> None:
    x = np.array([[1, 2, np.nan, 4], [-5, 6, 7, np.inf]], np.float32)
    seen = observed(products(EYE, EYE), ["x"], {"x": x})["x"]
    assert (seen.least, seen.most) == (-5.0, 7.0)


def test_few_rows_of_many_are_observed() -> None:
    x = np.ones((10 * MAX_ROWS, 4), np.float32)
    assert observed(products(EYE, EYE), ["h"], {"x": x})["h"].counts.sum() == 4 * MAX_ROWS


def test_min_max_keeps_everything() -> None:
    values = np.append(BULK, 1000.0)
    least, most = range_of(spread(values), Method.MIN_MAX)
    assert (least, most) == (float(values.min()), 1000.0)


@pytest.mark.parametrize(
    ("method", "clipped"), [(Method.PERCENTILE_9999, 1e-4), (Method.PERCENTILE_999, 1e-3)]
)
def test_a_percentile_clips_its_share_of_both_tails(method: Method, clipped: float) -> None:
    least, most = range_of(spread(BULK), method)
    outside = np.mean((least > BULK) | (most < BULK))
    assert outside == pytest.approx(clipped, rel=0.5)
    assert most == pytest.approx(-least, rel=0.1)


def test_a_percentile_of_positive_values_clips_their_upper_tail_alone() -> None:
    positive = np.abs(BULK)
    least, most = range_of(spread(positive), Method.PERCENTILE_999)
    assert least == 0.0
    assert np.mean(positive > most) == pytest.approx(1e-3, rel=0.2)


def test_entropy_clips_lone_outliers_and_keeps_an_even_spread() -> None:
    outliers = np.append(np.abs(BULK), [40.0, 41.0])
    assert range_of(spread(outliers), Method.ENTROPY)[1] < 10.0
    even = np.linspace(0, 1, 100_000)
    assert range_of(spread(even), Method.ENTROPY)[1] > 0.95


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.sampled_from(list(Method))
)
def test_a_range_holds_zero_and_lies_within_what_was_observed(
    values: list[float], method: Method
) -> None:
    seen = spread(np.array(values)) if any(values) else None
    if seen is None or seen.least == seen.most:
        return
    least, most = range_of(seen, method)
    assert seen.least <= least <= 0.0 <= most <= seen.most


@pytest.mark.parametrize("method", list(Method))
def test_nothing_but_zeros_is_a_range_of_zero(method: Method) -> None:
    silent = Spread(least=0.0, most=0.0, counts=np.zeros(BINS, np.int64))
    assert range_of(silent, method) == (0.0, 0.0)
