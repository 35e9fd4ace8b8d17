"""The rules of serving: load, swap, count what goes wrong, return to the previous model.

Pure: (state, event, moment) to (state, actions). Whatever happens, a model that can be
loaded is asked for.
"""

import math
from dataclasses import replace

from edgekit_agent.rules.events import (
    Action,
    Collect,
    Discard,
    Loaded,
    LoadFailed,
    RunHook,
    StopUpdate,
    WorkerDied,
)
from edgekit_agent.rules.hook import Hook
from edgekit_agent.rules.record import (
    WITH_CANDIDATE,
    Attempt,
    Phase,
    Record,
    Release,
    Trouble,
    TroubleKind,
)
from edgekit_agent.rules.state import (
    ModelState,
    Moment,
    Policy,
    Step,
    candidate_of,
    changed,
    is_bundle,
    later,
    reload,
    rest,
    trouble,
)
from edgekit_agent.rules.updating import DAMAGED, attempt_failed


def loaded(state: ModelState, event: Loaded, at: Moment, policy: Policy) -> Step:
    """The worker answers with a bundle: for a candidate, this ends its commit."""
    record, sha256 = state.record, event.sha256
    now = replace(state, loaded=sha256, reload_at_s=None)
    if record.phase is Phase.COMMITTING and is_bundle(record.candidate, sha256):
        return _committed(now, event.pause_ms, at, policy)
    if record.probation and is_bundle(record.current, sha256):
        now = replace(now, probation_ends_s=at.s + policy.probation_s)
    if not is_bundle(record.current, sha256):
        return reload(now)
    asked = _to_confirm(replace(now, undone=None))
    return reload(asked.state).then(*_told(state), *asked.actions)


def load_failed(state: ModelState, event: LoadFailed, at: Moment, policy: Policy) -> Step:
    """The worker could not load a bundle, and still serves what it served."""
    record = state.record
    if record.phase is Phase.COMMITTING and is_bundle(record.candidate, event.sha256):
        failed = attempt_failed(state, _setback(event, at, record.candidate), at, policy)
        return failed.then(*reload(failed.state).actions)
    if record.current is None or record.current.sha256 != event.sha256:
        return Step(state=state)
    down = replace(state, loaded=None, probation_ends_s=None)
    setback = _setback(event, at, record.current)
    if event.error == DAMAGED:
        return _heal(down, setback, at)
    return stumbled(down, record.current, setback, at, policy)


def worker_died(state: ModelState, event: WorkerDied, at: Moment, policy: Policy) -> Step:
    """The worker is gone; a new one will say that it is ready."""
    record = state.record
    down = replace(state, loaded=None, probation_ends_s=None, reload_at_s=None)
    fails_commit = _fails_commit(record, event.by)
    concerned = record.candidate if fails_commit else record.current
    setback = trouble(TroubleKind.NOT_NOW, "WorkerDied", event.reason, at, concerned)
    if fails_commit:
        return attempt_failed(down, setback, at, policy)
    if record.current is None or not is_blamed(record, event.by):
        return Step(state=down)  # a commit goes on, without an attempt counted
    counted = stumbled(down, record.current, setback, at, policy)
    return replace(counted, state=replace(counted.state, reload_at_s=None))


def is_blamed(record: Record, by: str) -> bool:
    """Whether a death counts against this model; `by` is whose it is, where known."""
    known = not by or is_bundle(record.current, by)
    return _fails_commit(record, by) or (record.probation and known)


def _fails_commit(record: Record, by: str) -> bool:
    """Whether a death counts against the candidate, whose commit has begun."""
    known = not by or is_bundle(record.candidate, by)
    return record.phase is Phase.COMMITTING and known


def settled(state: ModelState) -> Step:
    """Current served through its probation."""
    record = state.record
    over = record.trouble is not None and is_bundle(
        record.current, record.trouble.sha256 or ""
    )
    kept = None if over else record.trouble
    calm = changed(state, probation=False, crashes=0, trouble=kept)
    return Step(state=replace(calm, probation_ends_s=None))


def _committed(state: ModelState, pause_ms: int, at: Moment, policy: Policy) -> Step:
    record = state.record
    proof, candidate = record.proof, candidate_of(record)
    measured = proof is not None and proof.sha256 == candidate.sha256
    returned = is_bundle(record.current, candidate.sha256)  # to what was asked for anyway
    swapped = changed(
        state,
        previous=record.previous if returned else record.current,
        current=replace(candidate, since=at.utc),
        candidate=None,
        attempt=None,
        trouble=None,
        probation=True,
        crashes=0,
        unconfirmed=True,
        pace_us=proof.one_row_p50_us if proof and measured else None,
        pause_ms=pause_ms,
    )
    ends_s = at.s + policy.probation_s
    calm = replace(swapped, failures=0, undone=None, probation_ends_s=ends_s)
    served = rest(later(calm, at, policy.poll_s))
    return _to_confirm(served).then(Collect())


def _to_confirm(state: ModelState) -> Step:
    """Ask the device whether it is well with what serves now, until it has said so."""
    current, before = state.record.current, state.record.previous
    if not state.record.unconfirmed or current is None:
        return Step(state=state)
    if state.asked_after == current.sha256:
        return Step(state=state)
    asked = RunHook(hook=Hook.POST_ACTIVATE, release=current, instead_of=before)
    return Step(state=replace(state, asked_after=current.sha256), actions=(asked,))


def _told(state: ModelState) -> tuple[Action, ...]:
    """Tell the device that the agent went back, now that it is done."""
    record = state.record
    if state.undone is None or record.current is None:
        return ()
    told = RunHook(
        hook=Hook.POST_ROLLBACK,
        release=record.current,
        instead_of=state.undone,
        reason=record.trouble.reason if record.trouble else "",
    )
    return (told,)


def _heal(state: ModelState, setback: Trouble, at: Moment) -> Step:
    """The disk damaged the current bundle: serve the previous one, fetch this again."""
    damaged = setback.sha256 or ""
    previous = state.record.previous
    back = changed(
        state,
        current=previous,
        previous=None,
        trouble=setback,
        unconfirmed=False,
        pace_us=None,
    )
    damaged_one = state.record.current if previous else None
    back = replace(
        back, check_at_s=at.s, again=not back.at_rest, undone=damaged_one, proven=None
    )
    if back.at_rest:
        back = rest(back)
    discarded = Step(state=back, actions=(Discard(sha256=damaged),))
    return discarded.then(*reload(back).actions)


def stumbled(
    state: ModelState, current: Release, setback: Trouble, at: Moment, policy: Policy
) -> Step:
    """Current crashed, or does not load: count it; return to previous when it repeats."""
    crashes = state.record.crashes + 1
    if crashes >= policy.crashes and state.record.previous is not None:
        why = f"{setback.reason} ({crashes} times)"
        return undo(state, current, replace(setback, reason=why), at, policy)
    delay_s = policy.delay_s(crashes)
    setback = replace(setback, again_s=math.ceil(delay_s))
    noted = changed(state, crashes=crashes, probation=True, trouble=setback)
    return Step(state=replace(noted, reload_at_s=at.s + delay_s))


def undo(
    state: ModelState, bad: Release, setback: Trouble, at: Moment, policy: Policy
) -> Step:
    """Return to the previous version; the bad one is not tried again."""
    why = f"{setback.reason}; returned to the previous version"
    verdict = replace(setback, kind=TroubleKind.FAILED, reason=why, again_s=None)
    back = changed(
        state,
        current=state.record.previous,
        previous=None,
        probation=False,
        crashes=0,
        unconfirmed=False,
        trouble=verdict,
        pace_us=None,
    )
    back = replace(back, undone=bad)
    if back.record.phase not in WITH_CANDIDATE:  # as far as is known, it is still asked for
        attempt = Attempt(rollout=bad.rollout, sha256=bad.sha256, verdict=verdict)
        back = changed(back, attempt=attempt)
    if back.at_rest:
        back = rest(later(back, at, policy.poll_s))
    return Step(state=back, actions=(*reload(back).actions, Collect()))


def _setback(event: LoadFailed, at: Moment, concerned: Release | None) -> Trouble:
    return trouble(TroubleKind.NOT_NOW, event.error, event.reason, at, concerned)


def unpersisted(
    before: ModelState, intended: Step, reason: str, at: Moment, policy: Policy
) -> Step:
    """The disk refuses to remember a record: serve on, but enter no phase unwritten."""
    if intended.state.at_rest:
        return intended  # after a power cut, an older record leads here again
    failures = before.failures + 1
    setback = trouble(TroubleKind.NOT_NOW, DAMAGED, reason, at, before.record.candidate)
    delay_s = policy.delay_s(failures)
    setback = replace(setback, again_s=math.ceil(delay_s))
    noted = replace(changed(before, trouble=setback), failures=failures)
    back = rest(later(noted, at, delay_s))
    return Step(state=back, actions=(StopUpdate(), *reload(back).actions))
