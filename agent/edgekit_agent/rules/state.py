"""What the agent knows of one model while it runs, and the small changes rules are made of.

Pure values; the rules are in edgekit_agent.rules.step, .updating and .keeping.
"""

from dataclasses import dataclass, replace

from edgekit_agent.rules.events import Action, Load
from edgekit_agent.rules.record import Attempt, Phase, Record, Release, Trouble, TroubleKind

_AT_REST = (Phase.IDLE, Phase.SERVING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Now: seconds that never jump, and UTC as text for people."""

    s: float
    utc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How patient the agent is. Delays double from `backoff_s` to `backoff_most_s`.

    An announcement is looked into at once, but `gap_s` after the last look at the earliest,
    up to `gap_most_s` where looks keep failing; while a bundle is being fetched,
    `supersede_s` after: whoever floods a device with announcements costs it little.
    `spread` (0 to 1) lengthens this device's delays by up to half, so that a fleet does
    not return in step. A candidate is given up after `attempts` starts without a verdict,
    or `interruptions` by restarts of the agent; a new current model after `crashes` of the
    worker within `probation_s`.
    """

    settle_s: float = 2.0
    poll_s: float = 3600.0
    gap_s: float = 1.0
    gap_most_s: float = 30.0
    supersede_s: float = 10.0
    backoff_s: float = 2.0
    backoff_most_s: float = 900.0
    spread: float = 0.0
    attempts: int = 3
    interruptions: int = 6
    crashes: int = 3
    probation_s: float = 600.0

    def delay_s(self, failures: int) -> float:
        """Return how long to wait after that many failures in a row."""
        doubled = self.backoff_s * 2.0 ** min(max(failures, 1) - 1, 30)
        return float(min(doubled, self.backoff_most_s)) * (1 + self.spread / 2)

    def quiet_s(self, failures: int) -> float:
        """Return how long after a look the next announcement is looked into."""
        return min(self.delay_s(failures), self.gap_most_s) if failures else self.gap_s


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """The persisted record, and what only this run of the agent knows.

    `loaded` is the digest that the worker answers with. `attempt_at_s`: the same attempt
    is not repeated before, whatever is announced. `failures` of checks and fetches are
    those in a row. `again`: something was announced while a check was under way.
    `proven` is the digest that was proven last: it need not be proven twice. `undone` is
    what the agent went back from, until what was there before answers again. `asked_after`
    is the digest about which the hook `post-activate` runs, or waits its turn to run.
    """

    record: Record
    online: bool = False
    loaded: str | None = None
    checked_s: float = -1e9  # when the last look began: long ago
    check_at_s: float = 0.0
    attempt_at_s: float = 0.0
    reload_at_s: float | None = None
    probation_ends_s: float | None = None
    failures: int = 0
    again: bool = False
    proven: str | None = None
    undone: Release | None = None
    asked_after: str | None = None

    @property
    def at_rest(self) -> bool:
        """Whether no update is under way."""
        return self.record.phase in _AT_REST

    @property
    def wanted(self) -> Release | None:
        """What the worker should answer with: the candidate once its commit has begun."""
        committing = self.record.phase is Phase.COMMITTING
        return self.record.candidate if committing else self.record.current


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a model's state becomes, and what to do once its record is persisted."""

    state: ModelState
    actions: tuple[Action, ...] = ()

    def then(self, *actions: Action) -> "Step":
        """Add actions."""
        return replace(self, actions=self.actions + actions)


def changed(state: ModelState, **fields: object) -> ModelState:
    """Return the state with some fields of its record changed."""
    record = replace(state.record, **fields)  # type: ignore[arg-type]  # Record's own fields
    return replace(state, record=record)


def rest(state: ModelState) -> ModelState:
    """End an update, whatever it came to."""
    phase = Phase.IDLE if state.record.current is None else Phase.SERVING
    due = 0.0 if state.again else state.check_at_s
    rested = changed(state, phase=phase, candidate=None)
    return replace(rested, check_at_s=due, again=False)


def later(state: ModelState, at: Moment, delay_s: float) -> ModelState:
    """Check again after a while, or when something is announced."""
    return replace(state, check_at_s=at.s + delay_s)


def hold(state: ModelState, at: Moment, delay_s: float) -> ModelState:
    """Check again after a while; if it is the same attempt, not before."""
    return replace(later(state, at, delay_s), attempt_at_s=at.s + delay_s)


def reload(state: ModelState) -> Step:
    """Load what must serve now, unless the worker already answers with it."""
    wanted = state.wanted
    if wanted is None or wanted.sha256 == state.loaded:
        return Step(state=state)
    return Step(state=state, actions=(Load(release=wanted),))


def trouble(
    kind: TroubleKind, error: str, reason: str, at: Moment, concerned: Release | None
) -> Trouble:
    """Return a setback of this moment."""
    digest = concerned.sha256 if concerned else None
    return Trouble(kind=kind, error=error, reason=reason, at=at.utc, sha256=digest)


def is_bundle(release: Release | None, sha256: str) -> bool:
    """Whether there is a release, with this bundle."""
    return release is not None and release.sha256 == sha256


def candidate_of(record: Record) -> Release:
    """Return the candidate, where the phase guarantees one."""
    if record.candidate is None:  # pragma: no cover - see record.WITH_CANDIDATE
        raise ValueError(f"{record.model}: {record.phase} without a candidate")
    return record.candidate


def attempt_of(record: Record) -> Attempt:
    """Return the attempt that the candidate is."""
    candidate = candidate_of(record)
    if record.attempt is not None and record.attempt.concerns(candidate):
        return record.attempt
    return Attempt(rollout=candidate.rollout, sha256=candidate.sha256)
