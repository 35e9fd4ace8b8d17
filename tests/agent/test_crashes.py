"""What serves after a crash, or when flash has damaged it."""

from dataclasses import replace

from edgekit_agent.rules.events import (
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
    committed,
    committing,
    device,
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
