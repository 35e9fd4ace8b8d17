import signal
import threading
from collections.abc import Iterator

import pytest

from edgekit_converters.verdict.budget import STOPPING, Budget, stopped_by_interrupt


class Clock:
    """A clock that goes when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """An interrupt ends what runs, also where a shell in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)  # in this thread, and at once


def test_a_budget_is_spent_after_its_seconds() -> None:
    clock = Clock()
    budget = Budget(10, now=clock)
    clock.now += 9
    assert not budget.spent()
    assert budget.left_s() == 1
    clock.now += 1
    assert budget.spent()
    assert budget.why == "the 10 s of the search were used up"


def test_a_stopped_budget_is_spent_at_once() -> None:
    budget = Budget(10, now=Clock())
    budget.stop()
    assert budget.spent()
    assert budget.why == "the search was stopped"


def test_what_one_search_leaves_is_for_those_after_it() -> None:
    clock = Clock()
    budget = Budget(12, now=clock)
    first = budget.share(3)
    clock.now += 1
    assert not first.spent()
    second = budget.share(2)
    clock.now += 5
    assert not second.spent()
    clock.now += 0.5
    assert second.spent()
    third = budget.share(1)
    clock.now += 5
    assert not third.spent()
    clock.now += 0.5
    assert third.spent()


def test_a_share_remembers_that_it_ran_out() -> None:
    clock = Clock()
    share = Budget(10, now=clock).share(2)
    assert not share.spent()
    assert not share.ran_out
    clock.now += 5
    assert share.spent()
    assert share.ran_out


def test_time_that_nobody_asked_for_did_not_run_out() -> None:
    clock = Clock()
    share = Budget(10, now=clock).share(2)
    clock.now += 100
    assert not share.ran_out


def test_stopping_ends_every_share() -> None:
    budget = Budget(10, now=Clock())
    share = budget.share(1)
    budget.stop()
    assert share.spent()


def test_no_seconds_are_spent_from_the_beginning() -> None:
    assert Budget(0, now=Clock()).spent()


def test_the_first_interrupt_stops_the_search_and_the_second_ends_it() -> None:
    budget, said = Budget(60), list[str]()
    with stopped_by_interrupt(budget, said.append):
        interrupt()
        assert budget.stopped
        assert said == [STOPPING]
        with pytest.raises(KeyboardInterrupt):
            interrupt()


def test_after_the_search_an_interrupt_does_what_it_did_before() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stopped_by_interrupt(Budget(60), print):
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_a_message_that_was_interrupted_by_the_message_is_no_error() -> None:
    def reentrant(_: str) -> None:
        raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stderr>'>")

    budget = Budget(60)
    with stopped_by_interrupt(budget, reentrant):
        interrupt()
    assert budget.stopped


def test_other_threads_hear_no_signals_and_search_all_the_same() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def search() -> None:
        with stopped_by_interrupt(Budget(60), print):
            seen.append(signal.getsignal(signal.SIGINT) is before)

    thread = threading.Thread(target=search)
    thread.start()
    thread.join(10)
    assert seen == [True]
