"""Sign a receipt with a device's key, and check it with the key pinned at enrolment.

The envelope is that of TUF metadata: `signed`, and `signatures` over its canonical JSON.
Knows no files, clock or broker; whether a receipt is newer than another, its reader says.
"""

import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from edgekit.document import Reader, canonical_json
from edgekit.errors import ConfigError, TrustError
from edgekit.receipt import Receipt, read

MAX_BYTES = 64 * 1024
KEY_BYTES = 32  # of an Ed25519 public key, raw
_SUBJECT = "receipt"


def generate() -> tuple[bytes, bytes]:
    """Make a key pair: the private half as PEM (PKCS#8, not encrypted), the public raw."""
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem, _raw(private.public_key())


def key_id(public: bytes) -> str:
    """Return the name of a public key: the SHA-256 of its 32 bytes."""
    return hashlib.sha256(public).hexdigest()


def public_half(pem: bytes) -> bytes:
    """Return the public key of a private one; ConfigError for a key that is none."""
    return _raw(_private(pem).public_key())


def sign(receipt: Receipt, pem: bytes) -> bytes:
    """Return the signed envelope; ConfigError for a key that is none."""
    private = _private(pem)
    signature = {
        "keyid": key_id(_raw(private.public_key())),
        "sig": private.sign(receipt.to_json()).hex(),
    }
    return canonical_json({"signatures": [signature], "signed": receipt.to_table()})


def verify(payload: bytes, public: bytes) -> Receipt:
    """Return what is signed by this very key, or raise TrustError."""
    if len(payload) > MAX_BYTES:
        told = f"{len(payload)} bytes, up to {MAX_BYTES} are expected"
        raise TrustError(f"{_SUBJECT}: {told}")
    envelope = Reader.from_json(payload, subject=_SUBJECT, error=TrustError)
    signed = envelope.child("signed")
    signatures, ours = envelope.children("signatures"), key_id(public)
    signature = next((one for one in signatures if one.text("keyid") == ours), None)
    if signature is None:
        raise TrustError(f"{_SUBJECT}: not signed by the key that was pinned at enrolment")
    try:
        key = Ed25519PublicKey.from_public_bytes(public)
        key.verify(bytes.fromhex(signature.text("sig")), canonical_json(signed.table))
    except (ValueError, InvalidSignature) as error:
        raise TrustError(f"{_SUBJECT}: its signature is wrong") from error
    return read(signed)


def envelope_content(payload: bytes) -> Receipt:
    """Return what an envelope holds that was verified before, or raise TrustError."""
    return read(
        Reader.from_json(payload, subject=_SUBJECT, error=TrustError).child("signed")
    )


def _private(pem: bytes) -> Ed25519PrivateKey:
    try:
        private = load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise ConfigError("receipt key: an unencrypted PEM file is expected") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError("receipt key: an Ed25519 key is expected")
    return private


def _raw(public: Ed25519PublicKey) -> bytes:
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw)
