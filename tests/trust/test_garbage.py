"""What is no metadata at all."""

import pytest

from edgekit.trust.payload import (
    Metadata,
)
from tests.trust.device import Device, refused
from tests.trust.simulator import Files, Simulator

TIMESTAMP = "metadata/timestamp.json"


@pytest.mark.parametrize("name", ["2.root.json", "timestamp.json", "3.snapshot.json"])
@pytest.mark.parametrize(
    "garbage",
    [b"", b"\xff\xfe", b"null", b"[1]", b'{"signed":{},"signatures":[]}', b"[" * 8000],
)
def test_garbage_instead_of_metadata_is_refused(
    operator: Simulator, device: Device, name: str, garbage: bytes
) -> None:
    operator.release("2", 2)
    device.source = Files({**operator.files, name: garbage})
    with refused(
        device,
        f"{name}: (damaged|not the bytes|more than)",
        may_change=(TIMESTAMP, "floor.json"),
    ):
        device.resolve()
    device.source = operator
    assert device.version() == "2"


def test_a_timestamp_without_its_time_is_refused(
    operator: Simulator, device: Device
) -> None:
    operator.timestamp.version += 1
    operator.timestamp.unrecognized_fields["x-edgekit-issued"] = "yesterday"
    operator.files["timestamp.json"] = operator.signed(
        "timestamp", Metadata(operator.timestamp)
    )
    with refused(device, "x-edgekit-issued: 'yesterday', a time such as"):
        device.resolve()


def test_root_metadata_of_another_type_is_refused(
    operator: Simulator, device: Device
) -> None:
    device.source = Files(
        {**operator.files, "2.root.json": operator.files["timestamp.json"]}
    )
    with refused(device, "Expected 'root', got 'timestamp'"):
        device.resolve()
