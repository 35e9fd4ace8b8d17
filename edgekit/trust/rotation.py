"""Give a role another key, or a new one for an old one: key file and repository together.

Knows no command line. A key file is made first, so that nothing is ever signed for a key
that a crash could lose; when nothing could be signed, it is taken away again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from edgekit.errors import ConfigError
from edgekit.trust.keys import KeyFile, KeyFolder, SignerLookup
from edgekit.trust.layout import short
from edgekit.trust.payload import Key, Signer
from edgekit.trust.repository import Publication, Repository
from edgekit.trust.roles import RoleKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """The new key, and the id of the one that no longer signs, if one was replaced."""

    made: KeyFile
    revoked: str | None
    publication: Publication


@dataclass(frozen=True, slots=True, kw_only=True)
class Locksmith:
    """Makes keys in `folder`; `elsewhere` finds signers that are kept in other places."""

    repository: Repository
    folder: KeyFolder
    passphrase: str
    now: datetime
    elsewhere: tuple[KeyFolder, ...] = ()

    def add(self, role: str, *, threshold: int | None = None) -> Rotated:
        """Let another key sign for a role, and set how many must (as before by default)."""
        present = self._present(role)
        with self._new_key(role) as made:
            keys = RoleKeys(
                keys=(*present.keys, made.key), threshold=threshold or present.threshold
            )
            done = self._set(role, keys)
            return Rotated(made=made, revoked=None, publication=done)

    def rotate(self, role: str, *, keyid: str | None = None) -> Rotated:
        """Let a new key sign for a role instead of one whose id starts with `keyid`.

        `keyid` may be left out where the role has one key only.
        """
        present = self._present(role)
        leaving = _chosen(role, present, keyid)
        with self._new_key(role) as made:
            staying = tuple(key for key in present.keys if key != leaving)
            keys = RoleKeys(keys=(*staying, made.key), threshold=present.threshold)
            done = self._set(role, keys)
            return Rotated(made=made, revoked=leaving.keyid, publication=done)

    def add_stage(self, stage: str, role: str) -> Rotated:
        """Give the fleet another stage, whose role signs with a new key."""
        with self._new_key(role) as made:
            keys = RoleKeys(keys=(made.key,))
            done = self.repository.add_stage(
                stage, keys, signers=self.signers(), now=self.now
            )
            return Rotated(made=made, revoked=None, publication=done)

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

    def _set(self, role: str, keys: RoleKeys) -> Publication:
        return self.repository.set_keys(role, keys, signers=self.signers(), now=self.now)

    @contextmanager
    def _new_key(self, role: str) -> Iterator[KeyFile]:
        made = self.folder.generate(role, passphrase=self.passphrase)
        try:
            yield made
        except ConfigError:  # raised before anything is written; other errors may not be
            made.path.unlink(missing_ok=True)
            raise


def _chosen(role: str, present: RoleKeys, keyid: str | None) -> Key:
    found = [key for key in present.keys if key.keyid.startswith(keyid or "")]
    if len(found) != 1:
        known = ", ".join(short(key.keyid) for key in present.keys)
        raise ConfigError(
            f"{role}: {len(found)} of its keys start with {keyid or 'nothing'!r}, one is"
            f" expected; its keys: {known}"
        )
    return found[0]
