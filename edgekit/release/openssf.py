"""An OpenSSF model signature beside a bundle, for whoever checks models by that standard.

Devices never read it: what runs is decided by signed metadata (docs/adr/0022). Signs with
an elliptic curve key of its own, through the project `model-signing`, which is loaded when
it is asked for. Its verdict on a bundle: `model_signing verify key BUNDLE`.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from edgekit.errors import ConfigError, StoreError
from edgekit.statement import BundleEntry

_EXPECTED = (
    "an elliptic curve private key in PEM (P-256, P-384 or P-521) is expected, and the"
    " passphrase it is encrypted with, if it is"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notary:
    """Signs bundles with the key in a PEM file; `password` opens an encrypted one."""

    key: Path
    password: str

    def check(self) -> None:
        """Raise ConfigError when it could not sign: before a release is made, not after."""
        self._config()

    def sign(self, repository: Path, entry: BundleEntry) -> Path:
        """Sign a stored bundle and return the signature's file, a Sigstore bundle.

        The same bytes signed again are left as they are: an ECDSA signature differs each
        time, and nothing is gained by another.
        """
        path = signature_path(repository, entry)
        if path.is_file():
            return path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f".{path.name}.tmp")
            self._config().sign(repository / "blobs" / entry.sha256, beside)
            beside.replace(path)
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}") from error
        return path

    def _config(self) -> Any:  # noqa: ANN401 - of a package that may be missing
        password = self._checked_password()
        config = _library().Config()
        # It hands the password to cryptography as it is, which wants bytes (1.1.1).
        return config.use_elliptic_key_signer(private_key=self.key, password=password)

    def _checked_password(self) -> bytes | None:
        try:
            pem = self.key.read_bytes()
            password = self.password.encode() if b"ENCRYPTED" in pem else None
            key = load_pem_private_key(pem, password)
        except OSError as error:
            raise ConfigError(f"{self.key}: {error.strerror}") from error
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{self.key}: {_EXPECTED}: {error}") from error
        if not isinstance(key, EllipticCurvePrivateKey):
            raise ConfigError(f"{self.key}: {_EXPECTED}")
        return password


def signature_path(repository: Path, entry: BundleEntry) -> Path:
    """Return where the signature of a bundle lies; the depot does not serve it."""
    return repository / "signatures" / f"{entry.sha256}.sig"


def _library() -> ModuleType:
    try:
        return importlib.import_module("model_signing.signing")
    except ImportError as error:
        raise ConfigError(
            "--model-signing: the package model-signing is missing;"
            " pip install 'edgekit-core[model-signing]'"
        ) from error
