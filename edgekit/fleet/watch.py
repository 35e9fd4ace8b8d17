"""Listen to the devices of a fleet and write what they say into the book.

A doer: it subscribes, receives and hands over. What counts is decided by the book. Devices
keep their telemetry until it is acknowledged, so the broker need not keep a session for
this listener: what was published while nobody listened comes again.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import unquote

from edgekit.errors import TransportError
from edgekit.fleet.acknowledgements import Acknowledgements
from edgekit.fleet.book import Book
from edgekit.fleet.claim import Claim, ClaimedError
from edgekit.fleet.heard import Heard
from edgekit.transport import Arrival, Connected, Message, Transport
from edgekit.wire import Topics

log = logging.getLogger(__name__)

RETAINED = ("state", "presence", "receipt")
ALL = (*RETAINED, "telemetry")
QUIET_S = 1.0
MOST_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One ear on a fleet's broker; `now` is the time of day, `monotonic` in seconds.

    With a `claim`, devices are answered once it holds.
    """

    transport: Transport
    topics: Topics
    book: Book
    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    claim: Claim | None = None
    taken: Acknowledgements = field(default_factory=Acknowledgements)

    def until_quiet(self, *, quiet_s: float = QUIET_S, most_s: float = MOST_S) -> int:
        """Take what the broker has retained; return how many messages told something new.

        Ends when nothing came for `quiet_s` seconds, or after `most_s` in a fleet that is
        never quiet.
        """
        self.transport.subscribe(*(self.topics.every(kind) for kind in RETAINED))
        end = self.monotonic() + most_s
        told = 0
        while self.monotonic() < end:
            arrival = self.transport.receive(quiet_s)
            if arrival is None:
                break
            told += self._take(arrival)
        return told

    def follow(self, *, pause_s: float = QUIET_S) -> Iterator[bool]:
        """Listen for ever, telemetry too; yield for each arrival whether it was news.

        Yields False after `pause_s` seconds without one, so that the caller can look up.
        Raises ClaimedError where another book takes this fleet's telemetry.
        """
        own = () if self.claim is None else (self.topics.book,)
        self.transport.subscribe(*own, *(self.topics.every(kind) for kind in ALL))
        while True:
            arrival = self.transport.receive(pause_s)
            if self.claim is not None:
                self._press(self.claim, arrival)
            yield arrival is not None and self._take(arrival)
            if self.claim is not None and not self.claim.held:
                continue
            if arrival is None or self.taken.due(self.monotonic()):
                self.taken.send(self.transport, self.topics)

    def _press(self, claim: Claim, arrival: Arrival | None) -> None:
        """Have the claim see what arrived, and publish what it says."""
        now_s = self.monotonic()
        said = None
        match arrival:
            case Connected():
                claim.connected(now_s)
            case Message(topic=self.topics.book, payload=payload, retained=retained):
                try:
                    said = claim.heard(payload, now_s, retained=retained)
                except ClaimedError as error:
                    self._say(error.displaced)
                    raise
            case _:
                pass
        self._say(said or claim.tick(now_s))

    def _say(self, claim: bytes | None) -> None:
        if not claim:  # empty, it would clear the topic
            return
        try:
            self.transport.publish(self.topics.book, claim, retain=True)
        except TransportError as error:
            log.warning("claim: not published: %s", error)

    def _take(self, arrival: Arrival) -> bool:
        if not isinstance(arrival, Message):
            return False
        return take(
            arrival,
            topics=self.topics,
            book=self.book,
            now=self.now(),
            answer=lambda heard: self.taken.note(heard, self.monotonic()),
        )


def take(
    message: Message,
    *,
    topics: Topics,
    book: Book,
    now: datetime,
    answer: Callable[[Heard], object] = lambda _heard: None,
) -> bool:
    """Hand one message to the book; return whether it told something new.

    `answer` is called with what became of each telemetry window.
    """
    sender = topics.sender(message.topic)
    kind = message.topic.rpartition("/")[2]
    if sender is None or not message.payload:
        return False
    device = unquote(sender)
    match kind:
        case "state":
            return book.hear_report(device, message.payload, now)
        case "presence":
            return book.hear_presence(device, message.payload, now)
        case "receipt":
            return book.hear_receipt(device, message.payload, now, fleet=topics.fleet)
        case "telemetry":
            heard = book.hear_telemetry(device, message.payload, now)
            if heard is not None:
                answer(heard)
            return heard is not None and heard.news
        case _:
            return False
