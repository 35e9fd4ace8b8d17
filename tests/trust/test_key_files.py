"""Key files: what lies on the operator's disk, and what opens it."""

import base64
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from edgekit.errors import ConfigError
from edgekit.trust.keys import KeyFile, KeyFolder

SECRET = "correct horse battery staple"  # noqa: S105 - the tests' own


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> KeyFolder:
    """A folder with two keys of models and one of a stage, made by another run."""
    path = tmp_path_factory.mktemp("keys") / "keys"
    maker = KeyFolder(path)
    for role in ("models", "models", "stage-my%20stage"):
        maker.generate(role, passphrase=SECRET)
    return KeyFolder(path)


def test_a_key_file_is_named_after_its_role(folder: KeyFolder) -> None:
    names = [file.path.name for file in folder.files()]
    assert names == ["models-1.pem", "models-2.pem", "stage-my%20stage-1.pem"]
    assert [file.role for file in folder.files()][1:] == ["models", "stage-my%20stage"]


def test_a_key_file_is_its_owners_alone(folder: KeyFolder) -> None:
    for file in folder.files():
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.folder.stat().st_mode) == 0o700


def test_a_decrypted_key_signs_for_its_public_half(folder: KeyFolder) -> None:
    file = folder.files()[0]
    signature = file.signer(SECRET).sign(b"payload")
    assert signature.keyid == file.key.keyid
    file.key.verify_signature(signature, b"payload")


def test_the_same_key_is_looked_up_once(folder: KeyFolder) -> None:
    signers = folder.signers(SECRET)
    keyid = folder.files()[0].key.keyid
    assert signers(keyid) is signers(keyid)
    assert signers("0" * 64) is None


def test_a_wrong_passphrase_is_said(folder: KeyFolder) -> None:
    with pytest.raises(ConfigError, match=r"models-1\.pem: wrong passphrase, or the file"):
        folder.files()[0].signer("guess")


def test_an_empty_passphrase_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="an empty passphrase, a secret is expected"):
        KeyFolder(tmp_path / "keys").generate("root", passphrase="")
    assert not (tmp_path / "keys").exists()


def test_the_secret_is_not_in_the_file_in_the_clear(folder: KeyFolder) -> None:
    text = folder.files()[0].path.read_text("ascii")
    assert text.count("BEGIN PUBLIC KEY") == 1
    assert text.count("BEGIN ENCRYPTED PRIVATE KEY") == 1
    assert "BEGIN PRIVATE KEY" not in text


@pytest.mark.parametrize("content", [b"", b"not a key", b"-----BEGIN PUBLIC KEY-----\n"])
def test_a_file_that_is_no_key_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "models-1.pem").write_bytes(content)
    with pytest.raises(ConfigError, match=r"models-1\.pem: no public key in it"):
        KeyFolder(tmp_path).files()


def test_a_swapped_public_half_is_noticed(folder: KeyFolder, tmp_path: Path) -> None:
    """Who can write the file but not read the key cannot make it sign as another."""
    mine, other = (file.path.read_bytes() for file in folder.files()[:2])
    mark = b"-----BEGIN ENCRYPTED"
    forged = other.split(mark)[0] + mark + mine.split(mark)[1]
    path = tmp_path / "models-1.pem"
    path.write_bytes(forged)
    with pytest.raises(ConfigError, match="damaged"):
        KeyFolder(tmp_path).files()[0].signer(SECRET)


def test_openssl_reads_the_file_and_sees_scrypt(folder: KeyFolder) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is missing: install it to compare with another reader")
    file = folder.files()[0]
    command = [openssl, "pkey", "-in", str(file.path), "-passin", f"pass:{SECRET}"]
    shown = subprocess.run([*command, "-pubout"], capture_output=True, check=True)
    assert shown.stdout.strip() in file.path.read_bytes()


def test_the_passphrase_is_stretched_by_scrypt(folder: KeyFolder) -> None:
    """RFC 7914: the algorithm's name, then salt (16), N (2^14), r (8) and p (5)."""
    lines = private_block(folder.files()[0]).decode().splitlines()[1:-1]
    der = base64.b64decode("".join(lines))
    _, scrypt, parameters = der.partition(bytes.fromhex("06092b06010401da47040b"))
    assert scrypt
    assert parameters[20:30] == bytes.fromhex("02024000020108020105")


def private_block(file: KeyFile) -> bytes:
    mark = b"-----BEGIN ENCRYPTED"
    return mark + file.path.read_bytes().split(mark)[1]
