"""The agent's rules without a process, a broker or a sleep."""

import json
from dataclasses import replace

import pytest

from edgekit_agent.rules.events import (
    Action,
    Announced,
    Collect,
    Discard,
    Event,
    Fetched,
    HookAnswered,
    Load,
    Loaded,
    LoadFailed,
    NothingReleased,
    Online,
    Proceed,
    ProofBroke,
    ProofRefused,
    Prove,
    Proved,
    Resolved,
    RunHook,
    Started,
    StartUpdate,
    StopUpdate,
    Ticked,
    UpdateFailed,
    WorkerDied,
    WorkerReady,
)
from edgekit_agent.rules.figures import Figures, ShadowFigures
from edgekit_agent.rules.hook import Answer, Hook, HookRun
from edgekit_agent.rules.record import (
    Attempt,
    Phase,
    Record,
    Refusal,
    Release,
    Trouble,
    TroubleKind,
)
from edgekit_agent.rules.state import ModelState, Moment, Policy
from edgekit_agent.rules.step import step

POLICY = Policy()


def release(letter: str, rollout: int) -> Release:
    return Release(version=letter, flavor="fp32", sha256=letter * 64, rollout=rollout)


GO = HookAnswered(hook=Hook.PRE_ACTIVATE, sha256="b" * 64, answer=Answer.GO, ran=False)
WELL = HookAnswered(hook=Hook.POST_ACTIVATE, sha256="b" * 64, answer=Answer.GO, ran=False)
OLD = replace(release("a", 1), since="2026-01-01T00:00:00Z")
NEW = release("b", 2)


class Device:
    """One model on one device: steps the rules, remembers what they asked for."""

    def __init__(self, record: Record) -> None:
        self.state = ModelState(record=record)
        self.actions: list[Action] = []
        self.now_s = 100.0

    def on(self, *events: Event) -> "Device":
        for event in events:
            at = Moment(s=self.now_s, utc=f"t{self.now_s:.0f}")
            result = step(self.state, event, at, POLICY)
            self.state = result.state
            self.actions = list(result.actions)
        return self

    def announced(self, *then: Event) -> "Device":
        """Something is announced, a moment after the last time."""
        self.now_s += POLICY.gap_s
        return self.on(Announced(), *then)

    def after(self, seconds: float) -> "Device":
        self.now_s += seconds
        return self.on(Ticked())

    def restarted(self) -> "Device":
        self.state = ModelState(record=self.record)  # all a power cut leaves
        return self.on(Started())

    @property
    def record(self) -> Record:
        return self.state.record

    @property
    def kind(self) -> TroubleKind | None:
        return self.record.trouble.kind if self.record.trouble else None


def device(*, current: Release | None = OLD, previous: Release | None = None) -> Device:
    phase = Phase.SERVING if current else Phase.IDLE
    made = Device(
        Record(model="wine", stage="p", phase=phase, current=current, previous=previous)
    )
    made.on(Started(), Online(), WorkerReady())
    if current:
        made.on(Loaded(sha256=current.sha256))
    return made


def checking(**kwargs: Release | None) -> Device:
    return device(**kwargs).on(Announced())


def fetching(**kwargs: Release | None) -> Device:
    return checking(**kwargs).on(Resolved(release=NEW, stored=False))


def proving(**kwargs: Release | None) -> Device:
    return fetching(**kwargs).on(Fetched(sha256=NEW.sha256))


def asking(**kwargs: Release | None) -> Device:
    return proving(**kwargs).on(Proved(sha256=NEW.sha256))


def committing(**kwargs: Release | None) -> Device:
    return asking(**kwargs).on(GO)


def committed(**kwargs: Release | None) -> Device:
    return committing(**kwargs).on(Loaded(sha256=NEW.sha256), WELL)


def asked(hook: Hook, release: Release, instead_of: Release | None) -> RunHook:
    return RunHook(hook=hook, release=release, instead_of=instead_of)


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


@pytest.mark.parametrize("error", ["TransportError", "StoreError", "NoRoomNow"])
def test_a_failing_network_or_full_disk_is_not_now(error: str) -> None:
    found = fetching().on(UpdateFailed(error=error, reason="so"))
    assert found.kind is TroubleKind.NOT_NOW
    assert found.record.phase is Phase.SERVING
    assert found.record.current == OLD
    assert found.after(POLICY.delay_s(1) - 0.1).actions == []
    assert found.after(0.2).actions == [StartUpdate()]


def test_failures_in_a_row_are_retried_ever_more_slowly() -> None:
    found = device()
    waits = []
    found.announced()
    for _ in range(12):
        found.on(UpdateFailed(error="TransportError", reason="so"))
        waits.append(found.state.check_at_s - found.now_s)
        found.after(waits[-1])
    assert waits[:4] == [2, 4, 8, 16]
    assert waits[-1] == POLICY.backoff_most_s


def test_a_returning_broker_is_asked_at_once() -> None:
    found = fetching().on(UpdateFailed(error="TransportError", reason="so"))
    found.on(Online())
    assert found.on(Ticked()).actions == [StartUpdate()]


def test_an_unreachable_broker_is_not_asked() -> None:
    found = Device(Record(model="wine", stage="p"))
    assert found.on(Started()).after(1e6).actions == []


def test_untrusted_metadata_is_rejected_and_asked_for_again_later() -> None:
    found = checking().on(UpdateFailed(error="TrustError", reason="wrong key"))
    assert found.kind is TroubleKind.REJECTED
    assert found.record.attempt is None
    assert found.after(POLICY.delay_s(1)).actions == [StartUpdate()]
    found.on(Resolved(release=OLD, stored=True))
    assert found.kind is None, "the next honest answer ends the alarm"


def test_a_signed_bundle_that_must_not_run_is_not_fetched_twice() -> None:
    found = fetching().on(UpdateFailed(error="TrustError", reason="so", final=True))
    assert found.kind is TroubleKind.REJECTED
    found.announced(Resolved(release=NEW, stored=False))
    assert found.actions == [StopUpdate()]
    assert found.kind is TroubleKind.REJECTED
    assert found.record.current == OLD


def test_a_verdict_outlives_a_later_network_failure() -> None:
    found = proving().on(ProofRefused(sha256=NEW.sha256, error="ProofError", reason="NaN"))
    found.announced(UpdateFailed(error="TransportError", reason="so"))
    found.now_s += POLICY.delay_s(1)
    found.announced(Resolved(release=NEW, stored=True))
    assert found.record.trouble is not None
    assert found.record.trouble.reason == "NaN"


def test_a_refused_proof_leaves_the_old_model_serving_until_the_pointer_changes() -> None:
    found = proving().on(ProofRefused(sha256=NEW.sha256, error="ProofError", reason="NaN"))
    assert (found.kind, found.record.current) == (TroubleKind.REJECTED, OLD)
    assert found.actions == [Collect()]
    assert NEW.sha256 not in found.record.needed
    found.announced(Resolved(release=replace(NEW, rollout=3), stored=False))
    assert found.actions == [Proceed()]


def test_a_crashing_proof_is_tried_again_and_then_given_up() -> None:
    found = proving()
    broke = ProofBroke(sha256=NEW.sha256, error="Crashed", reason="signal 11")
    for _ in range(POLICY.attempts - 1):
        assert found.on(broke).kind is TroubleKind.NOT_NOW
        found.after(POLICY.backoff_most_s)
        found.on(Resolved(release=NEW, stored=True), Fetched(sha256=NEW.sha256))
    found.on(broke)
    assert found.kind is TroubleKind.FAILED
    assert found.record.trouble is not None
    assert found.record.trouble.reason == "signal 11 (3 attempts)"
    assert found.record.current == OLD


def test_announcements_do_not_hasten_a_failed_attempt() -> None:
    found = proving()
    found.on(ProofBroke(sha256=NEW.sha256, error="Crashed", reason="signal 11"))
    found.announced(Resolved(release=NEW, stored=True))
    assert found.actions == [StopUpdate()]
    assert found.after(POLICY.delay_s(1)).actions == [StartUpdate()]


def test_a_damaged_candidate_is_discarded_and_fetched_again() -> None:
    found = committing().on(LoadFailed(sha256=NEW.sha256, error="StoreError", reason="bit"))
    assert Discard(sha256=NEW.sha256) in found.actions
    assert found.kind is TroubleKind.NOT_NOW


def test_an_unloadable_candidate_leaves_the_old_model_serving() -> None:
    found = committing().on(LoadFailed(sha256=NEW.sha256, error="ProofError", reason="so"))
    assert found.record.phase is Phase.SERVING
    assert found.record.current == OLD
    assert found.actions == [], "the worker still answers with the old one"


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


@pytest.mark.parametrize("busy", [checking, fetching, proving, asking])
def test_a_power_cut_before_the_commit_takes_the_error_path(busy: object) -> None:
    assert callable(busy)
    found: Device = busy().restarted()
    assert found.record.phase is Phase.SERVING
    assert found.on(WorkerReady()).actions == [Load(release=OLD)]


def test_a_power_cut_after_the_commit_began_finishes_it() -> None:
    found = committing().restarted()
    assert found.record.phase is Phase.COMMITTING
    assert found.on(WorkerReady()).actions == [Load(release=NEW)]
    found.on(Loaded(sha256=NEW.sha256))
    assert found.record.previous == OLD


def test_a_commit_that_keeps_taking_the_device_down_is_given_up() -> None:
    found = committing()
    for _ in range(POLICY.interruptions):
        found.restarted()
    assert found.kind is TroubleKind.FAILED
    assert found.on(WorkerReady()).actions == [Load(release=OLD)]


def test_a_proof_that_keeps_taking_the_device_down_is_given_up() -> None:
    found = proving()
    for _ in range(POLICY.interruptions - 1):
        found.restarted().on(Online()).after(POLICY.backoff_most_s)
        found.on(Resolved(release=NEW, stored=True), Fetched(sha256=NEW.sha256))
    assert found.restarted().kind is TroubleKind.FAILED
    assert found.record.current == OLD


def test_a_fetch_cut_off_again_and_again_is_never_given_up() -> None:
    found = fetching()
    for _ in range(20):
        found.restarted().on(Online()).after(POLICY.backoff_most_s)
        found.on(Resolved(release=NEW, stored=False))
    assert found.record.phase is Phase.FETCHING


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


def test_the_bundles_of_a_running_update_are_needed() -> None:
    assert proving().record.needed == {OLD.sha256, NEW.sha256}
    assert fetching().restarted().record.needed == {OLD.sha256, NEW.sha256}


def test_attempts_are_reported_as_one_number() -> None:
    attempt = Attempt(rollout=1, sha256=NEW.sha256, interrupted=2, proofs=3)
    assert attempt.count == 5


def test_devices_of_a_fleet_do_not_retry_in_step() -> None:
    assert Policy(spread=1.0).delay_s(1) == 1.5 * Policy(spread=0.0).delay_s(1)


INT8 = Release(version="b", flavor="int8", sha256="e" * 64, rollout=2)


def test_after_a_refused_flavor_another_is_looked_for_and_the_refusal_is_kept() -> None:
    found = proving().on(ProofRefused(sha256=NEW.sha256, error="ProofError", reason="NaN"))
    assert found.after(POLICY.gap_s).actions == [StartUpdate()]
    found.on(Resolved(release=INT8, stored=False), Fetched(sha256=INT8.sha256))
    found.on(Proved(sha256=INT8.sha256), replace(GO, sha256=INT8.sha256))
    found.on(Loaded(sha256=INT8.sha256))
    assert found.record.current == replace(INT8, since="t101")
    (refusal,) = found.record.refused
    assert (refusal.flavor, refusal.reason) == ("fp32", "NaN")
    found.announced(Resolved(release=replace(NEW, rollout=3), stored=False))
    assert found.record.refused == (), "another pointer is another matter"


def test_where_no_other_flavor_fits_the_verdict_stands() -> None:
    found = proving().on(ProofRefused(sha256=NEW.sha256, error="ProofError", reason="NaN"))
    found.after(POLICY.gap_s).on(Resolved(release=NEW, stored=False))
    assert found.kind is TroubleKind.REJECTED
    assert found.record.phase is Phase.SERVING
    assert found.after(POLICY.gap_s).actions == [], "it is not looked for for ever"


def test_a_version_the_device_refuses_is_not_tried_in_another_flavor() -> None:
    found = asking().on(replace(GO, answer=Answer.FAILED, reason="no"))
    assert found.record.refused == ()
    assert found.after(POLICY.gap_s).actions == []


def test_a_record_with_everything_in_it_is_read_back_as_it_was() -> None:
    shadow = ShadowFigures(rows=9, agreed=8, failed=1, difference=0.5, labels=True)
    trouble = Trouble(
        kind=TroubleKind.NOT_NOW, error="E", reason="r", at="a", sha256="b" * 64, again_s=9
    )
    full = Record(
        model="wine",
        stage="p",
        phase=Phase.ASKING,
        current=OLD,
        previous=release("c", 1),
        candidate=NEW,
        attempt=Attempt(rollout=2, sha256=NEW.sha256, interrupted=1, proofs=2),
        trouble=trouble,
        probation=True,
        crashes=1,
        unconfirmed=True,
        hook=HookRun(
            hook=Hook.PRE_ACTIVATE, answer=Answer.BROKE, output="o", took_ms=3, at="a"
        ),
        refused=(Refusal(rollout=2, flavor="int8", sha256="d" * 64, reason="r"),),
        proof=Figures(
            sha256=NEW.sha256,
            rows=3,
            difference=0.25,
            load_us=1,
            one_row_p50_us=2,
            one_row_p95_us=3,
            peak_rss_bytes=4,
            shadow=shadow,
        ),
        pace_us=7,
        pause_ms=0,
    )
    assert Record.from_json(full.to_json(), subject="record") == full


def test_a_record_of_an_older_agent_is_read() -> None:
    fields = json.loads(Record(model="wine", stage="p").to_json())
    newer = ("unconfirmed", "hook", "refused", "proof", "pace_us", "pause_ms")
    old = {key: value for key, value in fields.items() if key not in newer}
    assert Record.from_json(json.dumps(old).encode(), subject="record") == Record(
        model="wine", stage="p"
    )
