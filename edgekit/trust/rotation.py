"""Change a role's keys: add, replace or revoke one, renew; key file and repository.

Knows no command line. A key file is made first, so that nothing is ever signed for a key
that a crash could lose; when nothing could be signed, it is taken away again.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from edgekit.errors import ConfigError, StoreError
from edgekit.trust.draft import Signing
from edgekit.trust.key_proposal import KeyProposal
from edgekit.trust.keys import KeyFile, KeyFolder, Origin, SignerLookup
from edgekit.trust.layout import short
from edgekit.trust.payload import CryptoSigner, Key, Signer
from edgekit.trust.redraft import (
    Redraft,
    founding,
    naming,
    path_of_new,
    renewing,
)
from edgekit.trust.repository import ONLINE_ROLES, Repository
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Let the fleet have a stage more, whose role `role` signs with a key that is new."""

    role: str


KeyChange = Add | Replace | Revoke | Found


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
    `before` is None for a role that is new, `after` too where signatures are renewed.
    """

    role: str
    before: RoleKeys | None
    after: RoleKeys | None
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
        step = self._step(change)
        with self._new_key(change) as made:
            redraft = step.redraft(made.key if made else None)
            done = self.repository.redraft(redraft, signers=self.signers(), now=self.now)
            revoked = step.leaving.keyid if step.leaving else None
            return Changed(made=made, revoked=revoked, publication=done)

    @contextmanager
    def proposed(
        self, change: KeyChange, *, theirs: Key | None = None
    ) -> Iterator[KeyProposal]:
        """Yield a change for others to sign, or raise ConfigError.

        `theirs` is the new key where somebody else holds it; without it one is made here,
        which stays though nobody knows it before the proposal is published. It is taken
        away again when the proposal cannot be kept: when StoreError is raised within.
        """
        step = self._step(change)
        if theirs is not None:
            yield self._propose(step.redraft(theirs))
            return
        with self._new_key(change) as made:
            proposal = self._propose(step.redraft(made.key if made else None))
            try:
                yield proposal
            except StoreError:
                if made:
                    made.path.unlink(missing_ok=True)
                raise

    def preview(self, change: KeyChange) -> Preview:
        """Return what change() would do. Signs, writes and decrypts nothing."""
        step = self._step(change)
        new = None
        if not isinstance(change, Revoke):
            new = CryptoSigner.generate_ed25519().public_key
        return Preview(
            role=change.role,
            before=step.present,
            after=step.after(new),
            signings=self.repository.preview(step.redraft(new)),
            here=self._here() | ({new.keyid} if new else set()),
        )

    def renew(self, roles: Sequence[str]) -> Publication:
        """Sign roles anew, those kept fresh by default, or raise ConfigError."""
        return self.repository.redraft(
            renewing(roles or ONLINE_ROLES), signers=self.signers(), now=self.now
        )

    def proposed_renewal(self, roles: Sequence[str]) -> KeyProposal:
        """Return the same for others to sign, or raise ConfigError."""
        fresh = [role for role in roles if role in ONLINE_ROLES]
        if fresh or not roles:
            raise ConfigError(
                f"{', '.join(fresh) or 'roles'}: those whose keys are elsewhere are"
                f" expected; {' and '.join(ONLINE_ROLES)} are renewed without a proposal"
            )
        return self._propose(renewing(roles))

    def preview_renewal(self, roles: Sequence[str]) -> Preview:
        """Return what renew() would do. Signs, writes and decrypts nothing."""
        named = tuple(roles or ONLINE_ROLES)
        return Preview(
            role=", ".join(named),
            before=None,
            after=None,
            signings=self.repository.preview(renewing(named)),
            here=self._here(),
        )

    def _propose(self, redraft: Redraft) -> KeyProposal:
        return self.repository.propose_keys(redraft, signers=self.signers(), now=self.now)

    def _here(self) -> frozenset[str]:
        folders = (self.folder, *self.elsewhere)
        return frozenset(file.key.keyid for folder in folders for file in folder.files())

    def _step(self, change: KeyChange) -> "_Step":
        states = {state.role: state.keys for state in self.repository.roles()}
        if isinstance(change, Found):
            if change.role in states:
                raise ConfigError(f"{change.role}: exists already in this fleet")
            path_of_new(change.role)
            return _Step(change=change, present=None, leaving=None)
        if change.role not in states:
            raise ConfigError(f"{change.role}: no such role; known: {', '.join(states)}")
        present = states[change.role]
        return _Step(change=change, present=present, leaving=_leaving(change, present))

    def signers(self) -> SignerLookup:
        """Return a look-up through all folders."""
        lookups = [f.signers(self.passphrase) for f in (self.folder, *self.elsewhere)]

        def look_up(keyid: str) -> Signer | None:
            found = (lookup(keyid) for lookup in lookups)
            return next((signer for signer in found if signer is not None), None)

        return look_up

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A change on what there is: the role's keys, and the one of them that goes."""

    change: KeyChange
    present: RoleKeys | None
    leaving: Key | None

    def redraft(self, new: Key | None) -> Redraft:
        """Return what is done to the roles, with a new key."""
        after = self.after(new)
        if self.present is None:
            return founding(self.change.role, after)
        return naming(self.change.role, after)

    def after(self, new: Key | None) -> RoleKeys:
        """Return the keys afterwards; ConfigError when nobody could sign."""
        present, role = self.present, self.change.role
        staying = () if present is None else present.keys
        keys = (*(k for k in staying if k != self.leaving), *([] if new is None else [new]))
        asked = self.change.threshold if isinstance(self.change, Add | Revoke) else None
        threshold = asked or (1 if present is None else present.threshold)
        if threshold > len(keys):
            raise ConfigError(
                f"{role}: {len(keys)} of its keys would be left and {threshold} must"
                " sign, so nobody could any more; add a key first, or lower the threshold"
                " with --threshold"
            )
        return RoleKeys(keys=keys, threshold=threshold)


def _leaving(change: Add | Replace | Revoke, present: RoleKeys) -> Key | None:
    match change:
        case Add():
            return None
        case Replace() | Revoke():
            return _chosen(change.role, present, change.keyid)
        case _ as never:
            assert_never(never)


def _chosen(role: str, present: RoleKeys, keyid: str) -> Key:
    found = [key for key in present.keys if key.keyid.startswith(keyid)]
    if len(found) != 1:
        known = ", ".join(short(key.keyid) for key in present.keys)
        raise ConfigError(
            f"{role}: {len(found)} of its keys start with {keyid or 'nothing'!r}, one is"
            f" expected; its keys: {known}"
        )
    return found[0]
