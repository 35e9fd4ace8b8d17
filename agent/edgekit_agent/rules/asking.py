"""The rules of hooks: what the device's own programs say of a change, and what follows.

Pure: (state, event, moment) to (state, actions). Before a change, "not now" holds it and
"failed" ends it; after one, anything but a go undoes it.
"""

from dataclasses import replace

from edgekit_agent.rules import keeping, updating
from edgekit_agent.rules.events import HookAnswered
from edgekit_agent.rules.hook import Answer, Hook, HookRun
from edgekit_agent.rules.record import Phase, TroubleKind
from edgekit_agent.rules.state import (
    ModelState,
    Moment,
    Policy,
    Step,
    attempt_of,
    changed,
    hold,
    is_bundle,
    rest,
    trouble,
)

_ERROR = "HookError"


def answered(state: ModelState, event: HookAnswered, at: Moment, policy: Policy) -> Step:
    """A hook ended; an answer about what is no longer asked is only remembered."""
    noted = _remembered(state, event, at)
    if event.hook is Hook.POST_ACTIVATE and event.sha256 == state.asked_after:
        noted = replace(noted, asked_after=None)
    record = noted.record
    match event.hook:
        case Hook.PRE_ACTIVATE if record.phase is Phase.ASKING and is_bundle(
            record.candidate, event.sha256
        ):
            return _before(noted, event, at, policy)
        case Hook.POST_ACTIVATE if record.unconfirmed and is_bundle(
            record.current, event.sha256
        ):
            return _after(noted, event, at, policy)
        case _:
            return Step(state=noted)


def unanswered(state: ModelState, at: Moment, policy: Policy) -> Step:
    """The agent starts, and nobody said yet whether the device is well: count it.

    A hook that takes the device down would be asked for ever else.
    """
    record = state.record
    if not record.unconfirmed or record.current is None:
        return Step(state=state)
    reason = f"cut off while {Hook.POST_ACTIVATE} was asked; it is asked again"
    setback = trouble(TroubleKind.NOT_NOW, "Interrupted", reason, at, record.current)
    return keeping.stumbled(state, record.current, setback, at, policy)


def _before(state: ModelState, event: HookAnswered, at: Moment, policy: Policy) -> Step:
    match event.answer:
        case Answer.GO:
            return updating.commit(state)
        case Answer.NOT_NOW:
            return _wait(state, event, at)
        case Answer.FAILED:
            candidate = state.record.candidate
            verdict = trouble(TroubleKind.FAILED, _ERROR, event.reason, at, candidate)
            return updating.give_up(state, verdict, at, policy)
        case Answer.BROKE:
            candidate = state.record.candidate
            setback = trouble(TroubleKind.NOT_NOW, _ERROR, event.reason, at, candidate)
            return updating.attempt_failed(state, setback, at, policy)


def _wait(state: ModelState, event: HookAnswered, at: Moment) -> Step:
    """Ask again later, however often: waiting is no failure, so it counts as one start."""
    candidate = state.record.candidate
    setback = trouble(TroubleKind.NOT_NOW, "HookNotNow", event.reason, at, candidate)
    patient = replace(attempt_of(state.record), proofs=1)
    noted = changed(state, attempt=patient, trouble=replace(setback, again_s=event.again_s))
    return Step(state=rest(hold(noted, at, event.again_s)))


def _after(state: ModelState, event: HookAnswered, at: Moment, policy: Policy) -> Step:
    current = state.record.current
    if event.answer is Answer.GO or current is None:
        return Step(state=changed(state, unconfirmed=False))
    verdict = trouble(TroubleKind.FAILED, _ERROR, event.reason, at, current)
    if state.record.previous is None:
        return Step(state=changed(state, unconfirmed=False, trouble=verdict))
    return keeping.undo(state, current, verdict, at, policy)


def _remembered(state: ModelState, event: HookAnswered, at: Moment) -> ModelState:
    run = HookRun(
        hook=event.hook,
        answer=event.answer,
        output=event.output,
        took_ms=event.took_ms,
        at=at.utc,
    )
    return changed(state, hook=run) if event.ran else state
