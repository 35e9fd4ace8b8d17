"""Signers elsewhere, as far as they can be told without their services."""

from pathlib import Path

import pytest

from edgekit.errors import ConfigError
from edgekit.trust.keys import KeyFolder, Origin
from edgekit.trust.payload import CryptoSigner, Key, Signature, Signer, SSlibKey
from edgekit.trust.remote import EXTRAS, RemoteSigner, prove

SECRET = "open sesame"  # noqa: S105 - the tests' own
ED25519 = b"""-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
"""


@pytest.mark.parametrize("uri", ["ftp:x", "file2:/root.pem", "", "gnupg:ab", "sigstore:?x"])
def test_an_unknown_kind_of_signer_is_refused_with_those_there_are(
    tmp_path: Path, uri: str
) -> None:
    with pytest.raises(ConfigError, match="signers begin with one of hsm:, awskms:"):
        KeyFolder(tmp_path).adopt("models", Origin(uri=uri), passphrase=SECRET)


@pytest.mark.parametrize("scheme", sorted(set(EXTRAS) - {"hsm"}))
def test_a_key_service_needs_its_public_half_said(tmp_path: Path, scheme: str) -> None:
    origin = Origin(uri=f"{scheme}:key")
    with pytest.raises(ConfigError, match="its public key is expected too: --public-key"):
        KeyFolder(tmp_path / "keys").adopt("models", origin, passphrase=SECRET)
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize("pem", [b"", b"no key", ED25519[:40]])
def test_a_public_half_that_is_none_is_refused(tmp_path: Path, pem: bytes) -> None:
    origin = Origin(uri="awskms:key", public=pem)
    with pytest.raises(ConfigError, match="no public key in PEM"):
        KeyFolder(tmp_path / "keys").adopt("models", origin, passphrase=SECRET)


def test_a_key_file_that_names_a_signer_needs_no_private_half(tmp_path: Path) -> None:
    text = ED25519 + b"signer: gcpkms:projects/p/key/1\npin_file: /run/pin\n"
    (tmp_path / "models-1.pem").write_bytes(text)
    (file,) = KeyFolder(tmp_path).files()
    assert file.origin == Origin(uri="gcpkms:projects/p/key/1", pin_file=Path("/run/pin"))
    assert file.role == "models"


def test_a_pin_file_that_is_gone_is_named(tmp_path: Path) -> None:
    origin = Origin(uri="hsm:", pin_file=tmp_path / "pin")
    with pytest.raises(ConfigError, match="pin: No such file"):
        origin.secret("passphrase")


class Liar(Signer):
    """Signs with another key than it says."""

    def __init__(self) -> None:
        self._said = CryptoSigner.generate_ed25519().public_key
        self._used = CryptoSigner.generate_ed25519()

    @property
    def public_key(self) -> SSlibKey:
        return self._said

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: object = None
    ) -> "Liar":
        raise NotImplementedError(priv_key_uri, public_key, secrets_handler)

    def sign(self, payload: bytes) -> Signature:
        return Signature(self._said.keyid, self._used.sign(payload).signature)


def test_a_key_is_let_in_only_once_it_has_signed() -> None:
    prove(CryptoSigner.generate_ed25519())
    with pytest.raises(ConfigError, match="what it signs does not verify"):
        prove(Liar())


def test_a_failure_of_a_service_says_where_it_was() -> None:
    class Broken(Liar):
        def sign(self, payload: bytes) -> Signature:
            raise ConnectionError(f"no route for {len(payload)} bytes")

    with pytest.raises(ConfigError, match="awskms:key: cannot sign: no route for 1 bytes"):
        RemoteSigner("awskms:key", Broken()).sign(b"x")
