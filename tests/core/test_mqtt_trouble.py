"""What a client's own TLS says to a broker's bytes: what may pass, and what stays."""

import ssl
from contextlib import suppress
from dataclasses import dataclass
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

from edgekit.mqtt_trouble import of_error

HOST = "broker.local"
A_DAY = timedelta(days=1)


@dataclass
class Side:
    """One side of a handshake, without a network."""

    tls: ssl.SSLObject
    arriving: ssl.MemoryBIO
    leaving: ssl.MemoryBIO

    @classmethod
    def of(cls, context: ssl.SSLContext, *, server: bool = False) -> "Side":
        arriving, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server else HOST
        tls = context.wrap_bio(arriving, leaving, server_side=server, server_hostname=name)
        return cls(tls=tls, arriving=arriving, leaving=leaving)

    def told(self, data: bytes) -> bytes:
        """Go on with what the other side sent; return what it is to be told."""
        self.arriving.write(data)
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.leaving.read()


def told_by_a_peer(answer: bytes) -> ssl.SSLError:
    """Return what a client that begins a handshake makes of these bytes."""
    client = Side.of(ssl.create_default_context())
    assert client.told(b"")
    with pytest.raises(ssl.SSLError) as caught:
        client.told(answer)
    return caught.value


def alert(number: int) -> bytes:
    """A fatal alert in the clear, RFC 8446, section 6."""
    return bytes((21, 3, 3, 0, 2, 2, number))


def told_by_a_certificate(folder: Path, begins: datetime) -> ssl.SSLError:
    """Return what a client makes of a broker whose certificate holds a day from then."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + A_DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, SHA256())
    )
    shown = certificate.public_bytes(Encoding.PEM)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (both := folder / "broker.pem").write_bytes(shown + private)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(both)
    client = Side.of(ssl.create_default_context(cadata=shown.decode()))
    server = Side.of(served, server=True)
    with pytest.raises(ssl.SSLError) as caught:
        client.told(server.told(client.told(b"")))
    return caught.value


def test_a_certificate_that_is_not_yet_valid_waits_for_the_clock(tmp_path: Path) -> None:
    """As on a board that starts in 1970 and hears the time after that."""
    trouble = of_error(told_by_a_certificate(tmp_path, datetime.now(UTC) + A_DAY))
    assert trouble.reason == "TLS: certificate is not yet valid"
    assert not trouble.lasting


def test_a_certificate_that_has_expired_stays_so(tmp_path: Path) -> None:
    trouble = of_error(told_by_a_certificate(tmp_path, datetime.now(UTC) - 2 * A_DAY))
    assert trouble.reason == "TLS: certificate has expired"
    assert trouble.lasting


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (10, "UNEXPECTED_MESSAGE"),
        (20, "BAD_RECORD_MAC"),
        (80, "INTERNAL_ERROR"),
        (90, "USER_CANCELLED"),
    ],
)
def test_a_mishap_of_the_broker_may_pass(number: int, reason: str) -> None:
    trouble = of_error(told_by_a_peer(alert(number)))
    assert trouble.reason.startswith("TLS: ")
    assert trouble.reason.endswith(reason)
    assert not trouble.lasting


def test_an_alert_that_nobody_knows_may_pass() -> None:
    trouble = of_error(told_by_a_peer(alert(200)))
    assert trouble.reason.startswith("TLS: ")
    assert not trouble.lasting


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (40, "HANDSHAKE_FAILURE"),
        (42, "BAD_CERTIFICATE"),
        (44, "CERTIFICATE_REVOKED"),
        (46, "CERTIFICATE_UNKNOWN"),
        (48, "UNKNOWN_CA"),
        (49, "ACCESS_DENIED"),
        (70, "PROTOCOL_VERSION"),
        (71, "INSUFFICIENT_SECURITY"),
        (112, "UNRECOGNIZED_NAME"),
        (116, "CERTIFICATE_REQUIRED"),
    ],
)
def test_a_refusal_by_the_broker_stays(number: int, reason: str) -> None:
    trouble = of_error(told_by_a_peer(alert(number)))
    assert trouble.reason.startswith("TLS: ")
    assert trouble.reason.endswith(reason)
    assert trouble.lasting


def test_a_peer_that_speaks_no_tls_stays_so() -> None:
    assert of_error(told_by_a_peer(b"HTTP/1.1 400 Bad Request\r\n\r\n")).lasting


def test_a_lost_handshake_may_pass() -> None:
    eof = ssl.SSLEOFError(8, "EOF occurred in violation of protocol")
    assert not of_error(eof).lasting
    assert not of_error(TimeoutError("The handshake operation timed out")).lasting
