"""Keys whose private half is elsewhere: on a token, in a cloud's key service, in a file.

A URI in securesystemslib's words says where; what reaches it is loaded when such a key is
asked to sign. Knows no metadata and no folder of keys. docs/operations.md lists the URIs.
"""

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.exceptions import UnsupportedLibraryError

from edgekit.errors import ConfigError
from edgekit.trust.payload import HSMSigner, Key, Signature, Signer, SSlibKey

# Scheme of a URI -> the extra of edgekit-core that brings its library.
EXTRAS = {
    "hsm": "hsm",
    "awskms": "awskms",
    "azurekms": "azurekms",
    "gcpkms": "gcpkms",
    "hv": "vault",
}
T = TypeVar("T")

_PROOF = b"edgekit: this key signs"


def public_key(uri: str, secret: Callable[[], str], pem: bytes | None) -> SSlibKey:
    """Return the public half: from PEM where given, else from a PKCS#11 token.

    `secret` is called when the token wants its PIN. Raises ConfigError.
    """
    scheme = _scheme(uri)
    if pem is not None:
        try:
            return SSlibKey.from_crypto(load_pem_public_key(pem))
        except ValueError as error:
            raise ConfigError(f"{uri}: no public key in PEM: {error}") from error
    if scheme != "hsm":
        raise ConfigError(
            f"{uri}: its public key is expected too: --public-key FILE, in PEM as the"
            " service exports it"
        )
    parts = urlsplit(uri)
    label = parse_qs(parts.query).get("label", [None])[0]
    number = int(parts.path) if parts.path.isdecimal() else None
    _, key = _reached(uri, lambda: HSMSigner.import_(number, label, lambda _name: secret()))
    return key


def signer(uri: str, key: Key, secret: Callable[[], str]) -> Signer:
    """Return what signs with a key elsewhere, or raise ConfigError."""
    _scheme(uri)
    found = _reached(
        uri, lambda: Signer.from_priv_key_uri(uri, key, lambda _name: secret())
    )
    return RemoteSigner(uri, found)


def prove(found: Signer) -> None:
    """Raise ConfigError unless the private half is there and belongs to the public one."""
    key = found.public_key
    if not isinstance(key, SSlibKey):
        raise ConfigError(f"{key.keyid}: a key that devices can verify is expected")
    try:
        key.verify_signature(found.sign(_PROOF), _PROOF)
    except ConfigError:
        raise
    except Exception as error:  # the library's several; none is to be let in
        raise ConfigError(
            f"key {key.keyid[:8]}: what it signs does not verify; the private half of"
            " another key is there"
        ) from error


class RemoteSigner(Signer):
    """A signer whose failures say where it is."""

    def __init__(self, uri: str, inner: Signer) -> None:
        self._uri = uri
        self._inner = inner

    @property
    def public_key(self) -> Key:
        """The key that verifies."""
        return self._inner.public_key

    @classmethod
    def from_priv_key_uri(
        cls,
        priv_key_uri: str,
        public_key: Key,
        secrets_handler: Callable[[str], str] | None = None,
    ) -> "RemoteSigner":
        """Return the signer at a URI; see securesystemslib."""
        inner = Signer.from_priv_key_uri(priv_key_uri, public_key, secrets_handler)
        return cls(priv_key_uri, inner)

    def sign(self, payload: bytes) -> Signature:
        """Sign, or raise ConfigError: nothing is published without this signature."""
        return _reached(self._uri, lambda: self._inner.sign(payload))


def _scheme(uri: str) -> str:
    scheme = uri.partition(":")[0]
    if scheme not in EXTRAS:
        raise ConfigError(
            f"{uri}: signers begin with one of {', '.join(f'{s}:' for s in EXTRAS)}"
        )
    return scheme


def _reached(uri: str, ask: Callable[[], T]) -> T:
    try:
        return ask()
    except UnsupportedLibraryError as error:
        extra = EXTRAS[_scheme(uri)]
        raise ConfigError(
            f"{uri}: its library is missing; pip install 'edgekit-core[{extra}]'"
        ) from error
    except Exception as error:  # each service's library has errors of its own
        fact = str(error) or type(error).__name__
        raise ConfigError(f"{uri}: cannot sign: {fact}") from error
