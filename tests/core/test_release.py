import io
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from edgekit import bundle
from edgekit.errors import ConfigError, RegistryError, StoreError, TrustError
from edgekit.release.history import Action
from edgekit.release.ledger import Ledger
from tests.core.workshop import NOW, Workshop


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_a_release_is_signed_stored_and_written_down(workshop: Workshop) -> None:
    workshop.registry.aliases["champion"] = "3"
    released = workshop.release("models:/wine@champion")

    pointer = workshop.repository.pointer(stage="production", model="wine")
    assert pointer is not None
    assert (pointer.version, pointer.rollout) == ("3", 1)
    assert pointer.bundles == {e.flavor: e.sha256 for e in released.bundles}
    (record,) = workshop.repository.records()
    assert record.bundles == released.bundles
    assert {e.flavor: e.boards for e in record.bundles} == {
        "fp32": ("raspberry-pi-4",),
        "int8": ("generic-x86-64",),
    }
    for entry in released.bundles:
        blob = (workshop.repository.blobs / entry.sha256).read_bytes()
        manifest, _ = bundle.read_members(io.BytesIO(blob))
        assert manifest.model.run_id == "run-3"
        assert workshop.repository.files.file(f"index/{entry.index_sha256}", 10_000)
    assert released.fresh
    assert workshop.ledger.everything() == (released.entry,)
    assert released.entry.signers == {
        "models": tuple(workshop.signed("models")),
        "stage-production": tuple(workshop.signed("stage-production")),
    }
    assert (released.entry.who, released.entry.at) == ("ada", NOW)
    assert workshop.registry.logged == ["models:/wine/3"]


def test_a_release_that_is_out_already_changes_nothing(workshop: Workshop) -> None:
    first = workshop.release("models:/wine/3")
    files = workshop.repository.files.names()

    again = workshop.release("models:/wine/3", now=NOW + timedelta(hours=1))

    assert (again.entry, again.fresh) == (first.entry, False)
    assert workshop.repository.files.names() == files
    assert len(workshop.converter.requests) == 1
    assert workshop.registry.downloads == ["models:/wine/3"]


def test_another_stage_uses_the_same_conversion_and_counts_by_itself(
    workshop: Workshop,
) -> None:
    workshop.release("models:/wine/1")
    workshop.release("models:/wine/2")
    staging = workshop.release("models:/wine/2", stage="staging")

    assert (staging.entry.rollout, staging.entry.stage) == (1, "staging")
    assert len(workshop.converter.requests) == 2


def test_other_boards_are_converted_for_and_the_old_bundles_stay_vouched_for(
    workshop: Workshop,
) -> None:
    workshop.release("models:/wine/3", stage="staging")
    boards = ("raspberry-pi-5", "generic-x86-64", "raspberry-pi-4")
    workshop.release("models:/wine/3", boards=boards)

    (record,) = workshop.repository.records()
    staging = workshop.repository.pointer(stage="staging", model="wine")
    assert staging is not None
    vouched = {entry.sha256 for entry in record.bundles}
    assert set(staging.bundles.values()) <= vouched
    assert len(workshop.converter.requests) == 2


def test_a_conversion_that_was_cut_short_is_done_again(workshop: Workshop) -> None:
    workshop.converter.dies_after_first_flavor = True
    with pytest.raises(KeyboardInterrupt):
        workshop.release("models:/wine/3")
    workshop.converter.dies_after_first_flavor = False

    assert workshop.release("models:/wine/3").fresh
    assert len(workshop.converter.requests) == 2


def test_a_crash_between_signature_and_ledger_is_made_good(
    workshop: Workshop, tmp_path: Path
) -> None:
    workshop.release("models:/wine/1")
    workshop.release("models:/wine/2")
    newest = workshop.ledger.everything()[-1]
    forgetful = Ledger(tmp_path / "before-the-crash.db")
    forgetful.append(workshop.ledger.everything()[0])
    workshop.ledger = forgetful
    workshop.workplace = replace(workshop.workplace, ledger=forgetful)

    again = workshop.release("models:/wine/2")

    assert not again.fresh
    assert forgetful.everything()[-1] == newest
    assert workshop.release("models:/wine/3").entry.rollout == 3


def test_a_restored_older_repository_does_not_reuse_a_number(
    workshop: Workshop, tmp_path: Path
) -> None:
    workshop.release("models:/wine/1")
    shutil.copytree(workshop.repository.folder, tmp_path / "backup")
    workshop.release("models:/wine/2")
    shutil.rmtree(workshop.repository.folder)
    (tmp_path / "backup").rename(workshop.repository.folder)

    assert workshop.release("models:/wine/3").entry.rollout == 3


def test_a_lost_ledger_starts_again_from_what_is_signed(
    workshop: Workshop, tmp_path: Path
) -> None:
    workshop.release("models:/wine/1")
    workshop.release("models:/wine/2", stage="staging")
    empty = Ledger(tmp_path / "new.db")

    entered = replace(workshop.workplace, ledger=empty).catch_up(NOW)

    assert {(e.stage, e.version, e.action) for e in entered} == {
        ("production", "1", Action.RELEASE),
        ("staging", "2", Action.RELEASE),
    }


def test_a_missing_key_stops_the_release_and_the_old_one_stays(
    workshop: Workshop,
) -> None:
    workshop.release("models:/wine/1")
    before = workshop.repository.files.names()
    workshop.absent.add("stage-production")

    with pytest.raises(ConfigError, match="stage-production: 0 of the 1 keys"):
        workshop.release("models:/wine/2")

    standing = workshop.repository.pointer(stage="production", model="wine")
    assert standing is not None
    assert standing.version == "1"
    added = workshop.repository.files.names() - before
    assert all(name.startswith("index/") for name in added)
    assert [entry.version for entry in workshop.ledger.everything()] == ["1"]


def test_a_version_that_changed_under_its_number_is_not_released(
    workshop: Workshop,
) -> None:
    workshop.release("models:/wine/3")
    workshop.registry.contents["3"] = b"something else"

    with pytest.raises(TrustError, match="its files have changed in the registry"):
        workshop.release("models:/wine/3", boards=("raspberry-pi-5",))

    assert len(workshop.ledger.everything()) == 1


def test_an_unknown_stage_is_said_before_anything_is_converted(workshop: Workshop) -> None:
    with pytest.raises(ConfigError, match="stage prod: no such stage"):
        workshop.release("models:/wine/3", stage="prod")

    assert not workshop.converter.requests


def test_an_unregistered_model_is_not_released(workshop: Workshop) -> None:
    with pytest.raises(RegistryError, match="not a registered version"):
        workshop.release("runs:/abc/model")

    assert not workshop.converter.requests


def test_a_registry_that_refuses_the_log_does_not_stop_the_release(
    workshop: Workshop,
) -> None:
    workshop.registry.refuses_writes = True

    assert workshop.release("models:/wine/3").fresh
    assert "models:/wine/3: the conversion is not logged: registry: read-only" in (
        workshop.talk
    )


def test_progress_is_told(workshop: Workshop) -> None:
    workshop.release("models:/wine/3")

    (report,) = (workshop.folder / "flavors").rglob("report.json")
    assert workshop.talk == [
        "converting",
        f"models:/wine/3: the report is {report}",
        "packing fp32",
        "packing int8",
        "signing wine 3 for production",
    ]


def test_a_damaged_note_of_a_conversion_is_said(workshop: Workshop, tmp_path: Path) -> None:
    workshop.release("models:/wine/3")
    (note,) = (tmp_path / "flavors").rglob("chosen.json")
    note.write_text("{")

    with pytest.raises(StoreError, match="not JSON"):
        workshop.release("models:/wine/3")
