"""The OpenSSF signature beside a bundle, judged by that project's own command."""

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from edgekit.errors import ConfigError
from edgekit.release.openssf import Notary, signature_path
from tests.core.commands import PASSPHRASE, fleet_in, run
from tests.trust.simulator import bundle

MISSING = "no model-signing; `pip install 'edgekit-core[model-signing]'` provides it"
needs_library = pytest.mark.skipif(find_spec("model_signing") is None, reason=MISSING)


def key(
    folder: Path, encryption: KeySerializationEncryption | None = None, name: str = "ec"
) -> Path:
    """Make a P-256 key; its public half lies beside it."""
    private = ec.generate_private_key(ec.SECP256R1())
    path = folder / f"{name}.pem"
    pem = private.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()
    )
    path.write_bytes(pem)
    public = private.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    path.with_suffix(".pub").write_bytes(public)
    return path


def verdict(bundle_file: Path, signature: Path, public: Path) -> int:
    """What the project's own command says."""
    command = shutil.which("model_signing", path=Path(sys.executable).parent)
    assert command is not None
    options = ["--signature", str(signature), "--public_key", str(public)]
    done = subprocess.run(
        [command, "verify", "key", str(bundle_file), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository folder with one bundle in it, of whatever bytes."""
    folder = tmp_path / "repository"
    (folder / "blobs").mkdir(parents=True)
    (folder / "blobs" / bundle("1").sha256).write_bytes(b"a bundle")
    return folder


@needs_library
@pytest.mark.slow
@pytest.mark.parametrize("encrypted", [False, True])
def test_the_projects_own_command_verifies_the_signature(
    tmp_path: Path, repository: Path, *, encrypted: bool
) -> None:
    encryption = BestAvailableEncryption(PASSPHRASE.encode()) if encrypted else None
    private = key(tmp_path, encryption)
    signature = Notary(key=private, password=PASSPHRASE).sign(repository, bundle("1"))
    assert signature == signature_path(repository, bundle("1"))
    blob = repository / "blobs" / bundle("1").sha256
    assert verdict(blob, signature, private.with_suffix(".pub")) == 0
    other = key(tmp_path, name="other")
    assert verdict(blob, signature, other.with_suffix(".pub")) != 0
    blob.write_bytes(b"a bundlE")
    assert verdict(blob, signature, private.with_suffix(".pub")) != 0


@needs_library
def test_a_bundle_is_signed_once(tmp_path: Path, repository: Path) -> None:
    notary = Notary(key=key(tmp_path), password="")
    first = notary.sign(repository, bundle("1")).read_bytes()
    assert notary.sign(repository, bundle("1")).read_bytes() == first
    assert [path.name for path in (repository / "signatures").iterdir()] == [
        f"{bundle('1').sha256}.sig"
    ]


@needs_library
@pytest.mark.parametrize("content", [b"", b"no key", None])
def test_a_key_that_is_none_is_named_before_anything_is_released(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "key.pem"
    if content is None:
        content = ed25519.Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"key\.pem: an elliptic curve private key"):
        Notary(key=path, password="").check()


def test_without_the_package_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "model_signing.signing", None)
    with pytest.raises(ConfigError, match=r"pip install 'edgekit-core\[model-signing\]'"):
        Notary(key=key(tmp_path), password="").check()


@pytest.mark.slow
def test_the_command_refuses_a_key_that_is_not_there(tmp_path: Path) -> None:
    fleet = fleet_in(tmp_path)
    result = run("release", "models:/wine/3", "--model-signing=gone.pem", fleet=fleet)
    assert result.exit_code == 2
    assert "gone.pem" in result.stderr
