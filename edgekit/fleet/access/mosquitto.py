"""What mosquitto reads: its settings, who may do what, and hashed passwords. Pure text.

The rules: a device reads its fleet's metadata and bundles and what it is asked, and writes
below its own topic, nothing else. The operator's machine and the depot, one user, write
what devices read, read back what the broker keeps of it, and read what they write. Every
name has lines of its own, so that one that is not enrolled any more has none.
docs/operations.md explains the settings.
"""

import base64
import hashlib
from collections.abc import Iterable

from edgekit.statement import slug
from edgekit.wire import Topics

OPERATOR = "fleet"  # the user name of the operator's machine and the depot
MAX_MESSAGE_BYTES = 131_072
_HASH = "sha512"
# Nobody guesses 24 random bytes, and the broker hashes at each connection, on one thread:
# as few as mosquitto's own tool takes.
_ITERATIONS = 101
_HASH_BYTES = 64
_SETTINGS = """\
# For the fleet "{fleet}", written by `edgekit broker-config`. mosquitto.conf may include it
# with `include_dir {folder}`, or start it alone with `mosquitto -c`.
listener {port}
cafile {folder}/ca.pem
certfile {folder}/server.pem
keyfile {folder}/server.key
tls_version tlsv1.2
{clients}
allow_anonymous false
acl_file {folder}/edgekit.acl

# Without it small exchanges wait for 40 ms each: 30 times as long in all.
set_tcp_nodelay true

# A slow client costs at most this many messages of 64 KiB, about 13 MB.
max_queued_messages 200
max_inflight_messages 100
message_size_limit {message}

# Retained messages survive a crash only if they are saved in time.
persistence true
persistence_location {data}/
autosave_interval 60
"""
_CERTIFICATES = "require_certificate true\nuse_identity_as_username true"
_PASSWORDS = "password_file {folder}/passwords"


def settings(*, fleet: str, folder: str, data: str, port: int, passwords: bool) -> str:
    """Return the settings; `folder` and `data` are paths on the broker's machine."""
    clients = _PASSWORDS.format(folder=folder) if passwords else _CERTIFICATES
    return _SETTINGS.format(
        fleet=fleet,
        folder=folder,
        data=data,
        port=port,
        clients=clients,
        message=MAX_MESSAGE_BYTES,
    )


def rules(topics: Topics, devices: Iterable[str]) -> str:
    """Return the access file: the operator's lines, then those of each device."""
    lines = [
        f"user {OPERATOR}",
        f"topic write {topics.index}",
        f"topic read {topics.index}",
        f"topic write {topics.root}/meta/#",
        f"topic read {topics.root}/meta/#",
        f"topic write {topics.root}/blob/#",
        f"topic write {topics.depot('#')}",
        f"topic read {topics.depot('#')}",
        f"topic read {topics.root}/dev/#",
        f"topic write {topics.every('ask/+/+')}",
        f"topic write {topics.every('taken')}",
        f"topic write {topics.book}",
        f"topic read {topics.book}",
    ]
    for device in sorted(devices):
        lines += [
            "",
            f"user {user(device)}",
            f"topic read {topics.index}",
            f"topic read {topics.root}/meta/#",
            f"topic read {topics.root}/blob/#",
            f"topic write {topics.device(device)}/#",
            f"topic read {topics.asks(device)}",
            f"topic read {topics.taken(device)}",
        ]
    return "\n".join([*lines, ""])


def user(device: str) -> str:
    """Return a device's user name, its topic level with a letter before it.

    No device's name can become that of the operator's user, or start a comment.
    """
    return f"d-{slug(device)}"


def hashed(name: str, password: str, *, salt: bytes) -> str:
    """Return one line of a password file: PBKDF2, as mosquitto_passwd writes it."""
    digest = hashlib.pbkdf2_hmac(
        _HASH, password.encode(), salt, _ITERATIONS, dklen=_HASH_BYTES
    )
    parts = (base64.b64encode(part).decode() for part in (salt, digest))
    return f"{name}:$7${_ITERATIONS}${'$'.join(parts)}\n"
