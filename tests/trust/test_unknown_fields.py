"""Fields of a writer newer than the reader: kept and verified."""

import dataclasses
import json

import pytest

from edgekit.trust.payload import SSlibKey
from tests.trust.device import ANYTHING_SIGNED, Device, refused
from tests.trust.simulator import Simulator, pointer, record


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


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets", "models"])
@pytest.mark.parametrize("value", [None, True, 7, "text", [1, [2]], {"a": {}}])
def test_any_unknown_field_in_what_is_signed_is_carried_along(
    operator: Simulator, device: Device, role: str, value: object
) -> None:
    top = {
        "root": operator.root,
        "timestamp": operator.timestamp,
        "snapshot": operator.snapshot,
    }
    signed = top[role] if role in top else operator.roles[role]
    signed.unrecognized_fields["x-later"] = value
    if role == "root":
        operator.root.version = 2
        operator.offer_root()
    operator.release("2", 2)
    operator.offer("targets")
    assert device.version() == "2"


@pytest.mark.parametrize("name", ["timestamp.json", "3.snapshot.json", "3.models.json"])
def test_an_unknown_field_beside_what_is_signed_says_nothing(
    operator: Simulator, device: Device, name: str
) -> None:
    operator.release("2", 2)
    for role in ("snapshot", "models"):
        operator.list_without_lengths(role)
    name = name.replace("3.snapshot", f"{operator.snapshot.version}.snapshot")
    document = json.loads(operator.files[name])
    document["x-later"] = {"targets": {"models/wine/9.json": {}}}
    operator.files[name] = json.dumps(document).encode()
    assert device.version() == "2"


def test_a_key_of_a_kind_that_is_unknown_here_is_not_skipped_over(
    operator: Simulator, device: Device
) -> None:
    """Agents must learn of a new scheme before the fleet has a key of it."""
    later = SSlibKey("ab" * 32, "later", "later-2030", {"public": "00"})
    operator.roles["targets"].add_key(later, "stage-production")
    operator.release("2", 2)
    operator.offer("targets")
    with refused(device, r"2\.targets\.json: damaged", may_change=ANYTHING_SIGNED):
        device.resolve()


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("stage pointer", "stages/production/wine.json"),
        ("release record", "models/wine/1.json"),
    ],
)
def test_a_statement_of_a_newer_format_asks_for_a_newer_agent(
    operator: Simulator, device: Device, kind: str, path: str
) -> None:
    made = pointer("1", 2) if kind == "stage pointer" else record("1")
    later = json.loads(made.to_json()) | {"format": 2}
    role = "stage-production" if kind == "stage pointer" else "models"
    operator.put(role, path, json.dumps(later).encode())
    operator.offer("models", "stage-production")
    reason = f"{kind}: format 2, this edgekit reads up to 1; update the agent first"
    with refused(device, reason, may_change=ANYTHING_SIGNED):
        device.resolve()


def test_a_later_minor_version_of_tuf_is_read(operator: Simulator, device: Device) -> None:
    operator.timestamp.spec_version = "1.99.0"
    operator.release("2", 2)
    assert device.version() == "2"


def test_a_later_major_version_of_tuf_is_refused(
    operator: Simulator, device: Device
) -> None:
    operator.timestamp.spec_version = "2.0.0"
    operator.release("2", 2)
    with refused(device, r"timestamp\.json: damaged"):
        device.resolve()
