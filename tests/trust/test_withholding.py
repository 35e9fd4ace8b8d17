"""Files that do not come, or come too slowly."""

import pytest

from edgekit.errors import TransportError
from tests.trust.device import ANYTHING_SIGNED, Device, refused
from tests.trust.simulator import Files, Simulator


class Dead:
    """A source without a network."""

    def file(self, name: str, max_bytes: int) -> bytes | None:
        raise TransportError(f"{name}: no broker in reach, at most {max_bytes} B wanted")


def test_a_dead_transport_is_no_alarm(device: Device) -> None:
    device.source = Dead()
    with refused(device, "no broker in reach", error=TransportError):
        device.resolve()


@pytest.mark.parametrize("name", ["timestamp.json", "3.snapshot.json", "3.models.json"])
def test_a_withheld_file_is_waited_for(
    operator: Simulator, device: Device, name: str
) -> None:
    operator.release("2", 2)
    device.source = Files({n: d for n, d in operator.files.items() if n != name})
    reason = f"{name}: not offered at present"
    with refused(device, reason, error=TransportError, may_change=ANYTHING_SIGNED):
        device.resolve()
    device.source = operator
    assert device.version() == "2"
