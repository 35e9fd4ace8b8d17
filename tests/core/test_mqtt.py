"""The MQTT adapter against a real mosquitto that dies, refuses and comes back."""

import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.address import BrokerAddress
from edgekit.errors import TransportError
from edgekit.mqtt import LastWill, MqttTransport, SessionOptions
from edgekit.transport import Connected, Disconnected, Message
from edgekit.wire import MAX_PAYLOAD_BYTES
from tests.brokers import QUICK, Mosquitto, free_port, next_message, next_news

pytestmark = [pytest.mark.slow, pytest.mark.broker]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    mosquitto = Mosquitto(tmp_path)
    mosquitto.start()
    yield mosquitto
    mosquitto.kill()


def test_a_session_begins_with_connected(broker: Mosquitto) -> None:
    session = broker.connect("a")
    assert session.receive(5) == Connected()
    session.close()


def test_a_message_reaches_its_subscriber(broker: Mosquitto) -> None:
    a, b = broker.connect("a"), broker.connect("b")
    b.subscribe("t/1", qos=0)
    b.subscribe("t/ready")
    b.publish("t/ready", b"")
    next_message(b, "t/ready")
    a.publish("t/1", b"hello", qos=0)
    assert next_message(b, "t/1") == Message(topic="t/1", payload=b"hello")
    a.close()
    b.close()


def test_a_retained_message_waits_for_late_subscribers(broker: Mosquitto) -> None:
    a = broker.connect("a")
    a.publish("t/kept", b"old", retain=True)
    a.close()
    b = broker.connect("b")
    b.subscribe("t/kept")
    assert next_message(b, "t/kept").retained
    b.close()


def test_unsubscribed_topics_are_silent(broker: Mosquitto) -> None:
    a = broker.connect("a")
    a.subscribe("t/1", "t/2")
    a.unsubscribe("t/1")
    a.publish("t/1", b"1")
    a.publish("t/2", b"2")
    assert isinstance(a.receive(5), Connected)
    assert a.receive(5) == Message(topic="t/2", payload=b"2")
    a.close()


def test_more_filters_than_one_request_may_hold_are_all_asked_for(
    broker: Mosquitto,
) -> None:
    a = broker.connect("a")
    a.subscribe(*(f"t/{n}" for n in range(20)))
    for n in range(20):
        a.publish(f"t/{n}", b"x")
        next_message(a, f"t/{n}")
    a.close()


def test_killed_broker_comes_back_and_subscriptions_with_it(broker: Mosquitto) -> None:
    a = broker.connect("a")
    a.subscribe("t/1")
    next_news(a, Connected)
    broker.kill()
    gone = next_news(a, Disconnected)
    assert isinstance(gone, Disconnected)
    assert gone.reason
    broker.start()
    next_news(a, Connected)
    b = broker.connect("b")
    b.publish("t/1", b"again", retain=True)  # it may come before the subscription does
    assert next_message(a, "t/1").payload == b"again"
    a.close()
    b.close()


def test_qos_1_published_while_the_broker_is_down_arrives_later(
    broker: Mosquitto,
) -> None:
    a = broker.connect("a")
    broker.kill()
    next_news(a, Disconnected)
    a.publish("t/state", b"while down", retain=True)
    a.publish("t/chunk", b"lost", qos=0, retain=True)
    broker.start()
    b = broker.connect("b")
    b.subscribe("t/state", "t/chunk")
    assert next_message(b, "t/state").payload == b"while down"
    assert b.receive(0.3) is None
    a.close()
    b.close()


def test_last_will_is_published_after_kill_9(broker: Mosquitto) -> None:
    watcher = broker.connect("watcher")
    watcher.subscribe("t/presence")
    script = f"""
import time
from edgekit.mqtt import BrokerAddress, LastWill, MqttTransport
t = MqttTransport.connect(
    BrokerAddress(url={broker.url!r}), client_id="doomed",
    will=LastWill(topic="t/presence", payload=b"offline"),
)
t.publish("t/presence", b"online", retain=True)
time.sleep(60)
"""
    doomed = subprocess.Popen([sys.executable, "-c", script])
    assert next_message(watcher, "t/presence").payload == b"online"
    doomed.send_signal(signal.SIGKILL)
    doomed.wait()
    assert next_message(watcher, "t/presence").payload == b"offline"
    watcher.close()


def test_a_clean_close_leaves_no_last_will_and_loses_nothing(broker: Mosquitto) -> None:
    watcher = broker.connect("watcher")
    watcher.subscribe("t/+")
    next_news(watcher, Connected)
    leaver = broker.connect("a", LastWill(topic="t/will", payload=b"dead"))
    for n in range(300):
        leaver.publish("t/n", str(n).encode())
    leaver.close()
    got = [next_message(watcher, "t/n").payload for _ in range(300)]
    assert got == [str(n).encode() for n in range(300)]
    assert watcher.receive(0.3) is None
    watcher.close()


def test_oversize_payload_is_refused_before_it_is_queued(broker: Mosquitto) -> None:
    a = broker.connect("a")
    with pytest.raises(TransportError, match="up to"):
        a.publish("t", b"x" * (MAX_PAYLOAD_BYTES + 1))
    a.publish("t", b"x" * MAX_PAYLOAD_BYTES)
    a.close()


def test_nothing_can_be_published_after_close(broker: Mosquitto) -> None:
    a = broker.connect("a")
    a.close()
    with pytest.raises(TransportError, match="closed"):
        a.publish("t", b"")
    a.close()


def test_a_receiver_that_does_not_receive_is_bounded(broker: Mosquitto) -> None:
    lazy = MqttTransport.connect(
        broker.address, client_id="lazy", options=SessionOptions(queue_messages=10)
    )
    lazy.subscribe("t/flood", qos=0)
    lazy.subscribe("t/end", qos=0)
    sender = broker.connect("sender")
    while lazy.dropped < 5:
        sender.publish("t/flood", b"x" * 1000, qos=0)
    sender.close()
    lazy.close()


def test_qos_0_waits_for_a_stalled_network_instead_of_filling_memory() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"mqtt://127.0.0.1:{server.getsockname()[1]}"
        accepted: list[socket.socket] = []

        def answer_and_read_no_more() -> None:
            accepted.append(server.accept()[0])
            accepted[0].sendall(b"\x20\x02\x00\x00")  # CONNACK, accepted

        threading.Thread(target=answer_and_read_no_more).start()
        sender = MqttTransport.connect(BrokerAddress(url=url), client_id="s", options=QUICK)
        handed_over: list[int] = []

        def flood() -> None:
            for n in range(1000):
                sender.publish("t/blob", b"x" * 100_000, qos=0)
                handed_over.append(n)

        publisher = threading.Thread(target=flood)
        publisher.start()
        publisher.join(1)
        assert publisher.is_alive()
        assert len(handed_over) < 200
        accepted[0].close()  # now the session is down, and QoS 0 is dropped at once
        publisher.join(5)
        assert not publisher.is_alive()
        sender.close()


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x30\x02\x00\x00",  # a message without a topic
        b"\x30\x04\x00\x09ab",  # a topic longer than its packet
        b"\x90\x01\x00",  # an answer to a subscription, too short
        b"\x40\x02\x00\x07",  # an acknowledgement of nothing
        b"\xff\xff\xff\xff\xff\xff\xff",
        b"\x00\x00",
    ],
)
def test_a_hostile_broker_ends_a_session_and_not_the_thread(nonsense: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"mqtt://127.0.0.1:{server.getsockname()[1]}"

        def speak_nonsense_then_sense() -> None:
            for words in (nonsense, b"\x30\x04\x00\x01tx"):
                peer = server.accept()[0]
                peer.sendall(b"\x20\x02\x00\x00" + words)
                peer.settimeout(0.3)
                try:
                    while peer.recv(1000):
                        pass
                except OSError:
                    pass
                peer.close()

        threading.Thread(target=speak_nonsense_then_sense).start()
        session = MqttTransport.connect(
            BrokerAddress(url=url), client_id="s", options=QUICK
        )
        assert next_message(session, "t").payload == b"x"
        session.close()


def test_nobody_listening_is_a_transport_error() -> None:
    address = BrokerAddress(url=f"mqtt://127.0.0.1:{free_port()}")
    with pytest.raises(TransportError, match="Connection refused"):
        MqttTransport.connect(address, client_id="a", options=QUICK)


def test_an_unknown_host_is_a_transport_error() -> None:
    address = BrokerAddress(url="mqtt://no-such-host.invalid")
    with pytest.raises(TransportError, match=r"no-such-host\.invalid"):
        MqttTransport.connect(address, client_id="a", options=QUICK)


def test_a_patient_session_waits_for_the_broker(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path, port=free_port())
    options = SessionOptions(backoff=QUICK.backoff, patient=True)
    early = MqttTransport.connect(broker.address, client_id="a", options=options)
    assert isinstance(early.receive(5), Disconnected)
    early.publish("t/kept", b"1", retain=True)
    broker.start()
    next_news(early, Connected)
    early.close()
    broker.kill()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Mosquitto]:
    passwords = tmp_path / "passwords"
    tool = shutil.which("mosquitto_passwd")
    if tool is None:
        pytest.skip("no mosquitto_passwd on the path; `apt install mosquitto` provides it")
    subprocess.run([tool, "-b", "-c", str(passwords), "pi", "right"], check=True)
    lines = ("allow_anonymous false", f"password_file {passwords}")
    mosquitto = Mosquitto(tmp_path, lines)
    mosquitto.start()
    yield mosquitto
    mosquitto.kill()


def test_a_wrong_password_is_a_transport_error(guarded: Mosquitto, tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("wrong\n")
    address = BrokerAddress(url=guarded.url, username="pi", password_file=tmp_path / "pw")
    with pytest.raises(TransportError, match="refuses: Not authorized") as caught:
        MqttTransport.connect(address, client_id="a", options=QUICK)
    assert caught.value.lasting
    (tmp_path / "pw").write_text("right\n")
    MqttTransport.connect(address, client_id="a", options=QUICK).close()


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[Mosquitto]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl on the path; `apt install openssl` provides it")
    command = f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    command += " -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost"
    command += " -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    lines = (
        "allow_anonymous true",
        f"certfile {tmp_path}/cert.pem",
        f"keyfile {tmp_path}/key.pem",
    )
    mosquitto = Mosquitto(tmp_path, lines)
    mosquitto.start()
    yield mosquitto
    mosquitto.kill()


def test_tls_with_the_right_authority_connects(
    encrypted: Mosquitto, tmp_path: Path
) -> None:
    url = encrypted.url.replace("mqtt:", "mqtts:")
    address = BrokerAddress(url=url, ca_file=tmp_path / "cert.pem")
    session = MqttTransport.connect(address, client_id="a", options=QUICK)
    session.subscribe("t")
    session.publish("t", b"secret")
    assert next_message(session, "t").payload == b"secret"
    session.close()


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed.*SSLSocket:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tls_without_the_authority_is_refused(encrypted: Mosquitto) -> None:
    address = BrokerAddress(url=encrypted.url.replace("mqtt:", "mqtts:"))
    with pytest.raises(TransportError, match="TLS: self-signed certificate") as caught:
        MqttTransport.connect(address, client_id="a", options=QUICK)
    assert caught.value.lasting


@pytest.mark.parametrize("version", ["tlsv1.2", "tlsv1.3"])
def test_a_broker_that_wants_a_certificate_says_so_and_always_will(
    encrypted: Mosquitto, tmp_path: Path, version: str
) -> None:
    # TLS 1.3 says it after the handshake, when the client reads for the first time.
    encrypted.kill()
    ours = f"cafile {tmp_path}/cert.pem", "require_certificate true"
    encrypted.lines = (*encrypted.lines, *ours, f"tls_version {version}")
    encrypted.start()
    url = encrypted.url.replace("mqtt:", "mqtts:")
    address = BrokerAddress(url=url, ca_file=tmp_path / "cert.pem")
    with pytest.raises(TransportError, match=r"TLS: .*ALERT") as caught:
        MqttTransport.connect(address, client_id="a", options=QUICK)
    assert caught.value.lasting
