"""A broker that never quite stops sending, and never sends what is needed.

The real source over a broker in memory; time is counted by the clock that it asks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import pytest

from edgekit.errors import TransportError
from edgekit.transport import Arrival, Connected, Message
from edgekit.wire import Topics
from edgekit_agent.update.metadata import TIMEOUT_S, RetainedFiles

TOPICS = Topics(fleet="demo")
INDEX = Message(topic=TOPICS.index, payload=b"timestamp.json")
STEP_S = 0.5


@dataclass
class Drip:
    """A transport that brings the next arrival whenever it is asked; each takes a while."""

    arrivals: Iterator[Arrival]
    now_s: float = 0.0
    received: int = 0
    dropped: int = 0

    def clock(self) -> float:
        return self.now_s

    def receive(self, timeout_s: float) -> Arrival | None:
        if timeout_s <= 0:
            return None
        self.now_s += min(STEP_S, timeout_s)
        self.received += 1
        return next(self.arrivals, None)

    def subscribe(self, *filters: str, qos: int = 1) -> None:
        assert filters
        assert qos == 1

    def unsubscribe(self, *filters: str) -> None:
        assert filters

    def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False
    ) -> None:
        raise AssertionError(f"{topic}: {payload!r} {qos} {retain}: it only reads")

    def close(self) -> None:
        """Nothing is open."""


def other(number: int) -> Arrival:
    return Message(topic=TOPICS.file(f"{number}.root.json"), payload=b"x" * 1000)


NEVER: dict[str, Callable[[int], Arrival]] = {
    "other files": other,
    "empty files": lambda _n: Message(topic=TOPICS.file("timestamp.json"), payload=b""),
    "new indexes": lambda _n: INDEX,
    "new sessions": lambda _n: Connected(),
    "topics of strangers": lambda n: Message(topic=f"flood/{n}", payload=b"x"),
}


@pytest.mark.parametrize("what", NEVER)
def test_a_file_that_never_comes_ends_the_wait_whatever_else_comes(what: str) -> None:
    def arrivals() -> Iterator[Arrival]:
        yield INDEX
        yield from map(NEVER[what], count())

    drip = Drip(arrivals())
    files = RetainedFiles(drip, TOPICS, clock=drip.clock)
    with pytest.raises(TransportError, match=r"timestamp\.json: the broker did not send"):
        files.file("timestamp.json", 8192)
    assert drip.now_s <= 2 * TIMEOUT_S
    assert drip.received <= 2 * TIMEOUT_S / STEP_S


def test_an_index_that_never_comes_ends_the_wait_too() -> None:
    drip = Drip(map(other, count()))
    files = RetainedFiles(drip, TOPICS, clock=drip.clock)
    with pytest.raises(TransportError, match="the index: the broker did not send it"):
        files.file("timestamp.json", 8192)
    assert drip.now_s <= 2 * TIMEOUT_S


def test_a_flood_before_the_question_is_read_in_part_and_the_file_still_found() -> None:
    class Flood(Drip):
        """Everything has arrived already."""

        def receive(self, timeout_s: float) -> Arrival | None:
            self.now_s += min(0.001, max(timeout_s, 0.0))
            self.received += 1
            return next(self.arrivals, None)

    def arrivals() -> Iterator[Arrival]:
        yield INDEX
        yield from map(other, range(5000))
        yield Message(topic=TOPICS.file("timestamp.json"), payload=b"signed")

    flood = Flood(arrivals())
    files = RetainedFiles(flood, TOPICS, clock=flood.clock)
    assert files.file("timestamp.json", 8192) == b"signed"


def test_a_longer_file_is_cut_behind_its_limit() -> None:
    long = Message(topic=TOPICS.file("timestamp.json"), payload=b"x" * 100_000)
    drip = Drip(iter([INDEX, long]))
    files = RetainedFiles(drip, TOPICS, clock=drip.clock)
    assert files.file("timestamp.json", 8192) == b"x" * 8193


@pytest.mark.parametrize("payload", [b"\xff\xfe", b"\n" * 100_000, b"a\0b\ntimestamp.json"])
def test_a_strange_index_costs_nothing_but_the_wait(payload: bytes) -> None:
    drip = Drip(iter([Message(topic=TOPICS.index, payload=payload)]))
    files = RetainedFiles(drip, TOPICS, clock=drip.clock)
    try:
        assert files.file("1.models.json", 100) is None
    except TransportError:
        assert payload.startswith(b"\xff")
