from hypothesis import given
from hypothesis import strategies as st

from edgekit_agent.rules.backlog import (
    BLOCK_BYTES,
    MOST_IN_FLIGHT,
    UNSENT,
    Delivery,
    Entry,
    next_to_send,
)
from edgekit_agent.rules.budget import Budget


def entries(*, sent: int, unsent: int) -> list[Entry]:
    return [
        Entry(number=n, boot_id="b", first=n, last=n, payload_bytes=9, sent=n <= sent)
        for n in range(1, sent + unsent + 1)
    ]


def test_the_oldest_goes_first_and_few_are_in_flight() -> None:
    waiting = entries(sent=0, unsent=2 * MOST_IN_FLIGHT)
    first = next_to_send(waiting, {}, 0.0)
    assert first is not None
    assert first.number == 1
    flying = entries(sent=MOST_IN_FLIGHT, unsent=1)
    deliveries = {one.number: UNSENT.again(0.0) for one in flying}
    assert next_to_send(flying, deliveries, 59.0) is None
    again = next_to_send(flying, deliveries, 60.0)
    assert again is not None
    assert again.number == 1


def test_a_window_is_sent_again_after_a_minute_then_ever_later_up_to_an_hour() -> None:
    delivery, waits = UNSENT, []
    for _ in range(9):
        delivery = delivery.again(0.0)
        waits.append(delivery.due_s)
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert Delivery(attempts=5_000, due_s=0.0).again(1.0).due_s == 3601.0


def test_a_file_takes_whole_blocks() -> None:
    one = entries(sent=0, unsent=1)[0]
    assert one.disk_bytes == BLOCK_BYTES


@given(
    st.integers(16, 10_000),
    st.lists(st.tuples(st.floats(0, 4_000), st.integers(1, 4_000)), max_size=200),
)
def test_no_day_sees_more_than_its_bytes_and_one_window(
    kilobytes: int, wanted: list[tuple[float, int]]
) -> None:
    budget, now_s = Budget.begin(kilobytes * 1024, 0.0), 0.0
    sent: list[tuple[float, int]] = []
    for wait_s, size in wanted:
        now_s += wait_s
        budget = budget.at(now_s)
        if budget.affords(size):
            budget = budget.spend(size)
            sent.append((now_s, size))
    for begin, _ in sent:
        of_day = [size for at_s, size in sent if begin <= at_s < begin + 86_400]
        assert sum(of_day) <= kilobytes * 1024 + max(of_day)


def test_what_never_fits_goes_when_the_bucket_is_full() -> None:
    budget = Budget.begin(16 * 1024, 0.0)
    assert not budget.affords(60_000)
    full = budget.at(86_400.0)
    assert full.affords(60_000)
    assert not full.spend(60_000).at(86_400.0 * 2).affords(1)
