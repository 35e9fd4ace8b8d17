"""What lies beside a stored bundle and speaks for it when the device's record is lost.

Two files: what the fleet signed for it, written by the updater, and that it served here,
noted when the record says so. Knows their names and when which is due; what is signed is
bytes here (edgekit.trust.evidence), so that the resident process stays light.
"""

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path

from edgekit import atomic
from edgekit.document import Reader, canonical_json
from edgekit.errors import StoreError
from edgekit_agent.rules.record import Record, Release, release_from

log = logging.getLogger(__name__)

SIGNED = ".signed.json"  # no member of a bundle may have such a name
SERVED = ".served.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A bundle served: the `turn`-th that came to serve for its model on this device."""

    model: str
    stage: str
    turn: int
    release: Release

    def to_json(self) -> bytes:
        """Encode canonically."""
        return canonical_json(
            {
                "model": self.model,
                "stage": self.stage,
                "turn": self.turn,
                "release": self.release.to_table(),
            }
        )

    @classmethod
    def from_json(cls, data: bytes, *, subject: str) -> "Mark":
        """Parse, or raise StoreError."""
        reader = Reader.from_json(data, subject=subject, error=StoreError)
        return cls(
            model=reader.text("model"),
            stage=reader.text("stage"),
            turn=reader.integer("turn", least=1),
            release=release_from(reader.child("release")),
        )


def keep_signed(bundle: Path, signed: bytes) -> None:
    """Keep what was signed for a bundle beside it; StoreError when the disk refuses."""
    path = bundle / SIGNED
    with contextlib.suppress(OSError):
        if path.read_bytes() == signed:
            return
    atomic.write_bytes(path, signed)


def signed(bundle: Path) -> bytes:
    """Return what was signed for a bundle; StoreError when it is not there."""
    path = bundle / SIGNED
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error


def note(bundles: Path, record: Record) -> None:
    """Mark what serves by a record, and take the marks of what the record gave up.

    A mark that cannot be written is worth a warning: the record itself holds.
    """
    current = record.current
    kept = {one.sha256 for one in (current, record.previous) if one is not None}
    standing = marks(bundles, record.model)
    try:
        for mark in standing:
            if mark.release.sha256 not in kept:
                (bundles / mark.release.sha256 / SERVED).unlink(missing_ok=True)
        if current is None or not (bundles / current.sha256).is_dir():
            return
        newest = standing[0] if standing else None
        turn = 1 if newest is None else newest.turn + 1
        due = Mark(model=record.model, stage=record.stage, turn=turn, release=current)
        if newest is None or (newest.stage, newest.release) != (due.stage, due.release):
            atomic.write_bytes(bundles / current.sha256 / SERVED, due.to_json())
    except (OSError, StoreError) as error:
        log.warning("%s: it is not marked as serving: %s", record.model, error)


def marks(bundles: Path, model: str) -> list[Mark]:
    """Return the marks of a model's bundles, the last that came to serve first."""
    found = []
    for path in bundles.glob(f"[!.]*/{SERVED}"):
        try:
            mark = Mark.from_json(path.read_bytes(), subject=str(path))
        except (OSError, StoreError) as error:
            log.debug("%s: no mark: %s", path, error)
            continue
        if mark.model == model and mark.release.sha256 == path.parent.name:
            found.append(mark)
    return sorted(found, key=lambda mark: mark.turn, reverse=True)
