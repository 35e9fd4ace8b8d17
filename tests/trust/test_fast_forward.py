"""Numbers and times that a thief ran far ahead, and how a fleet recovers."""

from datetime import UTC, datetime

import pytest

from edgekit.trust.client import ExpiredError
from edgekit.trust.floor import Floor
from edgekit.trust.payload import CryptoSigner
from tests.trust.device import ANYTHING_SIGNED, Device, refused
from tests.trust.simulator import DAY, Simulator

IN_2040 = datetime(2040, 1, 1, tzinfo=UTC)


def floor_of(device: Device) -> Floor:
    return Floor.from_json(device.kept()["floor.json"])


def test_a_version_run_far_ahead_is_undone_by_new_online_keys(
    operator: Simulator, device: Device
) -> None:
    """TUF's fast-forward recovery must not be undone by the floor."""
    operator.timestamp.version = 10**9
    operator.snapshot.version = 10**9
    operator.offer()
    assert device.version() == "1"
    operator.timestamp.version = operator.snapshot.version = 10
    operator.rotate("snapshot")
    operator.rotate("timestamp")
    assert device.version() == "1"
    floor = Floor.from_json(device.kept()["floor.json"])
    assert floor.versions["timestamp"] == 12


def test_a_rollout_run_far_ahead_is_undone_by_a_new_stage_key(
    operator: Simulator, device: Device
) -> None:
    operator.release("2", 2**50)
    assert device.version() == "2"
    operator.release("1", 3)
    with refused(device, "older than rollout", may_change=ANYTHING_SIGNED):
        device.resolve()
    operator.rotate("stage-production")
    assert device.version() == "1"


def test_another_key_for_a_stage_does_not_lift_its_floor(
    operator: Simulator, device: Device
) -> None:
    operator.release("2", 7)
    assert device.version() == "2"
    second = CryptoSigner.generate_ed25519()
    operator.roles["targets"].add_key(second.public_key, "stage-production")
    operator.release("1", 6)
    operator.offer("targets")
    with refused(device, "rollout 6, older than rollout 7", may_change=ANYTHING_SIGNED):
        device.resolve()


def test_a_signed_time_far_ahead_is_undone_by_new_online_keys(
    operator: Simulator, device: Device
) -> None:
    """Who steals the online keys can run the floor ahead; rotating them brings it back."""
    honest = operator.now
    operator.now = IN_2040
    operator.timestamp.expires = IN_2040 + DAY
    operator.timestamp.version = 1_000_000
    operator.offer_timestamp()
    with refused(device, "expired", error=ExpiredError, may_change=ANYTHING_SIGNED):
        device.resolve()
    assert floor_of(device).issued == IN_2040
    operator.now = honest
    operator.advance(DAY)
    operator.timestamp.version = 10
    operator.rotate("timestamp")
    assert device.version() == "1"
    assert floor_of(device).issued == honest + DAY


@pytest.mark.parametrize("role", ["targets", "models", "stage-production"])
def test_a_role_run_far_ahead_is_undone_by_new_keys_of_it_and_of_snapshot(
    operator: Simulator, device: Device, role: str
) -> None:
    """A thief of a role's key and of both online ones; TUF 5.3.11."""
    operator.roles[role].version = 10**9
    operator.offer(role)
    assert device.version() == "1"
    operator.roles[role].version = 20
    operator.release("2", 2)
    operator.offer("targets")
    with refused(device, "older than version 1000000001", may_change=ANYTHING_SIGNED):
        device.resolve()
    operator.rotate("snapshot")
    operator.rotate(role)
    operator.release("2", 3)
    assert device.version() == "2"


def test_a_root_cannot_be_run_ahead_by_one_root_key_of_two(
    operator: Simulator, device: Device
) -> None:
    operator.rotate("root", count=2, threshold=2)
    assert device.version() == "1"
    stolen = operator.signers["root"][:1]
    honest = operator.signers["root"]
    operator.signers["root"] = stolen
    version = operator.root.version
    operator.root.version = version + 1
    operator.offer_root()
    with refused(device, "root was signed by 1/2 keys"):
        device.resolve()
    operator.signers["root"] = honest
    operator.root.version = version
    operator.files.pop(f"{version + 1}.root.json")
    operator.rotate("timestamp")
    assert device.version() == "1"
