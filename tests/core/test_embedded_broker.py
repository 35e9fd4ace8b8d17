"""The brokers a demonstration starts: what edgekit needs of them, and their end."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit import embedded_broker
from edgekit.address import BrokerAddress
from edgekit.embedded_broker import EmbeddedBroker
from edgekit.errors import ConfigError
from edgekit.mqtt import LastWill, MqttTransport
from edgekit.transport import Connected, Disconnected, Message
from edgekit.wire import MAX_PAYLOAD_BYTES
from tests.brokers import QUICK, next_message, next_news

pytestmark = pytest.mark.slow

KINDS = ["mosquitto", "nats-server"]


@pytest.fixture(params=KINDS)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbeddedBroker]:
    with started(tmp_path, request.param) as running:
        yield running


def started(folder: Path, kind: str) -> EmbeddedBroker:
    try:
        return embedded_broker.start(folder, kind=kind)
    except ConfigError as error:
        pytest.skip(str(error))


def session(
    broker: EmbeddedBroker, name: str, will: LastWill | None = None
) -> MqttTransport:
    address = BrokerAddress(url=broker.url)
    return MqttTransport.connect(address, client_id=name, will=will, options=QUICK)


def test_retained_messages_are_found_on_exact_topics_only(broker: EmbeddedBroker) -> None:
    writer, reader = session(broker, "w"), session(broker, "r")
    writer.publish("edgekit/1/demo/meta/a%2Ejson", b"a", retain=True)
    writer.publish("edgekit/1/demo/meta/b%2Ejson", b"b", retain=True)
    writer.close()
    reader.subscribe("edgekit/1/demo/meta/a%2Ejson")
    assert next_message(reader, "edgekit/1/demo/meta/a%2Ejson").payload == b"a"
    assert reader.receive(0.3) is None
    reader.close()


def test_a_cleared_message_is_gone(broker: EmbeddedBroker) -> None:
    writer, reader = session(broker, "w"), session(broker, "r")
    writer.publish("t/a", b"a", retain=True)
    writer.publish("t/a", b"", retain=True)
    writer.close()
    reader.subscribe("t/a")
    next_news(reader, Connected)
    assert reader.receive(0.3) is None
    reader.close()


def test_the_largest_message_passes(broker: EmbeddedBroker) -> None:
    both = session(broker, "b")
    both.subscribe("t/a", qos=0)
    both.publish("t/a", b"x" * MAX_PAYLOAD_BYTES, qos=0)
    assert len(next_message(both, "t/a").payload) == MAX_PAYLOAD_BYTES
    both.close()


def test_three_devices_get_one_broadcast(broker: EmbeddedBroker) -> None:
    devices = [session(broker, f"d{n}") for n in range(3)]
    for device in devices:
        device.subscribe("t/blob", qos=0)
        device.subscribe("t/+/want")
        next_news(device, Connected)
    sender = session(broker, "s")
    time.sleep(0.2)  # subscriptions of other sessions are not acknowledged to us
    for n in range(100):
        sender.publish("t/blob", n.to_bytes(2) + b"x" * 65_000, qos=0)
    for device in devices:
        got = [next_message(device, "t/blob").payload[:2] for _ in range(100)]
        assert got == [n.to_bytes(2) for n in range(100)]
        device.close()
    sender.close()


def test_a_last_will_is_published_for_a_client_killed(broker: EmbeddedBroker) -> None:
    watcher = session(broker, "w")
    watcher.subscribe("t/presence")
    script = f"""
import time
from edgekit.mqtt import BrokerAddress, LastWill, MqttTransport
will = LastWill(topic="t/presence", payload=b"offline")
t = MqttTransport.connect(BrokerAddress(url={broker.url!r}), client_id="x", will=will)
t.publish("t/presence", b"online", retain=True)
time.sleep(60)
"""
    doomed = subprocess.Popen([sys.executable, "-c", script])
    assert next_message(watcher, "t/presence").payload == b"online"
    doomed.kill()
    doomed.wait()
    assert next_message(watcher, "t/presence").payload == b"offline"
    watcher.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_broker_comes_back_on_its_port_and_sessions_return(
    tmp_path: Path, kind: str
) -> None:
    first = started(tmp_path, kind)
    client = session(first, "c")
    client.subscribe("t/a")
    first.kill()
    next_news(client, Disconnected)
    port = int(first.url.rpartition(":")[2])
    with embedded_broker.start(tmp_path, port, kind=kind) as second:
        assert second.url == first.url
        next_news(client, Connected)
        client.publish("t/a", b"back")
        assert next_message(client, "t/a") == Message(topic="t/a", payload=b"back")
        client.close()


@pytest.mark.parametrize("kind", KINDS)
def test_the_broker_dies_with_its_parent(tmp_path: Path, kind: str) -> None:
    started(tmp_path / "probe", kind).stop()
    script = f"""
import sys, time
from pathlib import Path
from edgekit import embedded_broker
broker = embedded_broker.start(Path({str(tmp_path)!r}), kind={kind!r})
print(broker.process.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    for _ in range(100):
        if not is_running(child):
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    pytest.fail("it outlived its parent")


@pytest.mark.parametrize("kind", KINDS)
def test_a_port_on_which_somebody_listens_is_refused(tmp_path: Path, kind: str) -> None:
    with started(tmp_path / "first", kind) as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(ConfigError, match=f"port {port}: Address already in use"):
            embedded_broker.start(tmp_path / "second", port, kind=kind)


def test_the_command_prints_where_it_listens_and_ends_in_order(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgekit.embedded_broker", str(tmp_path / "broker")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        url = running.stdout.readline().strip()
        client = MqttTransport.connect(BrokerAddress(url=url), client_id="c")
        running.terminate()
        assert running.wait(10) == 0
        next_news(client, Disconnected)
        client.close()


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_no_broker_at_all_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_a, **_k: None)
    with pytest.raises(ConfigError, match="apt install mosquitto"):
        embedded_broker.start(tmp_path)
