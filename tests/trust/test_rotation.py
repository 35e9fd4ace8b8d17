"""Keys that are added, replaced and revoked while devices sleep."""

import pytest

from edgekit.errors import TrustError
from edgekit.trust.payload import CryptoSigner
from tests.trust.simulator import Device, Files, Simulator, refused


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_device_follows_root_rotations_it_slept_through(
    operator: Simulator, device: Device, steps: int
) -> None:
    for _ in range(steps):
        operator.rotate("root")
    operator.release("2", 2)
    assert device.version() == "2"
    assert f"metadata/root_history/{steps + 1}.root.json" in device.kept()
    assert device.version() == "2"


def test_a_root_rotation_to_a_threshold_is_followed(
    operator: Simulator, device: Device
) -> None:
    operator.rotate("root", count=3, threshold=2)
    operator.rotate("root", count=2, threshold=2)
    operator.release("2", 2)
    assert device.version() == "2"


def test_a_new_root_not_signed_by_the_old_one_is_refused(
    operator: Simulator, device: Device
) -> None:
    operator.signers["root"] = [CryptoSigner.generate_ed25519()]
    new = operator.signers["root"][0].public_key
    operator.root.revoke_key(operator.root.roles["root"].keyids[0], "root")
    operator.root.add_key(new, "root")
    operator.root.version = 2
    operator.offer_root()
    with refused(device, "root was signed by 0/1 keys"):
        device.resolve()


def test_a_new_root_not_signed_by_itself_is_refused(
    operator: Simulator, device: Device
) -> None:
    stranger = CryptoSigner.generate_ed25519().public_key
    operator.root.revoke_key(operator.root.roles["root"].keyids[0], "root")
    operator.root.add_key(stranger, "root")
    operator.root.version = 2
    operator.offer_root()  # by the old key alone
    with refused(device, "root was signed by 0/1 keys"):
        device.resolve()


def test_a_root_that_skips_a_version_is_refused(
    operator: Simulator, device: Device
) -> None:
    operator.root.version = 3
    operator.offer_root()
    operator.files["2.root.json"] = operator.files["3.root.json"]
    with refused(device, "Expected root version 2 instead got version 3"):
        device.resolve()


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_top_level_key_is_rotated(operator: Simulator, device: Device, role: str) -> None:
    revoked = operator.signers[role]
    operator.rotate(role)
    assert device.version() == "1"
    operator.signers[role] = revoked
    operator.offer("targets")
    with pytest.raises(TrustError, match="0/1 keys"):
        device.resolve()


@pytest.mark.parametrize("role", ["models", "stage-production"])
def test_a_delegated_key_is_rotated_and_the_old_one_refused(
    operator: Simulator, device: Device, role: str
) -> None:
    revoked = operator.signers[role]
    operator.rotate(role)
    operator.release("2", 2)
    assert device.version() == "2"
    honest = Files(dict(operator.files))
    operator.signers[role] = revoked
    operator.release("3", 3)
    with pytest.raises(TrustError, match=f"{role} was signed by 0/1 keys"):
        device.resolve()
    fresh = Device(folder=device.folder / "new", root=device.root, source=honest)
    assert fresh.version() == "2"


def test_a_rotated_stage_leaves_the_others_alone(
    operator: Simulator, device: Device
) -> None:
    operator.release("1", 1, "staging")
    operator.rotate("stage-staging")
    assert device.version("staging") == "1"
    assert device.version("production") == "1"
