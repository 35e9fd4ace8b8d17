"""Fields of a writer newer than the reader: kept and verified."""

import dataclasses

from tests.trust.simulator import (
    Device,
    Simulator,
    pointer,
    record,
)


def test_unknown_fields_of_a_newer_writer_are_kept_and_verified(
    operator: Simulator, device: Device
) -> None:
    for signed in (operator.root, operator.timestamp, operator.snapshot):
        signed.unrecognized_fields["x-later"] = {"a": [1, "two"]}
    operator.roles["models"].unrecognized_fields["x-later"] = "three"
    operator.root.version = 2
    operator.offer_root()
    later = dataclasses.replace(pointer("2", 2), extra={"share": 10}).to_json()
    operator.put("stage-production", "stages/production/wine.json", later)
    operator.put("models", "models/wine/2.json", record("2").to_json())
    operator.offer("models", "stage-production")
    vouched = device.resolve()
    assert vouched is not None
    assert vouched.pointer.extra == {"share": 10}
