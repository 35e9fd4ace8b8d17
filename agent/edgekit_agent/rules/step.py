"""Decide what becomes of one model on a device: every event, and the rule for it.

A function of (state, event, moment) to (state, actions). Knows no files, processes,
sockets or clock. The doer persists the record before it carries out any action; so after
a power cut the phase says which work was under way, and the error path is taken unless
the commit had begun.
"""

from dataclasses import replace
from typing import assert_never

from edgekit_agent.rules import asking, keeping, updating
from edgekit_agent.rules.events import (
    Announced,
    Event,
    Fetched,
    HookAnswered,
    Loaded,
    LoadFailed,
    NothingReleased,
    Offline,
    Online,
    ProofBroke,
    ProofRefused,
    Proved,
    Resolved,
    Started,
    StartUpdate,
    StopUpdate,
    Ticked,
    UpdateFailed,
    WorkerDied,
    WorkerReady,
)
from edgekit_agent.rules.record import Phase
from edgekit_agent.rules.state import (
    ModelState,
    Moment,
    Policy,
    Step,
    changed,
    reload,
    rest,
)


def step(  # noqa: C901, PLR0911, PLR0912 - one case for each event, nothing else
    state: ModelState, event: Event, at: Moment, policy: Policy
) -> Step:
    """Return what follows from an event. Events that come too late change nothing."""
    match event:
        case Started():
            return _started(state, event, at, policy)
        case Online():
            return _online(state, at)
        case Offline():
            return Step(state=replace(state, online=False))
        case Announced():
            return _announced(state, at, policy)
        case Ticked():
            return _ticked(state, at, policy)
        case Resolved():
            return updating.resolved(state, event, at, policy)
        case NothingReleased():
            return updating.concluded(state, at, policy)
        case Fetched(sha256=sha256):
            return updating.fetched(state, sha256)
        case UpdateFailed():
            return updating.failed(state, event, at, policy)
        case Proved():
            return updating.proved(state, event)
        case ProofRefused():
            return updating.proof_refused(state, event, at, policy)
        case ProofBroke():
            return updating.proof_broke(state, event, at, policy)
        case HookAnswered():
            return asking.answered(state, event, at, policy)
        case WorkerReady():
            return reload(replace(state, loaded=None, reload_at_s=None))
        case Loaded():
            return keeping.loaded(state, event, at, policy)
        case LoadFailed():
            return keeping.load_failed(state, event, at, policy)
        case WorkerDied():
            return keeping.worker_died(state, event, at, policy)
        case _ as never:
            assert_never(never)


def _started(state: ModelState, event: Started, at: Moment, policy: Policy) -> Step:
    fresh = ModelState(record=state.record, check_at_s=at.s + policy.settle_s)
    if event.crash and keeping.is_blamed(state.record, event.by):
        death = WorkerDied(reason=event.crash, by=event.by)  # counted once, as what it was
        counted = keeping.worker_died(fresh, death, at, policy)
    else:
        counted = asking.unanswered(fresh, at, policy)
    calm = replace(counted.state, reload_at_s=None)
    resumed = _resumed(calm, at, policy, blameless=bool(event.crash))
    return replace(resumed, actions=(*counted.actions, *resumed.actions))


def _resumed(fresh: ModelState, at: Moment, policy: Policy, *, blameless: bool) -> Step:
    """Go on; a commit that another bundle's crash cut off is `blameless`."""
    match fresh.record.phase:
        case Phase.IDLE | Phase.SERVING | Phase.CHECKING:
            return Step(state=rest(fresh))
        case Phase.FETCHING | Phase.PROVING | Phase.ASKING:
            return updating.interrupted(fresh, at, policy)
        case Phase.COMMITTING if blameless:
            return Step(state=fresh)
        case Phase.COMMITTING:
            return updating.commit_again(fresh, at, policy)
        case _ as never:
            assert_never(never)


def _online(state: ModelState, at: Moment) -> Step:
    setback = state.record.trouble
    if setback is not None and setback.error == updating.UNREACHED:
        state = replace(state, check_at_s=min(at.s, state.check_at_s))
    return Step(state=replace(state, online=True))


def _announced(state: ModelState, at: Moment, policy: Policy) -> Step:
    if not state.at_rest:
        return Step(state=replace(state, again=True))
    due_s = state.checked_s + policy.quiet_s(state.failures)
    if at.s >= due_s:
        return _check(state, at)
    return Step(state=replace(state, check_at_s=min(state.check_at_s, due_s)))


def _ticked(state: ModelState, at: Moment, policy: Policy) -> Step:
    if state.probation_ends_s is not None and at.s >= state.probation_ends_s:
        return keeping.settled(state)
    if state.reload_at_s is not None and at.s >= state.reload_at_s:
        return reload(replace(state, reload_at_s=None))
    if state.at_rest and state.online and at.s >= state.check_at_s:
        return _check(state, at)
    if _superseded(state, at, policy):
        checking = _check(changed(state, candidate=None), at)
        return Step(state=checking.state, actions=(StopUpdate(), *checking.actions))
    return Step(state=state)


def _superseded(state: ModelState, at: Moment, policy: Policy) -> bool:
    """Whether a fetch is interrupted to see if it is still wanted."""
    fetching = state.record.phase is Phase.FETCHING
    return fetching and state.again and at.s >= state.checked_s + policy.supersede_s


def _check(state: ModelState, at: Moment) -> Step:
    checking = replace(changed(state, phase=Phase.CHECKING), again=False, checked_s=at.s)
    return Step(state=checking, actions=(StartUpdate(),))
