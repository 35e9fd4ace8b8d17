"""Where a device says that it stands with one model. Pure: a reader in, values out."""

from dataclasses import dataclass

from edgekit.document import Reader
from edgekit.figures import Figures, figures_from
from edgekit.fleet.words import line, optional_text, text


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A bundle that a device serves, or served. `since` is UTC, "" where unknown."""

    version: str
    flavor: str
    sha256: str
    since: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A device's last setback with a model."""

    kind: str
    error: str
    reason: str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HookRun:
    """The last run of a program of the device's owner; `output` is the end of its lines."""

    hook: str
    answer: str
    output: str
    took_ms: int
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A flavor that a pointer offers and that the device found wrong."""

    rollout: int
    flavor: str
    sha256: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """Where a device stands with one model, as docs/formats/device-state.md has it.

    `rollout` None: it has seen no pointer yet. What an older agent does not tell is None.
    """

    model: str
    stage: str
    phase: str
    rollout: int | None
    current: Serving | None
    previous: Serving | None
    candidate: Serving | None
    attempts: int
    trouble: Trouble | None
    loaded: bool | None = None
    hook: HookRun | None = None
    proof: Figures | None = None
    pace_us: int | None = None
    pause_ms: int | None = None
    refused: tuple[Refused, ...] = ()


def model_state(reader: Reader) -> ModelState:
    """Read the state of one model, or raise the reader's error."""
    return ModelState(
        model=text(reader, "model"),
        stage=text(reader, "stage"),
        phase=text(reader, "phase"),
        rollout=_optional_integer(reader, "rollout"),
        current=_serving(reader, "current"),
        previous=_serving(reader, "previous"),
        candidate=_serving(reader, "candidate"),
        attempts=reader.integer("attempts", 0),
        trouble=_trouble(reader),
        loaded=reader.flag("loaded") if reader.has("loaded") else None,
        hook=_hook(reader.child("hook")) if reader.has("hook") else None,
        proof=figures_from(reader.child("proof")) if reader.has("proof") else None,
        pace_us=_optional_integer(reader, "pace_us"),
        pause_ms=_optional_integer(reader, "pause_ms"),
        refused=tuple(map(_refused, reader.children("refused", optional=True))),
    )


def _serving(reader: Reader, key: str) -> Serving | None:
    if not reader.has(key):
        return None
    inner = reader.child(key)
    return Serving(
        version=text(inner, "version"),
        flavor=text(inner, "flavor"),
        sha256=inner.sha256("sha256"),
        since=optional_text(inner, "since"),
    )


def _trouble(reader: Reader) -> Trouble | None:
    if not reader.has("trouble"):
        return None
    inner = reader.child("trouble")
    return Trouble(
        kind=text(inner, "kind"),
        error=text(inner, "error", ""),
        reason=line(inner, "reason"),
        at=text(inner, "at", ""),
    )


def _hook(reader: Reader) -> HookRun:
    return HookRun(
        hook=text(reader, "hook"),
        answer=text(reader, "answer"),
        output=line(reader, "output"),
        took_ms=reader.integer("took_ms", 0),
        at=text(reader, "at", ""),
    )


def _refused(reader: Reader) -> Refused:
    return Refused(
        rollout=reader.integer("rollout"),
        flavor=text(reader, "flavor"),
        sha256=reader.sha256("sha256"),
        reason=line(reader, "reason"),
    )


def _optional_integer(reader: Reader, key: str) -> int | None:
    return reader.integer(key) if reader.has(key) else None
