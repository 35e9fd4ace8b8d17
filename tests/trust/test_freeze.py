"""A repository that stands still: noticed when its signatures expire."""

import pytest

from edgekit.trust.client import ExpiredError
from tests.trust.device import ANYTHING_SIGNED, Device, refused
from tests.trust.simulator import DAY, NOW, Files, Simulator


@pytest.mark.parametrize("days", [31, 400])
def test_a_freeze_is_noticed_when_the_timestamp_expires(
    operator: Simulator, device: Device, days: int
) -> None:
    frozen = Files(dict(operator.files))
    operator.advance(days * DAY)
    operator.release("2", 2)
    device.now, device.source = NOW + days * DAY, frozen
    with refused(device, "expired", error=ExpiredError):
        device.resolve()
    device.source = operator
    if days < 365:  # above it, the root itself has expired
        assert device.version() == "2"


@pytest.mark.parametrize(
    ("role", "days"), [("snapshot", 29), ("targets", 300), ("models", 300)]
)
def test_each_expired_role_is_refused(
    operator: Simulator, device: Device, role: str, days: int
) -> None:
    operator.advance(days * DAY)
    signed = operator.snapshot if role == "snapshot" else operator.roles[role]
    signed.expires = operator.now - DAY
    operator.release("2", 2)
    operator.offer("targets")
    device.now = operator.now
    with refused(
        device, f"{role}.* is expired", error=ExpiredError, may_change=ANYTHING_SIGNED
    ):
        device.resolve()


def test_an_expired_root_is_refused(operator: Simulator, device: Device) -> None:
    operator.advance(366 * DAY)
    operator.offer("targets", "models", "stage-production")
    device.now = operator.now
    with refused(device, "root.json is expired", error=ExpiredError):
        device.resolve()
    operator.root.version = 2
    operator.offer_root()
    assert device.version() == "1"


def test_a_device_that_slept_through_an_expiry_goes_on(
    operator: Simulator, device: Device
) -> None:
    operator.advance(200 * DAY)
    operator.release("2", 2)
    device.now = operator.now
    assert device.version() == "2"


def test_an_expired_stage_does_not_stop_the_others(
    operator: Simulator, device: Device
) -> None:
    operator.release("1", 1, "staging")
    operator.advance(20 * DAY)
    operator.roles["stage-staging"].expires = operator.now - DAY
    operator.release("2", 2)
    operator.offer("stage-staging")
    device.now = operator.now
    assert device.version() == "2"
    with refused(
        device, "stage-staging.* is expired", error=ExpiredError, may_change=ANYTHING_SIGNED
    ):
        device.resolve("staging")


def test_a_freeze_is_told_apart_from_an_attack_on_the_signatures(
    operator: Simulator, device: Device
) -> None:
    """Somebody else is to act: the operator renews, or sets the clock."""
    device.now = NOW + 31 * DAY
    with refused(device, r"renew the signature, or set the clock", error=ExpiredError):
        device.resolve()
    operator.advance(31 * DAY)
    operator.offer_timestamp()
    operator.offer()
    assert device.version() == "1"
