"""Encrypt a private key as PKCS#8 with scrypt. Knows no files and no roles.

cryptography's own BestAvailableEncryption derives the key with 2,048 rounds of PBKDF2
(version 50; OWASP asks for 600,000) and takes no other parameters for PKCS#8, so the few
bytes of framing (RFC 5208, 8018, 7914) are written here; cipher and key derivation are
the library's. Any PKCS#8 reader, `openssl pkey` among them, reads the result.
"""

import base64
import os
import textwrap

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

# OWASP's password storage cheat sheet gives N=2^14, r=8, p=5 as equal to its first choice;
# 16 MiB and 0.2 s a try. OpenSSL refuses a larger N by its memory limit of 32 MiB.
SCRYPT_N = 2**14
SCRYPT_R = 8
SCRYPT_P = 5

_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_SCRYPT = bytes.fromhex("06092b06010401da47040b")
_AES_256_CBC = bytes.fromhex("060960864801650304012a")
_INTEGER, _OCTETS, _SEQUENCE = 0x02, 0x04, 0x30
_AES_BLOCK_BITS = 128
_LONG_FORM = 0x80


def encrypted_pem(key: PrivateKeyTypes, passphrase: str) -> bytes:
    """Return the key as an ENCRYPTED PRIVATE KEY block."""
    salt, iv = os.urandom(16), os.urandom(16)
    plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    derivation = Scrypt(salt=salt, length=32, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P)
    secret = derivation.derive(passphrase.encode())
    parameters = _sequence(
        _SCRYPT,
        _sequence(
            _octets(salt), _integer(SCRYPT_N), _integer(SCRYPT_R), _integer(SCRYPT_P)
        ),
    )
    cipher = _sequence(_AES_256_CBC, _octets(iv))
    algorithm = _sequence(_PBES2, _sequence(parameters, cipher))
    return _pem(_sequence(algorithm, _octets(_encrypted(plain, secret, iv))))


def _encrypted(plain: bytes, secret: bytes, iv: bytes) -> bytes:
    padder = padding.PKCS7(_AES_BLOCK_BITS).padder()
    padded = padder.update(plain) + padder.finalize()
    encryptor = Cipher(algorithms.AES(secret), modes.CBC(iv)).encryptor()
    return encryptor.update(padded) + encryptor.finalize()


def _pem(der: bytes) -> bytes:
    lines = textwrap.wrap(base64.b64encode(der).decode(), 64)
    label = "ENCRYPTED PRIVATE KEY"
    text = "\n".join((f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""))
    return text.encode()


def _field(tag: int, content: bytes) -> bytes:
    """Return one DER field: tag, length (X.690 8.1.3), content."""
    length = len(content)
    if length < _LONG_FORM:
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, _LONG_FORM | size]) + length.to_bytes(size, "big") + content


def _sequence(*parts: bytes) -> bytes:
    return _field(_SEQUENCE, b"".join(parts))


def _octets(content: bytes) -> bytes:
    return _field(_OCTETS, content)


def _integer(value: int) -> bytes:
    return _field(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))
