"""Which bundles a repository offers, and which of them somebody may still ask for.

The depot holds no keys: it believes its own disk, and devices believe signatures only.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from edgekit.errors import TrustError
from edgekit.statement import BundleEntry, ReleaseRecord, StagePointer

logger = logging.getLogger(__name__)

Statement = TypeVar("Statement")

RECORDS = "targets/models/*/*.json"  # <sha256>.<version>.json, see docs/formats/repository
POINTERS = "targets/stages/*/*.json"
INDEXES = "index/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """The bundles by digest: what their records say, and what people call them."""

    entries: Mapping[str, BundleEntry] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)
    indexes: frozenset[str] = frozenset()  # names, of bundles that a stage points at
    kin: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Bundles that a stage points at -> others of the same model and flavor."""

    def is_idle(self, name: str) -> bool:
        """Whether a file is the chunk index of a bundle that no stage points at.

        Devices fetch what a pointer names; going back to a bundle makes a new pointer.
        """
        return name.startswith(INDEXES) and name not in self.indexes


def read_catalogue(files: Path) -> Catalogue:
    """Return what the records and pointers under `files` say; OSError as it comes."""
    entries, titles = {}, {}
    families: dict[tuple[str, str], list[str]] = {}  # (model, flavor) -> digests
    for record in _statements(files, RECORDS, ReleaseRecord.from_json):
        for entry in record.bundles:
            entries[entry.sha256] = entry
            titles[entry.sha256] = f"{record.model} {record.version} {entry.flavor}"
            families.setdefault((record.model, entry.flavor), []).append(entry.sha256)
    pointed = {
        digest: (pointer.model, entries[digest].flavor)
        for pointer in _statements(files, POINTERS, StagePointer.from_json)
        for digest in pointer.bundles.values()
        if digest in entries
    }
    return Catalogue(
        entries=entries,
        titles=titles,
        indexes=frozenset(INDEXES + entries[digest].index_sha256 for digest in pointed),
        kin={
            digest: tuple(other for other in families.get(family, ()) if other != digest)
            for digest, family in pointed.items()
        },
    )


def _statements(
    files: Path, pattern: str, parse: Callable[[bytes], Statement]
) -> Iterator[Statement]:
    """Yield the statements that can be read; one that cannot hides no other."""
    for path in sorted(files.glob(pattern)):
        try:
            yield parse(path.read_bytes())
        except FileNotFoundError:
            continue  # replaced meanwhile: the timestamp will change, too
        except TrustError as error:
            logger.warning("%s: left out: %s", path, error)
