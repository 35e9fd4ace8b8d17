"""Software that nobody asked for, brought along with what was: no byte of it is fetched."""

import dataclasses
import json

import pytest

from edgekit.trust.payload import MetaFile
from tests.trust.device import Device
from tests.trust.simulator import Simulator, bundle, pointer, record


def fetched(operator: Simulator) -> list[str]:
    """The statements that were asked for."""
    return [name for name in operator.asked if name.startswith("targets/")]


def test_of_many_records_only_the_one_that_is_pointed_at_is_fetched(
    operator: Simulator, device: Device
) -> None:
    for number in range(2, 60):
        said = record(str(number)).to_json()
        operator.put("models", f"models/wine/{number}.json", said)
    operator.point("7", 2)
    operator.offer("models", "stage-production")
    operator.asked.clear()
    assert device.version() == "7"
    assert [name.rpartition(".")[0].rpartition(".")[2] for name in fetched(operator)] == [
        "wine",
        "7",
    ]


def test_other_models_of_the_stage_are_left_alone(
    operator: Simulator, device: Device
) -> None:
    for model in ("beer", "mead"):
        operator.put("models", f"models/{model}/1.json", record("1", model=model).to_json())
        said = pointer("1", 1, model=model).to_json()
        operator.put("stage-production", f"stages/production/{model}.json", said)
    operator.offer("models", "stage-production")
    operator.asked.clear()
    assert device.version() == "1"
    assert not [name for name in fetched(operator) if "beer" in name or "mead" in name]


def test_other_stages_are_not_even_looked_at(operator: Simulator, device: Device) -> None:
    operator.release("9", 1, "staging")
    operator.asked.clear()
    assert device.version() == "1"
    assert not [name for name in operator.asked if "staging" in name]


def test_roles_that_only_the_snapshot_lists_are_not_fetched(
    operator: Simulator, device: Device
) -> None:
    for number in range(100):
        operator.snapshot.meta[f"extra-{number}.json"] = MetaFile(1)
    operator.offer()
    operator.asked.clear()
    assert device.version() == "1"
    assert not [name for name in operator.asked if "extra" in name]


@pytest.mark.parametrize("flavor", ["int8", "fp16"])
def test_flavors_that_one_of_both_roles_does_not_name_are_not_offered_to_the_fetcher(
    operator: Simulator, device: Device, flavor: str
) -> None:
    """The record vouches for int8 too, the pointer asks for fp16 too; both run fp32."""
    made = record("2", "fp32", "int8")
    said = pointer("2", 2, "fp32", "fp16")
    operator.put("models", "models/wine/2.json", made.to_json())
    operator.put("stage-production", "stages/production/wine.json", said.to_json())
    operator.offer("models", "stage-production")
    vouched = device.resolve()
    assert vouched is not None
    assert [entry.flavor for entry in vouched.entries] == ["fp32"]
    assert flavor not in {entry.flavor for entry in vouched.entries}


def test_a_record_that_asks_for_more_software_asks_nobody(
    operator: Simulator, device: Device
) -> None:
    """An unknown field that a newer writer might mean as a dependency is kept, no more."""
    made = dataclasses.replace(record("2"), extra={"requires": [bundle("9").sha256]})
    operator.put("models", "models/wine/2.json", made.to_json())
    operator.point("2", 2)
    operator.offer("models", "stage-production")
    operator.asked.clear()
    vouched = device.resolve()
    assert vouched is not None
    assert {entry.sha256 for entry in vouched.entries} == {bundle("2").sha256}
    assert len(fetched(operator)) == 2


def test_custom_data_of_a_target_leads_nowhere(operator: Simulator, device: Device) -> None:
    target = operator.roles["stage-production"].targets["stages/production/wine.json"]
    target.unrecognized_fields["custom"] = {"also": "targets/evil"}
    operator.offer("stage-production")
    operator.asked.clear()
    assert device.version() == "1"
    assert "evil" not in json.dumps(operator.asked)
