"""What an update that fails leaves, and when it is tried again."""

from dataclasses import replace

import pytest

from edgekit_agent.rules.events import (
    Collect,
    Discard,
    Fetched,
    Loaded,
    LoadFailed,
    Online,
    Proceed,
    ProofBroke,
    ProofRefused,
    Proved,
    Resolved,
    Started,
    StartUpdate,
    StopUpdate,
    Ticked,
    UpdateFailed,
)
from edgekit_agent.rules.hook import Answer
from edgekit_agent.rules.record import (
    Phase,
    Record,
    Release,
    TroubleKind,
)
from edgekit_agent.rules.state import Policy
from tests.agent.stepping import (
    GO,
    NEW,
    OLD,
    POLICY,
    Device,
    asking,
    checking,
    committing,
    device,
    fetching,
    proving,
)


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
