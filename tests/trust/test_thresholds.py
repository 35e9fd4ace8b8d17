"""Keys stolen or lost, fewer than the threshold."""

import pytest

from edgekit.errors import TrustError
from edgekit.trust.payload import (
    Metadata,
    Signature,
)
from tests.trust.simulator import (
    Device,
    Simulator,
    refused,
)

TIMESTAMP = "metadata/timestamp.json"
SNAPSHOT = "metadata/snapshot.json"


@pytest.mark.parametrize("role", ["timestamp", "models", "stage-production"])
def test_metadata_below_its_threshold_is_refused(
    operator: Simulator, device: Device, role: str
) -> None:
    operator.rotate(role, count=3, threshold=2)
    operator.release("2", 2)
    assert device.version() == "2"
    full = operator.signers[role]
    operator.signers[role] = full[:1]
    operator.release("3", 3)
    with pytest.raises(TrustError, match="1/2 keys"):
        device.resolve()
    operator.signers[role] = full[1:]
    operator.release("4", 4)
    assert device.version() == "4"


def test_one_key_signing_twice_does_not_make_two_people(
    operator: Simulator, device: Device
) -> None:
    operator.rotate("models", count=2, threshold=2)
    assert device.version() == "1"
    first, second = operator.signers["models"]
    operator.roles["models"].version += 1
    metadata = Metadata(operator.roles["models"])
    copied = Signature(second.public_key.keyid, metadata.sign(first).signature)
    metadata.signatures[copied.keyid] = copied
    data = metadata.to_bytes()
    operator.offer_role("models")
    operator.files[f"{operator.roles['models'].version}.models.json"] = data
    operator.snapshot.meta["models.json"].length = None
    operator.offer_snapshot()
    operator.offer_timestamp()
    with refused(device, "1/2 keys", may_change=(TIMESTAMP, SNAPSHOT, "floor.json")):
        device.resolve()
