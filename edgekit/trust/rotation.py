"""Change a role's keys: add, replace or revoke one; key file and repository together.

Knows no command line. A key file is made first, so that nothing is ever signed for a key
that a crash could lose; when nothing could be signed, it is taken away again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from edgekit.errors import ConfigError
from edgekit.trust.draft import Signing
from edgekit.trust.key_proposal import KeyProposal
from edgekit.trust.keys import KeyFile, KeyFolder, Origin, SignerLookup
from edgekit.trust.layout import short
from edgekit.trust.payload import CryptoSigner, Key, Signer
from edgekit.trust.repository import Repository
from edgekit.trust.revision import Publication
from edgekit.trust.roles import RoleKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Add:
    """Let one more key sign; `threshold` None leaves how many must as it is."""

    role: str
    threshold: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replace:
    """Let a new key sign instead of the one whose id starts with `keyid`.

    `keyid` may be "" where the role has one key only; so below.
    """

    role: str
    keyid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoke:
    """Let a key sign no more, and no other for it."""

    role: str
    keyid: str = ""
    threshold: int | None = None


KeyChange = Add | Replace | Revoke


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The new key, if one was made; the id of the one that no longer signs, if any."""

    made: KeyFile | None
    revoked: str | None
    publication: Publication


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a change would do. `here`: ids of the keys whose files are at hand.

    The key that would be made stands in it under an id of the moment, and is here.
    """

    role: str
    before: RoleKeys
    after: RoleKeys
    signings: tuple[Signing, ...]
    here: frozenset[str]

    def lacks(self, keys: RoleKeys) -> int:
        """Return how many signatures of these keys could not be given now."""
        return max(0, keys.threshold - len(self.here & set(keys.keyids)))

    @property
    def possible(self) -> bool:
        """Whether all signatures could be given now."""
        return not any(self.lacks(keys) for one in self.signings for keys in one.by)


@dataclass(frozen=True, slots=True, kw_only=True)
class Locksmith:
    """Makes keys in `folder`; `elsewhere` finds signers that are kept in other places.

    `origin` says where the private half of a new key is, None to make a key file.
    """

    repository: Repository
    folder: KeyFolder
    passphrase: str
    now: datetime
    elsewhere: tuple[KeyFolder, ...] = ()
    origin: Origin | None = None

    def change(self, change: KeyChange) -> Changed:
        """Carry a change out, or raise ConfigError and leave everything as it was."""
        present = self._present(change.role)
        leaving = _leaving(change, present)
        with self._new_key(change) as made:
            after = _after(change, present, leaving, made.key if made else None)
            done = self.repository.set_keys(
                change.role, after, signers=self.signers(), now=self.now
            )
            revoked = leaving.keyid if leaving else None
            return Changed(made=made, revoked=revoked, publication=done)

    def propose(self, change: KeyChange, *, theirs: Key | None = None) -> KeyProposal:
        """Return a change for others to sign, or raise ConfigError.

        `theirs` is the new key where somebody else holds it; without it one is made here
        and stays, though nobody knows it before the proposal is published.
        """
        present = self._present(change.role)
        leaving = _leaving(change, present)
        if theirs is not None or isinstance(change, Revoke):
            return self._proposed(change, _after(change, present, leaving, theirs))
        with self._new_key(change) as made:
            after = _after(change, present, leaving, made.key if made else None)
            return self._proposed(change, after)

    def _proposed(self, change: KeyChange, after: RoleKeys) -> KeyProposal:
        return self.repository.propose_keys(
            change.role, after, signers=self.signers(), now=self.now
        )

    def preview(self, change: KeyChange) -> Preview:
        """Return what change() would do. Signs, writes and decrypts nothing."""
        present = self._present(change.role)
        leaving = _leaving(change, present)
        new = None
        if not isinstance(change, Revoke):
            new = CryptoSigner.generate_ed25519().public_key
        after = _after(change, present, leaving, new)
        folders = (self.folder, *self.elsewhere)
        here = {file.key.keyid for folder in folders for file in folder.files()}
        return Preview(
            role=change.role,
            before=present,
            after=after,
            signings=self.repository.preview_keys(change.role, after),
            here=frozenset(here | ({new.keyid} if new else set())),
        )

    def add_stage(self, stage: str, role: str) -> Changed:
        """Give the fleet another stage, whose role signs with a new key."""
        with self._new_key(Add(role=role)) as made:
            if made is None:  # pragma: no cover - Add makes one
                raise ConfigError(f"{role}: a key is expected")
            keys = RoleKeys(keys=(made.key,))
            done = self.repository.add_stage(
                stage, keys, signers=self.signers(), now=self.now
            )
            return Changed(made=made, revoked=None, publication=done)

    def signers(self) -> SignerLookup:
        """Return a look-up through all folders."""
        lookups = [f.signers(self.passphrase) for f in (self.folder, *self.elsewhere)]

        def look_up(keyid: str) -> Signer | None:
            found = (lookup(keyid) for lookup in lookups)
            return next((signer for signer in found if signer is not None), None)

        return look_up

    def _present(self, role: str) -> RoleKeys:
        states = {state.role: state.keys for state in self.repository.roles()}
        if role not in states:
            raise ConfigError(f"{role}: no such role; known: {', '.join(states)}")
        return states[role]

    @contextmanager
    def _new_key(self, change: KeyChange) -> Iterator[KeyFile | None]:
        if isinstance(change, Revoke):
            yield None
            return
        if self.origin is None:
            made = self.folder.generate(change.role, passphrase=self.passphrase)
        else:
            made = self.folder.adopt(change.role, self.origin, passphrase=self.passphrase)
        try:
            yield made
        except ConfigError:  # raised before anything is written; other errors may not be
            made.path.unlink(missing_ok=True)
            raise


def _leaving(change: KeyChange, present: RoleKeys) -> Key | None:
    match change:
        case Add():
            return None
        case Replace() | Revoke():
            return _chosen(change.role, present, change.keyid)
        case _ as never:
            assert_never(never)


def _after(
    change: KeyChange, present: RoleKeys, leaving: Key | None, new: Key | None
) -> RoleKeys:
    """Return the keys of the role after a change; ConfigError when nobody could sign."""
    staying = tuple(key for key in present.keys if key != leaving)
    asked = None if isinstance(change, Replace) else change.threshold
    threshold = asked or present.threshold
    keys = staying if new is None else (*staying, new)
    if threshold > len(keys):
        raise ConfigError(
            f"{change.role}: {len(keys)} of its keys would be left and {threshold} must"
            " sign, so nobody could any more; add a key first, or lower the threshold"
            " with --threshold"
        )
    return RoleKeys(keys=keys, threshold=threshold)


def _chosen(role: str, present: RoleKeys, keyid: str) -> Key:
    found = [key for key in present.keys if key.keyid.startswith(keyid)]
    if len(found) != 1:
        known = ", ".join(short(key.keyid) for key in present.keys)
        raise ConfigError(
            f"{role}: {len(found)} of its keys start with {keyid or 'nothing'!r}, one is"
            f" expected; its keys: {known}"
        )
    return found[0]
