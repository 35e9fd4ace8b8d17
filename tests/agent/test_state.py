"""An update by the agent's rules, without a process, a broker or a sleep."""

from dataclasses import replace

import pytest

from edgekit_agent.rules.events import (
    Announced,
    Collect,
    Event,
    Fetched,
    Load,
    Loaded,
    LoadFailed,
    NothingReleased,
    Proceed,
    ProofBroke,
    ProofRefused,
    Prove,
    Proved,
    Resolved,
    StartUpdate,
    StopUpdate,
    Ticked,
    UpdateFailed,
)
from edgekit_agent.rules.hook import Hook
from edgekit_agent.rules.record import (
    Phase,
)
from tests.agent.stepping import (
    GO,
    NEW,
    OLD,
    POLICY,
    WELL,
    asked,
    checking,
    committed,
    device,
    fetching,
    proving,
)


def test_an_announced_release_is_checked_fetched_proved_and_committed() -> None:
    found = device()
    assert found.on(Announced()).actions == [StartUpdate()]
    assert found.on(Resolved(release=NEW, stored=False)).actions == [Proceed()]
    assert found.on(Fetched(sha256=NEW.sha256)).actions == [Prove(release=NEW)]
    question = asked(Hook.PRE_ACTIVATE, NEW, OLD)
    assert found.on(Proved(sha256=NEW.sha256)).actions == [question]
    assert found.on(GO).actions == [Load(release=NEW)]
    assert found.record.current == OLD, "not before the worker answers with it"
    new = replace(NEW, since="t100")
    found.on(Loaded(sha256=NEW.sha256))
    assert found.actions == [asked(Hook.POST_ACTIVATE, new, OLD), Collect()]
    assert found.on(WELL).actions == []
    assert found.record.phase is Phase.SERVING
    assert found.record.current == new
    assert found.record.previous == OLD


def test_the_first_release_needs_no_predecessor() -> None:
    found = committed(current=None)
    assert found.record.current is not None
    assert found.record.previous is None


def test_what_runs_already_is_not_fetched_again() -> None:
    found = checking().on(Resolved(release=replace(OLD, rollout=9), stored=True))
    assert found.actions == [StopUpdate()]
    assert found.record.phase is Phase.SERVING
    assert found.record.current == replace(OLD, rollout=9)


def test_a_stage_without_a_release_is_no_trouble() -> None:
    found = checking(current=None).on(NothingReleased())
    assert (found.record.phase, found.kind) == (Phase.IDLE, None)


def test_going_back_to_previous_needs_no_download_and_no_proof() -> None:
    found = checking(current=NEW, previous=OLD)
    found.on(Resolved(release=replace(OLD, rollout=3), stored=True))
    back = replace(OLD, rollout=3)
    assert found.actions[0] == asked(Hook.PRE_ACTIVATE, back, NEW)
    found.on(replace(GO, sha256=OLD.sha256))
    assert found.actions == [Load(release=back)]
    assert found.record.phase is Phase.COMMITTING
    found.on(Loaded(sha256=OLD.sha256))
    assert found.record.current is not None
    assert found.record.current.rollout == 3
    assert found.record.previous == NEW


def test_going_back_to_a_damaged_previous_fetches_it() -> None:
    found = checking(current=NEW, previous=OLD)
    assert found.on(Resolved(release=OLD, stored=False)).actions == [Proceed()]


def test_a_release_announced_while_fetching_supersedes_the_fetch() -> None:
    found = fetching().on(Announced())
    assert found.actions == []
    assert found.after(POLICY.supersede_s).actions == [StopUpdate(), StartUpdate()]
    assert found.record.candidate is None


def test_a_flood_of_announcements_costs_a_bounded_number_of_checks() -> None:
    found, checks = device(), 0
    for _ in range(1000):
        found.on(Announced())
        checks += StartUpdate() in found.actions
        found.on(UpdateFailed(error="TrustError", reason="garbage"))
        found.after(0.1)
        checks += StartUpdate() in found.actions
        found.on(UpdateFailed(error="TrustError", reason="garbage"))
    assert checks < 12, "in 100 seconds"


def test_a_flood_of_announcements_does_not_keep_a_fetch_from_ending() -> None:
    found = fetching()
    for _ in range(int(POLICY.supersede_s * 10) - 1):
        assert found.on(Announced()).after(0.1).record.phase is Phase.FETCHING


def test_two_releases_in_a_row_are_both_seen() -> None:
    found = device().on(Announced(), Resolved(release=OLD, stored=True), Announced())
    assert found.after(POLICY.gap_s).actions == [StartUpdate()]


def test_a_release_announced_while_proving_is_checked_afterwards() -> None:
    found = proving().on(Announced())
    assert found.actions == []
    found.on(Proved(sha256=NEW.sha256), GO, Loaded(sha256=NEW.sha256))
    assert found.on(Ticked()).actions == [StartUpdate()]


@pytest.mark.parametrize(
    "late",
    [
        Resolved(release=NEW, stored=True),
        NothingReleased(),
        Fetched(sha256=NEW.sha256),
        UpdateFailed(error="TransportError", reason="so"),
        Proved(sha256=NEW.sha256),
        ProofRefused(sha256=NEW.sha256, error="ProofError", reason="so"),
        ProofBroke(sha256=NEW.sha256, error="Crashed", reason="so"),
        LoadFailed(sha256=NEW.sha256, error="ProofError", reason="so"),
    ],
)
def test_an_answer_that_comes_too_late_changes_nothing(late: Event) -> None:
    found = device()
    before = found.state
    assert found.on(late).actions == []
    assert found.state == before
