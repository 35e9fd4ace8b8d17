"""A change of keys that still lacks signatures, as a file that people hand each other.

The sister of edgekit.trust.proposal: that one changes statements and no key, this one
keys and no statement; or nothing but dates, where signatures are renewed. Knows no folders
and no secrets. It carries the signed state that it stands on, so that what would change
can be told far from the fleet's folder, and nothing else can hide in it (see
edgekit.trust.sameness). docs/formats/proposal.md describes the file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import cast

from edgekit.document import Reader, canonical_json
from edgekit.errors import ConfigError, TrustError
from edgekit.trust.delegation import delegated
from edgekit.trust.gathered import Gathered, KeyChange, add_signatures
from edgekit.trust.generation import Generation
from edgekit.trust.keys import SignerLookup
from edgekit.trust.layout import FLEET_FIELD, ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from edgekit.trust.payload import Metadata, Root, Targets
from edgekit.trust.proposal import MAX_BYTES, Proposal
from edgekit.trust.roles import delegator_of, keys_of
from edgekit.trust.sameness import refuse_more_than_keys, refuse_statements
from edgekit.trust.sent import (
    Signable,
    check_root,
    check_signed,
    document,
    keep_signatures,
    none_can_sign,
    refuse_expired,
    refuse_other_fleet,
    root_in,
    targets_in,
)

FORMAT = 2
KIND = "keys"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyProposal:
    """New metadata of roles that name keys, and of those whose keys they are.

    `root` and `targets` are the newest published ones, `base` the published metadata of
    the delegated roles in `roles`, which a role of a new stage has none of. `new_root` is
    None where the root does not change.
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

    @property
    def founded(self) -> frozenset[str]:
        """The roles of stages that do not exist yet."""
        return frozenset(self.roles) - {TARGETS} - set(self.base)

    def key_changes(self) -> tuple[KeyChange, ...]:
        """Return which roles' keys would be others; none where signatures are renewed."""
        named = (*self.root.signed.roles, *delegated(self.targets.signed))
        changes = [
            KeyChange(
                role=role,
                before=keys_of(self._before(delegator_of(role)), role),
                after=keys_of(self._after(delegator_of(role)), role),
            )
            for role in named
        ]
        changes += [
            KeyChange(role=role, before=None, after=keys_of(self._after(TARGETS), role))
            for role in sorted(self.founded)
        ]
        return tuple(one for one in changes if one.before != one.after)

    def gathered(self) -> tuple[Gathered, ...]:
        """Return what is to be signed, and the signatures that are there and right."""
        return tuple(self._gathered(role) for role in self._new())

    def sign(self, signers: SignerLookup) -> "KeyProposal":
        """Return it with the signatures that these keys can add, up to the thresholds.

        ConfigError when they can add none.
        """
        new = {role: _copied(metadata) for role, metadata in self._new().items()}
        added = sum(add_signatures(new[one.role], one, signers) for one in self.gathered())
        if not added and not self.complete:
            raise none_can_sign(
                wanted=[
                    keyid
                    for one in self.gathered()
                    for keys in one.by
                    for keyid in keys.keyids
                    if one.lacking(keys) and keyid not in one.signed_by
                ],
                signed=[k for one in self.gathered() for k in one.signed_by if signers(k)],
            )
        new_root = new.pop(ROOT, None)
        return replace(
            self,
            new_root=cast("Metadata[Root] | None", new_root),
            roles=cast("dict[str, Metadata[Targets]]", new),
        )

    def expired(self, now: datetime) -> bool:
        """Whether devices would refuse what it says for its date."""
        return any(one.expires <= now for one in self.gathered())

    def refuse_unlike(self, current: Generation, now: datetime) -> None:
        """Raise ConfigError unless it stands on this state and is signed in full."""
        refuse_other_fleet(self.root, current)
        for one in self.gathered():
            if one.lacks:
                raise ConfigError(
                    f"{one.role}: {one.lacks} signatures are missing; have it signed by"
                    " `edgekit sign` first"
                )
        standing: dict[str, Signable] = {ROOT: current.root, **current.roles}
        new = self._new()
        if self.published(current):
            raise ConfigError(f"{', '.join(new)}: published already; nothing is left to do")
        for one in self.gathered():
            refuse_expired(one.role, one.expires, now)
        stood_on: dict[str, Signable] = {ROOT: self.root, TARGETS: self.targets}
        stood_on.update(self.base)
        if self.begun(current):
            del stood_on[ROOT]
        moved = [
            r for r, metadata in stood_on.items() if not _same(standing.get(r), metadata)
        ]
        for role in (*moved, *sorted(self.founded & set(standing))):
            raise ConfigError(
                f"{role}: the fleet has changed since this was proposed; propose it again"
            )

    def published(self, current: Generation) -> bool:
        """Whether nothing of it is left to be published.

        Of a new root alone that cannot be told: no timestamp says which root is the last.
        """
        return (
            bool(self.roles)
            and not current.stale
            and (self.new_root is None or self.begun(current))
            and all(_same(current.roles.get(r), self.roles[r]) for r in self.roles)
        )

    def begun(self, current: Generation) -> bool:
        """Whether its root is the fleet's, as after a publication that was cut short."""
        return self.new_root is not None and _same(current.root, self.new_root)

    def refuse_other_root(self, trusted: bytes) -> None:
        """Raise TrustError unless this root, or one that it signed, is the proposal's."""
        check_root(trusted, self.root)

    def stands_with(self, other: object) -> bool:
        """Whether another change of keys stands on the same state."""
        return (
            isinstance(other, KeyProposal)
            and self.root.signed == other.root.signed
            and self.targets.signed == other.targets.signed
            and all(
                _same(self.base[role], other.base[role])
                for role in set(self.base) & set(other.base)
            )
        )

    def says_as(self, other: object) -> bool:
        """Whether another changes the same, on the same state; dates aside."""
        return (
            isinstance(other, KeyProposal)
            and self.stands_with(other)
            and self.key_changes() == other.key_changes()
            and self.versions() == other.versions()
        )

    def versions(self) -> dict[str, int]:
        """Return the version that each new metadata has."""
        return {role: new.signed.version for role, new in self._new().items()}

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
        """Raise TrustError unless the state it stands on is signed and only keys change.

        Signatures that are not right, or nobody's that counts, are left out.
        """
        check_signed(self.root.signed, ROOT, self.root)
        check_signed(self.root.signed, TARGETS, self.targets)
        for role, metadata in self.base.items():
            check_signed(self.targets.signed, role, metadata)
        if not set(self.base) <= set(self.roles) or TARGETS in self.base:
            raise TrustError("proposal: new metadata and what it stands on do not match")
        if self.new_root and self.new_root.signed.version != self.root.signed.version + 1:
            raise TrustError("proposal: root: the next version is expected")
        self._refuse_more_than_keys()
        try:
            self._refuse_unsigned()
            for one in self.gathered():
                keep_signatures(self._new()[one.role], one.signed_by)
        except (ConfigError, ValueError) as error:
            raise TrustError(f"proposal: keys that could never sign: {error}") from error

    def _refuse_more_than_keys(self) -> None:
        new = self._new()
        if not new:
            raise TrustError("proposal: it changes no keys and renews no signatures")
        if self.founded and TARGETS not in new:
            raise TrustError(f"proposal: {', '.join(self.founded)}: nobody delegates to it")
        for role in new:
            if role in self.founded:
                refuse_statements(role, self.roles[role].signed, self.fleet)
            else:
                before, after = self._before(role), self._after(role)
                founded = self.founded if role == TARGETS else frozenset()
                refuse_more_than_keys(role, before, after, founded=founded)

    def _refuse_unsigned(self) -> None:
        """Whose keys change must be signed anew by them, or nothing could be read again."""
        for change in self.key_changes():
            if change.role not in {SNAPSHOT, TIMESTAMP, *self._new()}:
                raise TrustError(
                    f"proposal: {change.role}: its keys change, new metadata of it is"
                    " expected, signed by them"
                )

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

    def _version_before(self, role: str) -> int:
        return 0 if role in self.founded else self._before(role).version

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
            before=self._version_before(role),
            version=metadata.signed.version,
            expires=metadata.signed.expires,
            by=tuple(dict.fromkeys(keys_of(d, role) for d in self._delegators(role))),
            signed_by=tuple(dict.fromkeys(right)),
        )


def _copied(metadata: Signable) -> Signable:
    if isinstance(metadata.signed, Root):
        return Metadata[Root].from_bytes(metadata.to_bytes())
    return Metadata[Targets].from_bytes(metadata.to_bytes())


def _same(one: Signable | None, other: Signable) -> bool:
    return one is not None and one.signed == other.signed


def parse(data: bytes) -> Proposal | KeyProposal:
    """Parse and verify a proposal of either kind, or raise TrustError."""
    if len(data) > MAX_BYTES:
        raise TrustError(f"proposal: {len(data)} bytes, up to {MAX_BYTES} are read")
    reader = Reader.from_json(data, subject="proposal", error=TrustError)
    if reader.table.get("kind") == KIND:
        return KeyProposal.from_reader(reader)
    return Proposal.from_json(data)
