"""One model on one device, stepped by the agent's rules to where a test begins."""

from dataclasses import replace

from edgekit_agent.rules.events import (
    Action,
    Announced,
    Event,
    Fetched,
    HookAnswered,
    Loaded,
    Online,
    Proved,
    Resolved,
    RunHook,
    Started,
    Ticked,
    WorkerReady,
)
from edgekit_agent.rules.hook import Answer, Hook
from edgekit_agent.rules.record import (
    Phase,
    Record,
    Release,
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

    def restarted(self, crash: str = "", by: str = "") -> "Device":
        self.state = ModelState(record=self.record)  # all a power cut leaves
        return self.on(Started(crash=crash, by=by))

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
