"""Signing keys in a folder, one encrypted file each. Knows no metadata.

A file `<role>-<n>.pem` holds two PEM blocks: the public key, readable by everybody, and
the private key as encrypted PKCS#8 (see pkcs8). `openssl pkey -in FILE` reads it too.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from edgekit.atomic import sync_folder, write_bytes
from edgekit.errors import ConfigError, StoreError
from edgekit.trust.payload import CryptoSigner, Key, Signer, SSlibKey
from edgekit.trust.pkcs8 import encrypted_pem

SignerLookup = Callable[[str], Signer | None]  # by key id; None: that key is not here

_PRIVATE_MODE = 0o600
_FOLDER_MODE = 0o700
_NAME = re.compile(r"(?P<role>.+)-(?P<number>[0-9]+)\.pem")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFile:
    """One key on this machine; its public half is known without the passphrase."""

    path: Path
    key: Key

    @property
    def role(self) -> str:
        """The role it was made for, by its name; what it may sign, metadata says."""
        match = _NAME.fullmatch(self.path.name)
        return match["role"] if match else self.path.stem

    def signer(self, passphrase: str) -> Signer:
        """Decrypt the private half (0.2 s), or raise ConfigError."""
        try:
            private = load_pem_private_key(_read(self.path), passphrase.encode())
            return CryptoSigner(private, _sslib(self.key))
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"{self.path}: wrong passphrase, or the file is damaged"
            ) from error


class KeyFolder:
    """The folder of key files, which `generate` makes for its owner alone.

    What it has made or opened stays open in memory, as each opening takes 0.2 s.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._opened: dict[str, Signer] = {}

    def files(self) -> tuple[KeyFile, ...]:
        """Return every key file, sorted by name; ConfigError for one that is none."""
        return tuple(_key_file(path) for path in sorted(self.folder.glob("*.pem")))

    def generate(self, role: str, *, passphrase: str) -> KeyFile:
        """Make an ed25519 key for a role under the next free number."""
        if not passphrase:
            raise ConfigError(f"key of {role}: an empty passphrase, a secret is expected")
        self._make()
        private = Ed25519PrivateKey.generate()
        public = private.public_key()
        path = self.folder / f"{role}-{self._next_number(role)}.pem"
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        write_bytes(path, pem + encrypted_pem(private, passphrase), mode=_PRIVATE_MODE)
        signer = CryptoSigner(private)
        self._opened[signer.public_key.keyid] = signer
        return KeyFile(path=path, key=signer.public_key)

    def signers(self, passphrase: str) -> SignerLookup:
        """Return a look-up that decrypts a key when it is first asked for."""
        by_keyid = {file.key.keyid: file for file in self.files()}

        def look_up(keyid: str) -> Signer | None:
            if keyid not in self._opened and keyid in by_keyid:
                self._opened[keyid] = by_keyid[keyid].signer(passphrase)
            return self._opened.get(keyid)

        return look_up

    def _make(self) -> None:
        try:
            self.folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            sync_folder(self.folder.parent)
        except OSError as error:
            raise StoreError(f"{self.folder}: {error.strerror}") from error

    def _next_number(self, role: str) -> int:
        names = (_NAME.fullmatch(path.name) for path in self.folder.glob("*.pem"))
        taken = [int(name["number"]) for name in names if name and name["role"] == role]
        return max(taken, default=0) + 1


def _key_file(path: Path) -> KeyFile:
    try:
        public = load_pem_public_key(_read(path))
        return KeyFile(path=path, key=SSlibKey.from_crypto(public))
    except ValueError as error:
        raise ConfigError(
            f"{path}: no public key in it, a key file made by edgekit is expected"
        ) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {os.strerror(error.errno or 0)}") from error


def _sslib(key: Key) -> SSlibKey:
    if not isinstance(key, SSlibKey):
        raise TypeError(f"{type(key).__name__}: a key with public bytes is expected")
    return key
