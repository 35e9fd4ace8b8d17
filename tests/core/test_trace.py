from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgekit.errors import ConfigError
from edgekit.fleet.book import Device, Known
from edgekit.fleet.report import Report
from edgekit.fleet.trace import Evidence, trace, version_in, versions_on
from tests.core.reports import model_state, state
from tests.core.workshop import Workshop

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def known(name: str, version: str = "", sha256: str = "ab" * 32) -> Known:
    """A device that serves a version of wine in production, or never reported."""
    current = {"version": version, "flavor": "int8", "sha256": sha256, "since": ""}
    models = [model_state(current=current)]
    return Known(
        device=Device(
            name=name,
            board="raspberry-pi-4",
            models=(("wine", "production"),),
            enrolled_by="ada",
            enrolled_at=NOW,
        ),
        report=Report.from_json(state(name, models=models)) if version else None,
        presence=None,
        window=None,
    )


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    made = Workshop(tmp_path)
    made.release("models:/wine/1")
    made.release("models:/wine/2")
    made.release("models:/wine/1", stage="staging")
    return made


def evidence(workshop: Workshop, *fleet: Known) -> Evidence:
    return Evidence(
        records=workshop.repository.records(),
        pointers=workshop.repository.pointers(),
        entries=workshop.ledger.everything(),
        fleet=fleet,
    )


def digests(workshop: Workshop, version: str) -> dict[str, str]:
    (found,) = (r for r in workshop.repository.records() if r.version == version)
    return {bundle.flavor: bundle.sha256 for bundle in found.bundles}


def test_it_joins_run_flavors_stages_releases_and_devices(workshop: Workshop) -> None:
    sha256 = digests(workshop, "1")["int8"]
    fleet = (known("pi-7", "1", sha256), known("pi-8", "2"), known("pi-9"))
    found = trace(evidence(workshop, *fleet), model="wine", version="1")

    assert found.run_id == "run-1"
    assert {b.flavor for b in found.bundles} == {"fp32", "int8"}
    assert found.stages == ("staging",)
    assert [(e.stage, e.rollout) for e in found.releases] == [
        ("production", 1),
        ("staging", 1),
    ]
    assert [row.device for row in found.devices] == ["pi-7"]
    assert found.strangers == ()


def test_a_device_serving_bytes_that_nobody_signed_stands_out(workshop: Workshop) -> None:
    found = trace(evidence(workshop, known("pi-7", "1")), model="wine", version="1")

    assert found.strangers == ("pi-7",)


def test_the_trace_of_a_device_holds_only_what_it_serves(workshop: Workshop) -> None:
    sha256 = digests(workshop, "1")["int8"]
    everything = evidence(workshop, known("pi-7", "1", sha256), known("pi-8", "1", sha256))

    assert versions_on(everything, "pi-7") == (("wine", "1"),)
    found = trace(everything, model="wine", version="1", device="pi-7")
    assert [bundle.flavor for bundle in found.bundles] == ["int8"]
    assert [row.device for row in found.devices] == ["pi-7"]
    assert {entry.stage for entry in found.releases} == {"production"}


def test_a_stage_leads_to_the_version_it_points_at(workshop: Workshop) -> None:
    assert version_in(evidence(workshop), model="wine", stage="production") == "2"


def test_a_device_that_serves_nothing_has_no_versions(workshop: Workshop) -> None:
    assert versions_on(evidence(workshop, known("pi-9")), "pi-9") == ()


def test_what_was_never_released_is_answered_with_what_was(workshop: Workshop) -> None:
    everything = evidence(workshop, known("pi-7"))

    with pytest.raises(ConfigError) as raised:
        version_in(everything, model="wine", stage="canary")
    assert str(raised.value) == (
        "wine@canary: never released; released are wine@production, wine@staging"
    )
    with pytest.raises(ConfigError, match="wine 9: never released; released of it are"):
        trace(everything, model="wine", version="9")
    with pytest.raises(ConfigError, match="beer 1: never released; nothing of it is"):
        trace(everything, model="beer", version="1")
    with pytest.raises(ConfigError, match="pi-8: not enrolled; enrolled are pi-7"):
        versions_on(everything, "pi-8")
