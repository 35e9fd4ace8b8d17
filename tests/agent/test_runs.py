"""When a run is overdue: one that never ends is, honest requests in a queue are not."""

from contextlib import ExitStack

import pytest

from edgekit_agent.service.runs import Overdue, Runs

MODEL, SHA256 = "wine", "a" * 64
LIMIT_S = 30.0


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def runs(clock: Clock) -> Runs:
    return Runs(LIMIT_S, clock)


def looked(runs: Runs, clock: Clock) -> Overdue | None:
    """What two looks find, as far apart as pings."""
    assert runs.overdue() is None
    clock.now_s += 10
    return runs.overdue()


def test_a_run_that_never_ends_is_overdue_at_the_second_look(
    runs: Runs, clock: Clock
) -> None:
    with runs.computing(MODEL, SHA256, 0.01):
        assert runs.overdue() is None
        clock.now_s += LIMIT_S + 1
        assert runs.overdue() is None
        clock.now_s += 10
        found = runs.overdue()
    assert found is not None
    assert (found.model, found.sha256, found.for_s) == (MODEL, SHA256, LIMIT_S + 11)
    assert found.reason == (
        "wine: a request has been computed for 41 s, up to 30 s are expected"
    )


def test_two_looks_at_once_are_one(runs: Runs, clock: Clock) -> None:
    """A process that was stopped for 25 s finds two pings, and answers both at once."""
    with runs.computing(MODEL, SHA256, 0.01):
        clock.now_s += LIMIT_S + 5
        assert runs.overdue() is None
        clock.now_s += 0.0001
        assert runs.overdue() is None
        clock.now_s += 1
    assert runs.overdue() is None


def test_what_was_late_and_ended_is_forgotten(runs: Runs, clock: Clock) -> None:
    with runs.computing(MODEL, SHA256, 0.01):
        clock.now_s += 10 * LIMIT_S  # the machine slept, say
        assert runs.overdue() is None
    clock.now_s += 10
    assert runs.overdue() is None


def test_what_fails_has_ended_too(runs: Runs, clock: Clock) -> None:
    with pytest.raises(ZeroDivisionError), runs.computing(MODEL, SHA256, 0.01):
        raise ZeroDivisionError
    clock.now_s += 10 * LIMIT_S
    assert looked(runs, clock) is None


def test_a_queue_of_slow_requests_takes_its_time(runs: Runs, clock: Clock) -> None:
    """32 that take 4 s alone, one processor for them all: each takes two minutes."""
    with ExitStack() as stack:
        for _ in range(32):
            stack.enter_context(runs.computing(MODEL, SHA256, 4.0))
        for _ in range(13):
            clock.now_s += 10
            assert runs.overdue() is None


def test_who_ends_last_of_a_queue_is_not_late(runs: Runs, clock: Clock) -> None:
    with runs.computing(MODEL, SHA256, 4.0):
        with ExitStack() as stack:
            for _ in range(31):
                stack.enter_context(runs.computing("beer", "b" * 64, 4.0))
            clock.now_s += 128
        assert looked(runs, clock) is None


def test_a_run_that_hangs_is_found_however_many_are_answered_meanwhile(
    runs: Runs, clock: Clock
) -> None:
    with runs.computing("beer", "b" * 64, 0.01):
        for _ in range(60):
            with runs.computing(MODEL, SHA256, 0.5):
                clock.now_s += 1
        with runs.computing(MODEL, SHA256, 0.5):
            found = looked(runs, clock)
    assert found is not None
    assert found.model == "beer"


def test_what_a_crowd_excuses_ends_when_the_crowd_has_gone(
    runs: Runs, clock: Clock
) -> None:
    """32 of 30 s beside one that hangs, on one processor; then requests as ever."""
    with runs.computing("beer", "b" * 64, 0.01):
        with ExitStack() as stack:
            for _ in range(32):
                stack.enter_context(runs.computing(MODEL, SHA256, 30.0))
            clock.now_s += 32 * 30
        assert runs.overdue() is None
        for _ in range(20):
            with runs.computing(MODEL, SHA256, 0.5):
                clock.now_s += 1
        found = looked(runs, clock)
    assert found is not None
    assert found.model == "beer"
    assert found.allowed_s == pytest.approx(LIMIT_S + 0.1)
    assert found.for_s == pytest.approx(960 / 33 + 20 / 2 + 10)


def test_all_that_hang_at_once_are_found_as_soon(runs: Runs, clock: Clock) -> None:
    with ExitStack() as stack:
        for _ in range(32):
            stack.enter_context(runs.computing(MODEL, SHA256, 0.001))
        clock.now_s += LIMIT_S + 1
        assert looked(runs, clock) is not None


def test_many_rows_take_their_time(runs: Runs, clock: Clock) -> None:
    with runs.computing(MODEL, SHA256, 100_000 * 0.001):
        clock.now_s += 900
        assert looked(runs, clock) is None
