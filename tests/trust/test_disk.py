"""The device's own disk, when it damages what is kept."""

import json
from pathlib import Path

import pytest

from edgekit.document import canonical_json
from edgekit.errors import StoreError
from tests.trust.device import Device
from tests.trust.simulator import Simulator

TIMESTAMP = "metadata/timestamp.json"
SNAPSHOT = "metadata/snapshot.json"


@pytest.mark.parametrize("damage", [b"", b"\0" * 500, b"{", None])
def test_any_damaged_file_of_the_folder_heals(
    operator: Simulator, device: Device, damage: bytes | None
) -> None:
    operator.rotate("timestamp")
    assert device.version() == "1"
    names = list(device.kept())
    assert {"floor.json", TIMESTAMP, SNAPSHOT, "metadata/targets.json"} < set(names)
    for name in names:
        path = device.folder / name
        path.unlink() if damage is None else path.write_bytes(damage)
        assert device.version() == "1"
        if name != "metadata/root_history/1.root.json":
            json.loads(path.read_bytes())


def test_a_lost_folder_is_made_anew(operator: Simulator, device: Device) -> None:
    device.folder = device.folder / "fresh" / "card"
    assert device.version() == "1"
    assert operator.files["timestamp.json"] == device.kept()[TIMESTAMP]


def test_a_disk_that_refuses_is_not_an_attack(device: Device, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    device.folder = tmp_path / "file"
    with pytest.raises(StoreError):
        device.client().refresh()


def test_the_floor_is_canonical_json(device: Device) -> None:
    floor = device.kept()["floor.json"]
    assert canonical_json(json.loads(floor)) == floor
