"""A certificate authority for one broker and its clients, kept in a folder.

Its certificates hold from 1970 to the end of 9999, so that a device whose clock is wrong,
as boards without a battery have it, still reaches its broker. Trust in a model does not
rest on them: see docs/threat-model.md. Who must not come in any more loses its lines in
the broker's access file. Knows no broker and no fleet.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgekit import atomic
from edgekit.errors import ConfigError

CERTIFICATE = ".pem"
KEY = ".key"
_AUTHORITY = "ca"
_SINCE = datetime(1970, 1, 1, tzinfo=UTC)
_UNTIL = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # "no end", RFC 5280, 4.1.2.5
_SECRET = 0o600
MAX_NAME_CHARACTERS = 64  # of a common name, RFC 5280, appendix A.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Who signs: its certificate, and the key that must not leave the operator."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def issue(self, folder: Path, name: str, *, hosts: Sequence[str] = ()) -> None:
        """Write NAME.key and NAME.pem, for a server where `hosts` are given.

        What is there already stays, unless it is for other hosts.
        """
        paths = folder / f"{name}{KEY}", folder / f"{name}{CERTIFICATE}"
        if all(path.is_file() for path in paths) and _hosts(paths[1]) == set(hosts):
            return
        key = ec.generate_private_key(ec.SECP256R1())
        usage = (
            ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
        )
        builder = (
            _builder(name, self.certificate.subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        )
        if hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        _write_key(paths[0], key)
        _write_certificate(paths[1], builder.sign(self.key, SHA256()))


def opened(folder: Path, *, fleet: str) -> Authority:
    """Return the authority in `folder`, made there when there is none."""
    key_path, path = folder / f"{_AUTHORITY}{KEY}", folder / f"{_AUTHORITY}{CERTIFICATE}"
    if key_path.is_file() and path.is_file():
        return _read(key_path, path)
    key = ec.generate_private_key(ec.SECP256R1())
    name = f"edgekit broker of {fleet}"[:MAX_NAME_CHARACTERS]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        _builder(name, subject, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, SHA256())
    )
    _write_key(key_path, key)
    _write_certificate(path, certificate)
    return Authority(certificate=certificate, key=key)


def _read(key_path: Path, path: Path) -> Authority:
    try:
        key = load_pem_private_key(key_path.read_bytes(), None)
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path}: the authority cannot be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{key_path}: an elliptic curve key is expected")
    return Authority(certificate=certificate, key=key)


def _builder(
    name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    if len(name) > MAX_NAME_CHARACTERS:
        raise ConfigError(
            f"{name}: {len(name)} characters, a certificate's name has at most"
            f" {MAX_NAME_CHARACTERS}; take --clients passwords"
        )
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=_SINCE,
        not_valid_after=_UNTIL,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host.encode("idna").decode("ascii"))
    except UnicodeError as error:
        raise ConfigError(f"--host {host}: a name or an address is expected") from error


def _hosts(path: Path) -> set[str]:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    return {str(name.value) for name in names.value}


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    atomic.write_bytes(path, pem, mode=_SECRET)


def _write_certificate(path: Path, certificate: x509.Certificate) -> None:
    atomic.write_bytes(path, certificate.public_bytes(Encoding.PEM))
