"""Signing keys in a folder, one file each. Knows no metadata.

A file `<role>-<n>.pem` holds two PEM blocks: the public key, readable by everybody, and
the private key as encrypted PKCS#8 (see pkcs8). `openssl pkey -in FILE` reads it too.
Where the private half is elsewhere (see remote), lines behind the public key say where:
`signer: URI`, and `pin_file: PATH` where its secret is not the passphrase of the files.
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
from edgekit.trust import remote
from edgekit.trust.payload import CryptoSigner, Key, Signer, SSlibKey
from edgekit.trust.pkcs8 import encrypted_pem

SignerLookup = Callable[[str], Signer | None]  # by key id; None: that key is not here

_PRIVATE_MODE = 0o600
_FOLDER_MODE = 0o700
_LINE = re.compile(r"^(signer|pin_file): (\S.*)$", re.MULTILINE)
_PUBLIC = re.compile(r"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----\n", re.DOTALL)
_NAME = re.compile(r"(?P<role>.+)-(?P<number>[0-9]+)\.pem")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a private key is that no key file holds; `public` is its public half in PEM.

    `public` may be left out for a PKCS#11 token. `pin_file` holds the secret that opens
    it, in its first line; without one it is that of the key files.
    """

    uri: str
    public: bytes | None = None
    pin_file: Path | None = None

    def secret(self, passphrase: str) -> str:
        """Return what opens it, or raise ConfigError."""
        if self.pin_file is None:
            return passphrase
        return _read(self.pin_file).decode("utf-8", "replace").partition("\n")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFile:
    """One key on this machine; its public half is known without the passphrase.

    `origin` is None where the file holds the private half, encrypted.
    """

    path: Path
    key: Key
    origin: Origin | None = None

    @property
    def role(self) -> str:
        """The role it was made for, by its name; what it may sign, metadata says."""
        match = _NAME.fullmatch(self.path.name)
        return match["role"] if match else self.path.stem

    def signer(self, passphrase: str) -> Signer:
        """Decrypt the private half (0.2 s) or reach for it, or raise ConfigError."""
        if self.origin is not None:
            origin = self.origin
            return remote.signer(origin.uri, self.key, lambda: origin.secret(passphrase))
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

    def adopt(self, role: str, origin: Origin, *, passphrase: str) -> KeyFile:
        """Keep note of a key elsewhere, once it has signed; ConfigError when it cannot."""

        def secret() -> str:
            return origin.secret(passphrase)

        key = remote.public_key(origin.uri, secret, origin.public)
        signer = remote.signer(origin.uri, key, secret)
        remote.prove(signer)
        self._make()
        path = self.folder / f"{role}-{self._next_number(role)}.pem"
        lines = [f"signer: {origin.uri}"]
        if origin.pin_file is not None:
            lines.append(f"pin_file: {origin.pin_file.resolve()}")
        pem = origin.public.decode() if origin.public else str(key.keyval["public"])
        text = "\n".join([pem.strip(), *lines, ""])
        write_bytes(path, text.encode(), mode=_PRIVATE_MODE)
        self._opened[key.keyid] = signer
        return KeyFile(path=path, key=key, origin=origin)

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


def public_key(path: Path) -> Key:
    """Return the public key in a PEM file, say another person's; or raise ConfigError."""
    return _key_file(path).key


def public_pem(file: KeyFile) -> str:
    """Return the public half of a key file, which may be given to anybody."""
    text = _read(file.path).decode("ascii", "replace")
    found = _PUBLIC.search(text)
    if found is None:
        raise ConfigError(f"{file.path}: no public key in it")
    return found[0]


def _key_file(path: Path) -> KeyFile:
    data = _read(path)
    try:
        public = load_pem_public_key(data)
        key = SSlibKey.from_crypto(public)
        return KeyFile(path=path, key=key, origin=_origin(data))
    except ValueError as error:
        raise ConfigError(
            f"{path}: no public key in it, a key file made by edgekit is expected"
        ) from error


def _origin(data: bytes) -> Origin | None:
    named = dict(_LINE.findall(data.decode("utf-8", "replace")))
    if "signer" not in named:
        return None
    pin_file = Path(named["pin_file"]) if "pin_file" in named else None
    return Origin(uri=named["signer"], pin_file=pin_file)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {os.strerror(error.errno or 0)}") from error


def _sslib(key: Key) -> SSlibKey:
    if not isinstance(key, SSlibKey):
        raise TypeError(f"{type(key).__name__}: a key with public bytes is expected")
    return key
