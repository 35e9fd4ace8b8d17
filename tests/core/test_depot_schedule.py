"""One blob, many devices: everybody finishes, and nothing is sent without need."""

from dataclasses import replace

import pytest

from edgekit.depot.company import Company
from edgekit.depot.schedule import Schedule, ScheduleRules, Sending
from edgekit.wire import Want
from tests.simulation import Device, Simulation

SHA = "ab" * 32
AT_ONCE = ScheduleRules(gather_s=0)


def want(
    missing: set[int], *, epoch: int = 0, last: int = 0, window: int = 4, chunks: int = 10
) -> Want:
    return Want(
        sha256=SHA,
        epoch=epoch,
        last_sequence=last,
        window=window,
        chunks=chunks,
        missing=frozenset(missing),
    )


def drain(schedule: Schedule, now: float) -> list[int]:
    numbers: list[int] = []
    while (sending := schedule.next(now)) is not None:
        numbers.extend(sending.numbers)
    return numbers


def schedule_of(chunks: int = 10, rules: ScheduleRules = AT_ONCE) -> Schedule:
    return Schedule(chunks=chunks, epoch=7, rules=rules)


def test_sendings_are_numbered_from_one() -> None:
    schedule = schedule_of()
    schedule.hear("a", want({3, 5}), 0)
    assert schedule.next(0) == Sending(sequence=1, numbers=(3,))
    assert schedule.next(0) == Sending(sequence=2, numbers=(5,))
    assert schedule.next(0) is None


def test_a_device_never_has_more_in_flight_than_its_window() -> None:
    schedule = schedule_of()
    schedule.hear("a", want(set(range(10))), 0)
    assert drain(schedule, 0) == [0, 1, 2, 3]
    schedule.hear("a", want(set(range(2, 10)), epoch=7, last=2), 0.1)
    assert drain(schedule, 0.1) == [4, 5]


def test_a_repeated_request_is_not_echoed() -> None:
    schedule = schedule_of()
    schedule.hear("a", want({1, 2, 3}), 0)
    drain(schedule, 0)
    for at in (0.1, 0.5, 1.0, 1.9):
        schedule.hear("a", want({1, 2, 3}), at)
        assert drain(schedule, at) == []


def test_two_devices_are_served_by_one_sending() -> None:
    schedule = schedule_of()
    schedule.hear("a", want({1, 2}), 0)
    schedule.hear("b", want({2, 1}), 0)
    assert drain(schedule, 0) == [1, 2]


def test_a_chunk_that_was_passed_over_is_sent_again() -> None:
    schedule = schedule_of()
    schedule.hear("a", want({0, 1, 2}), 0)
    drain(schedule, 0)
    schedule.hear("a", want({1}, epoch=7, last=3), 0.1)
    assert drain(schedule, 0.1) == [1]


def test_a_late_joiner_does_not_restart_the_others() -> None:
    schedule = schedule_of()
    schedule.hear("a", want(set(range(10)), window=100), 0)
    assert [schedule.next(0) for _ in range(5)][-1] == Sending(sequence=5, numbers=(4,))
    schedule.hear("b", want(set(range(10)), window=100), 0)
    assert drain(schedule, 0) == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]


def test_a_device_gone_quiet_with_its_window_lost_is_served_when_it_asks_again() -> None:
    schedule = schedule_of()
    schedule.hear("a", want({1, 2}), 0)
    drain(schedule, 0)
    schedule.hear("a", want({1, 2}), AT_ONCE.patience_s + 0.1)
    assert drain(schedule, AT_ONCE.patience_s + 0.1) == [1, 2]


def test_what_was_sent_only_now_is_not_lost_when_patience_with_the_rest_ends() -> None:
    schedule = schedule_of()
    schedule.hear("a", want({0, 1}), 0)
    drain(schedule, 0)
    schedule.hear("b", want({1}), 2.4)
    assert drain(schedule, 2.4) == [1]
    schedule.hear("a", want({0, 1}), 2.5)  # 1 may be on its way: 0 is not
    assert drain(schedule, 2.5) == [0]


def test_patience_doubles_while_nothing_gets_through() -> None:
    schedule = schedule_of()
    schedule.hear("a", want({1}), 0)
    drain(schedule, 0)
    sent_at = []
    for tick in range(1, 1200):
        schedule.hear("a", want({1}), tick / 10)
        if drain(schedule, tick / 10):
            sent_at.append(tick / 10)
    assert sent_at == pytest.approx([2, 6, 14, 30, 62], abs=0.2)


def test_a_restarted_device_gets_what_was_in_flight_at_once() -> None:
    schedule = schedule_of()
    schedule.hear("a", want(set(range(10))), 0)
    drain(schedule, 0)
    schedule.hear("a", want(set(range(2, 10)), epoch=7, last=2), 0.1)
    drain(schedule, 0.1)
    schedule.hear("a", want(set(range(2, 10))), 0.2)
    assert drain(schedule, 0.2) == [6, 7, 8, 9]


def test_an_older_report_delivered_late_changes_nothing() -> None:
    schedule = schedule_of()
    schedule.hear("a", want(set(range(10))), 0)
    drain(schedule, 0)
    schedule.hear("a", want(set(range(4, 10)), epoch=7, last=4), 0.1)
    drain(schedule, 0.1)
    schedule.hear("a", want(set(range(1, 10)), epoch=7, last=1), 0.2)
    assert drain(schedule, 0.2) == []


def test_a_report_of_what_was_never_sent_does_not_starve_the_device() -> None:
    schedule = schedule_of()
    schedule.hear("a", want({1}, epoch=7, last=4_000_000), 0)
    assert drain(schedule, 0) == [1]
    schedule.hear("a", want({1}, epoch=7, last=4_000_000), 0.1)
    assert drain(schedule, 0.1) == []
    schedule.hear("a", want({1}, epoch=7, last=4_000_000), 5)
    assert drain(schedule, 5) == [1]


def test_a_goodbye_frees_the_others_of_a_device() -> None:
    schedule = schedule_of()
    schedule.hear("a", want({1}), 0)
    schedule.hear("a", want(set()), 0)
    assert schedule.devices == frozenset()
    assert schedule.next(0) is None


def test_invented_devices_fill_no_memory_and_make_room_when_they_are_silent() -> None:
    schedule = schedule_of(rules=ScheduleRules(gather_s=0, most_devices=3))
    for n in range(9):
        schedule.hear(f"invented-{n}", want({1}), 0)
    assert schedule.devices == {"invented-0", "invented-1", "invented-2"}
    schedule.forget_silent(130)
    schedule.hear("a", want({1}), 130)
    assert schedule.serves("a")


def test_silent_devices_are_forgotten() -> None:
    schedule = schedule_of()
    schedule.hear("a", want({1}), 0)
    schedule.hear("b", want({1}), 100)
    assert schedule.forget_silent(130) == {"a"}
    assert schedule.devices == {"b"}


def test_the_first_request_waits_for_others_to_join() -> None:
    schedule = schedule_of(rules=ScheduleRules(gather_s=0.5, most_gather_s=1))
    schedule.hear("a", want({1}), 0)
    assert schedule.next(0.4) is None
    assert schedule.wait_s(0.4) == pytest.approx(0.1)
    schedule.hear("b", want({2}), 0.4)
    assert schedule.next(0.8) is None  # b may be followed by others as well
    assert drain(schedule, 0.9) == [1, 2]
    assert schedule.wait_s(0.9) is None


def test_a_crowd_is_waited_for_no_longer_than_the_bound() -> None:
    schedule = schedule_of(rules=ScheduleRules(gather_s=0.5, most_gather_s=1))
    for at in (0, 0.4, 0.8, 0.9):
        schedule.hear(f"at {at}", want({1}), at)
    assert schedule.next(0.95) is None
    assert drain(schedule, 1) == [1]


def company(*names: str) -> Company:
    """A depot's acquaintances, one of whom it has served."""
    found = Company()
    for name in names:
        found.hear(name, done=name == names[0])
    return found


def test_a_request_waits_for_nobody_once_all_that_are_known_have_joined() -> None:
    schedule = Schedule(chunks=10, epoch=7, company=company("a", "b"))
    schedule.hear("b", want({1}), 0)
    assert schedule.next(0) is None
    schedule.hear("a", want({1, 2}), 0.1)
    assert drain(schedule, 0.1) == [1, 2]


def test_the_only_device_that_is_known_waits_for_nobody() -> None:
    schedule = Schedule(chunks=10, epoch=7, company=company("a"))
    schedule.hear("a", want({1}), 5)
    assert drain(schedule, 5) == [1]


@pytest.mark.parametrize("served", [False, True])
def test_a_depot_that_cannot_know_all_waits_for_strangers(*, served: bool) -> None:
    found = Company(most=1)
    for name in ("a", "b") if served else ("a",):
        found.hear(name, done=served)
    schedule = Schedule(chunks=10, epoch=7, company=found)
    schedule.hear("a", want({1}), 0)
    schedule.hear("b", want({1}), 0)
    assert schedule.next(0) is None
    assert schedule.wait_s(0) == ScheduleRules().gather_s


def test_quiet_devices_hold_nobody_up() -> None:
    schedule = schedule_of()
    for name in ("a", "b", "c"):
        schedule.hear(name, want(set(range(10)), window=2), 0)
    assert drain(schedule, 0) == [0, 1]
    schedule.hear("a", want(set(range(2, 10)), epoch=7, last=2, window=2), 0.1)
    assert drain(schedule, 0.1) == []  # b and c, the majority, have no room
    assert drain(schedule, AT_ONCE.quiet_s + 0.05) == [2, 3]


def test_a_very_slow_device_is_not_buried_under_repeats() -> None:
    slow = Device("slow", delay_s=0.1, seconds_per_chunk=4.0)
    run = Simulation(60, [slow], window=4).run()
    assert run.unfinished == []
    assert len(run.sent) <= 2 * 60


def test_one_slow_device_does_not_slow_nine_fast_ones() -> None:
    fast = [Device(f"fast-{n}") for n in range(9)]
    alone = Simulation(400, [Device("x")]).run()
    slow = Device("slow", seconds_per_chunk=0.05, delay_s=0.1, queue=200)
    mixed = Simulation(400, [*fast, slow]).run()
    assert alone.devices[0].finished_at is not None
    for device in fast:
        assert device.finished_at is not None
        assert device.finished_at < 1.3 * alone.devices[0].finished_at
    assert mixed.unfinished == []
    assert len(mixed.sent) <= 2 * 400


def test_fifty_devices_cost_what_one_costs() -> None:
    fleet = Simulation(300, [Device(f"d{n}", delay_s=0.003 * n) for n in range(50)]).run()
    assert fleet.unfinished == []
    assert len(fleet.sent) == 300


def test_old_agents_get_plain_chunks_whatever_the_others_take() -> None:
    schedule = schedule_of()
    schedule.hear("old", want({1}), 0)
    schedule.hear("older", want({5}), 0)
    schedule.hear("new", replace(want({3}), coded=True), 0)
    sent = [one.numbers for at in (0, AT_ONCE.settle_s) for one in _all(schedule, at)]
    assert sent == [(1,), (3,), (5,)]


def test_what_three_devices_lost_goes_out_as_one() -> None:
    schedule = schedule_of()
    for name, number in (("a", 1), ("b", 5), ("c", 3)):
        schedule.hear(name, replace(want({number}), coded=True), 0)
    assert [sent.numbers for sent in _all(schedule)] == [(1, 3, 5)]


def test_what_was_mixed_and_lost_is_sent_again() -> None:
    schedule = schedule_of()
    for name, number in (("a", 1), ("b", 5)):
        schedule.hear(name, replace(want({number}), coded=True), 0)
    assert [sent.numbers for sent in _all(schedule)] == [(1, 5)]
    schedule.hear("a", want(set()), 0.1)
    schedule.hear("b", replace(want({5}), coded=True), AT_ONCE.patience_s)
    assert drain(schedule, AT_ONCE.patience_s) == [5]


def test_a_mixture_is_in_flight_also_to_whom_it_was_not_meant_for() -> None:
    schedule = schedule_of()
    for name, missing in (("a", {0, 4}), ("b", {0}), ("c", {4})):
        schedule.hear(name, replace(want(missing), coded=True), 0)
    assert [sent.numbers for sent in _all(schedule)] == [(0,), (4,)]
    schedule.hear("b", replace(want({0}, epoch=7, last=2), coded=True), 0.1)
    schedule.hear("c", replace(want({4}, epoch=7, last=2), coded=True), 0.1)
    sent = [one.numbers for one in _all(schedule, AT_ONCE.settle_s)]
    assert sent == [(0, 4)]  # a is thought to have both from the first two
    late = replace(want({4}, epoch=7, last=2), coded=True)  # it has 0: so it gets 4
    schedule.hear("a", late, AT_ONCE.settle_s)
    assert drain(schedule, AT_ONCE.settle_s) == []
    for name in ("b", "c"):
        schedule.hear(name, want(set()), AT_ONCE.settle_s)
    lost = replace(want({4}, epoch=7, last=3), coded=True)
    schedule.hear("a", lost, AT_ONCE.settle_s + 0.1)
    assert drain(schedule, AT_ONCE.settle_s + 0.1) == [4]


def test_what_serves_few_waits_for_the_reports_of_others() -> None:
    schedule = schedule_of()
    for name, missing in (("a", {1}), ("b", {1}), ("c", {1, 2})):
        schedule.hear(name, replace(want(missing), coded=True), 0)
    assert [sent.numbers for sent in _all(schedule)] == [(1,)]
    assert schedule.wait_s(0) == pytest.approx(AT_ONCE.settle_s)
    assert [sent.numbers for sent in _all(schedule, AT_ONCE.settle_s)] == [(2,)]


def _all(schedule: Schedule, now: float = 0) -> list[Sending]:
    return list(iter(lambda: schedule.next(now), None))


@pytest.mark.parametrize("chunks", [100, 300])
def test_a_hundred_devices_that_lose_5_percent_cost_at_most_1_3_bundles(
    chunks: int,
) -> None:
    lossy = [Device(f"d{n}", loss=0.05) for n in range(100)]
    fleet = Simulation(chunks, lossy, window=32).run()
    assert fleet.unfinished == []
    assert fleet.sent_bytes <= 1.3 * fleet.entry.length


def test_a_hundred_devices_without_loss_cost_at_most_1_05_bundles() -> None:
    fleet = Simulation(300, [Device(f"d{n}") for n in range(100)], window=32).run()
    assert fleet.unfinished == []
    assert fleet.sent_bytes <= 1.05 * fleet.entry.length


@pytest.mark.slow  # a hundred devices, each a simulation of its own
def test_a_late_joiner_among_lossy_devices_costs_its_own_lap_and_delays_nobody() -> None:
    def fleet(joins_at: float) -> tuple[Simulation, float]:
        late = Device("late", loss=0.05, joins_at=joins_at)
        others = [Device(f"d{n}", loss=0.05) for n in range(99)]
        run = Simulation(300, [late, *others], window=32).run()
        assert run.unfinished == []
        return run, max(d.finished_at or 0 for d in others)

    together, together_s = fleet(joins_at=0)
    joined, joined_s = fleet(joins_at=0.8)  # the first lap is over, its repair begins
    assert joined_s <= together_s + 1
    assert joined.sent_bytes <= together.sent_bytes + 1.2 * joined.entry.length


def test_one_slow_device_among_lossy_ones_is_not_waited_for() -> None:
    slow = Device("slow", loss=0.05, seconds_per_chunk=0.05, queue=200)
    others = [Device(f"d{n}", loss=0.05) for n in range(99)]
    fleet = Simulation(300, [slow, *others], window=32).run()
    assert fleet.unfinished == []
    assert max(d.finished_at or 0 for d in others) < 300 * 0.05 / 3
    assert fleet.sent_bytes <= 2 * fleet.entry.length


def test_old_agents_and_new_ones_finish_together() -> None:
    mixed = [Device(f"d{n}", loss=0.05, plain=n % 2 == 0) for n in range(20)]
    fleet = Simulation(100, mixed, window=32).run()
    assert fleet.unfinished == []
    assert any(len(numbers) > 1 for numbers in fleet.sent)
