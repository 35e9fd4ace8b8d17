"""What serves after a crash, or when flash has damaged it."""

from dataclasses import replace

import pytest

from edgekit_agent.rules.events import (
    Collect,
    Discard,
    Fetched,
    Load,
    Loaded,
    LoadFailed,
    Proceed,
    Proved,
    Resolved,
    StartUpdate,
    StopUpdate,
    Ticked,
    WorkerDied,
    WorkerReady,
)
from edgekit_agent.rules.hook import Hook
from edgekit_agent.rules.record import (
    Phase,
    TroubleKind,
)
from tests.agent.stepping import (
    GO,
    NEW,
    OLD,
    POLICY,
    WELL,
    asked,
    committed,
    committing,
    device,
    release,
)


def test_a_new_model_that_crashes_the_worker_again_and_again_is_undone() -> None:
    found = committed()
    for _ in range(POLICY.crashes):
        found.on(WorkerDied(reason="signal 11"), WorkerReady())
    assert found.record.current == OLD
    assert found.record.previous is None
    assert found.kind is TroubleKind.FAILED
    assert found.actions == [Load(release=OLD)]
    found.on(Loaded(sha256=OLD.sha256)).announced(Resolved(release=NEW, stored=True))
    assert found.actions == [StopUpdate()], "not again until the pointer changes"


def test_deaths_before_and_after_it_serves_are_counted_apart_and_both_end() -> None:
    """A new model takes the worker down so often at most before the old one is back."""
    found = committing()
    for _ in range(POLICY.attempts - 1):
        found.on(WorkerDied(reason="signal 11"), WorkerReady(), Loaded(sha256=OLD.sha256))
        assert found.record.current == OLD
        found.after(POLICY.backoff_most_s).on(Resolved(release=NEW, stored=True))
        found.on(Fetched(sha256=NEW.sha256), Proved(sha256=NEW.sha256), GO)
    found.on(Loaded(sha256=NEW.sha256), WELL)
    for _ in range(POLICY.crashes):
        assert found.record.current is not None
        assert found.record.current.sha256 == NEW.sha256
        found.on(WorkerDied(reason="signal 11"), WorkerReady())
    assert found.record.current == OLD
    assert found.kind is TroubleKind.FAILED


def test_a_crash_loop_is_counted_across_power_cuts() -> None:
    found = committed()
    for _ in range(POLICY.crashes - 1):
        found.on(WorkerDied(reason="signal 11")).restarted().on(WorkerReady())
        found.on(Loaded(sha256=NEW.sha256))
    found.on(WorkerDied(reason="signal 11"))
    assert found.record.current == OLD


def test_a_model_that_served_its_probation_is_not_undone_by_a_crash() -> None:
    found = committed().after(POLICY.probation_s)
    for _ in range(POLICY.crashes + 1):
        found.on(WorkerDied(reason="signal 9"), WorkerReady())
    assert found.actions == [Load(release=replace(NEW, since="t100"))]
    assert found.record.previous == OLD


def test_a_crashing_only_model_is_kept() -> None:
    found = committed(current=None)
    for _ in range(10):
        found.on(WorkerDied(reason="signal 11"), WorkerReady())
    assert found.record.current is not None


def test_a_worker_that_dies_while_it_commits_leaves_the_old_model() -> None:
    found = committing().on(WorkerDied(reason="signal 9"), WorkerReady())
    assert found.actions == [Load(release=OLD)]
    assert found.kind is TroubleKind.NOT_NOW


@pytest.mark.parametrize("by", [OLD.sha256, "f" * 64], ids=["before", "other model"])
def test_what_hangs_beside_a_commit_costs_the_new_model_no_attempt(by: str) -> None:
    found = committing()
    attempt = found.record.attempt
    for _ in range(2 * POLICY.interruptions):
        found.on(WorkerDied(reason="overdue", by=by), WorkerReady())
        assert (found.actions, found.record.attempt) == ([Load(release=NEW)], attempt)
        found.restarted(crash="overdue", by=by).on(WorkerReady())
        assert (found.actions, found.record.attempt) == ([Load(release=NEW)], attempt)
    found.on(Loaded(sha256=NEW.sha256), WELL)
    assert found.record.current == replace(NEW, since="t100")
    assert (found.record.refused, found.record.trouble) == ((), None)


@pytest.mark.parametrize("by", [NEW.sha256, ""], ids=["itself", "nobody known"])
def test_a_commit_that_hangs_is_an_attempt(by: str) -> None:
    found = committing().on(WorkerDied(reason="overdue", by=by), WorkerReady())
    assert found.actions == [Load(release=OLD)]
    assert found.record.trouble is not None
    assert found.record.trouble.sha256 == NEW.sha256
    again = committing().restarted(crash="overdue", by=by).on(WorkerReady())
    assert again.actions == [Load(release=OLD)]


def test_a_version_on_probation_that_hangs_while_the_next_commits_has_stumbled() -> None:
    next_one = release("c", 3)
    found = committed().announced(Resolved(release=next_one, stored=False))
    found.on(Fetched(sha256=next_one.sha256), Proved(sha256=next_one.sha256))
    found.on(replace(GO, sha256=next_one.sha256))
    for crashes in range(1, POLICY.crashes):
        found.on(WorkerDied(reason="overdue", by=NEW.sha256), WorkerReady())
        assert (found.record.crashes, found.actions) == (crashes, [Load(release=next_one)])
    assert found.record.trouble is not None
    assert found.record.trouble.sha256 == NEW.sha256
    found.on(WorkerDied(reason="overdue", by=NEW.sha256), WorkerReady())
    assert (found.record.phase, found.record.current) == (Phase.COMMITTING, OLD)
    assert found.actions == [Load(release=next_one)]
    found.on(Loaded(sha256=next_one.sha256))
    assert found.actions == [
        asked(Hook.POST_ACTIVATE, replace(next_one, since="t101"), OLD),
        Collect(),
    ]
    assert found.record.previous == OLD
    assert found.state.undone is None, "what was never gone back to is not told"


def test_a_version_that_is_asked_for_again_as_it_is_gone_back_to_is_no_previous() -> None:
    found = committed()
    older = replace(OLD, rollout=3)
    found.announced(Resolved(release=older, stored=True))
    for _ in range(POLICY.crashes):
        found.on(WorkerDied(reason="signal 11"), WorkerReady())
    found.on(Loaded(sha256=OLD.sha256), replace(GO, sha256=OLD.sha256))
    found.on(Loaded(sha256=OLD.sha256))
    assert found.record.current is not None
    assert (found.record.current.rollout, found.record.previous) == (3, None)


def test_a_current_model_damaged_on_flash_falls_back_and_is_fetched_again() -> None:
    found = device(current=NEW, previous=OLD)
    found.on(LoadFailed(sha256=NEW.sha256, error="StoreError", reason="bit"))
    assert found.actions == [Discard(sha256=NEW.sha256), Load(release=OLD)]
    assert found.record.current == OLD
    assert found.on(Ticked()).actions == [StartUpdate()]
    assert found.on(Resolved(release=NEW, stored=False)).actions == [Proceed()]


def test_an_only_model_damaged_on_flash_is_fetched_again() -> None:
    found = device()
    found.on(LoadFailed(sha256=OLD.sha256, error="StoreError", reason="bit"))
    assert found.record.phase is Phase.IDLE
    assert found.kind is TroubleKind.NOT_NOW
    assert found.on(Ticked()).actions == [StartUpdate()]


def test_a_current_model_that_does_not_load_is_tried_again_then_undone() -> None:
    found = device(current=NEW, previous=OLD)
    failed = LoadFailed(sha256=NEW.sha256, error="ProofError", reason="no memory")
    for _ in range(POLICY.crashes - 1):
        found.on(failed)
        assert found.after(POLICY.backoff_most_s).actions == [Load(release=NEW)]
    assert Load(release=OLD) in found.on(failed).actions
