"""A change of keys that still lacks signatures, as a file that people hand each other.

The sister of edgekit.trust.proposal: that one changes statements and no key, this one
keys and no statement. Knows no folders and no secrets. It carries the signed state that it
stands on, so that what would change can be told far from the fleet's folder, and nothing
else can hide in it. docs/formats/proposal.md describes the file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

from edgekit.document import Reader, canonical_json
from edgekit.errors import ConfigError, TrustError
from edgekit.trust.generation import Generation
from edgekit.trust.keys import SignerLookup
from edgekit.trust.layout import FLEET_FIELD, ROOT, TARGETS, short
from edgekit.trust.payload import Metadata, Root, Targets
from edgekit.trust.proposal import MAX_BYTES, Proposal
from edgekit.trust.roles import RoleKeys, delegator_of, keys_of
from edgekit.trust.sent import (
    Signable,
    check_signed,
    document,
    root_from,
    root_in,
    targets_in,
)

FORMAT = 2
KIND = "keys"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChange:
    """The keys of a role before and after."""

    role: str
    before: RoleKeys
    after: RoleKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """A role that gets a new version: of each set of keys that must sign it, who has."""

    role: str
    version: int
    by: tuple[RoleKeys, ...]
    signed_by: tuple[str, ...]

    def lacking(self, keys: RoleKeys) -> int:
        """Return how many signatures of these keys are still to come."""
        return max(0, keys.threshold - len(set(self.signed_by) & set(keys.keyids)))

    @property
    def lacks(self) -> int:
        """How many signatures are still to come, at least."""
        return max(map(self.lacking, self.by))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyProposal:
    """New metadata of roles that name keys, and of those whose keys they are.

    `root` and `targets` are the newest published ones, `base` the published metadata of
    the delegated roles in `roles`. `new_root` is None where the root does not change.
    """

    root: Metadata[Root]
    targets: Metadata[Targets]
    base: Mapping[str, Metadata[Targets]]
    new_root: Metadata[Root] | None
    roles: Mapping[str, Metadata[Targets]]

    @property
    def fleet(self) -> str:
        """The fleet's name."""
        return str(self.root.signed.unrecognized_fields[FLEET_FIELD])

    @property
    def complete(self) -> bool:
        """Whether every role has the signatures it needs."""
        return not any(one.lacks for one in self.gathered())

    def key_changes(self) -> tuple[KeyChange, ...]:
        """Return which roles' keys would be others."""
        names = (*self.root.signed.roles, *_delegated(self.targets.signed))
        found = (
            KeyChange(
                role=role,
                before=keys_of(self._before(delegator_of(role)), role),
                after=keys_of(self._after(delegator_of(role)), role),
            )
            for role in names
        )
        return tuple(one for one in found if one.before != one.after)

    def gathered(self) -> tuple[Gathered, ...]:
        """Return what is to be signed, and the signatures that are there and right."""
        return tuple(self._gathered(role) for role in self._new())

    def sign(self, signers: SignerLookup) -> "KeyProposal":
        """Return it with the signatures that these keys can add, up to the thresholds.

        ConfigError when they can add none.
        """
        new = {role: _copied(metadata) for role, metadata in self._new().items()}
        added = sum(_add(new[one.role], one, signers) for one in self.gathered())
        if not added and not self.complete:
            wanted = {
                short(keyid)
                for one in self.gathered()
                for keys in one.by
                for keyid in keys.keyids
                if one.lacking(keys) and keyid not in one.signed_by
            }
            raise ConfigError(
                "none of the keys here can sign it; wanted is one of"
                f" {', '.join(sorted(wanted))}"
            )
        new_root = new.pop(ROOT, None)
        return replace(
            self,
            new_root=cast("Metadata[Root] | None", new_root),
            roles=cast("dict[str, Metadata[Targets]]", new),
        )

    def refuse_unlike(self, current: Generation) -> None:
        """Raise ConfigError unless it stands on this state and is signed in full."""
        for one in self.gathered():
            if one.lacks:
                raise ConfigError(
                    f"{one.role}: {one.lacks} signatures are missing; have it signed by"
                    " `edgekit sign` first"
                )
        standing: dict[str, Signable] = {ROOT: current.root, **current.roles}
        stood_on: dict[str, Signable] = {ROOT: self.root, TARGETS: self.targets}
        stood_on.update(self.base)
        for role, metadata in stood_on.items():
            if role not in standing or standing[role].signed != metadata.signed:
                raise ConfigError(
                    f"{role}: the fleet has changed since this was proposed; propose it"
                    " again"
                )

    def refuse_other_root(self, trusted: bytes) -> None:
        """Raise TrustError unless this root, or one that it signed, is the proposal's."""
        known = root_from(trusted, subject="root")
        if known.signed != self.root.signed:
            check_signed(known.signed, ROOT, self.root)

    def to_json(self) -> bytes:
        """Encode canonically."""
        return canonical_json(
            {
                "format": FORMAT,
                "kind": KIND,
                "root": document(self.root),
                "targets": document(self.targets),
                "base": {role: document(one) for role, one in self.base.items()},
                "new_root": self.new_root and document(self.new_root),
                "roles": {role: document(one) for role, one in self.roles.items()},
            }
        )

    @classmethod
    def from_reader(cls, reader: Reader) -> "KeyProposal":
        """Take over and verify, or raise TrustError: whoever sent it may be anybody."""
        if reader.integer("format", least=1) > FORMAT:
            raise TrustError(f"proposal: a newer format than {FORMAT}; update edgekit")
        changes_root = reader.table.get("new_root") is not None
        found = cls(
            root=root_in(reader.child("root"), subject="proposal: root"),
            targets=targets_in(reader.child("targets"), TARGETS),
            base={
                role: targets_in(one, role) for role, one in reader.named("base").items()
            },
            new_root=root_in(reader.child("new_root"), subject="proposal: new root")
            if changes_root
            else None,
            roles={
                role: targets_in(one, role) for role, one in reader.named("roles").items()
            },
        )
        found.verify()
        return found

    def verify(self) -> None:
        """Raise TrustError unless the state it stands on is signed and only keys change."""
        check_signed(self.root.signed, ROOT, self.root)
        check_signed(self.root.signed, TARGETS, self.targets)
        for role, metadata in self.base.items():
            check_signed(self.targets.signed, role, metadata)
        if set(self.roles) != (set(self.roles) & {TARGETS}) | set(self.base):
            raise TrustError("proposal: new metadata and what it stands on do not match")
        for role, new in self._new().items():
            before = self._before(role)
            if new.signed.version <= before.version:
                raise TrustError(
                    f"proposal: {role}: version {new.signed.version} is not newer"
                )
            if _without_keys(new.signed) != _without_keys(before):
                raise TrustError(f"proposal: {role}: it changes more than keys")
        if self.new_root and self.new_root.signed.version != self.root.signed.version + 1:
            raise TrustError("proposal: root: the next version is expected")
        try:
            changes, _ = self.key_changes(), self.gathered()
        except (ConfigError, ValueError) as error:
            raise TrustError(f"proposal: keys that could never sign: {error}") from error
        if not changes:
            raise TrustError("proposal: it changes no keys")

    def _new(self) -> dict[str, Signable]:
        new: dict[str, Signable] = {}
        if self.new_root is not None:
            new[ROOT] = self.new_root
        new.update((role, self.roles[role]) for role in sorted(self.roles))
        return new

    def _before(self, role: str) -> Root | Targets:
        if role == ROOT:
            return self.root.signed
        return self.targets.signed if role == TARGETS else self.base[role].signed

    def _after(self, role: str) -> Root | Targets:
        new = self._new()
        return new[role].signed if role in new else self._before(role)

    def _delegators(self, role: str) -> tuple[Root | Targets, ...]:
        """Return who names the keys that must sign: the old root too for a new one."""
        after = self._after(delegator_of(role))
        return (self.root.signed, after) if role == ROOT else (after,)

    def _gathered(self, role: str) -> Gathered:
        metadata = self._new()[role]
        right: list[str] = []
        for delegator in self._delegators(role):
            result = delegator.get_verification_result(
                role, metadata.signed_bytes, metadata.signatures
            )
            right += result.signed
        return Gathered(
            role=role,
            version=metadata.signed.version,
            by=tuple(dict.fromkeys(keys_of(d, role) for d in self._delegators(role))),
            signed_by=tuple(dict.fromkeys(right)),
        )


def _add(metadata: Signable, gathered: Gathered, signers: SignerLookup) -> int:
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


def _copied(metadata: Signable) -> Signable:
    if isinstance(metadata.signed, Root):
        return Metadata[Root].from_bytes(metadata.to_bytes())
    return Metadata[Targets].from_bytes(metadata.to_bytes())


def _without_keys(signed: Root | Targets) -> dict[str, object]:
    """Return all that a role says but who signs for which role, and its own version."""
    said = dict(signed.to_dict())
    for changing in ("version", "expires", "keys"):
        said.pop(changing, None)
    if isinstance(signed, Root):
        return {**said, "roles": sorted(signed.roles)}
    delegations = dict(said.get("delegations") or {})
    delegations.pop("keys", None)
    kept = ("name", "paths", "terminating", "path_hash_prefixes")
    roles = [{k: one.get(k) for k in kept} for one in delegations.get("roles", [])]
    return {**said, "delegations": {**delegations, "roles": roles}}


def _delegated(targets: Targets) -> tuple[str, ...]:
    return tuple((targets.delegations.roles if targets.delegations else None) or ())


def parse(data: bytes) -> Proposal | KeyProposal:
    """Parse and verify a proposal of either kind, or raise TrustError."""
    if len(data) > MAX_BYTES:
        raise TrustError(f"proposal: {len(data)} bytes, up to {MAX_BYTES} are read")
    reader = Reader.from_json(data, subject="proposal", error=TrustError)
    if reader.table.get("kind") == KIND:
        return KeyProposal.from_reader(reader)
    return Proposal.from_json(data)
