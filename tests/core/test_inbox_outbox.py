"""What waits is bounded, and nobody waits for ever."""

import threading

from edgekit.inbox import Inbox
from edgekit.outbox import Outbox
from edgekit.transport import Connected, Disconnected, Message


def message(payload: bytes = b"x") -> Message:
    return Message(topic="t", payload=payload)


def test_a_full_queue_drops_qos_0_and_counts_it() -> None:
    inbox = Inbox(max_messages=2)
    assert [inbox.offer(message(), qos=0) for _ in range(3)] == [True, True, False]
    assert inbox.dropped == 1


def test_qos_0_waits_for_a_receiver_that_takes_something_now_and_then() -> None:
    inbox = Inbox(max_messages=1, patience_s=60)
    sent = [str(number).encode() for number in range(50)]

    def bring() -> None:
        for payload in sent:
            inbox.offer(message(payload), qos=0)

    bringer = threading.Thread(target=bring)
    bringer.start()
    arrivals = [inbox.take(10) for _ in sent]
    bringer.join(10)
    assert arrivals == [message(payload) for payload in sent]
    assert inbox.dropped == 0


def test_qos_0_does_not_wait_for_a_receiver_that_takes_nothing() -> None:
    inbox = Inbox(max_messages=1, patience_s=0.05)
    accepted = [inbox.offer(message(), qos=0) for _ in range(1_000)]
    assert accepted == [True] + [False] * 999
    assert inbox.dropped == 999
    assert not inbox.blocked


def test_bytes_are_bounded_too() -> None:
    inbox = Inbox(max_bytes=10)
    assert inbox.offer(message(b"x" * 8), qos=0)
    assert not inbox.offer(message(b"x" * 3), qos=0)


def test_a_message_larger_than_the_queue_still_passes_an_empty_one() -> None:
    inbox = Inbox(max_bytes=10)
    assert inbox.offer(message(b"x" * 100), qos=1)


def test_news_of_the_session_is_never_dropped() -> None:
    inbox = Inbox(max_messages=1)
    inbox.offer(message(), qos=0)
    inbox.tell(Disconnected(reason="r"))
    inbox.tell(Connected())
    taken = [inbox.take(0) for _ in range(3)]
    assert taken == [message(), Disconnected(reason="r"), Connected()]


def test_a_full_queue_makes_qos_1_wait_until_there_is_room() -> None:
    inbox = Inbox(max_messages=1)
    inbox.offer(message(b"1"), qos=1)
    bringer = threading.Thread(target=inbox.offer, args=(message(b"2"),), kwargs={"qos": 1})
    bringer.start()
    while not inbox.blocked:
        pass
    assert inbox.take(1) == message(b"1")
    assert inbox.take(1) == message(b"2")
    bringer.join(5)
    assert not inbox.blocked


def test_closing_frees_who_waits() -> None:
    inbox = Inbox(max_messages=1)
    inbox.offer(message(), qos=1)
    accepted: list[bool] = []
    bringer = threading.Thread(
        target=lambda: accepted.append(inbox.offer(message(), qos=1))
    )
    bringer.start()
    while not inbox.blocked:
        pass
    inbox.close()
    bringer.join(5)
    assert accepted == [False]


def test_an_empty_queue_gives_nothing_in_time() -> None:
    assert Inbox().take(0.01) is None


def test_outbox_waits_for_acknowledgements() -> None:
    outbox = Outbox()
    outbox.published(1, qos=1, size=10, session=outbox.session)
    assert not outbox.wait_until_empty(0.01)
    outbox.departed(1)
    assert outbox.wait_until_empty(0)


def test_a_departure_before_the_note_of_it_is_not_waited_for() -> None:
    outbox = Outbox()
    outbox.departed(7)
    outbox.published(7, qos=0, size=10, session=outbox.session)
    assert outbox.wait_until_empty(0)


def test_qos_0_bytes_are_bounded_and_qos_1_bytes_do_not_count() -> None:
    outbox = Outbox(max_bytes=10)
    outbox.published(1, qos=1, size=100, session=0)
    assert outbox.wait_for_room(lambda: True)
    outbox.published(2, qos=0, size=10, session=0)
    assert not outbox.wait_for_room(lambda: True)


def test_a_lost_session_takes_qos_0_with_it_and_keeps_qos_1() -> None:
    outbox = Outbox(max_bytes=10)
    outbox.published(1, qos=1, size=1, session=outbox.session)
    outbox.published(2, qos=0, size=10, session=outbox.session)
    before = outbox.session
    outbox.session_lost()
    assert outbox.wait_for_room(lambda: True)
    assert not outbox.wait_until_empty(0)
    outbox.published(3, qos=0, size=10, session=before)  # noted after it was lost
    outbox.departed(1)
    assert outbox.wait_until_empty(0)
