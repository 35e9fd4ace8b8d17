"""Keys that are added, replaced and revoked while devices sleep."""

import pytest

from edgekit.trust.limits import Limits
from edgekit.trust.payload import CryptoSigner
from tests.trust.device import ANYTHING_SIGNED, Device, refused
from tests.trust.simulator import DAY, Files, Simulator


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
    with refused(device, "0/1 keys", may_change=ANYTHING_SIGNED):
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
    with refused(device, f"{role} was signed by 0/1 keys", may_change=ANYTHING_SIGNED):
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


def test_every_key_of_the_fleet_is_replaced_while_a_device_sleeps(
    operator: Simulator, device: Device
) -> None:
    for role in ("root", "timestamp", "root", "snapshot", "targets", "models", "root"):
        operator.rotate(role)
    operator.rotate("stage-production", count=3, threshold=2)
    operator.rotate("targets", count=2, threshold=2)
    operator.release("2", 2)
    assert device.version() == "2"


def test_more_rotations_than_one_refresh_follows_take_two(
    operator: Simulator, device: Device
) -> None:
    for _ in range(6):
        operator.rotate("root")
    operator.rotate("timestamp")
    operator.release("2", 2)
    device.limits = Limits(root_rotations=4)
    with refused(device, "0/1 keys", may_change=ANYTHING_SIGNED):
        device.resolve()
    assert device.version() == "2"


def test_roots_that_expired_while_a_device_slept_still_lead_to_the_newest(
    operator: Simulator, device: Device
) -> None:
    for _ in range(3):
        operator.rotate("root")
        operator.advance(400 * DAY)
    operator.rotate("root")
    operator.release("2", 2)
    operator.offer("targets")
    device.now = operator.now
    assert device.version() == "2"


def test_a_revoked_root_key_signs_no_further_root(
    operator: Simulator, device: Device
) -> None:
    revoked = operator.signers["root"]
    operator.rotate("root")
    operator.rotate("root")
    assert device.version() == "1"
    operator.signers["root"] = revoked
    operator.root.version += 1
    operator.offer_root()
    with refused(device, "root was signed by 0/1 keys"):
        device.resolve()


def test_a_broken_link_in_a_chain_of_roots_stops_the_walk_there(
    operator: Simulator, device: Device
) -> None:
    for _ in range(3):
        operator.rotate("root")
    honest = dict(operator.files)
    operator.files["3.root.json"] = honest["4.root.json"]
    with refused(device, r"3\.root\.json", may_change=ANYTHING_SIGNED):
        device.resolve()
    assert "metadata/root_history/2.root.json" in device.kept()
    assert "metadata/root_history/3.root.json" not in device.kept()
    device.source = Files(honest)
    assert device.version() == "1"


def test_a_withheld_link_in_a_chain_of_roots_lets_nothing_newer_in(
    operator: Simulator, device: Device
) -> None:
    operator.rotate("root")
    operator.rotate("timestamp")
    operator.release("2", 2)
    device.source = Files({n: d for n, d in operator.files.items() if n != "3.root.json"})
    with refused(device, "timestamp was signed by 0/1 keys", may_change=ANYTHING_SIGNED):
        device.resolve()
    device.source = operator
    assert device.version() == "2"


@pytest.mark.parametrize("role", ["models", "stage-production"])
def test_a_revoked_key_has_no_say_even_beside_good_ones(
    operator: Simulator, device: Device, role: str
) -> None:
    """Two of two must sign; one of the two was revoked and replaced."""
    operator.rotate(role, count=2, threshold=2)
    stays, goes = operator.signers[role]
    comes = CryptoSigner.generate_ed25519()
    operator.roles["targets"].revoke_key(goes.public_key.keyid, role)
    operator.roles["targets"].add_key(comes.public_key, role)
    operator.signers[role] = [stays, comes]
    operator.release("2", 2)
    operator.offer("targets")
    assert device.version() == "2"
    operator.signers[role] = [stays, goes]
    operator.release("3", 3)
    with refused(device, f"{role} was signed by 1/2 keys", may_change=ANYTHING_SIGNED):
        device.resolve()


def test_what_a_key_signed_before_it_was_revoked_must_be_signed_anew(
    operator: Simulator, device: Device
) -> None:
    operator.release("2", 2)
    targets = operator.roles["targets"]
    (old,) = operator.signers["models"]
    new = CryptoSigner.generate_ed25519()
    targets.revoke_key(old.public_key.keyid, "models")
    targets.add_key(new.public_key, "models")
    operator.offer("targets")  # and nobody signed models with the new key
    with refused(device, "models was signed by 0/1 keys", may_change=ANYTHING_SIGNED):
        device.resolve()
    operator.signers["models"] = [new]
    operator.offer("models")
    assert device.version() == "2"
