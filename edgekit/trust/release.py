"""Which statements a release puts into a draft. Signs and writes nothing."""

from dataclasses import dataclass
from urllib.parse import unquote

from edgekit.errors import TrustError
from edgekit.statement import (
    MODELS_ROLE,
    ReleaseRecord,
    StagePointer,
    pointer_path,
    record_path,
    stage_role,
)
from edgekit.trust.draft import Draft
from edgekit.trust.generation import Generation
from edgekit.trust.proposal import Change, Proposal
from edgekit.trust.shelf import Shelf
from edgekit.trust.statements import (
    pointers,
    records,
    refuse_backwards,
    refuse_dangling,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Statements to add, and records to take back by (model, version)."""

    records: tuple[ReleaseRecord, ...]
    pointers: tuple[StagePointer, ...]
    withdraw: tuple[tuple[str, str], ...]

    @classmethod
    def proposed(cls, proposal: Proposal) -> "Release":
        """Return what a proposal would state; TrustError when it is no release."""
        records: list[ReleaseRecord] = []
        pointers: list[StagePointer] = []
        withdraw: list[tuple[str, str]] = []
        for change in proposal.changes():
            if change.role == MODELS_ROLE:
                records += map(ReleaseRecord.from_json, change.added.values())
                withdraw += map(_named, change.dropped)
            else:
                pointers += _pointers(change)
        return cls(
            records=tuple(records), pointers=tuple(pointers), withdraw=tuple(withdraw)
        )

    def apply(self, draft: Draft, shelf: Shelf, current: Generation) -> None:
        """Put the statements into a draft, or raise ConfigError when they do not fit."""
        known = {(r.model, r.version): r for r in records(shelf, current)}
        for name in self.withdraw:
            draft.drop(MODELS_ROLE, record_path(*name))
            known.pop(name, None)
        for record in self.records:
            path = record_path(record.model, record.version)
            draft.put(MODELS_ROLE, path, record.to_json())
            known[record.model, record.version] = record
        standing = {(p.stage, p.model): p for p in pointers(shelf, current)}
        for pointer in self.pointers:
            refuse_backwards(pointer, standing.get((pointer.stage, pointer.model)))
            path = pointer_path(pointer.stage, pointer.model)
            draft.put(stage_role(pointer.stage), path, pointer.to_json())
            standing[pointer.stage, pointer.model] = pointer
        for pointer in standing.values():
            refuse_dangling(pointer, known.get((pointer.model, pointer.version)))


def _pointers(change: Change) -> list[StagePointer]:
    if change.dropped:
        raise TrustError(f"proposal: {change.role}: it would drop {change.dropped[0]}")
    return [StagePointer.from_json(data) for data in change.added.values()]


def _named(path: str) -> tuple[str, str]:
    """Return the model and version that a record's path names, or raise TrustError."""
    _, _, rest = path.partition("/")
    model, _, version = rest.partition("/")
    named = unquote(model), unquote(version.removesuffix(".json"))
    if record_path(*named) != path:
        raise TrustError(f"proposal: {path}: models/MODEL/VERSION.json is expected")
    return named
