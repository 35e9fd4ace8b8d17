"""Write a broker's folder for a fleet, and a folder for each client. Keeps what is there.

broker/     goes to the broker's machine      clients/NAME/   goes to that client
authority/  signs; stays with the operator
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from edgekit import atomic
from edgekit.errors import ConfigError, StoreError
from edgekit.fleet.access import authority, mosquitto
from edgekit.wire import Topics

_SECRET = 0o600
_PASSWORD_BYTES = 24
_SALT_BYTES = 12


class Clients(StrEnum):
    """How clients prove who they are."""

    CERTIFICATES = "certificates"
    PASSWORDS = "passwords"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """A broker to be: `hosts` are its names, `installed_in` and `data` paths on it."""

    fleet: str
    devices: Sequence[str]
    hosts: Sequence[str]
    clients: Clients = Clients.CERTIFICATES
    port: int = 8883
    installed_in: str = "/etc/mosquitto/edgekit"
    data: str = "/var/lib/mosquitto"


def write(out: Path, access: Access) -> None:
    """Write or renew the folders; ConfigError or StoreError where that cannot be done.

    Keys and passwords that are there stay as they are; a device that is not enrolled any
    more loses its lines, and its folder is left for the operator to delete.
    """
    if not access.hosts:
        raise ConfigError("broker: no host; the name devices reach it by is expected")
    try:
        _write(out, access)
    except OSError as error:
        raise StoreError(f"{out}: {error.strerror}") from error


def _write(out: Path, access: Access) -> None:
    broker, signs = out / "broker", out / "authority"
    for folder in (broker, signs):
        folder.mkdir(parents=True, exist_ok=True)
    signer = authority.opened(signs, fleet=access.fleet)
    signer.issue(broker, "server", hosts=access.hosts)
    public = (signs / f"ca{authority.CERTIFICATE}").read_bytes()
    atomic.write_bytes(broker / "ca.pem", public)
    passwords = []
    for name in users(access):
        folder = out / "clients" / name
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(folder / "ca.pem", public)
        if access.clients is Clients.CERTIFICATES:
            signer.issue(folder, name)
        else:
            passwords.append(_password_line(folder, name))
    if passwords:
        text = "".join(passwords).encode()
        atomic.write_bytes(broker / "passwords", text, mode=_SECRET)
    rules = mosquitto.rules(Topics(fleet=access.fleet), access.devices)
    atomic.write_bytes(broker / "edgekit.acl", rules.encode(), mode=_SECRET)
    settings = mosquitto.settings(
        fleet=access.fleet,
        folder=access.installed_in,
        data=access.data,
        port=access.port,
        passwords=bool(passwords),
    )
    atomic.write_bytes(broker / "edgekit.conf", settings.encode())


def users(access: Access) -> tuple[str, ...]:
    """Return every user name, the operator's first."""
    devices = sorted(mosquitto.user(device) for device in access.devices)
    return (mosquitto.OPERATOR, *devices)


def _password_line(folder: Path, name: str) -> str:
    path = folder / "password"
    if not path.is_file():
        made = f"{secrets.token_urlsafe(_PASSWORD_BYTES)}\n"
        atomic.write_bytes(path, made.encode(), mode=_SECRET)
    password = path.read_text("utf-8").strip()
    return mosquitto.hashed(name, password, salt=secrets.token_bytes(_SALT_BYTES))
