"""The messaging port over MQTT 3.1.1.

It turns paho's codes and callbacks into edgekit's arrivals and errors, and cures what a
small device would suffer from: unbounded queues, oversize QoS 1 messages re-sent for ever,
reconnections in step with a whole fleet. With edgekit.mqtt_client it alone knows paho.
Knows no topics of edgekit.
"""

import logging
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.exception import MQTTException
from paho.mqtt.reasoncodes import ReasonCode

from edgekit.address import BrokerAddress
from edgekit.errors import TransportError
from edgekit.inbox import Inbox
from edgekit.mqtt_client import MAX_UNSENT, MqttClient, new_client
from edgekit.mqtt_trouble import Trouble, of_error, of_refusal
from edgekit.outbox import Outbox
from edgekit.session import Backoff, LastWill, SessionOptions
from edgekit.subscriptions import Subscriptions
from edgekit.transport import Arrival, Connected, Disconnected, Message
from edgekit.wire import MAX_PAYLOAD_BYTES

__all__ = ["Backoff", "BrokerAddress", "LastWill", "MqttTransport", "SessionOptions"]

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 5.0
_LOOP_S = 1.0


@dataclass(slots=True)
class _Session:
    """What the network thread knows about the connection."""

    up: bool = False
    was_up: bool = False
    trouble: Trouble = field(default_factory=Trouble)
    failures: int = 0
    decided: threading.Event = field(default_factory=threading.Event)


class MqttTransport:
    """edgekit.transport.Transport over a broker; see connect()."""

    def __init__(
        self,
        address: BrokerAddress,
        *,
        client_id: str,
        will: LastWill | None,
        options: SessionOptions,
    ) -> None:
        self._address = address
        self._backoff = options.backoff
        self._inbox = Inbox(
            max_messages=options.queue_messages,
            max_bytes=options.queue_bytes,
            patience_s=options.queue_patience_s,
        )
        self._nameless = 0  # messages whose topic is not UTF-8
        self._outbox = Outbox()
        self._chance = random.SystemRandom()
        self._session = _Session()
        self._closing = threading.Event()
        self._client = self._new_client(client_id, will)
        subscribe = self._client.subscribe
        self._subscriptions = Subscriptions(lambda filters: subscribe(filters)[1])
        self._client.connect_async(address.host, address.port, options.keepalive_s)
        self._thread = threading.Thread(
            target=self._run, name=f"mqtt-{client_id}", daemon=True
        )

    @classmethod
    def connect(
        cls,
        address: BrokerAddress,
        *,
        client_id: str,
        will: LastWill | None = None,
        options: SessionOptions | None = None,
    ) -> Self:
        """Open a session that then reconnects by itself until close().

        Raises TransportError when the first connection fails, unless it may be patient;
        a lasting one when the broker refuses us, or one side the other's certificate.
        Every session begins with a Connected arrival. Sessions are clean: what others
        publish while ours is down is missed, unless it is retained.
        """
        options = options or SessionOptions()
        transport = cls(address, client_id=client_id, will=will, options=options)
        transport._thread.start()
        if not options.patient:
            transport._await_first_session(options.connect_timeout_s)
        return transport

    @property
    def dropped(self) -> int:
        """How many messages were dropped: of QoS 0 in a full queue, or of no topic."""
        return self._inbox.dropped + self._nameless

    def subscribe(self, *filters: str, qos: int = 1) -> None:
        """Ask for topics, now and after every reconnection."""
        wanted = dict.fromkeys(filters, qos)
        self._subscriptions.want(wanted)  # first: a session that begins now asks for it
        if self._session.up:
            self._subscriptions.ask_for(wanted)

    def unsubscribe(self, *filters: str) -> None:
        """Ask no more for topics."""
        self._subscriptions.forget(filters)
        if filters:
            self._client.unsubscribe(list(filters))

    def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False
    ) -> None:
        """Hand over a message; TransportError when it cannot even be queued.

        At QoS 0 it waits while the network is slower than the publisher.
        """
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise TransportError(
                f"{topic}: {len(payload)} bytes, a message holds up to {MAX_PAYLOAD_BYTES}"
            )
        if self._closing.is_set():
            raise TransportError(f"{topic}: the session was closed")
        if qos == 0 and not self._may_publish_unqueued():
            return
        session = self._outbox.session
        try:
            info = self._client.publish(topic, payload, qos=qos, retain=retain)
        except ValueError as error:
            raise TransportError(f"{topic}: cannot be published: {error}") from error
        if info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            raise TransportError(f"{topic}: {MAX_UNSENT} messages already wait unsent")
        if qos or info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._outbox.published(info.mid, qos=qos, size=len(payload), session=session)

    def receive(self, timeout_s: float) -> Arrival | None:
        """Return the next arrival, or None when none came within `timeout_s` seconds."""
        return self._inbox.take(timeout_s)

    def close(self) -> None:
        """Send what is queued, say goodbye (no last will), and stop."""
        if self._session.up and not self._closing.is_set():
            self._outbox.wait_until_empty(CLOSE_TIMEOUT_S)
        self._stop()

    # --- the network thread ----------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.is_set():
            self._note_down(self._open() or self._serve())
            delay_s = self._backoff.delay_s(self._session.failures, self._chance.random())
            self._session.failures += 1
            if not self._closing.wait(delay_s):
                logger.debug("connecting again after %.1f s", delay_s)
        self._say_goodbye()

    def _open(self) -> Trouble | None:
        self._session.trouble = Trouble()
        self._client.trouble = None
        try:
            self._client.reconnect()
        except OSError as error:
            return of_error(error)
        return None

    def _serve(self) -> Trouble:
        code = MQTTErrorCode.MQTT_ERR_SUCCESS
        try:
            while code == MQTTErrorCode.MQTT_ERR_SUCCESS and not self._closing.is_set():
                code = self._client.loop(_LOOP_S)
                while code == MQTTErrorCode.MQTT_ERR_SUCCESS and self._client.ahead:
                    code = self._client.loop_read()
                self._subscriptions.ask_again(time.monotonic())
        except MQTTException as error:
            return Trouble(f"the broker sent a malformed packet: {error}")
        except OSError as error:
            return of_error(error)
        if self._session.trouble.reason:
            return self._session.trouble
        return self._client.trouble or Trouble(paho.error_string(code))

    def _say_goodbye(self) -> None:
        self._client.disconnect()
        for _ in range(int(CLOSE_TIMEOUT_S / _LOOP_S)):
            if self._client.loop(_LOOP_S) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                break
        self._session.up = False
        self._let_go()

    def _let_go(self) -> None:
        """Drop the client's way back to us, so that both are freed, and sockets closed."""
        client = self._client
        client.on_connect = client.on_message = client.on_publish = None
        client.on_subscribe = None

    def _note_down(self, trouble: Trouble) -> None:
        if self._closing.is_set():
            return
        self._session.trouble = trouble
        self._session.up = False
        self._outbox.session_lost()
        self._inbox.tell(Disconnected(reason=trouble.reason))
        self._session.decided.set()

    def _stop(self) -> None:
        self._closing.set()
        self._inbox.close()
        self._client.disconnect()  # wakes the network thread, which says goodbye
        self._thread.join(CLOSE_TIMEOUT_S)

    def _await_first_session(self, timeout_s: float) -> None:
        decided = self._session.decided.wait(timeout_s)
        if self._session.was_up:
            return
        trouble = self._session.trouble
        self._stop()
        error = TransportError(
            f"broker {self._address.url}: {trouble.reason}"
            if decided
            else f"broker {self._address.url}: no answer within {timeout_s:g} s,"
            " an MQTT broker is expected there"
        )
        error.lasting = trouble.lasting
        raise error

    # --- paho ------------------------------------------------------------------------

    def _new_client(self, client_id: str, will: LastWill | None) -> MqttClient:
        client = new_client(self._address, client_id, will)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        return client

    def _may_publish_unqueued(self) -> bool:
        """Wait for the network; False when the message is better dropped."""

        def hopeless() -> bool:
            # A blocked inbox holds the network thread: waiting for it would be for ever.
            return self._inbox.blocked or self._closing.is_set() or not self._session.up

        return self._session.up and self._outbox.wait_for_room(hopeless)

    def _on_connect(
        self,
        _client: paho.Client,
        _data: object,
        _flags: object,
        code: ReasonCode,
        _properties: object,
    ) -> None:
        if code.is_failure:
            self._session.trouble = of_refusal(code.value, str(code))
            return
        self._session.up = self._session.was_up = True
        self._session.failures = 0
        self._subscriptions.session_began()
        self._inbox.tell(Connected())
        self._session.decided.set()

    def _on_message(
        self, _client: paho.Client, _data: object, message: paho.MQTTMessage
    ) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self._nameless += 1
            logger.warning("a message whose topic is not UTF-8 was dropped")
            return
        arrival = Message(
            topic=topic, payload=bytes(message.payload), retained=message.retain
        )
        if not self._inbox.offer(arrival, qos=message.qos):
            logger.debug("%s: dropped, the queue is full", topic)

    def _on_publish(
        self,
        _client: paho.Client,
        _data: object,
        mid: int,
        _code: object,
        _properties: object,
    ) -> None:
        self._outbox.departed(mid)

    def _on_subscribe(
        self,
        _client: paho.Client,
        _data: object,
        mid: int,
        codes: Sequence[ReasonCode],
        _properties: object,
    ) -> None:
        granted = [not code.is_failure for code in codes]
        refused = self._subscriptions.answered(mid, granted, time.monotonic())
        if refused:
            logger.warning(
                "%s: the broker refuses %d subscriptions, asking again; its access rules"
                " must allow them",
                self._address.url,
                refused,
            )
