"""A broker that speaks MQTT, and means harm: packets without end."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from edgekit.address import BrokerAddress
from edgekit.mqtt import MAX_PACKET_BYTES, Backoff, MqttTransport, SessionOptions
from edgekit.transport import Connected, Disconnected, Message
from tests.brokers import next_news

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
