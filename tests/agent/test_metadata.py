"""Metadata files over retained messages, from brokers that forget, stall and lie."""

import pytest

from edgekit.errors import TransportError
from edgekit.wire import Topics, encode_names
from edgekit_agent.update.metadata import RetainedFiles
from tests.fakes import FakeBroker, FakeClock

TOPICS = Topics(fleet="demo")


def offering(files: dict[str, bytes]) -> FakeBroker:
    broker = FakeBroker(clock=FakeClock())
    broker.retained = {TOPICS.file(name): data for name, data in files.items()}
    broker.retained[TOPICS.index] = encode_names(files)
    return broker


def source_of(broker: FakeBroker) -> RetainedFiles:
    assert broker.clock is not None
    return RetainedFiles(broker.connect("pi"), TOPICS, timeout_s=5, clock=broker.clock)


def test_a_named_file_is_returned_whole() -> None:
    source = source_of(offering({"1.root.json": b"root"}))
    assert source.file("1.root.json", 100) == b"root"
    assert source.file("1.root.json", 100) == b"root"


def test_names_with_slashes_and_percents_are_found() -> None:
    name = "targets/stages/production/ab.my%20model.json"
    assert source_of(offering({name: b"{}"})).file(name, 100) == b"{}"


def test_a_name_the_index_does_not_hold_is_no_file_and_is_known_at_once() -> None:
    broker = offering({"1.root.json": b"root"})
    source = source_of(broker)
    assert broker.clock is not None
    before = broker.clock.now
    assert source.file("2.root.json", 100) is None
    assert broker.clock.now == before


def test_a_longer_file_is_cut_behind_the_limit() -> None:
    source = source_of(offering({"a": b"x" * 1000}))
    assert source.file("a", 10) == b"x" * 11


def test_without_an_index_absence_cannot_be_known() -> None:
    broker = FakeBroker(clock=FakeClock())
    with pytest.raises(TransportError, match="the index: the broker did not send it"):
        source_of(broker).file("1.root.json", 100)


def test_a_promised_file_that_does_not_come_is_a_transport_error() -> None:
    broker = offering({"a": b"x"})
    del broker.retained[TOPICS.file("a")]
    with pytest.raises(TransportError, match="a: the broker did not send it within 5 s"):
        source_of(broker).file("a", 100)


def test_an_unreadable_index_is_a_transport_error() -> None:
    broker = offering({})
    broker.retained[TOPICS.index] = b"\xff\xfe"
    with pytest.raises(TransportError, match="UTF-8"):
        source_of(broker).file("a", 100)


def test_a_newer_index_counts_from_when_it_arrives() -> None:
    broker = offering({"a": b"a"})
    source = source_of(broker)
    assert source.file("b", 100) is None
    broker.inject(TOPICS.file("b"), b"b", qos=1, retain=True)
    broker.inject(TOPICS.index, encode_names({"a", "b"}), qos=1, retain=True)
    assert source.file("b", 100) == b"b"


def test_a_session_that_drops_and_comes_back_in_time_is_not_noticed() -> None:
    broker = offering({"a": b"a"})
    source = source_of(broker)
    broker.kill()

    def come_back() -> None:
        if not broker.up:
            broker.restart()

    broker.peers.append(come_back)
    assert source.file("a", 100) == b"a"


def test_files_of_other_fleets_and_topics_are_not_mixed_up() -> None:
    broker = offering({"a": b"mine"})
    broker.retained[Topics(fleet="other").file("a")] = b"theirs"
    assert source_of(broker).file("a", 100) == b"mine"


def test_closing_leaves_no_subscription_behind() -> None:
    broker = offering({"a": b"a"})
    transport = broker.connect("pi")
    source = RetainedFiles(transport, TOPICS)
    source.file("a", 100)
    source.close()
    assert transport.filters == {}
