"""What a stage of a model ran, one entry per rollout. Pure: knows no file and no clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from edgekit.errors import ConfigError


class Action(StrEnum):
    """What the operator did."""

    RELEASE = "release"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One change of a stage pointer.

    `rollout` counts the changes of this pointer and only grows; `bundles` maps flavor to
    bundle digest; `signers` maps each role that vouches for it to the ids of its keys;
    `who` is the account of the operating system.
    """

    stage: str
    model: str
    rollout: int
    version: str
    run_id: str
    bundles: Mapping[str, str]
    signers: Mapping[str, tuple[str, ...]]
    who: str
    at: datetime
    action: Action

    def same_bytes(self, other: "Entry") -> bool:
        """Whether both run the same bundles of the same version."""
        return (self.version, self.bundles) == (other.version, other.bundles)


def before(entries: Sequence[Entry]) -> Entry | None:
    """Return what ran before the newest of one pointer's entries (oldest first).

    A second rollback goes further back, as undo does: after releases of 1, 2 and 3, two
    rollbacks lead to 1. None when there is nothing to go back to.
    """
    undone = _undo_stack(entries)
    return undone[-2] if len(undone) > 1 else None


def target(
    entries: Sequence[Entry], version: str | None, *, model: str, stage: str
) -> Entry:
    """Return the entry a rollback of one pointer goes to; ConfigError when there is none.

    `version` None means the one before; otherwise the newest entry of that version.
    """
    subject = f"{model} in stage {stage}"
    if not entries:
        raise ConfigError(f"{subject}: never released; `edgekit release` does that")
    current = entries[-1]
    if version is None:
        found = before(entries)
        if found is None:
            raise ConfigError(
                f"{subject}: nothing ran before version {current.version}; a version it"
                " ran later can be named with --to"
            )
        return found
    if version == current.version:
        raise ConfigError(f"{subject}: version {version} is what it runs already")
    for entry in reversed(entries):
        if entry.version == version:
            return entry
    known = ", ".join(dict.fromkeys(entry.version for entry in entries))
    raise ConfigError(f"{subject}: version {version} was never released; it ran {known}")


def _undo_stack(entries: Sequence[Entry]) -> list[Entry]:
    stack: list[Entry] = []
    for entry in entries:
        if entry.action is Action.ROLLBACK:
            while stack and not stack[-1].same_bytes(entry):
                stack.pop()
        if not stack or not stack[-1].same_bytes(entry):
            stack.append(entry)
    return stack
