"""A broker in memory that misbehaves on request: the Transport port for tests.

It keeps retained messages and last wills as MQTT 3.1.1 says, and has knobs for loss,
duplication and reordering, drawn from a seeded random. With a FakeClock nothing ever
sleeps: waiting moves the clock, and gives the broker's `peers` a chance to act.
"""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from edgekit.errors import TransportError
from edgekit.inbox import Inbox
from edgekit.mqtt import LastWill
from edgekit.transport import Arrival, Connected, Disconnected, Message
from edgekit.wire import MAX_PAYLOAD_BYTES

TICK_S = 0.01


@dataclass
class FakeClock:
    """Time that moves only when somebody waits."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True, kw_only=True)
class Published:
    """One message as its publisher handed it over."""

    client_id: str
    topic: str
    payload: bytes
    qos: int
    retain: bool


@dataclass
class FakeBroker:
    """Routes messages between FakeTransports.

    `loss` applies to QoS 0 only, `duplication` to both, `reorder` swaps a QoS 0 message
    with the next one to the same receiver. All are probabilities.
    """

    seed: int = 0
    loss: float = 0.0
    duplication: float = 0.0
    reorder: float = 0.0
    clock: FakeClock | None = None
    retained: dict[str, bytes] = field(default_factory=dict)
    published: list[Published] = field(default_factory=list)
    peers: list[Callable[[], object]] = field(default_factory=list)
    up: bool = True

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - repeatable, not secret
        self._clients: list[FakeTransport] = []
        self._lock = threading.RLock()
        self._idling = False

    def connect(self, client_id: str, will: LastWill | None = None) -> "FakeTransport":
        """Return a connected transport; its first arrival is Connected."""
        if not self.up:
            raise TransportError("broker fake: Connection refused")
        transport = FakeTransport(broker=self, client_id=client_id, will=will)
        with self._lock:
            self._clients.append(transport)
        transport.reconnect()
        return transport

    def inject(
        self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False
    ) -> None:
        """Publish as a stranger whom the broker let in."""
        self.route(
            Published(
                client_id="stranger", topic=topic, payload=payload, qos=qos, retain=retain
            )
        )

    def route(self, message: Published) -> None:
        """Keep what is retained, and deliver to every subscriber."""
        with self._lock:
            self.published.append(message)
            if message.retain and message.payload:
                self.retained[message.topic] = message.payload
            elif message.retain:
                self.retained.pop(message.topic, None)
            for client in list(self._clients):
                self._deliver(client, message)

    def kill(self, *, forget_retained: bool = False) -> None:
        """Stop as a killed broker does: sessions drop, no last will is published."""
        with self._lock:
            self.up = False
            if forget_retained:
                self.retained.clear()
            for client in list(self._clients):
                client.session_ended("the connection was lost")

    def restart(self) -> None:
        """Come back; every client reconnects."""
        with self._lock:
            self.up = True
            for client in list(self._clients):
                client.reconnect()

    def idle(self) -> None:
        """Let the peers act, unless one of them is what waits."""
        if self._idling:
            return
        self._idling = True
        try:
            for peer in list(self.peers):
                peer()
        finally:
            self._idling = False

    def leave(self, client: "FakeTransport") -> None:
        """Route nothing more to a client."""
        with self._lock:
            if client in self._clients:
                self._clients.remove(client)

    def _deliver(self, client: "FakeTransport", message: Published) -> None:
        granted = client.granted_qos(message.topic)
        if granted is None or not client.up:
            return
        qos = min(granted, message.qos)
        arrival = Message(topic=message.topic, payload=message.payload)
        held, client.held = client.held, None
        if qos == 0 and self._random.random() < self.loss:
            pass
        elif qos == 0 and held is None and self._random.random() < self.reorder:
            client.held = arrival
        else:
            client.inbox.offer(arrival, qos=qos)
            if self._random.random() < self.duplication:
                client.inbox.offer(arrival, qos=qos)
        if held is not None:
            client.inbox.offer(held, qos=0)


class FakeTransport:
    """One client's session with a FakeBroker."""

    def __init__(
        self, *, broker: FakeBroker, client_id: str, will: LastWill | None
    ) -> None:
        self.client_id = client_id
        self.inbox = Inbox(max_messages=100_000, max_bytes=2**30)
        self.held: Message | None = None
        self.up = False
        self.filters: dict[str, int] = {}
        self._broker = broker
        self._will = will
        self._unsent: list[Published] = []

    @property
    def dropped(self) -> int:
        return self.inbox.dropped

    def subscribe(self, *filters: str, qos: int = 1) -> None:
        self.filters.update(dict.fromkeys(filters, qos))
        if self.up:
            self._send_retained(filters)

    def unsubscribe(self, *filters: str) -> None:
        for topic in filters:
            self.filters.pop(topic, None)

    def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False
    ) -> None:
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise TransportError(f"{topic}: {len(payload)} bytes are too many")
        message = Published(
            client_id=self.client_id, topic=topic, payload=payload, qos=qos, retain=retain
        )
        if self.up:
            self._broker.route(message)
        elif qos:
            self._unsent.append(message)

    def receive(self, timeout_s: float) -> Arrival | None:
        clock = self._broker.clock
        if clock is None:
            return self.inbox.take(timeout_s)
        deadline = clock.now + timeout_s
        arrival = self.inbox.take(0)
        while arrival is None:
            self._broker.idle()
            arrival = self.inbox.take(0)
            if clock.now >= deadline:
                break
            clock.now = min(clock.now + TICK_S, deadline)
        return arrival

    def close(self) -> None:
        self.up = False
        self._broker.leave(self)
        self.inbox.close()

    def vanish(self) -> None:
        """End as by kill -9: the broker publishes the last will."""
        self.close()
        if self._will is not None:
            self._broker.route(
                Published(
                    client_id=self.client_id,
                    topic=self._will.topic,
                    payload=self._will.payload,
                    qos=self._will.qos,
                    retain=self._will.retain,
                )
            )

    def session_ended(self, reason: str) -> None:
        if self.up:
            self.up = False
            self.inbox.tell(Disconnected(reason=reason))

    def reconnect(self) -> None:
        self.up = True
        self.inbox.tell(Connected())
        self._send_retained(self.filters)
        unsent, self._unsent = self._unsent, []
        for message in unsent:
            self._broker.route(message)

    def granted_qos(self, topic: str) -> int | None:
        granted = [q for f, q in self.filters.items() if filter_matches(f, topic)]
        return max(granted, default=None)

    def _send_retained(self, filters: "dict[str, int] | tuple[str, ...]") -> None:
        for topic, payload in list(self._broker.retained.items()):
            if any(filter_matches(f, topic) for f in filters):
                self.inbox.offer(
                    Message(topic=topic, payload=payload, retained=True), qos=1
                )


def filter_matches(pattern: str, topic: str) -> bool:
    """Whether an MQTT topic filter (with + and #) covers a topic."""
    wanted, levels = pattern.split("/"), topic.split("/")
    for at, part in enumerate(wanted):
        if part == "#":
            return True
        if at >= len(levels) or part not in ("+", levels[at]):
            return False
    return len(wanted) == len(levels)
