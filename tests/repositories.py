"""A repository folder as the release tool leaves it, for a depot to serve."""

import hashlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgekit.bundle import chunk_index
from edgekit.statement import BundleEntry, ReleaseRecord, StagePointer
from tests.simulation import bundle_of


@dataclass
class RepositoryFolder:
    """`files/` and `blobs/`; every change ends with the timestamp."""

    path: Path
    version: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        (self.path / "files").mkdir(parents=True)
        (self.path / "blobs").mkdir()

    def put(self, name: str, content: bytes) -> None:
        target = self.path / "files" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def remove(self, name: str) -> None:
        (self.path / "files" / name).unlink()

    def stamp(self) -> None:
        self.version += 1
        target = self.path / "files" / "timestamp.json"
        target.write_text(f'{{"version":{self.version}}}')
        os.utime(target, ns=(self.version, self.version))

    def release(
        self, data: bytes, *, chunk_bytes: int, model: str = "wine"
    ) -> tuple[BundleEntry, bytes]:
        """Add a bundle with all that names it; return its entry and chunk index."""
        index = chunk_index(data, chunk_bytes)
        entry = replace(
            bundle_of(1)[0],
            sha256=hashlib.sha256(data).hexdigest(),
            length=len(data),
            chunk_bytes=chunk_bytes,
            index_sha256=hashlib.sha256(index).hexdigest(),
        )
        record = ReleaseRecord(
            model=model,
            version="1",
            run_id="r",
            source_sha256="00" * 32,
            bundles=(entry,),
        ).to_json()
        (self.path / "blobs" / entry.sha256).write_bytes(data)
        self.put(f"index/{entry.index_sha256}", index)
        digest = hashlib.sha256(record).hexdigest()
        self.put(f"targets/models/{model}/{digest}.1.json", record)
        self.point(model, entry)
        self.stamp()
        return entry, index

    def point(self, model: str, *entries: BundleEntry) -> None:
        """Let the stage production point at bundles, and at no others."""
        pointer = StagePointer(
            model=model,
            stage="production",
            version="1",
            rollout=1,
            bundles={f"{n}": entry.sha256 for n, entry in enumerate(entries)},
        )
        self.put(f"targets/stages/production/{'0' * 64}.{model}.json", pointer.to_json())
