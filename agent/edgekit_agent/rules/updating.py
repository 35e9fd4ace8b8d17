"""The rules of an update: from what the stage points at to a proven candidate.

Pure: (state, event, moment) to (state, actions). "Not now" is tried again by itself, a
verdict (REJECTED, FAILED) holds until the pointer changes.
"""

import math
from dataclasses import replace

from edgekit_agent.rules.events import (
    Collect,
    Discard,
    Load,
    Proceed,
    ProofBroke,
    ProofRefused,
    Prove,
    Proved,
    Resolved,
    RunHook,
    StopUpdate,
    UpdateFailed,
)
from edgekit_agent.rules.hook import Hook
from edgekit_agent.rules.record import (
    MAX_REFUSED,
    Attempt,
    Phase,
    Refusal,
    Trouble,
    TroubleKind,
)
from edgekit_agent.rules.state import (
    ModelState,
    Moment,
    Policy,
    Step,
    attempt_of,
    candidate_of,
    changed,
    hold,
    is_bundle,
    later,
    rest,
    trouble,
)

DAMAGED = "StoreError"
UNREACHED = "TransportError"
_NOT_NOW = (UNREACHED, DAMAGED, "NoRoomNow", "UpdaterEnded")
_UNFIT = "AdmissionError"


def resolved(state: ModelState, event: Resolved, at: Moment, policy: Policy) -> Step:
    """Compare what the stage points at with what is here; answer the updater."""
    record, release = state.record, event.release
    if record.phase is not Phase.CHECKING:
        return Step(state=state)
    if record.current is not None and record.current.sha256 == release.sha256:
        confirmed = replace(record.current, rollout=release.rollout)
        same = changed(state, current=confirmed, attempt=None)
        return concluded(same, at, policy).then(StopUpdate())
    attempt = record.attempt
    if attempt is None or not attempt.concerns(release):
        attempt = Attempt(rollout=release.rollout, sha256=release.sha256)
    if attempt.given_up:
        stuck = changed(state, trouble=attempt.verdict)
        return Step(state=rest(later(stuck, at, policy.poll_s)), actions=(StopUpdate(),))
    if attempt.count and at.s < state.attempt_at_s:
        waiting = replace(state, check_at_s=state.attempt_at_s, again=False)
        return Step(state=rest(waiting), actions=(StopUpdate(),))
    refused = tuple(r for r in record.refused if r.rollout == release.rollout)
    chosen = changed(state, candidate=release, attempt=attempt, refused=refused)
    known = is_bundle(record.previous, release.sha256) or release.sha256 == state.proven
    if event.stored and known:
        return ask(_started_once_more(chosen)).then(StopUpdate())
    return Step(state=changed(chosen, phase=Phase.FETCHING), actions=(Proceed(),))


def concluded(state: ModelState, at: Moment, policy: Policy) -> Step:
    """End a check that found nothing to do."""
    if state.record.phase is not Phase.CHECKING:
        return Step(state=state)
    calm = replace(changed(state, trouble=None), failures=0)
    return Step(state=rest(later(calm, at, policy.poll_s)))


def failed(state: ModelState, event: UpdateFailed, at: Moment, policy: Policy) -> Step:
    """The updater gave up: not now, or not this one."""
    record = state.record
    if record.phase not in (Phase.CHECKING, Phase.FETCHING):
        return Step(state=state)
    kind = TroubleKind.NOT_NOW if event.error in _NOT_NOW else TroubleKind.REJECTED
    setback = trouble(kind, event.error, event.reason, at, record.candidate)
    if event.final and record.candidate is not None:
        verdict = replace(setback, kind=TroubleKind.REJECTED)
        return give_up(state, verdict, at, policy)
    failures = state.failures + 1
    delay_s = policy.poll_s if event.error == _UNFIT else policy.delay_s(failures)
    setback = replace(setback, again_s=math.ceil(delay_s))
    noted = replace(changed(state, trouble=setback), failures=failures)
    return Step(state=rest(later(noted, at, delay_s)))


def fetched(state: ModelState, sha256: str) -> Step:
    """The candidate is on the disk, whole: prove it."""
    record = state.record
    if record.phase is not Phase.FETCHING or not is_bundle(record.candidate, sha256):
        return Step(state=state)
    proving = changed(_started_once_more(state), phase=Phase.PROVING)
    return Step(state=proving, actions=(Prove(release=candidate_of(record)),))


def proved(state: ModelState, event: Proved) -> Step:
    """The candidate is right: the device's own hook has the last word."""
    record = state.record
    if record.phase is not Phase.PROVING or not is_bundle(record.candidate, event.sha256):
        return Step(state=state)
    return ask(replace(changed(state, proof=event.figures), proven=event.sha256))


def proof_refused(
    state: ModelState, event: ProofRefused, at: Moment, policy: Policy
) -> Step:
    """The candidate is wrong: it never answers a request."""
    record = state.record
    if record.phase is not Phase.PROVING or not is_bundle(record.candidate, event.sha256):
        return Step(state=state)
    kind = TroubleKind.REJECTED
    verdict = trouble(kind, event.error, event.reason, at, record.candidate)
    return refuse(state, verdict, at, policy)


def proof_broke(state: ModelState, event: ProofBroke, at: Moment, policy: Policy) -> Step:
    """The proof ended without a verdict."""
    record = state.record
    if record.phase is not Phase.PROVING or not is_bundle(record.candidate, event.sha256):
        return Step(state=state)
    kind = TroubleKind.NOT_NOW
    setback = trouble(kind, event.error, event.reason, at, record.candidate)
    return attempt_failed(state, setback, at, policy)


def ask(state: ModelState) -> Step:
    """Ask the device whether the candidate may serve now."""
    asking = changed(state, phase=Phase.ASKING)
    question = RunHook(
        hook=Hook.PRE_ACTIVATE,
        release=candidate_of(state.record),
        instead_of=state.record.current,
    )
    return Step(state=asking, actions=(question,))


def commit(state: ModelState) -> Step:
    """Begin the point of no return: from here on it becomes current, also after a kill."""
    committing = changed(state, phase=Phase.COMMITTING)
    return Step(state=committing, actions=(Load(release=candidate_of(state.record)),))


def attempt_failed(state: ModelState, setback: Trouble, at: Moment, policy: Policy) -> Step:
    """The candidate broke without a verdict: again later, but not for ever.

    Then another flavor may do, unless it is the device's own hook that keeps breaking.
    """
    candidate = candidate_of(state.record)
    damaged = setback.error == DAMAGED
    damage = (Discard(sha256=candidate.sha256),) if damaged else ()
    proofs = attempt_of(state.record).proofs
    if proofs >= policy.attempts:
        asking = state.record.phase is Phase.ASKING
        end = give_up if asking else refuse
        return end(state, _final(setback, proofs), at, policy).then(*damage)
    delay_s = policy.delay_s(proofs)
    setback = replace(setback, again_s=math.ceil(delay_s))
    forgotten = replace(changed(state, trouble=setback), proven=None)
    return Step(state=rest(hold(forgotten, at, delay_s)), actions=damage)


def interrupted(state: ModelState, at: Moment, policy: Policy) -> Step:
    """A restart cut the update off, before its commit had begun: the error path."""
    record, attempt = state.record, attempt_of(state.record)
    reason = f"cut off while {record.phase}; it is taken up again"
    kind = TroubleKind.NOT_NOW
    setback = trouble(kind, "Interrupted", reason, at, record.candidate)
    if record.phase is Phase.FETCHING:
        attempt = replace(attempt, interrupted=attempt.interrupted + 1)
    elif attempt.proofs >= policy.interruptions:
        setback = replace(setback, reason=f"cut off while {record.phase}")
        return give_up(state, _final(setback, attempt.proofs), at, policy)
    delay_s = policy.delay_s(attempt.count)
    setback = replace(setback, again_s=math.ceil(delay_s))
    noted = changed(state, attempt=attempt, trouble=setback)
    return Step(state=rest(hold(noted, at, delay_s)))


def commit_again(state: ModelState, at: Moment, policy: Policy) -> Step:
    """A restart cut the commit off: it goes on, unless it keeps taking the device down."""
    if attempt_of(state.record).proofs >= policy.interruptions:
        return interrupted(state, at, policy)
    return Step(state=_started_once_more(state))


def refuse(state: ModelState, verdict: Trouble, at: Moment, policy: Policy) -> Step:
    """End the attempt, and look at once whether another flavor of this version fits."""
    candidate = candidate_of(state.record)
    refusal = Refusal(
        rollout=candidate.rollout,
        flavor=candidate.flavor,
        sha256=candidate.sha256,
        reason=verdict.reason,
    )
    refused = (*state.record.refused, refusal)[-MAX_REFUSED:]
    ended = give_up(changed(state, refused=refused), verdict, at, policy)
    return replace(ended, state=later(ended.state, at, policy.gap_s))


def give_up(state: ModelState, verdict: Trouble, at: Moment, policy: Policy) -> Step:
    """End the attempt with a verdict; the old model goes on serving."""
    attempt = replace(attempt_of(state.record), verdict=verdict)
    ended = changed(state, attempt=attempt, trouble=verdict)
    return Step(state=rest(later(ended, at, policy.poll_s)), actions=(Collect(),))


def _final(setback: Trouble, times: int) -> Trouble:
    reason = f"{setback.reason} ({times} attempts)"
    return replace(setback, kind=TroubleKind.FAILED, reason=reason)


def _started_once_more(state: ModelState) -> ModelState:
    attempt = attempt_of(state.record)
    return changed(state, attempt=replace(attempt, proofs=attempt.proofs + 1))
