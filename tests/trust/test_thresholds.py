"""Keys stolen or lost, fewer than the threshold."""

import json

import pytest

from edgekit.trust.payload import CryptoSigner, Metadata, Signature
from tests.trust.device import ANYTHING_SIGNED, Device, refused
from tests.trust.simulator import Simulator

TIMESTAMP = "metadata/timestamp.json"
SNAPSHOT = "metadata/snapshot.json"


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "models", "stage-production"])
def test_metadata_below_its_threshold_is_refused(
    operator: Simulator, device: Device, role: str
) -> None:
    operator.rotate(role, count=3, threshold=2)
    operator.release("2", 2)
    assert device.version() == "2"
    full = operator.signers[role]
    operator.signers[role] = full[:1]
    operator.release("3", 3)
    with refused(device, "1/2 keys", may_change=ANYTHING_SIGNED):
        device.resolve()
    operator.signers[role] = full[1:]
    operator.release("4", 4)
    assert device.version() == "4"


def test_one_key_signing_twice_does_not_make_two_people(
    operator: Simulator, device: Device
) -> None:
    operator.rotate("models", count=2, threshold=2)
    assert device.version() == "1"
    first, second = operator.signers["models"]
    operator.roles["models"].version += 1
    metadata = Metadata(operator.roles["models"])
    copied = Signature(second.public_key.keyid, metadata.sign(first).signature)
    metadata.signatures[copied.keyid] = copied
    data = metadata.to_bytes()
    operator.offer_role("models")
    operator.files[f"{operator.roles['models'].version}.models.json"] = data
    operator.snapshot.meta["models.json"].length = None
    operator.offer_snapshot()
    operator.offer_timestamp()
    with refused(device, "1/2 keys", may_change=(TIMESTAMP, SNAPSHOT, "floor.json")):
        device.resolve()


@pytest.mark.parametrize("lost", [0, 1])
def test_a_root_below_its_threshold_names_no_new_keys(
    operator: Simulator, device: Device, lost: int
) -> None:
    """One of two root keys is stolen: it cannot put a key of its own in."""
    operator.rotate("root", count=2, threshold=2)
    assert device.version() == "1"
    stolen = operator.signers["root"][lost]
    operator.signers["root"] = [stolen]
    thief = CryptoSigner.generate_ed25519()
    operator.root.add_key(thief.public_key, "timestamp")
    operator.root.version += 1
    operator.offer_root()
    with refused(device, "root was signed by 1/2 keys"):
        device.resolve()


def test_a_new_root_that_lowers_its_threshold_needs_the_old_one(
    operator: Simulator, device: Device
) -> None:
    operator.rotate("root", count=2, threshold=2)
    assert device.version() == "1"
    operator.root.roles["root"].threshold = 1
    operator.root.version += 1
    operator.signers["root"] = operator.signers["root"][:1]
    operator.offer_root()
    with refused(device, "root was signed by 1/2 keys"):
        device.resolve()


def test_targets_below_their_threshold_name_no_new_keys(
    operator: Simulator, device: Device
) -> None:
    operator.rotate("targets", count=2, threshold=2)
    assert device.version() == "1"
    operator.signers["targets"] = operator.signers["targets"][:1]
    operator.rotate("stage-production")
    with refused(device, "targets was signed by 1/2 keys", may_change=ANYTHING_SIGNED):
        device.resolve()


def test_a_key_that_is_named_twice_signs_once(operator: Simulator, device: Device) -> None:
    """The same key under two ids, by whoever may name keys, is still one person."""
    operator.rotate("models", count=1, threshold=1)
    targets = operator.roles["targets"]
    (signer,) = operator.signers["models"]
    assert targets.delegations is not None
    assert targets.delegations.roles is not None
    targets.delegations.roles["models"].threshold = 2
    operator.offer("targets")
    operator.release("2", 2)
    with refused(device, "models was signed by 1/2 keys", may_change=ANYTHING_SIGNED):
        device.resolve()
    assert signer.public_key.keyid in targets.delegations.roles["models"].keyids


def test_two_signatures_with_one_key_id_are_no_metadata(
    operator: Simulator, device: Device
) -> None:
    operator.rotate("models", count=2, threshold=2)
    assert device.version() == "1"
    operator.release("2", 2)
    operator.list_without_lengths("models")
    name = f"{operator.roles['models'].version}.models.json"
    document = json.loads(operator.files[name])
    document["signatures"] = [document["signatures"][0]] * 2
    operator.files[name] = json.dumps(document).encode()
    with refused(device, f"{name}: damaged", may_change=ANYTHING_SIGNED):
        device.resolve()
