"""When a fetch that gets nowhere ends, and what the operator is told."""

import pytest

from edgekit_agent.update.receiver import Accepted, Ignored, Refused
from edgekit_agent.update.standstill import Patience, Standstill

PATIENCE = Patience(spoiled_s=15, silent_s=60, stuck_s=300)
NEW = Accepted(number=1, data=b"data")
AGAIN = Ignored()
FOREIGN = Refused(reason="no chunk")


def standstill(chunks: int = 10) -> Standstill:
    return Standstill(chunks=chunks, patience=PATIENCE, now=0)


def spoiled(number: int) -> Refused:
    return Refused(reason="wrong", number=number)


def test_silence_is_borne_for_a_minute() -> None:
    fetch = standstill()
    assert fetch.wait_s(10) == 50
    assert fetch.reason(59.9) is None
    assert fetch.reason(60) == (
        "no genuine chunk for 60 s; is the depot running, and has it the bundle?"
    )


def test_spoiled_chunks_are_named_after_fifteen_seconds() -> None:
    fetch = standstill(chunks=1)
    for at in range(37):
        fetch.note(spoiled(0), at / 10)
    assert fetch.reason(14.9) is None
    assert fetch.reason(15) == (
        "no genuine chunk for 15 s; chunk 0 of 1: 37 messages did not match the signed"
        " digest"
    )


def test_few_of_many_spoiled_chunks_are_named_and_foreign_messages_counted() -> None:
    fetch = standstill()
    for number in (*range(7), 3):
        fetch.note(spoiled(number), 1)
    fetch.note(FOREIGN, 1)
    assert fetch.reason(15) == (
        "no genuine chunk for 15 s; chunks 0, 1, 2, 3, 4 and 2 more of 10: 8 messages did"
        " not match the signed digest; 1 message held no chunk of this bundle"
    )
    assert fetch.refused == 9


@pytest.mark.parametrize("sign", [NEW, AGAIN])
def test_a_flood_of_spoiled_chunks_does_not_end_a_fetch_that_gets_on(
    sign: Accepted | Ignored,
) -> None:
    fetch = standstill()
    for second in range(200):
        for _ in range(100):
            fetch.note(spoiled(2), second)
        if second % 14 == 0:
            fetch.note(sign, second)
        assert fetch.reason(second) is None


def test_after_a_genuine_chunk_old_spoiled_ones_are_no_reason_to_hurry() -> None:
    fetch = standstill()
    fetch.note(spoiled(2), 1)
    fetch.note(NEW, 2)
    assert fetch.reason(60) is None
    assert fetch.wait_s(60) == 2


def test_genuine_chunks_that_nobody_needs_do_not_hold_a_device_for_ever() -> None:
    fetch = standstill()
    for second in range(300):
        fetch.note(AGAIN, second)
        assert fetch.reason(second) is None
    assert fetch.reason(300) == "no missing chunk for 300 s, only others"
