"""A broker that speaks MQTT, and means harm: packets without end."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from edgekit.address import BrokerAddress
from edgekit.mqtt import Backoff, MqttTransport, SessionOptions
from edgekit.mqtt_client import MAX_PACKET_BYTES
from edgekit.transport import Connected, Disconnected, Message
from tests.brokers import next_message, next_news

CONNACK = bytes([0x20, 2, 0, 0])
LONGEST = bytes([0xFF, 0xFF, 0xFF, 0x7F])  # 268,435,455 bytes are promised
PUBLISH = 0x30
SLOW = SessionOptions(backoff=Backoff(first_s=30, most_s=60))


@contextmanager
def broker(answer: bytes) -> Iterator[BrokerAddress]:
    """Accept one client, let it in, and send it something."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(CONNACK + answer)
                with contextlib.suppress(ConnectionResetError):
                    while connection.recv(1024):  # until the client has had enough
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield BrokerAddress(url=f"mqtt://127.0.0.1:{server.getsockname()[1]}")
        thread.join(10)
        assert not thread.is_alive(), "the client hung up"


def length(number: int) -> bytes:
    """The remaining length, as MQTT 3.1.1 (2.2.3) writes it."""
    found = bytearray()
    while True:
        number, digit = divmod(number, 128)
        found.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(found)


def publish(topic: str, payload: bytes) -> bytes:
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name + payload
    return bytes([PUBLISH]) + length(len(body)) + body


def test_a_packet_that_promises_more_than_a_device_has_ends_the_session() -> None:
    with broker(bytes([PUBLISH]) + LONGEST + b"x" * 1000) as address:
        transport = MqttTransport.connect(address, client_id="pi", options=SLOW)
        next_news(transport, Connected)
        ended = next_news(transport, Disconnected)
        assert isinstance(ended, Disconnected)
        assert ended.reason == (
            f"the broker sends a packet of 268435455 bytes, up to {MAX_PACKET_BYTES} are"
            " read"
        )
        transport.close()


def test_the_longest_packet_of_ours_is_read() -> None:
    payload = b"x" * (MAX_PACKET_BYTES // 2)
    with broker(publish("edgekit/1/demo/index", payload)) as address:
        transport = MqttTransport.connect(address, client_id="pi", options=SLOW)
        next_news(transport, Connected)
        assert transport.receive(5) == Message(
            topic="edgekit/1/demo/index", payload=payload
        )
        transport.close()


def test_a_message_whose_topic_is_no_text_is_counted_as_dropped() -> None:
    nameless = publish("t/??", b"1").replace(b"??", b"\xff\xfe")
    with broker(nameless + publish("t/good", b"2")) as address:
        transport = MqttTransport.connect(address, client_id="pi", options=SLOW)
        next_news(transport, Connected)
        assert transport.receive(5) == Message(topic="t/good", payload=b"2")
        assert transport.dropped == 1
        transport.close()


def test_many_small_packets_that_come_at_once_are_all_read_at_once() -> None:
    small = b"".join(publish("t", b"%d" % n) for n in range(500))
    with broker(small + publish("t", b"x" * 10_000) + publish("t", b"end")) as address:
        transport = MqttTransport.connect(address, client_id="pi", options=SLOW)
        next_news(transport, Connected)
        payloads = [next_message(transport, "t").payload for _ in range(502)]
        assert payloads == [*(b"%d" % n for n in range(500)), b"x" * 10_000, b"end"]
        transport.close()


class Refusing:
    """A broker that refuses the first subscriptions, then grants them."""

    def __init__(self, *, times: int) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._times = times
        self.asked = 0
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    @property
    def address(self) -> BrokerAddress:
        return BrokerAddress(url=f"mqtt://127.0.0.1:{self._server.getsockname()[1]}")

    def _serve(self) -> None:
        connection, _ = self._server.accept()
        with self._server, connection, contextlib.suppress(ConnectionResetError):
            while packet := connection.recv(1024):
                match packet[0] >> 4:
                    case 1:
                        connection.sendall(CONNACK)
                    case 8:
                        self.asked += 1
                        granted = self.asked > self._times
                        code = 1 if granted else 0x80
                        connection.sendall(bytes([0x90, 3, *packet[2:4], code]))
                        if granted:
                            connection.sendall(publish("news", b"here"))


@pytest.mark.slow  # waits for the second and third try
def test_a_subscription_that_is_refused_for_a_moment_is_asked_for_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A cluster that elects a leader refuses; a device must not stay deaf."""
    broker = Refusing(times=2)
    transport = MqttTransport.connect(broker.address, client_id="pi", options=SLOW)
    transport.subscribe("news")
    assert next_message(transport, "news", timeout_s=20).payload == b"here"
    assert broker.asked == 3
    assert caplog.text.count("refuses 1 subscriptions, asking again") == 1
    transport.close()
    broker.thread.join(10)


@pytest.mark.slow  # waits for the second and third try
def test_what_is_unsubscribed_is_not_asked_for_again() -> None:
    broker = Refusing(times=100)
    transport = MqttTransport.connect(broker.address, client_id="pi", options=SLOW)
    transport.subscribe("news")
    while not broker.asked:
        transport.receive(0.05)
    transport.unsubscribe("news")
    asked = broker.asked
    transport.receive(2.5)
    assert broker.asked <= asked + 1, "one may have been on its way"
    transport.close()
    broker.thread.join(10)
