"""Whose keys a proposal would change, and who has signed it so far. Knows no file."""

from dataclasses import dataclass
from datetime import datetime

from edgekit.trust.keys import SignerLookup
from edgekit.trust.roles import RoleKeys
from edgekit.trust.sent import Signable


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChange:
    """The keys of a role before and after; `before` is None for one that is new."""

    role: str
    before: RoleKeys | None
    after: RoleKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """A role that gets a new version: of each set of keys that must sign it, who has.

    `before` is the version as published, 0 for a role that is new.
    """

    role: str
    before: int
    version: int
    expires: datetime
    by: tuple[RoleKeys, ...]
    signed_by: tuple[str, ...]

    def lacking(self, keys: RoleKeys) -> int:
        """Return how many signatures of these keys are still to come."""
        return max(0, keys.threshold - len(set(self.signed_by) & set(keys.keyids)))

    @property
    def lacks(self) -> int:
        """How many signatures are still to come, at least."""
        return max(map(self.lacking, self.by))


def add_signatures(metadata: Signable, gathered: Gathered, signers: SignerLookup) -> int:
    """Add the signatures that are missing and at hand; return how many."""
    there = set(gathered.signed_by)
    for keys in gathered.by:
        for keyid in keys.keyids:
            enough = len(there & set(keys.keyids)) >= keys.threshold
            signer = None if enough or keyid in there else signers(keyid)
            if signer is not None:
                metadata.sign(signer, append=True)
                there.add(keyid)
    return len(there) - len(gathered.signed_by)
