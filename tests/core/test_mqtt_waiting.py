"""The first session with a broker that is not there yet, or will never let us in."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from edgekit.address import BrokerAddress
from edgekit.errors import TransportError
from edgekit.mqtt import MqttTransport
from edgekit.mqtt_waiting import connect_when_up
from edgekit.session import Backoff
from tests.brokers import QUICK, free_port

Answer = Callable[[socket.socket], None]
AT_ONCE = Backoff(first_s=0.001, most_s=0.001)


def accept(peer: socket.socket) -> None:
    peer.sendall(b"\x20\x02\x00\x00")
    peer.recv(1000)  # until it goes


def refuse(code: int) -> Answer:
    """Answer to CONNECT with one of the numbers of MQTT 3.1.1, section 3.2.2.3."""
    return lambda peer: peer.sendall(bytes((0x20, 2, 0, code)))


def hang_up(_peer: socket.socket) -> None:
    """Say nothing: as a node that dies while one connects."""


@contextmanager
def answering(*answers: Answer) -> Iterator[str]:
    """Listen, and answer one connection after the other; yield the URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answer in answers:
                try:
                    peer = server.accept()[0]
                except OSError:  # closed
                    return
                with peer:
                    peer.settimeout(5)
                    peer.recv(1000)  # CONNECT
                    answer(peer)

        serving = threading.Thread(target=serve)
        serving.start()
        try:
            yield f"mqtt://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            serving.join()


def connecting(url: str) -> Callable[[], MqttTransport]:
    address = BrokerAddress(url=url)
    return lambda: MqttTransport.connect(address, client_id="early", options=QUICK)


def test_what_may_pass_is_told_and_tried_again_until_the_broker_lets_us_in() -> None:
    told: list[str] = []
    with answering(hang_up, refuse(3), hang_up, accept) as url:
        transport = connect_when_up(connecting(url), tell=told.append, backoff=AT_ONCE)
        transport.close()
    assert len(told) == 3
    assert all(line.startswith(f"broker {url}: ") for line in told)
    assert all("; trying again in 0." in line for line in told)
    assert "the broker refuses: Server unavailable" in told[1]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (2, "Client identifier not valid"),
        (4, "Bad user name or password"),
        (5, "Not authorized"),
    ],
)
def test_what_cannot_pass_ends_the_waiting_at_once(code: int, reason: str) -> None:
    told: list[str] = []
    with (
        answering(hang_up, refuse(code)) as url,
        pytest.raises(TransportError, match=f"the broker refuses: {reason}") as caught,
    ):
        connect_when_up(connecting(url), tell=told.append, backoff=AT_ONCE)
    assert caught.value.lasting
    assert len(told) == 1  # of the connection that was lost before


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_a_host_that_nobody_knows_and_a_port_without_listener_may_pass(host: str) -> None:
    with pytest.raises(TransportError) as caught:
        connecting(f"mqtt://{host}:{free_port()}")()
    assert not caught.value.lasting


def test_waiting_grows_and_can_be_ended() -> None:
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 4:
            raise KeyboardInterrupt

    url = f"mqtt://127.0.0.1:{free_port()}"
    with pytest.raises(KeyboardInterrupt):
        connect_when_up(
            connecting(url),
            tell=lambda _line: None,
            wait=wait,
            backoff=Backoff(first_s=10, most_s=40),
        )
    for seconds, most_s in zip(waits, (10, 20, 40, 40), strict=True):
        assert 0.1 * most_s <= seconds <= most_s  # full jitter
