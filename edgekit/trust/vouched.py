"""Decide whether the stage and the models role agree. Knows no signatures or files."""

from dataclasses import dataclass

from edgekit.errors import TrustError
from edgekit.statement import BundleEntry, ReleaseRecord, StagePointer


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouched:
    """What a stage runs, and the bundles of it that both roles vouch for (at least one)."""

    pointer: StagePointer
    record: ReleaseRecord
    entries: tuple[BundleEntry, ...]


def check_pointer(pointer: StagePointer, *, stage: str, model: str) -> StagePointer:
    """Return the pointer, or raise TrustError when it speaks of something else."""
    if (pointer.stage, pointer.model) != (stage, model):
        raise TrustError(
            f"{model} in stage {stage}: the pointer speaks of {pointer.model} in stage"
            f" {pointer.stage}; one that names what it is stored as is expected"
        )
    return pointer


def vouch(pointer: StagePointer, record: ReleaseRecord) -> Vouched:
    """Return what both statements agree on, or raise TrustError."""
    subject = f"{pointer.model} {pointer.version}"
    if (record.model, record.version) != (pointer.model, pointer.version):
        raise TrustError(
            f"{subject}: the release record speaks of {record.model} {record.version};"
            " one that names what it is stored as is expected"
        )
    entries = tuple(
        entry
        for entry in record.bundles
        if pointer.bundles.get(entry.flavor) == entry.sha256
    )
    if not entries:
        raise TrustError(
            f"{subject}: its bundles are signed by models but not pointed at by the stage"
            f" {pointer.stage}; a bundle that both name is expected"
        )
    return Vouched(pointer=pointer, record=record, entries=entries)
