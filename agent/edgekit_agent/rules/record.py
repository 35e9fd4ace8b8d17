"""What the agent remembers of one model across power cuts, as JSON and back.

Knows no files and no rules: edgekit_agent.rules.step decides what changes,
edgekit_agent.storage.store keeps it. docs/formats/device-state.md is its page.
"""

from dataclasses import dataclass
from enum import StrEnum

from edgekit.document import Reader, canonical_json
from edgekit.errors import StoreError
from edgekit.figures import Figures, figures_from
from edgekit_agent.rules.hook import Answer, Hook, HookRun

FORMAT = 1
MAX_REASON_CHARS = 500
MAX_REFUSED = 8  # the last ones: a pointer offers a few flavors


class Phase(StrEnum):
    """Where an update is. Each phase is persisted before its work begins."""

    IDLE = "idle"  # nothing to serve yet
    SERVING = "serving"  # at rest, with a current model
    CHECKING = "checking"  # asking what the stage points at
    FETCHING = "fetching"  # getting the candidate's bytes
    PROVING = "proving"  # trying the candidate on this device
    ASKING = "asking"  # proven: the device's own hook is asked
    COMMITTING = "committing"  # agreed: the candidate becomes current, also after a kill


WITH_CANDIDATE = (Phase.FETCHING, Phase.PROVING, Phase.ASKING, Phase.COMMITTING)


class TroubleKind(StrEnum):
    """What the last setback means for what comes next."""

    NOT_NOW = "not-now"  # tried again later, by itself
    FAILED = "failed"  # it broke too often: given up until the pointer changes
    REJECTED = "rejected"  # it must not run: given up until the pointer changes


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A bundle and the pointer that asked for it. `since`: when it began to serve, UTC."""

    version: str
    flavor: str
    sha256: str
    rollout: int
    since: str | None = None

    def to_table(self) -> dict[str, object]:
        """Return the JSON object."""
        return {
            "version": self.version,
            "flavor": self.flavor,
            "sha256": self.sha256,
            "rollout": self.rollout,
            "since": self.since,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """The last setback: its kind, the error's class, why, when (UTC), with which digest.

    `again_s`: it is tried again by itself so many seconds later, None where it is not.
    """

    kind: TroubleKind
    error: str
    reason: str
    at: str
    sha256: str | None = None
    again_s: int | None = None

    def to_table(self, reason_chars: int = MAX_REASON_CHARS) -> dict[str, object]:
        """Return the JSON object."""
        return {
            "kind": self.kind.value,
            "error": self.error,
            "reason": self.reason[:reason_chars],
            "at": self.at,
            "sha256": self.sha256,
            "again_s": self.again_s,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A flavor that one pointer offered and that was found wrong here."""

    rollout: int
    flavor: str
    sha256: str
    reason: str

    def to_table(self, reason_chars: int = MAX_REASON_CHARS) -> dict[str, object]:
        """Return the JSON object."""
        return {
            "rollout": self.rollout,
            "flavor": self.flavor,
            "sha256": self.sha256,
            "reason": self.reason[:reason_chars],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """How often one pointer's bundle was tried; a loop ends because this is persisted.

    `interrupted` counts fetches that a restart cut off, `proofs` how often the model was
    started here. With a `verdict` it is not tried again until the pointer changes.
    """

    rollout: int
    sha256: str
    interrupted: int = 0
    proofs: int = 0
    verdict: Trouble | None = None

    @property
    def given_up(self) -> bool:
        """Whether trying it again is pointless."""
        return self.verdict is not None

    @property
    def count(self) -> int:
        """How often it was tried, as it is reported."""
        return self.interrupted + self.proofs

    def concerns(self, release: Release) -> bool:
        """Whether this is about that bundle, asked for by that pointer."""
        return (self.rollout, self.sha256) == (release.rollout, release.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Everything persisted of one model.

    `probation`: current is new, or stumbled lately; crashes of the worker count against it
    until it has served a while. `unconfirmed`: the device's hook has not said yet that all
    is well with it. `hook`: the last run of any hook. `refused`: flavors that the newest
    pointer offers and that are not chosen here again. `proof`: what the last candidate that
    was found right measured here. `pace_us`: what one row took current in its proof here,
    `pause_ms`: how long requests waited when it came to serve; None where nobody knows.
    """

    model: str
    stage: str
    phase: Phase = Phase.IDLE
    current: Release | None = None
    previous: Release | None = None
    candidate: Release | None = None
    attempt: Attempt | None = None
    trouble: Trouble | None = None
    probation: bool = False
    crashes: int = 0
    unconfirmed: bool = False
    hook: HookRun | None = None
    refused: tuple[Refusal, ...] = ()
    proof: Figures | None = None
    pace_us: int | None = None
    pause_ms: int | None = None

    @property
    def needed(self) -> frozenset[str]:
        """Digests of the bundles that must stay on the disk, partial ones included."""
        kept = {r.sha256 for r in (self.current, self.previous, self.candidate) if r}
        if self.attempt is not None and not self.attempt.given_up:
            kept.add(self.attempt.sha256)
        return frozenset(kept)

    def to_json(self) -> bytes:
        """Encode canonically."""
        return canonical_json(
            {
                "format": FORMAT,
                "model": self.model,
                "stage": self.stage,
                "phase": self.phase.value,
                "current": self.current and self.current.to_table(),
                "previous": self.previous and self.previous.to_table(),
                "candidate": self.candidate and self.candidate.to_table(),
                "attempt": self.attempt and _attempt_table(self.attempt),
                "trouble": self.trouble and self.trouble.to_table(),
                "probation": self.probation,
                "crashes": self.crashes,
                "unconfirmed": self.unconfirmed,
                "hook": self.hook and self.hook.to_table(),
                "refused": [refusal.to_table() for refusal in self.refused],
                "proof": self.proof and self.proof.to_table(),
                "pace_us": self.pace_us,
                "pause_ms": self.pause_ms,
            }
        )

    @classmethod
    def from_json(cls, data: bytes, *, subject: str) -> "Record":
        """Parse, or raise StoreError: the disk changed what was written."""
        reader = Reader.from_json(data, subject=subject, error=StoreError)
        reader.integer("format", least=FORMAT, most=FORMAT)
        record = cls(
            model=reader.text("model"),
            stage=reader.text("stage"),
            phase=Phase(reader.one_of("phase", Phase)),
            current=_release(reader, "current"),
            previous=_release(reader, "previous"),
            candidate=_release(reader, "candidate"),
            attempt=_attempt(reader),
            trouble=_trouble(reader, "trouble"),
            probation=reader.flag("probation"),
            crashes=reader.integer("crashes"),
            unconfirmed=reader.flag("unconfirmed", default=False),
            hook=_hook(reader),
            refused=tuple(map(_refusal, reader.children("refused", optional=True))),
            proof=_proof(reader),
            pace_us=_optional_integer(reader, "pace_us"),
            pause_ms=_optional_integer(reader, "pause_ms"),
        )
        if record.phase in WITH_CANDIDATE and record.candidate is None:
            reader.fail("candidate", f"a release in phase {record.phase}")
        return record


def release_from(reader: Reader) -> Release:
    """Read a release, as a record or an updater's line holds it."""
    return Release(
        version=reader.text("version"),
        flavor=reader.text("flavor"),
        sha256=reader.sha256("sha256"),
        rollout=reader.integer("rollout", least=1),
        since=_optional_text(reader, "since"),
    )


def _attempt_table(attempt: Attempt) -> dict[str, object]:
    return {
        "rollout": attempt.rollout,
        "sha256": attempt.sha256,
        "interrupted": attempt.interrupted,
        "proofs": attempt.proofs,
        "verdict": attempt.verdict and attempt.verdict.to_table(),
    }


def _release(reader: Reader, key: str) -> Release | None:
    if not reader.has(key):
        return None
    return release_from(reader.child(key))


def _attempt(reader: Reader) -> Attempt | None:
    if not reader.has("attempt"):
        return None
    inner = reader.child("attempt")
    return Attempt(
        rollout=inner.integer("rollout", least=1),
        sha256=inner.sha256("sha256"),
        interrupted=inner.integer("interrupted"),
        proofs=inner.integer("proofs"),
        verdict=_trouble(inner, "verdict"),
    )


def _trouble(reader: Reader, key: str) -> Trouble | None:
    if not reader.has(key):
        return None
    inner = reader.child(key)
    return Trouble(
        kind=TroubleKind(inner.one_of("kind", TroubleKind)),
        error=inner.text("error"),
        reason=inner.text("reason"),
        at=inner.text("at"),
        sha256=_optional_text(inner, "sha256"),
        again_s=_optional_integer(inner, "again_s"),
    )


def _hook(reader: Reader) -> HookRun | None:
    if not reader.has("hook"):
        return None
    inner = reader.child("hook")
    return HookRun(
        hook=Hook(inner.one_of("hook", Hook)),
        answer=Answer(inner.one_of("answer", Answer)),
        output=inner.text("output"),
        took_ms=inner.integer("took_ms"),
        at=inner.text("at"),
    )


def _proof(reader: Reader) -> Figures | None:
    return figures_from(reader.child("proof")) if reader.has("proof") else None


def _refusal(reader: Reader) -> Refusal:
    return Refusal(
        rollout=reader.integer("rollout", least=1),
        flavor=reader.text("flavor"),
        sha256=reader.sha256("sha256"),
        reason=reader.text("reason"),
    )


def _optional_integer(reader: Reader, key: str) -> int | None:
    return reader.integer(key) if reader.has(key) else None


def _optional_text(reader: Reader, key: str) -> str | None:
    return reader.text(key) if reader.has(key) else None
