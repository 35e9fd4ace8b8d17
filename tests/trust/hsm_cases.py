"""A key on a PKCS#11 token signs for a stage; SoftHSM stands for the token."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgekit.errors import ConfigError
from edgekit.trust.client import TrustClient
from edgekit.trust.founding import Foundation, found
from edgekit.trust.keys import KeyFolder, Origin
from edgekit.trust.repository import Repository
from edgekit.trust.rotation import Locksmith, Replace
from tests.trust.simulator import pointer, record

pytestmark = pytest.mark.slow  # founds a fleet and makes a token

PIN, SECRET = "4711", "open sesame"
LIBRARIES = [
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    *Path("/usr/lib").glob("*/softhsm/libsofthsm2.so"),
]
MAKE_KEY = """
import sys, pkcs11, pkcs11.util.ec
library, pin, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
token = pkcs11.lib(library).get_token(token_label="stick")
with token.open(rw=True, user_pin=pin) as session:
    curve = pkcs11.util.ec.encode_named_curve_parameters("secp256r1")
    attributes = {pkcs11.Attribute.EC_PARAMS: curve}
    parameters = session.create_domain_parameters(
        pkcs11.KeyType.EC, attributes, local=True
    )
    parameters.generate_keypair(store=True, id=bytes([number]), label="edgekit")
"""


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A token called stick with a P-256 key under the number 2."""
    tool = shutil.which("softhsm2-util")
    library = next((path for path in LIBRARIES if path.is_file()), None)
    if tool is None or library is None:
        pytest.skip("no SoftHSM; `apt install softhsm2` provides it")
    if find_spec("pkcs11") is None:
        pytest.skip("no python-pkcs11; `pip install 'edgekit-core[hsm]'` provides it")
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder}/tokens\n")
    before = dict(os.environ)
    os.environ |= {"SOFTHSM2_CONF": str(configuration), "PYKCS11LIB": str(library)}
    initialise = [tool, "--init-token", "--free", "--label=stick", f"--pin={PIN}"]
    subprocess.run([*initialise, f"--so-pin={PIN}"], check=True, capture_output=True)
    make = [sys.executable, "-c", MAKE_KEY, str(library), PIN, "2"]
    subprocess.run(make, check=True)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def pin_file(tmp_path: Path) -> Path:
    path = tmp_path / "pin"
    path.write_text(f"{PIN}\n")
    return path


def adopted(folder: Path, pin_file: Path | None) -> KeyFolder:
    keys = KeyFolder(folder)
    origin = Origin(uri="hsm:2?label=stick", pin_file=pin_file)
    keys.adopt("stage-production", origin, passphrase=SECRET)
    return keys


@pytest.mark.usefixtures("token")
def test_a_stage_signed_on_a_token_is_run(tmp_path: Path, pin_file: Path) -> None:
    now = datetime.now(UTC)
    founded = found(
        Foundation(fleet="demo", stages=["production"]),
        keys_folder=tmp_path / "keys",
        repository_folder=tmp_path / "repository",
        passphrase=SECRET,
        now=now,
    )
    root = founded.repository.trusted_root()
    folder = KeyFolder(tmp_path / "keys")
    locksmith = Locksmith(
        repository=founded.repository,
        folder=folder,
        passphrase=SECRET,
        now=now,
        origin=Origin(uri="hsm:2?label=stick", pin_file=pin_file),
    )
    changed = locksmith.change(Replace(role="stage-production"))
    assert changed.made is not None
    text = changed.made.path.read_text()
    assert text.endswith(f"signer: hsm:2?label=stick\npin_file: {pin_file}\n")
    assert "PRIVATE" not in text
    repository = Repository.open(tmp_path / "repository")
    done = repository.publish(
        records=[record("1")],
        pointers=[pointer("1", 1)],
        signers=KeyFolder(tmp_path / "keys").signers(
            SECRET
        ),  # read anew, as a command does
        now=now,
    )
    assert done.signed_by["stage-production"] == (changed.made.key.keyid,)
    client = TrustClient(tmp_path / "device", root, repository.files, now)
    assert client.resolve(stage="production", model="wine") is not None


@pytest.mark.usefixtures("token")
def test_without_a_pin_file_the_passphrase_is_the_pin(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path / "keys")
    origin = Origin(uri="hsm:2?label=stick")
    made = keys.adopt("models", origin, passphrase=PIN)
    signature = KeyFolder(tmp_path / "keys").files()[0].signer(PIN).sign(b"x")
    made.key.verify_signature(signature, b"x")


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize(
    ("uri", "pin", "sentence"),
    [
        ("hsm:2?label=stick", "0000", "cannot sign: PinIncorrect"),
        ("hsm:9?label=stick", PIN, "could not find ECDSA key"),
        ("hsm:2?label=other", PIN, "No PKCS#11 token found for label other"),
    ],
)
def test_what_is_not_there_is_said_and_no_key_file_is_made(
    tmp_path: Path, uri: str, pin: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{uri.split('?', maxsplit=1)[0]}.*{sentence}"):
        KeyFolder(tmp_path / "keys").adopt("models", Origin(uri=uri), passphrase=pin)
    assert not (tmp_path / "keys").exists()


@pytest.mark.usefixtures("token")
def test_a_stranger_public_half_is_not_let_in(tmp_path: Path, pin_file: Path) -> None:
    """Somebody hands over a PEM that is not the token's."""
    other = KeyFolder(tmp_path / "other").generate("models", passphrase=SECRET)
    pem = other.path.read_bytes().partition(b"-----BEGIN ENCRYPTED")[0]
    origin = Origin(uri="hsm:2?label=stick", public=pem, pin_file=pin_file)
    with pytest.raises(ConfigError, match="hsm:2"):
        KeyFolder(tmp_path / "keys").adopt("models", origin, passphrase=SECRET)
    assert not (tmp_path / "keys").exists()
