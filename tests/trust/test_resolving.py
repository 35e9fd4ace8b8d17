"""What a device resolves when nobody lies."""

import dataclasses
from pathlib import Path

from tests.trust.device import Device, refused
from tests.trust.simulator import Simulator, pointer, record


def test_what_both_roles_vouch_for_is_resolved(device: Device) -> None:
    vouched = device.resolve()
    assert vouched is not None
    assert vouched.pointer == pointer("1", 1)
    assert vouched.record == record("1")
    assert vouched.entries == record("1").bundles


def test_only_flavors_that_both_roles_name_are_returned(
    operator: Simulator, device: Device
) -> None:
    operator.put("models", "models/wine/2.json", record("2", "fp32", "int8").to_json())
    said = pointer("2", 2, "int8", "fp16").to_json()
    operator.put("stage-production", "stages/production/wine.json", said)
    operator.offer("models", "stage-production")
    vouched = device.resolve()
    assert vouched is not None
    assert [entry.flavor for entry in vouched.entries] == ["int8"]


def test_a_model_that_was_never_released_in_a_stage_is_none(device: Device) -> None:
    assert device.resolve("staging") is None
    assert device.resolve(model="unheard of") is None


def test_a_check_without_news_asks_for_two_files_and_the_pointers(
    operator: Simulator, device: Device
) -> None:
    operator.asked.clear()
    device.client().refresh()
    assert operator.asked == ["2.root.json", "timestamp.json"]


def test_names_with_blanks_and_slashes_are_found(tmp_path: Path) -> None:
    operator = Simulator(stages=("my%20stage",))
    said = dataclasses.replace(
        pointer("1/b", 1, stage="my stage", model="a b"), bundles={"fp32": "a" * 64}
    )
    made = record("1/b", model="a b")
    entry = dataclasses.replace(made.bundles[0], sha256="a" * 64)
    made = dataclasses.replace(made, bundles=(entry,))
    operator.put("stage-my%20stage", "stages/my%20stage/a%20b.json", said.to_json())
    operator.put("models", "models/a%20b/1%2Fb.json", made.to_json())
    operator.offer("models", "stage-my%20stage")
    device = Device(folder=tmp_path, root=operator.trusted_root, source=operator)
    vouched = device.resolve("my stage", "a b")
    assert vouched is not None
    assert vouched.record == made


def test_a_stage_that_the_fleet_has_not_is_named(device: Device) -> None:
    reason = "stage-prod: no such role in this fleet, one of models, stage-production"
    with refused(device, reason):
        device.resolve("prod")


def test_a_record_alone_changes_nothing(operator: Simulator, device: Device) -> None:
    operator.put("models", "models/wine/2.json", record("2").to_json())
    operator.offer("models")
    assert device.version() == "1"
