"""Gather what a drift is judged by: the windows in fleet.db, the profile in the bundle.

The profile is believed as far as the bundle is: its digest is in the signed record.
"""

import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from edgekit import bundle
from edgekit.errors import ConfigError, StoreError, TrustError
from edgekit.fleet.book import Book
from edgekit.fleet.drifting.findings import Seen
from edgekit.manifest import PROFILE_NAME
from edgekit.statement import StagePointer
from edgekit.telemetry.profile import Profile
from edgekit.trust.repository import Repository

_SHORT = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A version in a stage, and the profile of the data it was made with.

    `bundles` are the digests of its flavors that hold this very profile.
    """

    model: str
    stage: str
    version: str
    profile: Profile
    bundles: frozenset[str]


def subject(repository: Repository, *, model: str, stage: str) -> Subject:
    """Return what a stage runs of a model, or raise ConfigError where nothing is known."""
    pointer = repository.pointer(stage=stage, model=model)
    if pointer is None:
        known = sorted({f"{p.model} in {p.stage}" for p in repository.pointers()})
        raise ConfigError(
            f"{model} in {stage}: never released; released are {', '.join(known) or 'none'}"
        )
    found = _profiles(repository.blobs, pointer)
    if not found:
        raise ConfigError(
            f"{model} {pointer.version}: its bundles hold no reference profile; convert and"
            " release a version with one (edgekit convert --profile, and no profile = false"
            " in fleet.toml)"
        )
    content, digests = max(found.items(), key=lambda item: (len(item[1]), item[0]))
    return Subject(
        model=model,
        stage=stage,
        version=pointer.version,
        profile=Profile.from_json(content),
        bundles=frozenset(digests),
    )


def seen(
    book: Book, digests: Iterable[str], *, devices: Iterable[str], since: datetime | None
) -> Iterator[Seen]:
    """Yield what devices counted of some bundles in windows that ended after `since`."""
    wanted = frozenset(digests)
    for device in devices:
        for told in book.windows(device, since=since):
            for counts in told.window.bundles:
                if counts.sha256 in wanted:
                    yield Seen(device=device, day=f"{told.at:%Y-%m-%d}", counts=counts)


def _profiles(blobs: Path, pointer: StagePointer) -> Mapping[bytes, list[str]]:
    """Return profile -> digests of the bundles that hold it."""
    found: dict[bytes, list[str]] = defaultdict(list)
    for digest in pointer.bundles.values():
        content = _profile(blobs / digest, digest)
        if content is not None:
            found[content].append(digest)
    return found


def _profile(path: Path, digest: str) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise TrustError(f"{path}: not the bundle {digest[:_SHORT]} that was signed for")
    return bundle.read_members(io.BytesIO(content))[1].get(PROFILE_NAME)
