"""A record that is lost in both copies: what is signed, whole, and served may return."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgekit.statement import ReleaseRecord, StagePointer
from edgekit.trust.client import TrustClient
from edgekit.trust.evidence import Trusted
from edgekit_agent.rules.events import (
    Event,
    NothingReleased,
    Online,
    Ticked,
    UpdateFailed,
)
from edgekit_agent.rules.record import Phase
from edgekit_agent.rules.state import Moment, Policy
from edgekit_agent.storage import testimony
from edgekit_agent.supervision.recovery import find_lost
from edgekit_agent.supervision.report import model_table
from edgekit_agent.supervision.roster import Roster
from tests.agent.losing import AT, ONE, TWO, Place, place_in, release_of, replaced
from tests.agent.making import stored
from tests.trust.simulator import Simulator


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A device that has heard nothing yet, and its fleet."""
    return place_in(tmp_path)


def test_what_served_is_found_again_with_what_served_before(place: Place) -> None:
    place.updated(ONE, 1)
    place.updated(TWO, 2, previous=ONE)
    found = place.recovered()
    assert found is not None
    assert found.current == release_of(TWO, 2)
    assert found.previous == release_of(ONE, 1)
    assert found.phase is Phase.SERVING


def test_what_was_fetched_and_never_served_is_not_taken(place: Place) -> None:
    place.updated(ONE, 1)
    place.release(TWO, 2)
    place.fetched(TWO)
    found = place.recovered()
    assert found is not None
    assert found.current == release_of(ONE, 1)
    assert found.previous is None


def test_what_was_undone_does_not_return(place: Place) -> None:
    place.updated(ONE, 1)
    place.updated(TWO, 2, previous=ONE)
    place.serves(ONE, 1)
    found = place.recovered()
    assert found is not None
    assert (found.current, found.previous) == (release_of(ONE, 1), None)


def test_a_pointer_that_moved_on_meanwhile_hinders_nothing(place: Place) -> None:
    place.updated(ONE, 1)
    place.release(TWO, 2)
    place.refreshed()
    found = place.recovered()
    assert found is not None
    assert found.current == release_of(ONE, 1)


def test_signatures_that_expired_do_not_keep_it_from_serving(place: Place) -> None:
    place.updated(ONE, 1)  # nothing here has a clock; the floor tells how stale it is
    assert place.recovered() is not None


def test_the_supervisor_has_the_record_written_anew(place: Place) -> None:
    place.updated(ONE, 1)
    before = place.store.load(place.config.models[0])
    shutil.rmtree(place.config.state_dir / "models")
    find_lost(place.file, place.store, place.config.models)
    found = place.store.load(place.config.models[0])
    assert (found.current, found.trouble) == (before.current, None)


def test_what_cannot_be_found_is_reported_with_the_reason(place: Place) -> None:
    place.updated(ONE, 1)
    place.signing.rotate("models")
    place.refreshed()
    shutil.rmtree(place.config.state_dir / "models")
    find_lost(place.file, place.store, place.config.models)
    found = place.store.load(place.config.models[0])
    assert found.current is None
    assert found.phase is Phase.IDLE
    assert found.trouble is not None
    told = model_table(found)["trouble"]
    assert isinstance(told, dict)
    assert told["reason"] == (
        "the record of what served is lost, and nothing here can be verified to serve on:"
        f" bundle {ONE.sha256[:12]}: models: not signed by enough of the keys trusted now;"
        " one that was replaced counts for nothing. Nothing serves until a broker has told"
        " what is to run"
    )


# --- a look that failed -----------------------------------------------------------------


def lost(place: Place) -> None:
    """Take the record, as a dying flash does."""
    shutil.rmtree(place.config.state_dir / "models")


def started(place: Place) -> Roster:
    """Do what the supervisor does at a start, as far as the disk is concerned."""
    find_lost(place.file, place.store, place.config.models)
    roster = Roster(place.store, place.config.models, Policy(spread=0.5))
    roster.collect()
    return roster


@contextmanager
def unreadable_keys(place: Place) -> Iterator[None]:
    """Hinder every look: which keys are trusted cannot be told meanwhile."""
    path = place.store.tuf / "metadata" / "targets.json"
    aside = path.rename(path.with_suffix(".aside"))
    yield
    aside.rename(path)


def checked(roster: Roster, end: Event) -> None:
    """Let a check begin, and end so."""
    for event in (Online(), Ticked(), end):
        roster.apply("wine", event, Moment(s=1e6, utc=AT))


def test_what_one_look_did_not_find_is_found_by_the_next(place: Place) -> None:
    place.updated(ONE, 1)
    place.updated(TWO, 2, previous=ONE)
    lost(place)
    unreached = UpdateFailed(error="TransportError", reason="no broker")
    with unreadable_keys(place):
        for _ in range(2):
            roster = started(place)
            checked(roster, unreached)
            roster.collect()
            (state,) = roster.states
            assert state.record.trouble is not None
    (state,) = started(place).states
    assert state.record.current == release_of(TWO, 2)
    assert state.record.previous == release_of(ONE, 1)


def test_nothing_is_deleted_though_no_look_could_even_begin(place: Place) -> None:
    place.updated(ONE, 1)
    lost(place)
    roster = Roster(place.store, place.config.models, Policy(spread=0.5))
    roster.collect()
    assert place.store.bundle(ONE.sha256).is_dir()


def test_once_the_fleet_has_told_what_is_to_run_the_rest_is_given_up(place: Place) -> None:
    place.updated(ONE, 1)
    lost(place)
    with unreadable_keys(place):
        roster = started(place)
    checked(roster, NothingReleased())
    assert testimony.marks(place.store.bundles, "wine") == []
    started(place)
    assert not place.store.bundle(ONE.sha256).exists()


def test_a_new_device_deletes_what_no_model_needs(place: Place) -> None:
    stored(place.store, ONE)
    started(place)
    assert not place.store.bundle(ONE.sha256).exists()


# --- keys that were replaced since -------------------------------------------------------


@pytest.mark.parametrize("roles", [["models"], ["stage-production"], ["targets", "models"]])
def test_what_the_new_keys_have_signed_again_is_found(
    place: Place, roles: list[str]
) -> None:
    """A change of keys signs the role anew, and all that it states."""
    place.updated(ONE, 1)
    replaced(place, *roles)
    found = place.recovered()
    assert found is not None
    assert found.current == release_of(ONE, 1)


def test_what_served_before_returns_while_its_stage_s_keys_are_the_same(
    place: Place,
) -> None:
    place.updated(ONE, 1)
    place.updated(TWO, 2, previous=ONE)
    replaced(place, "models")
    found = place.recovered()
    assert found is not None
    assert (found.current, found.previous) == (release_of(TWO, 2), release_of(ONE, 1))
    replaced(place, "stage-production")
    found = place.recovered()
    assert found is not None
    assert (found.current, found.previous) == (release_of(TWO, 2), None), (
        "no pointer to it is signed by a key of today"
    )


def test_a_pointer_that_moved_on_and_keys_that_changed_leave_nothing(place: Place) -> None:
    place.updated(ONE, 1)
    place.release(TWO, 2)
    replaced(place, "stage-production")
    assert "stage-production: not signed by enough of the keys trusted now" in place.told()


def test_a_stage_with_a_name_that_is_escaped_has_its_evidence(tmp_path: Path) -> None:
    """python-tuf escapes a role's name once more in the name of its file."""
    signing = Simulator(now=datetime.now(UTC), stages=("a%20b",))
    said = StagePointer(
        model="wine", stage="a b", version="1", rollout=1, bundles={"fp32": ONE.sha256}
    )
    made_ = ReleaseRecord(
        model="wine",
        version="1",
        run_id="run",
        source_sha256="0" * 64,
        bundles=(ONE.entry,),
    )
    signing.put("models", "models/wine/1.json", made_.to_json())
    signing.put("stage-a%20b", "stages/a%20b/wine.json", said.to_json())
    signing.offer("models", "stage-a%20b")
    client = TrustClient(tmp_path, signing.trusted_root, signing, datetime.now(UTC))
    vouched = client.resolve(stage="a b", model="wine")
    assert vouched is not None
    evidence = client.evidence(vouched)
    trusted = Trusted.read(tmp_path, signing.trusted_root, fleet="demo")
    assert trusted.vouched(evidence, stage="a b", model="wine").pointer == said
    assert set(trusted.newest) == {"models", "stage-a%20b"}


# --- the marks --------------------------------------------------------------------------


def test_marks_follow_the_record(place: Place) -> None:
    place.updated(ONE, 1)
    place.updated(TWO, 2, previous=ONE)
    marks = testimony.marks(place.store.bundles, "wine")
    assert [mark.release.sha256 for mark in marks] == [TWO.sha256, ONE.sha256]
    place.serves(ONE, 3, previous=TWO)
    marks = testimony.marks(place.store.bundles, "wine")
    assert [mark.release.sha256 for mark in marks] == [ONE.sha256, TWO.sha256]
    assert testimony.marks(place.store.bundles, "beer") == []


def test_a_mark_is_written_when_something_else_serves_and_not_before(place: Place) -> None:
    place.updated(ONE, 1)
    path = place.member(ONE, testimony.SERVED)
    before = path.stat().st_ino
    place.serves(ONE, 1)
    assert path.stat().st_ino == before
    place.serves(ONE, 2)
    assert path.stat().st_ino != before


def test_a_mark_under_another_s_name_is_none(place: Place) -> None:
    place.updated(ONE, 1)
    stored(place.store, TWO)
    shutil.copy(place.member(ONE, testimony.SERVED), place.store.bundle(TWO.sha256))
    assert len(testimony.marks(place.store.bundles, "wine")) == 1


def test_a_manifest_is_what_its_release_says() -> None:
    said = ONE.entry.manifest_sha256
    assert said == hashlib.sha256(ONE.manifest.to_json()).hexdigest()
