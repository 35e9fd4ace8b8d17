"""What a device believes of the chunks that arrive, and when it asks for more."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import TrustError
from edgekit.statement import MAX_CHUNK_BYTES
from edgekit.wire import Chunk, Repair, mix
from edgekit_agent.update.receiver import (
    Accepted,
    Ignored,
    Receiver,
    ReceiverRules,
    Refused,
    Unsolved,
)
from tests.simulation import bundle_of

ENTRY, INDEX, DATA = bundle_of(20)
RULES = ReceiverRules(window=8, report_s=0.5, quiet_s=1, most_quiet_s=8)


def receiver(have: set[int] | None = None) -> Receiver:
    return Receiver(entry=ENTRY, index=INDEX, have=have or (), rules=RULES)


def chunk(number: int, *, sequence: int = 1, epoch: int = 7, data: bytes = b"") -> bytes:
    genuine = DATA[number * ENTRY.chunk_bytes :][: ENTRY.chunk_bytes]
    return Chunk(
        epoch=epoch, sequence=sequence, number=number, data=data or genuine
    ).encode()


def test_a_genuine_chunk_is_accepted_once() -> None:
    device = receiver()
    assert device.chunk(chunk(3)) == Accepted(number=3, data=DATA[24:32])
    assert device.chunk(chunk(3)) == Ignored()
    assert 3 not in device.missing


def test_what_is_on_disk_already_is_not_asked_for() -> None:
    want = receiver({0, 5}).want(0)
    assert want is not None
    assert want.missing == frozenset(range(20)) - {0, 5}


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "0 bytes"),
        (b"\x01" * 13, "13 bytes"),
        (b"\x02" + chunk(1)[1:], "version 2"),
        (chunk(1, data=b"x" * (MAX_CHUNK_BYTES + 1)), "bytes"),
        (chunk(1, data=b"x" * 8), "does not match"),
        (chunk(1)[:-1], "does not match"),
        (chunk(1) + b"x", "does not match"),
        (chunk(2, data=DATA[8:16]), "does not match"),
        (chunk(20, data=DATA[:8]), "chunk 20 of 20"),
        (chunk(2**32 - 1, data=DATA[:8]), "of 20"),
    ],
)
def test_hostile_chunks_are_refused(payload: bytes, reason: str) -> None:
    device = receiver()
    verdict = device.chunk(payload)
    assert isinstance(verdict, Refused)
    assert reason in verdict.reason
    assert len(device.missing) == 20


def piece(number: int) -> bytes:
    return DATA[number * ENTRY.chunk_bytes :][: ENTRY.chunk_bytes]


def repair(*numbers: int, sequence: int = 5, spoil: bytes = b"") -> bytes:
    data = mix((*map(piece, numbers), spoil), ENTRY.chunk_bytes)
    return Repair(epoch=7, sequence=sequence, numbers=numbers, data=data).encode()


def test_a_repair_yields_the_one_chunk_that_is_missing() -> None:
    device = receiver(set(range(20)) - {3})
    assert device.repair(repair(1, 3, 8), piece) == Accepted(number=3, data=piece(3))
    assert device.complete


def test_a_repair_that_yields_the_short_last_chunk_is_cut_to_its_length() -> None:
    data = DATA[:-3]
    index = b"".join(
        hashlib.sha256(data[at : at + 8]).digest() for at in range(0, len(data), 8)
    )
    entry = replace(ENTRY, length=len(data), index_sha256=hashlib.sha256(index).hexdigest())
    device = Receiver(entry=entry, index=index, have=range(19), rules=RULES)
    mixed = mix((data[:8], data[152:]), 8)
    payload = Repair(epoch=7, sequence=1, numbers=(0, 19), data=mixed).encode()
    verdict = device.repair(payload, lambda n: data[n * 8 : n * 8 + 8])
    assert verdict == Accepted(number=19, data=data[152:])


def test_a_repair_of_several_missing_chunks_leaves_nothing_behind() -> None:
    device = receiver(set(range(20)) - {3, 8})
    device.want(0)
    assert device.repair(repair(1, 3, 8), piece) == Unsolved()
    want = device.want(1)
    assert want is not None
    assert (want.missing, want.last_sequence, want.coded) == (frozenset({3, 8}), 0, True)


def test_a_repair_of_nothing_missing_is_a_sign_of_progress_when_it_is_genuine() -> None:
    device = receiver(set(range(20)) - {3})
    assert device.repair(repair(1, 8, sequence=9), piece) == Ignored()
    want = device.want(0)
    assert want is not None
    assert (want.epoch, want.last_sequence) == (7, 9)


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff",
        repair(1, 3, spoil=b"x"),
        repair(1, 8, spoil=b"x"),
        repair(1, 3)[:-1],
        repair(1, 3) + b"x",
        Repair(epoch=7, sequence=1, numbers=(3, 20), data=b"x" * 8).encode(),
    ],
)
def test_after_a_spoiled_repair_only_plain_chunks_are_asked_for(payload: bytes) -> None:
    device = receiver(set(range(20)) - {3})
    assert isinstance(device.repair(payload, piece), Refused)
    assert not device.takes_repairs
    want = device.want(0)
    assert want is not None
    assert (want.missing, want.last_sequence, want.coded) == (frozenset({3}), 0, False)
    assert device.repair(repair(1, 3), piece) == Unsolved()
    assert device.chunk(chunk(3)) == Accepted(number=3, data=piece(3))


@given(st.binary(max_size=200))
def test_garbage_is_never_accepted_and_never_crashes(payload: bytes) -> None:
    device = receiver()
    assert isinstance(device.chunk(payload), Refused)


def test_a_refused_chunk_does_not_count_as_progress() -> None:
    device = receiver()
    device.want(0)
    device.chunk(chunk(1, sequence=999, epoch=9, data=b"x" * 8))
    want = device.want(1)
    assert want is not None
    assert (want.epoch, want.last_sequence) == (0, 0)


def test_a_forged_sequence_number_does_not_stick() -> None:
    device = receiver()
    device.chunk(chunk(1, sequence=4_000_000_000))
    device.chunk(chunk(2, sequence=2))
    want = device.want(0)
    assert want is not None
    assert want.last_sequence == 2


def test_the_first_want_is_due_at_once() -> None:
    assert receiver().wait_s(0) == 0


def test_half_a_window_makes_a_want_due() -> None:
    device = receiver()
    device.want(0)
    for number in range(3):
        device.chunk(chunk(number, sequence=number + 1))
    assert device.want(0.1) is None
    device.chunk(chunk(3, sequence=4))
    want = device.want(0.1)
    assert want is not None
    assert (want.epoch, want.last_sequence) == (7, 4)


def test_half_of_what_was_missing_makes_a_want_due_at_the_end() -> None:
    device = receiver(set(range(16)))
    device.want(0)
    device.chunk(chunk(16))
    assert device.want(0.1) is None
    device.chunk(chunk(17, sequence=2))
    want = device.want(0.1)
    assert want is not None
    assert want.missing == {18, 19}


def test_what_others_lack_makes_no_want_due_at_the_end() -> None:
    device = receiver(set(range(19)))
    device.want(0)
    for number in range(3):
        device.chunk(chunk(number, sequence=number + 1))
        assert device.want(0.1) is None


def test_any_progress_is_reported_in_time() -> None:
    device = receiver()
    device.want(0)
    device.chunk(chunk(0))
    assert device.want(0.4) is None
    assert device.wait_s(0.4) == pytest.approx(0.1)
    assert device.want(0.5) is not None


def test_duplicates_count_as_progress_of_the_stream() -> None:
    device = receiver()
    device.want(0)
    for sequence in range(1, 5):
        device.chunk(chunk(0, sequence=sequence))
    assert device.want(0.1) is not None


def test_silence_is_asked_into_ever_more_rarely() -> None:
    device = receiver()
    asked = [t / 10 for t in range(400) if device.want(t / 10) is not None]
    assert asked == [0, 1, 3, 7, 15, 23, 31, 39]


def test_after_silence_one_chunk_restores_the_pace() -> None:
    device = receiver()
    for tick in range(200):
        device.want(tick / 10)
    device.chunk(chunk(0))
    assert device.want(20) is not None
    assert device.wait_s(20) == RULES.quiet_s


def test_a_new_session_asks_at_once_and_counts_from_the_start() -> None:
    device = receiver()
    device.want(0)
    device.chunk(chunk(0, sequence=5))
    device.session_ended()
    assert device.want(100) is None
    device.session_began()
    want = device.want(100)
    assert want is not None
    assert (want.epoch, want.last_sequence) == (0, 0)
    assert 0 not in want.missing


def test_a_complete_device_says_goodbye_once() -> None:
    device = receiver(set(range(19)))
    device.want(0)
    device.chunk(chunk(19))
    assert device.complete
    goodbye = device.want(0.01)
    assert goodbye is not None
    assert goodbye.missing == frozenset()
    assert device.want(100) is None


def test_chunks_lost_on_disk_are_asked_for_again() -> None:
    device = receiver(set(range(20)))
    device.want(0)
    device.lost({4})
    want = device.want(0.1)
    assert want is not None
    assert want.missing == {4}


@pytest.mark.parametrize(
    ("entry", "index", "reason"),
    [
        (ENTRY, INDEX[:-1], "bytes"),
        (ENTRY, INDEX + bytes(32), "bytes"),
        (ENTRY, INDEX[32:] + INDEX[:32], "not the signed one"),
        (replace(ENTRY, chunk_bytes=0), INDEX, "chunks of 0 bytes"),
        (replace(ENTRY, chunk_bytes=-8), INDEX, "chunks of -8 bytes"),
        (replace(ENTRY, chunk_bytes=2**20), INDEX, "chunks of 1048576 bytes"),
        (replace(ENTRY, length=0), INDEX, "0 chunks"),
        (replace(ENTRY, length=2**60), INDEX, "chunks, up to"),
    ],
)
def test_an_index_that_signed_data_do_not_vouch_for_is_a_trust_error(
    entry: object, index: bytes, reason: str
) -> None:
    with pytest.raises(TrustError, match=reason):
        Receiver(entry=entry, index=index)  # type: ignore[arg-type]  # parametrised
