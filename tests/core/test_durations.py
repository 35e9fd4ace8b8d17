from hypothesis import given
from hypothesis import strategies as st

from edgekit.durations import MAX_BUCKETS, MAX_US, Durations


@given(st.lists(st.integers(0, MAX_US), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_percentile_is_never_too_low_and_at_most_an_eighth_too_high(
    times: list[int], share: float
) -> None:
    durations = Durations()
    for us in times:
        durations.add(us)
    exact = sorted(times)[max(0, -(-int(share * len(times) * 1e9) // 10**9) - 1)]
    assert exact <= durations.percentile_us(share) <= exact * 1.125


def test_memory_is_bounded_whatever_arrives() -> None:
    durations = Durations()
    for exponent in range(200):
        durations.add(2**exponent)
        durations.add(-exponent)
    assert max(durations.buckets) < MAX_BUCKETS
    assert durations.most_us == MAX_US


def test_nothing_answered_is_zero() -> None:
    assert Durations().percentile_us(0.95) == 0
