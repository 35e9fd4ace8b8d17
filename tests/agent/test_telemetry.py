import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import TransportError
from edgekit_agent.service.telemetry import MAX_US, Counts, Latency, checked


@given(st.lists(st.integers(0, MAX_US), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_percentile_is_never_too_low_and_at_most_an_eighth_too_high(
    times: list[int], share: float
) -> None:
    latency = Latency()
    for us in times:
        latency.add(us)
    exact = sorted(times)[max(0, -(-int(share * len(times) * 1e9) // 10**9) - 1)]
    assert exact <= latency.percentile_us(share) <= exact * 1.125


def test_memory_is_bounded_whatever_arrives() -> None:
    latency = Latency()
    for exponent in range(200):
        latency.add(2**exponent)
        latency.add(-exponent)
    assert len(latency.buckets) < 300
    assert latency.most_us == MAX_US


def test_nothing_answered_is_zero() -> None:
    assert Latency().to_table() == {"p50": 0, "p95": 0, "p99": 0, "max": 0}


def test_each_request_is_counted_once() -> None:
    counts = Counts()
    counts.answered(rows=5, us=100)
    counts.refused()
    counts.failed()
    table = counts.to_table()
    latency = table.pop("latency_us")
    assert table == {"requests": 3, "rows": 5, "errors": 1, "schema_violations": 1}
    assert isinstance(latency, dict)
    assert latency["max"] == 100


def test_counts_of_a_broken_worker_are_refused() -> None:
    identity = {"model": "m", "version": "1", "flavor": "f", "sha256": "0" * 64}
    good = {**identity, **Counts().to_table()}
    assert checked(good) == good
    with pytest.raises(TransportError, match="requests"):
        checked({**good, "requests": -1})
