"""Boards have no clock: what a wrong one can and cannot do to trust."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgekit.errors import TrustError
from edgekit.trust.client import ExpiredError, TrustClient
from edgekit.trust.floor import Floor
from tests.trust.device import Device, refused
from tests.trust.simulator import DAY, NOW, Files, Simulator

FIRST_OF_1970 = datetime(1970, 1, 1, tzinfo=UTC)
IN_2040 = datetime(2040, 1, 1, tzinfo=UTC)


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


def test_a_clock_without_a_zone_is_a_mistake(tmp_path: Path, operator: Simulator) -> None:
    naive = NOW.replace(tzinfo=None)
    with pytest.raises(ValueError, match="a time with a zone"):
        TrustClient(tmp_path, operator.trusted_root, operator, naive)


def test_expired_is_a_kind_of_distrust() -> None:
    assert issubclass(ExpiredError, TrustError)
