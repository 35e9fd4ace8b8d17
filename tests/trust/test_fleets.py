"""Metadata of another fleet, with its keys or with ours."""

from pathlib import Path

import pytest

from edgekit.errors import TrustError
from edgekit.trust.client import TrustClient
from tests.trust.device import ANYTHING_SIGNED, Device, refused
from tests.trust.simulator import NOW, Simulator


def test_metadata_of_a_fleet_with_other_keys_is_refused(device: Device) -> None:
    other = Simulator(fleet="other")
    other.release("9", 9)
    device.source = other
    with refused(device, "0/1 keys"):
        device.resolve()


def test_metadata_of_another_fleet_with_the_same_keys_is_refused(
    operator: Simulator, device: Device
) -> None:
    other = Simulator(fleet="other", signers=operator.signers)
    for rollout in range(2, 9):
        other.release("9", rollout)
    device.source = other
    with refused(device, "signed for fleet 'other', fleet 'demo' is expected"):
        device.resolve()
    device.source = operator
    assert device.version() == "1"


@pytest.mark.parametrize("role", ["snapshot", "targets", "models", "stage-production"])
def test_one_role_of_another_fleet_is_refused(
    operator: Simulator, device: Device, role: str
) -> None:
    signed = operator.snapshot if role == "snapshot" else operator.roles[role]
    signed.unrecognized_fields["x-edgekit-fleet"] = "other"
    operator.offer("targets", "models", "stage-production")
    with refused(device, f"{role}: signed for fleet 'other'", may_change=ANYTHING_SIGNED):
        device.resolve()


def test_a_new_root_that_renames_the_fleet_is_refused(
    operator: Simulator, device: Device
) -> None:
    operator.root.unrecognized_fields["x-edgekit-fleet"] = "other"
    operator.root.version = 2
    operator.offer_root()
    with refused(device, "root: signed for fleet 'other', fleet 'demo' is expected"):
        device.resolve()


def test_a_root_of_another_fleet_than_provisioned_is_refused(
    tmp_path: Path, operator: Simulator
) -> None:
    with pytest.raises(TrustError, match="of fleet 'demo', 'mine' is expected"):
        TrustClient(tmp_path, operator.trusted_root, operator, NOW, fleet="mine")


def test_a_device_moved_to_another_fleet_starts_anew(device: Device) -> None:
    other = Simulator(fleet="other")
    other.release("9", 9)
    device.root, device.source = other.trusted_root, other
    assert device.version() == "9"
