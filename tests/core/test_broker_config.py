"""Files that `edgekit broker-config` writes, and what a real mosquitto does with them."""

import getpass
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.errors import ConfigError, TransportError
from edgekit.fleet.access import folder, mosquitto
from edgekit.fleet.access.folder import Access, Clients
from edgekit.mqtt import BrokerAddress, MqttTransport
from edgekit.wire import Topics
from tests.core.commands import fleet_in, run
from tests.mosquitto import free_port, heard, serving

TOPICS = Topics(fleet="demo")
DEVICES = ("pi-7", "pi 8+#")


def access(**changes: object) -> Access:
    known: dict[str, object] = {
        "fleet": "demo",
        "devices": DEVICES,
        "hosts": ("localhost",),
    }
    return Access(**{**known, **changes})  # type: ignore[arg-type]  # one call for all cases


def test_each_device_may_write_below_its_own_topic_only() -> None:
    rules = mosquitto.rules(TOPICS, DEVICES)
    own = rules.split("user d-pi-7\n")[1].split("\n\n")[0].splitlines()
    assert [line for line in own if line.startswith("topic write")] == [
        "topic write edgekit/1/demo/dev/pi-7/#"
    ]
    assert "topic read edgekit/1/demo/dev/#" not in own


def test_no_name_of_a_device_widens_a_rule() -> None:
    rules = mosquitto.rules(TOPICS, ("+", "#", "a/b", "fleet", "x\ntopic readwrite #"))
    assert rules.count("user fleet\n") == 1
    assert "topic readwrite" not in rules.replace("%20readwrite", "")
    written = [line for line in rules.splitlines() if line.startswith("topic write")]
    written.remove(f"topic write {TOPICS.every('ask/+/+')}")  # the operator's
    written.remove(f"topic write {TOPICS.every('taken')}")
    written.remove(f"topic write {TOPICS.book}")
    assert all(line.count("#") == 1 for line in written[3:])
    asked = [line for line in rules.splitlines() if line.startswith("topic read")]
    assert all(line.count("+") == 2 for line in asked if "/ask/" in line)


def test_a_password_is_hashed_as_mosquitto_hashes_it() -> None:
    line = mosquitto.hashed("pi", "secret", salt=bytes(12))
    assert line.startswith("pi:$7$101$AAAAAAAAAAAAAAAA$")
    assert "secret" not in line


def test_what_is_secret_is_for_its_owner_only(tmp_path: Path) -> None:
    folder.write(tmp_path, access(clients=Clients.PASSWORDS))
    secret = {path for path in tmp_path.rglob("*") if path.suffix == ".key"}
    secret |= {*tmp_path.rglob("password"), *tmp_path.rglob("passwords")}
    assert len(secret) == 6
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in secret)


def test_a_second_run_keeps_every_key_and_adds_the_new_device(tmp_path: Path) -> None:
    folder.write(tmp_path, access(devices=("pi-7",)))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    folder.write(tmp_path, access(devices=("pi-7", "pi-9")))
    rules = tmp_path / "broker" / "edgekit.acl"
    assert all(path.read_bytes() == was for path, was in before.items() if path != rules)
    assert (tmp_path / "clients" / "d-pi-9" / "d-pi-9.key").is_file()
    folder.write(tmp_path, access(devices=("pi-9",)))
    assert "pi-7" not in rules.read_text()


def test_a_broker_that_moves_gets_a_new_certificate(tmp_path: Path) -> None:
    folder.write(tmp_path, access())
    before = (tmp_path / "broker" / "server.pem").read_bytes()
    folder.write(tmp_path, access(hosts=("localhost", "192.0.2.7")))
    assert (tmp_path / "broker" / "server.pem").read_bytes() != before


def test_a_name_too_long_for_a_certificate_is_refused_with_a_way_out(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match="at most 64; take --clients passwords"):
        folder.write(tmp_path, access(devices=("x" * 80,)))


def test_a_damaged_authority_is_not_replaced_silently(tmp_path: Path) -> None:
    folder.write(tmp_path, access())
    (tmp_path / "authority" / "ca.key").write_text("garbage")
    with pytest.raises(ConfigError, match="the authority cannot be read"):
        folder.write(tmp_path, access())


@pytest.mark.slow
def test_the_command_writes_the_folders_and_says_where_they_go(tmp_path: Path) -> None:
    fleet = fleet_in(tmp_path)
    run("device", "enroll", "pi-7", "--board=raspberry-pi-4", fleet=fleet)
    result = run("broker-config", "mosquitto", "--host=broker.example.org", fleet=fleet)
    assert result.exit_code == 0
    assert result.stdout == (
        f"{fleet}/access/broker: copy it to /etc/mosquitto/edgekit on broker.example.org\n"
        f"{fleet}/access/clients: a folder for the operator and each of 1 devices\n"
        f"{fleet}/access/authority: signs their certificates; keep it here, and secret\n"
    )
    again = run("broker-config", "mosquitto", "--host=b", "--json", fleet=fleet)
    assert json.loads(again.stdout)["users"] == ["fleet", "d-pi-7"]


class House:
    """mosquitto with written files: a connection for each user."""

    def __init__(self, place: Path, port: int, clients: Clients) -> None:
        self.place, self.port, self.clients = place, port, clients

    def address(self, user: str) -> BrokerAddress:
        own = self.place / "clients" / user
        url = f"mqtts://localhost:{self.port}"
        if self.clients is Clients.PASSWORDS:
            return BrokerAddress(
                url=url,
                username=user,
                password_file=own / "password",
                ca_file=own / "ca.pem",
            )
        return BrokerAddress(
            url=url,
            ca_file=own / "ca.pem",
            cert_file=own / f"{user}.pem",
            key_file=own / f"{user}.key",
        )

    def connect(self, user: str) -> MqttTransport:
        return MqttTransport.connect(self.address(user), client_id=user)


@pytest.fixture(scope="module", params=list(Clients))
def house(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    place, port = tmp_path_factory.mktemp("access"), free_port()
    broker = place / "broker"
    folder.write(
        place,
        access(clients=request.param, port=port, installed_in=str(broker), data=str(place)),
    )
    settings = broker / "edgekit.conf"
    settings.write_text(f"{settings.read_text()}user {getpass.getuser()}\n")
    with serving(settings, port):
        yield House(place, port, request.param)


@pytest.mark.slow
@pytest.mark.broker
def test_one_device_cannot_speak_for_another_nor_read_its_telemetry(house: House) -> None:
    fleet, spy = house.connect("fleet"), house.connect("d-pi-7")
    honest = house.connect(mosquitto.user("pi 8+#"))
    fleet.subscribe(*(TOPICS.every(kind) for kind in ("state", "telemetry", "want")))
    spy.subscribe(TOPICS.telemetry("pi 8+#"), TOPICS.every("telemetry"), "#")
    heard(fleet, for_s=0.3)
    spy.publish(TOPICS.state("pi 8+#"), b"forged")
    spy.publish(TOPICS.want("pi 8+#"), b"forged")
    spy.publish(TOPICS.telemetry("pi-7"), b"own")
    honest.publish(TOPICS.telemetry("pi 8+#"), b"private")
    assert heard(fleet) == {"own", "private"}
    assert heard(spy, for_s=0.5) == set()
    for transport in (fleet, spy, honest):
        transport.close()


@pytest.mark.slow
@pytest.mark.broker
def test_devices_read_metadata_and_bundles_and_cannot_write_them(house: House) -> None:
    fleet, device = house.connect("fleet"), house.connect("d-pi-7")
    topics = (TOPICS.index, TOPICS.file("timestamp.json"), TOPICS.blob("ab" * 32))
    device.subscribe(*topics)
    heard(device, for_s=0.3)
    for topic in topics:
        device.publish(topic, b"forged")
        fleet.publish(topic, f"true {topic}".encode())
    assert heard(device) == {f"true {topic}" for topic in topics}
    fleet.close()
    device.close()


@pytest.mark.slow
@pytest.mark.broker
def test_a_device_is_asked_by_the_operator_and_by_no_other_device(house: House) -> None:
    fleet, device = house.connect("fleet"), house.connect("d-pi-7")
    other = house.connect(mosquitto.user("pi 8+#"))
    device.subscribe(TOPICS.asks("pi-7"), TOPICS.asks("pi 8+#"), qos=0)
    fleet.subscribe(f"{TOPICS.device('pi-7')}/answer/+")
    heard(device, for_s=0.3)
    other.publish(TOPICS.ask("pi-7", "wine", "q0"), b"forged")
    fleet.publish(TOPICS.ask("pi 8+#", "wine", "q1"), b"for another")
    fleet.publish(TOPICS.ask("pi-7", "wine", "q2"), b"asked")
    assert heard(device) == {"asked"}
    device.publish(TOPICS.answer("pi-7", "q2"), b"answered", qos=0)
    other.publish(TOPICS.answer("pi-7", "q2"), b"forged", qos=0)
    assert heard(fleet) == {"answered"}
    for transport in (fleet, device, other):
        transport.close()


@pytest.mark.slow
@pytest.mark.broker
def test_who_has_another_authority_or_no_password_is_not_let_in(
    house: House, tmp_path: Path
) -> None:
    folder.write(tmp_path, access(clients=house.clients))
    stranger = House(tmp_path, house.port, house.clients)
    shutil.copy(house.place / "clients/fleet/ca.pem", tmp_path / "clients/d-pi-7/ca.pem")
    with pytest.raises(TransportError):
        stranger.connect("d-pi-7")


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.parametrize("clock", ["1970-01-01 00:10:00", "2040-06-01 00:00:00"])
def test_a_wrong_clock_keeps_no_device_away_from_its_broker(
    house: House, clock: str
) -> None:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        pytest.skip("no libfaketime; `apt install faketime` provides it")
    own = house.address("d-pi-7").to_table()
    program = (
        "import json, sys, time\n"
        "from edgekit.mqtt import BrokerAddress, MqttTransport\n"
        "table = json.loads(sys.argv[1])\n"
        "address = BrokerAddress.from_table(table, subject='broker')\n"
        "MqttTransport.connect(address, client_id='clock').close()\n"
        "print(time.gmtime().tm_year)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(own)],
        env={
            **os.environ,
            "LD_PRELOAD": str(found[0]),
            "FAKETIME": f"@{clock}",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "TZ": "UTC",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == clock[:4]
