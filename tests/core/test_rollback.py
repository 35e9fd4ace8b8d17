from datetime import timedelta
from pathlib import Path

import pytest

from edgekit.errors import ConfigError, StoreError
from edgekit.release.history import Action, Entry
from edgekit.release.rollback import rollback
from tests.core.workshop import NOW, Workshop


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    made = Workshop(tmp_path)
    for version in ("1", "2", "3"):
        made.release(f"models:/wine/{version}")
    return made


def go_back(workshop: Workshop, version: str | None = None) -> Entry:
    entry = rollback(
        model="wine",
        stage="production",
        version=version,
        workplace=workshop.workplace,
        now=NOW + timedelta(minutes=1),
    )
    assert isinstance(entry, Entry)
    return entry


def standing(workshop: Workshop) -> tuple[str, int]:
    pointer = workshop.repository.pointer(stage="production", model="wine")
    assert pointer is not None
    return pointer.version, pointer.rollout


def test_it_points_at_the_old_bundles_under_a_higher_number(workshop: Workshop) -> None:
    entry = go_back(workshop)

    assert standing(workshop) == ("2", 4)
    assert entry == workshop.ledger.everything()[-1]
    assert (entry.action, entry.run_id) == (Action.ROLLBACK, "run-2")
    assert entry.bundles == workshop.ledger.everything()[1].bundles


def test_a_second_one_goes_further_back(workshop: Workshop) -> None:
    go_back(workshop)
    go_back(workshop)

    assert standing(workshop) == ("1", 5)


def test_it_goes_to_a_named_version(workshop: Workshop) -> None:
    go_back(workshop, "1")

    assert standing(workshop) == ("1", 4)


def test_it_needs_neither_the_registry_nor_the_models_key(workshop: Workshop) -> None:
    workshop.absent.add("models")
    models = workshop.signed("models")
    converted, resolved = workshop.converter.requests, workshop.registry.downloads
    before = len(converted), len(resolved)

    entry = go_back(workshop)

    assert entry.signers["models"] == tuple(models)
    assert (len(converted), len(resolved)) == before


def test_it_does_not_go_where_the_bytes_are_gone(workshop: Workshop) -> None:
    for sha256 in workshop.ledger.everything()[1].bundles.values():
        (workshop.repository.blobs / sha256).unlink()

    with pytest.raises(StoreError, match=r"wine 2: the bundle \w+ \(\w{12}\) is not in"):
        go_back(workshop)

    assert standing(workshop) == ("3", 3)


def test_an_unknown_stage_and_an_unknown_model_are_said(workshop: Workshop) -> None:
    with pytest.raises(ConfigError, match="stage prod: no such stage"):
        rollback(
            model="wine", stage="prod", version=None, workplace=workshop.workplace, now=NOW
        )
    with pytest.raises(ConfigError, match="beer in stage production: never released"):
        rollback(
            model="beer",
            stage="production",
            version=None,
            workplace=workshop.workplace,
            now=NOW,
        )
