"""Metadata files over retained messages: the trust client's MetadataSource.

The broker keeps each file on its own topic, and the names of all on the index topic. A
name the index does not hold is no file; a file that does not come in time is a
TransportError. Nothing is verified here: whoever reads the files does that.
"""

import time
from collections.abc import Callable

from edgekit.errors import TransportError
from edgekit.transport import Message, Transport
from edgekit.wire import Topics, decode_names

TIMEOUT_S = 20.0
_MOST_ARRIVALS = 1000  # read before a file is asked for: a flood must not hold us


class RetainedFiles:
    """Files of one fleet, as the broker holds them. It alone receives from `transport`.

    What somebody else receives meanwhile, a newer index too, is missed: then begin anew.
    """

    def __init__(
        self,
        transport: Transport,
        topics: Topics,
        *,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._topics = topics
        self._timeout_s = timeout_s
        self._clock = clock
        self._names: frozenset[str] | None = None
        transport.subscribe(topics.index, qos=1)

    def file(self, name: str, max_bytes: int) -> bytes | None:
        """Return a file's bytes, None when there is no such file.

        A longer file is cut one byte behind `max_bytes`. Raises TransportError when the
        broker does not answer in time; a session that drops meanwhile may come back.
        """
        self._read_what_is_here()
        if self._names is None:
            self._await(self._topics.index, "the index")
        if name not in (self._names or ()):
            return None
        topic = self._topics.file(name)
        self._transport.subscribe(topic, qos=1)
        try:
            return self._await(topic, name)[: max_bytes + 1]
        finally:
            self._transport.unsubscribe(topic)

    def close(self) -> None:
        """Follow the index no longer; the transport stays open."""
        self._transport.unsubscribe(self._topics.index)

    def _read_what_is_here(self) -> None:
        """Take in every newer index that has arrived meanwhile."""
        for _ in range(_MOST_ARRIVALS):
            arrival = self._transport.receive(0)
            if arrival is None:
                return
            if isinstance(arrival, Message):
                self._note_index(arrival)

    def _await(self, topic: str, name: str) -> bytes:
        deadline = self._clock() + self._timeout_s
        while (left_s := deadline - self._clock()) > 0:
            arrival = self._transport.receive(left_s)
            if isinstance(arrival, Message):
                self._note_index(arrival)
                if arrival.topic == topic and arrival.payload:
                    return arrival.payload
        raise TransportError(
            f"{name}: the broker did not send it within {self._timeout_s:g} s; is a depot"
            " serving this fleet?"
        )

    def _note_index(self, message: Message) -> None:
        if message.topic == self._topics.index and message.payload:
            self._names = decode_names(message.payload)
