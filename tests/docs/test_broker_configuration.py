"""The broker configuration that docs/operations.md gives lets in whom it says it does."""

import getpass
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from edgekit.errors import TransportError
from edgekit.mqtt import BrokerAddress, MqttTransport
from edgekit.wire import Topics
from tests.mosquitto import free_port, heard, serving

pytestmark = [pytest.mark.slow, pytest.mark.broker]

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
TOPICS = Topics(fleet="demo")
CLIENTS = ("fleet", "pi-7", "pi-8")


def block(first_line: str) -> str:
    """The configuration file that the page shows under this first line."""
    text = PAGE.read_text("utf-8")
    found = re.search(rf"```text\n{re.escape(first_line)}.*?\n(.*?)```", text, re.DOTALL)
    assert found, first_line
    return found[1]


class Authority:
    """A certificate authority that lives in a folder for the time of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        root = self._builder("authority", self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self._write("ca", root)

    def issue(self, name: str) -> None:
        """Write NAME.pem and NAME.key, good for localhost."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        self._write(name, self._builder(name, key).add_extension(names, critical=False))
        (self.folder / f"{name}.key").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )

    def _builder(
        self, name: str, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - timedelta(hours=1),
            not_valid_after=now + timedelta(hours=1),
        )

    def _write(self, name: str, builder: x509.CertificateBuilder) -> None:
        certificate = builder.sign(self._key, SHA256())
        path = self.folder / f"{name}.pem"
        path.write_bytes(certificate.public_bytes(Encoding.PEM))


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """mosquitto under the page's configuration: its certificates' folder, its port."""
    folder, port = tmp_path_factory.mktemp("broker"), free_port()
    authority = Authority(folder)
    for name in ("server", *CLIENTS):
        authority.issue(name)
    (folder / "edgekit.acl").write_text(block("# /etc/mosquitto/edgekit.acl"))
    (folder / "edgekit.acl").chmod(0o600)
    settings = block("# /etc/mosquitto/conf.d/edgekit.conf")
    for shown, here in (
        ("listener 8883", f"listener {port} 127.0.0.1\nuser {getpass.getuser()}"),
        ("/etc/mosquitto/certs/", f"{folder}/"),
        ("/etc/mosquitto/", f"{folder}/"),
        ("/var/lib/mosquitto/", f"{folder}/"),
    ):
        assert shown in settings
        settings = settings.replace(shown, here)
    (folder / "edgekit.conf").write_text(settings)
    with serving(folder / "edgekit.conf", port):
        yield folder, port


def connected(broker: tuple[Path, int], name: str) -> MqttTransport:
    folder, port = broker
    address = BrokerAddress(
        url=f"mqtts://localhost:{port}",
        ca_file=folder / "ca.pem",
        cert_file=folder / f"{name}.pem",
        key_file=folder / f"{name}.key",
    )
    return MqttTransport.connect(address, client_id=name)


def test_the_fleet_hears_each_device_under_its_own_name_only(
    broker: tuple[Path, int],
) -> None:
    fleet, device = connected(broker, "fleet"), connected(broker, "pi-7")
    fleet.subscribe(TOPICS.every("state"), TOPICS.every("want"))
    heard(fleet, for_s=0.3)
    device.publish(TOPICS.state("pi-7"), b"mine")
    device.publish(TOPICS.want("pi-7"), b"my want")
    device.publish(TOPICS.state("pi-8"), b"forged")
    assert heard(fleet) == {"mine", "my want"}
    fleet.close()
    device.close()


def test_devices_hear_the_fleet_and_cannot_speak_for_it(broker: tuple[Path, int]) -> None:
    fleet, device = connected(broker, "fleet"), connected(broker, "pi-7")
    thief, blob = connected(broker, "pi-8"), TOPICS.blob("ab" * 32)
    device.subscribe(TOPICS.index, TOPICS.file("timestamp.json"), blob)
    heard(device, for_s=0.3)
    for topic in (TOPICS.index, TOPICS.file("timestamp.json"), blob):
        thief.publish(topic, b"forged")
        fleet.publish(topic, f"true {topic}".encode())
    assert heard(device) == {
        f"true {topic}" for topic in (TOPICS.index, TOPICS.file("timestamp.json"), blob)
    }
    for transport in (fleet, device, thief):
        transport.close()


def test_devices_do_not_hear_each_other(broker: tuple[Path, int]) -> None:
    device, spy = connected(broker, "pi-7"), connected(broker, "pi-8")
    spy.subscribe(TOPICS.every("telemetry"))
    heard(spy, for_s=0.3)
    device.publish(TOPICS.telemetry("pi-7"), b"private")
    assert heard(spy, for_s=0.5) == set()
    device.close()
    spy.close()


def test_who_has_no_certificate_is_not_let_in(broker: tuple[Path, int]) -> None:
    folder, port = broker
    address = BrokerAddress(url=f"mqtts://localhost:{port}", ca_file=folder / "ca.pem")
    with pytest.raises(TransportError):
        MqttTransport.connect(address, client_id="stranger")


def test_the_claim_on_a_fleet_is_kept_for_the_operator_and_no_device_touches_it(
    broker: tuple[Path, int],
) -> None:
    fleet, device = connected(broker, "fleet"), connected(broker, "pi-7")
    for one in (fleet, device):
        one.subscribe(TOPICS.book)
        heard(one, for_s=0.3)
    device.publish(TOPICS.book, b"forged", retain=True)
    fleet.publish(TOPICS.book, b"claimed", retain=True)
    assert heard(fleet) == {"claimed"}
    assert heard(device, for_s=0.3) == set()
    for one in (fleet, device):
        one.close()
    again = connected(broker, "fleet")
    again.subscribe(TOPICS.book)
    assert heard(again) == {"claimed"}
    again.close()
