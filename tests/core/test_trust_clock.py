"""Boards have no clock: what a wrong one can and cannot do to trust."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgekit.errors import TrustError
from edgekit.trust.client import ExpiredError, TrustClient
from edgekit.trust.floor import Floor
from tests.core.trust_simulator import DAY, NOW, Device, Files, Simulator, refused

FIRST_OF_1970 = datetime(1970, 1, 1, tzinfo=UTC)
IN_2040 = datetime(2040, 1, 1, tzinfo=UTC)


@pytest.fixture
def operator() -> Simulator:
    """A fleet whose stage production runs version 1."""
    simulator = Simulator()
    simulator.release("1", 1)
    return simulator


@pytest.fixture
def device(tmp_path: Path, operator: Simulator) -> Device:
    """A device that has seen version 1."""
    device = Device(folder=tmp_path, root=operator.trusted_root, source=operator)
    assert device.version() == "1"
    return device


def floor_of(device: Device) -> Floor:
    return Floor.from_json(device.kept()["floor.json"])


def test_a_clock_in_1970_does_not_stop_a_release(
    operator: Simulator, device: Device
) -> None:
    device.now = FIRST_OF_1970
    operator.release("2", 2)
    assert device.version() == "2"


def test_a_clock_in_1970_does_not_make_expired_metadata_good(
    operator: Simulator, device: Device
) -> None:
    """The device saw a timestamp of day 40; one that expired on day 30 is behind it."""
    hidden = Files(dict(operator.files))
    operator.advance(40 * DAY)
    operator.release("2", 2)
    assert device.version() == "2"
    device.now, device.source = FIRST_OF_1970, hidden
    for kept in (device.folder / "metadata").glob("*.json"):
        kept.unlink()
    floor = floor_of(device)
    lifted = Floor(fleet=floor.fleet, issued=floor.issued)  # only the time is remembered
    (device.folder / "floor.json").write_bytes(lifted.to_json())
    with pytest.raises(ExpiredError, match="expired"):
        device.resolve()


def test_the_time_floor_survives_a_damaged_cache(
    operator: Simulator, device: Device
) -> None:
    operator.advance(10 * DAY)
    operator.offer()
    device.client().refresh()
    for kept in (device.folder / "metadata").glob("*.json"):
        kept.unlink()
    assert floor_of(device).issued == NOW + 10 * DAY


def test_a_lost_floor_is_laid_again_from_the_cache(device: Device) -> None:
    before = floor_of(device)
    (device.folder / "floor.json").unlink()
    device.now = FIRST_OF_1970
    assert device.version() == "1"
    assert floor_of(device) == before


def test_a_clock_in_2040_is_told_apart_and_poisons_nothing(
    operator: Simulator, device: Device
) -> None:
    device.now = IN_2040
    with refused(device, "is expired; a date ahead of the clock", error=ExpiredError):
        device.resolve()
    assert floor_of(device).issued == NOW
    device.now = NOW + DAY
    operator.release("2", 2)
    assert device.version() == "2"


def test_a_clock_that_is_not_believed_leaves_signed_times_to_judge(
    operator: Simulator, device: Device
) -> None:
    operator.release("2", 2)
    device.now, device.believe_clock = IN_2040, False
    assert device.version() == "2"


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
    with pytest.raises(ExpiredError, match=f"{role}.* is expired"):
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


def test_a_signed_time_far_ahead_is_undone_by_new_online_keys(
    operator: Simulator, device: Device
) -> None:
    """Who steals the online keys can run the floor ahead; rotating them brings it back."""
    honest = operator.now
    operator.now = IN_2040
    operator.timestamp.expires = IN_2040 + DAY
    operator.timestamp.version = 1_000_000
    operator.offer_timestamp()
    with pytest.raises(ExpiredError):
        device.resolve()
    assert floor_of(device).issued == IN_2040
    operator.now = honest
    operator.advance(DAY)
    operator.timestamp.version = 10
    operator.rotate("timestamp")
    assert device.version() == "1"
    assert floor_of(device).issued == honest + DAY


def test_a_clock_without_a_zone_is_a_mistake(tmp_path: Path, operator: Simulator) -> None:
    naive = NOW.replace(tzinfo=None)
    with pytest.raises(ValueError, match="a time with a zone"):
        TrustClient(tmp_path, operator.trusted_root, operator, naive)


def test_expired_is_a_kind_of_distrust() -> None:
    assert issubclass(ExpiredError, TrustError)
