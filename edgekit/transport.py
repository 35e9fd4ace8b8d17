"""The messaging port: publish, subscribe, receive. Production is edgekit.mqtt."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message that arrived; `retained` when the broker had kept it for us."""

    topic: str
    payload: bytes
    retained: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """The session is up and every subscription has been asked for again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnected:
    """The session is down; the adapter reconnects by itself, with jittered back-off."""

    reason: str


Arrival = Message | Connected | Disconnected


class Transport(Protocol):
    """A connection to a broker: MQTT 3.1.1 semantics, QoS 0 and 1 only.

    Any thread may publish; one thread receives. What arrives waits in a bounded queue;
    when it is full, QoS 0 messages are dropped, as any broker would.
    """

    @property
    def dropped(self) -> int:
        """How many messages arrived since it was opened, and were dropped unread."""

    def subscribe(self, *filters: str, qos: int = 1) -> None:
        """Ask for topics, now and after every reconnection."""

    def unsubscribe(self, *filters: str) -> None:
        """Ask no more for topics."""

    def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False
    ) -> None:
        """Hand over a message; TransportError when it cannot even be queued.

        While the session is down a QoS 1 message waits for it, a QoS 0 one is dropped.
        """

    def receive(self, timeout_s: float) -> Arrival | None:
        """Return the next arrival, or None when none came within `timeout_s` seconds."""

    def close(self) -> None:
        """Send what is queued, say goodbye (no last will), and stop."""
