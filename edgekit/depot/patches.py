"""Make patches to the bundles that stages point at, and say what there is.

Patches are made once, beside the depot's work, and kept in the repository's folder
`patches/`: a patch by its digest, and a note `<new>.<old>` of which it is, empty where a
patch would save too little. Where that folder cannot be written there are none. Knows no
signatures: a device believes what a patch yields only when it matches signed data.
"""

import hashlib
import io
import itertools
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

from edgekit import atomic, delta
from edgekit.bundle import chunk_index, read_members
from edgekit.depot.catalogue import Catalogue
from edgekit.errors import EdgekitError
from edgekit.offer import Offer, Patch

logger = logging.getLogger(__name__)

FOLDER = "patches"
WORTH = 0.8  # of the bundle's bytes; a larger patch is not kept
LEAST_SAVED_BYTES = 2048  # else the offer and a second transfer take what is saved
MOST_BUNDLE_BYTES = 128 * 2**20  # the members of two are in memory while a patch is made
OLDER = 2  # so many earlier bundles of a flavor get a patch, the newest ones
_POLL_S = 1.0


class Patches:
    """The patches in a repository."""

    def __init__(self, repository: Path, blobs: Path) -> None:
        self._folder = repository / FOLDER
        self._blobs = blobs
        self._catalogue = Catalogue()
        self._known: dict[tuple[str, str], Patch | None] = {}  # (new, old)

    @property
    def all(self) -> dict[str, Patch]:
        """The patches that can be had, by their own digests."""
        return {p.entry.sha256: p for p in list(self._known.values()) if p is not None}

    def offers(self) -> dict[str, Offer]:
        """Return what there is for each bundle that a stage points at."""
        known = list(self._known.items())
        return {
            new: Offer(patches=tuple(p for (n, _), p in known if n == new and p))
            for new in self._catalogue.kin
        }

    def follow(self, catalogue: Catalogue) -> None:
        """Take in what stages point at now; forget what they do not any more."""
        self._catalogue = catalogue
        for new, old in list(self._known):
            if new not in catalogue.kin:
                del self._known[new, old]

    def work(self, stop: threading.Event) -> None:
        """Make what is due, until told to stop."""
        while not stop.wait(_POLL_S):
            try:
                self.make_due()
            except OSError as error:
                logger.warning("no patches: %s: %s", error.filename, error.strerror)
                return
            except EdgekitError as error:
                logger.warning("no patches: %s", error)
                return

    def make_due(self) -> None:
        """Make the patches that are not there; OSError and EdgekitError as they come."""
        for new, old in self._due():
            self._known[new, old] = self._found(new, old) or self._made(new, old)

    def _due(self) -> Iterator[tuple[str, str]]:
        for new, kin in self._catalogue.kin.items():
            here = [old for old in kin if (self._blobs / old).is_file()]
            here.sort(key=lambda old: (self._blobs / old).stat().st_mtime_ns, reverse=True)
            for old in itertools.islice(here, OLDER):
                if (new, old) not in self._known and (self._blobs / new).is_file():
                    yield new, old

    def _found(self, new: str, old: str) -> Patch | None:
        try:
            digest = (self._folder / f"{new}.{old}").read_text("ascii")
            content = (self._folder / digest).read_bytes() if digest else b""
        except (FileNotFoundError, UnicodeDecodeError):
            return None
        if not content or hashlib.sha256(content).hexdigest() != digest:
            return None
        return Patch.of(content, old, chunk_index(content))

    def _made(self, new: str, old: str) -> Patch | None:
        note = self._folder / f"{new}.{old}"
        if note.is_file() and not note.read_bytes():
            return None  # tried before, and not worth it
        length = (self._blobs / new).stat().st_size
        if max(length, (self._blobs / old).stat().st_size) > MOST_BUNDLE_BYTES:
            return None
        content = delta.make(self._members(old), self._members(new))
        self._folder.mkdir(exist_ok=True)
        if len(content) > min(WORTH * length, length - LEAST_SAVED_BYTES):
            atomic.write_bytes(note, b"")
            return None
        patch = Patch.of(content, old, chunk_index(content))
        atomic.write_bytes(self._folder / patch.entry.sha256, content)
        atomic.write_bytes(note, patch.entry.sha256.encode())
        logger.info(
            "patch %s to %s: %d bytes instead of %d",
            *(old[:12], new[:12], len(content), length),
        )
        return patch

    def _members(self, sha256: str) -> dict[str, bytes]:
        return read_members(io.BytesIO((self._blobs / sha256).read_bytes()))[1]
