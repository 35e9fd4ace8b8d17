"""How a repository's folder goes from one signed state to the next. Knows no statements.

Every change is signed in full before a byte is written, and takes effect with its last
file, the timestamp; whatever a crash leaves before that is replaced by the next change.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from edgekit.errors import ConfigError
from edgekit.trust.draft import Draft, SignedDraft, Terms
from edgekit.trust.expiry import Lifetimes
from edgekit.trust.generation import Generation, load
from edgekit.trust.keys import SignerLookup
from edgekit.trust.layout import ROOT, TIMESTAMP, TIMESTAMP_FILE, metadata_file
from edgekit.trust.limits import Limits
from edgekit.trust.lock import exclusive
from edgekit.trust.payload import Metadata, Targets
from edgekit.trust.shelf import Shelf


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What a change has written; empty when there was nothing to change."""

    signed_by: Mapping[str, tuple[str, ...]]  # role -> ids of the keys that signed
    files: tuple[str, ...]


class Revisions:
    """The signed states of the repository in `folder`, one after the other."""

    def __init__(
        self, folder: Path, files: Shelf, *, lifetimes: Lifetimes, limits: Limits
    ) -> None:
        self._folder = folder
        self._files = files
        self._lifetimes = lifetimes
        self._limits = limits

    def current(self) -> Generation:
        """Return the present state, verified; TrustError or StoreError otherwise."""
        return load(self._files)

    def draft(self, current: Generation) -> Draft:
        """Return the state that may follow, nothing changed in it yet."""
        return Draft(current, lambda role: self._next_version(role, current))

    def terms(self, signers: SignerLookup, now: datetime) -> Terms:
        """Return the terms under which a state is signed now."""
        return Terms(
            signers=signers, now=now, lifetimes=self._lifetimes, limits=self._limits
        )

    def found(self, founding: Generation, signers: SignerLookup, now: datetime) -> None:
        """Sign and write the first state; ConfigError when there is one already."""
        with exclusive(self._folder / "lock"):
            if self._files.file(TIMESTAMP_FILE, 0) is not None:
                raise ConfigError(f"{self._folder}: there is a repository in it already")
            draft = Draft(founding, lambda _role: 1)
            self._write(draft.sign(self.terms(signers, now)))

    def make(
        self,
        change: Callable[[Draft, Generation], None],
        signers: SignerLookup,
        now: datetime,
    ) -> Publication:
        """Make the next state: `change` drafts it on the present one. One at a time."""
        with exclusive(self._folder / "lock"):
            current = self.current()
            draft = self.draft(current)
            change(draft, current)
            if not draft.changed:
                return Publication(signed_by={}, files=())
            signed = draft.sign(self.terms(signers, now))
            self._write(signed)
            self._sweep(keep=current.names() | self.current().names())
            return Publication(
                signed_by=signed.signed_by, files=tuple(name for name, _ in signed.files)
            )

    def refuse_used(
        self, role: str, metadata: Metadata[Targets], current: Generation
    ) -> None:
        """Raise ConfigError where a version that a depot may have served said otherwise.

        It stands for one content for ever. One that leaves others out is refused too: it
        may be the last, and devices never go back.
        """
        version, following = metadata.signed.version, self._next_version(role, current)
        name = metadata_file(role, version)
        if self._files.file(name, 0) is None:
            used = version < following
        else:
            used = self._files.read(name) != metadata.to_bytes()
        if used:
            raise ConfigError(
                f"{role}: version {version} was used meanwhile; propose it again"
            )
        if version > following:
            raise ConfigError(
                f"{role}: version {version} is proposed, {following} is the next one;"
                " propose it again"
            )

    def _next_version(self, role: str, current: Generation) -> int:
        """Never a number that a change cut short has used: a depot may have served it."""
        if role == TIMESTAMP:
            return current.version(role) + 1
        numbers = (
            name.removesuffix(f".{role}.json")
            for name in self._files.names()
            if name.endswith(f".{role}.json")
        )
        return max((int(n) for n in numbers if n.isdecimal()), default=0) + 1

    def _write(self, signed: SignedDraft) -> None:
        for name, data in signed.files:
            self._files.write(name, data)

    def _sweep(self, keep: frozenset[str]) -> None:
        """Remove what neither this state nor the one before is made of.

        A device in the middle of a refresh still finishes with the state before.
        """
        for name in self._files.names() - keep:
            if not name.startswith("index/") and not name.endswith(f".{ROOT}.json"):
                self._files.remove(name)
