from dataclasses import replace

from edgekit_agent.rules.watch import Condition, Order, Patience, Watch

PATIENCE = Patience()


def started() -> Watch:
    watch, order = Watch().due(0.0, PATIENCE)
    assert order is Order.START
    return watch


def looked(watch: Watch, until_s: float) -> Watch:
    """Look every second, as the loop does, whatever the orders are."""
    while watch.looked_s + 1 <= until_s:
        watch, _ = watch.due(watch.looked_s + 1, PATIENCE)
    return watch


def test_a_worker_is_started_once_and_then_waited_for() -> None:
    assert started().due(1.0, PATIENCE)[1] is None
    slow = looked(started(), PATIENCE.start_s)
    assert slow.due(PATIENCE.start_s + 1, PATIENCE)[1] is Order.KILL


def test_a_ready_worker_is_asked_now_and_then() -> None:
    watch, order = started().ready(5.0).due(5.0 + PATIENCE.ping_s, PATIENCE)
    assert order is Order.PING
    assert watch.due(5.1 + PATIENCE.ping_s, PATIENCE)[1] is None


def test_a_silent_worker_is_killed() -> None:
    watch = looked(started().ready(5.0), 5.0 + PATIENCE.silent_s)
    assert watch.due(5.1 + PATIENCE.silent_s, PATIENCE)[1] is Order.KILL
    alive = watch.heard(5.0 + PATIENCE.silent_s)
    assert alive.due(5.1 + PATIENCE.silent_s, PATIENCE)[1] is not Order.KILL


def test_a_worker_that_was_stopped_with_the_agent_is_asked_before_it_is_killed() -> None:
    """A machine that was frozen, or SIGSTOP for all: nobody could answer, or ask."""
    for frozen_s in (PATIENCE.silent_s - 1, PATIENCE.silent_s + 1, 1e6):
        watch = looked(started().ready(5.0).load_asked(5.0), 12.0)
        woken_s = 12.0 + frozen_s
        watch, order = watch.due(woken_s, PATIENCE)
        assert order is Order.PING
        last_s = woken_s + PATIENCE.silent_s - (12.0 - 5.0)
        watch = looked(watch, last_s)
        assert watch.due(last_s, PATIENCE)[1] is not Order.KILL
        assert watch.due(woken_s + PATIENCE.silent_s, PATIENCE)[1] is Order.KILL


def test_a_worker_that_was_stopped_while_it_starts_has_its_time_all_the_same() -> None:
    woken_s = 1.0 + 2 * PATIENCE.start_s
    watch, order = looked(started(), 1.0).due(woken_s, PATIENCE)
    assert order is None
    watch = looked(watch, woken_s + PATIENCE.start_s - 2)
    assert watch.due(woken_s + PATIENCE.start_s, PATIENCE)[1] is Order.KILL


def test_a_load_that_never_ends_is_ended() -> None:
    watch = started().ready(5.0).load_asked(5.0)
    at_s = 5.0 + PATIENCE.load_s
    watch = looked(watch, at_s)
    assert watch.heard(at_s).due(at_s, PATIENCE)[1] is not Order.KILL
    assert watch.heard(at_s).due(at_s + 0.1, PATIENCE)[1] is Order.KILL
    over = watch.load_ended(at_s).heard(at_s)
    assert over.due(at_s + 0.1, PATIENCE)[1] is not Order.KILL


def test_each_load_has_its_own_time() -> None:
    watch = started().ready(0.0).load_asked(0.0).load_asked(1.0)
    at_s = PATIENCE.load_s - 1
    watch = looked(watch, at_s).load_ended(at_s).heard(at_s + 10)
    assert watch.due(at_s + 10, PATIENCE)[1] is not Order.KILL


def test_a_worker_that_keeps_dying_is_started_ever_more_slowly() -> None:
    watch, waits = started(), []
    for _ in range(9):
        watch = replace(watch, condition=Condition.UP, since_s=0.0).died(1.0, PATIENCE)
        waits.append(watch.since_s - 1.0)
    assert waits == [0, 1, 2, 4, 8, 16, 32, 60, 60]


def test_a_worker_that_lived_long_is_started_again_at_once() -> None:
    watch = replace(started().ready(0.0), deaths=7)
    assert watch.died(PATIENCE.calm_s, PATIENCE).since_s == PATIENCE.calm_s


def test_deaths_that_took_the_agent_along_are_waited_for_as_others() -> None:
    assert Watch.after(0, 1.0, PATIENCE) == Watch()
    waits = [Watch.after(deaths, 1.0, PATIENCE).since_s - 1.0 for deaths in range(1, 10)]
    assert waits == [0, 1, 2, 4, 8, 16, 32, 60, 60]


def test_a_worker_that_is_up_and_missed_two_pings_does_not_answer() -> None:
    assert started().answering(1e6, PATIENCE), "it starts: it has its own patience"
    up = started().ready(5.0)
    assert up.answering(5.0 + 2 * PATIENCE.ping_s, PATIENCE)
    assert not up.answering(5.1 + 2 * PATIENCE.ping_s, PATIENCE)
    assert up.heard(20.0).answering(5.1 + 2 * PATIENCE.ping_s, PATIENCE)


def test_a_worker_that_will_load_something_else_is_started_at_once() -> None:
    waiting = Watch.after(5, 1.0, PATIENCE)
    assert waiting.due(1.0, PATIENCE)[1] is None
    assert waiting.hurried(1.0).due(1.0, PATIENCE)[1] is Order.START
    up = started().ready(5.0)
    assert up.hurried(6.0) == up
