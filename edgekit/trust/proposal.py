"""A change that still lacks signatures, as a file that people hand each other.

Knows no folders and no secrets. It carries what is needed to judge it far from the fleet's
folder: the new metadata of each role, the statements that are new in it, and the state it
stands on, signed, so that the difference can be told and nothing else can hide in it.
docs/formats/proposal.md describes the file.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256

from edgekit.document import Reader, canonical_json
from edgekit.errors import ConfigError, TrustError
from edgekit.statement import (
    MODELS_ROLE,
    ReleaseRecord,
    StagePointer,
    pointer_path,
    record_path,
    stage_role,
)
from edgekit.trust.generation import Generation
from edgekit.trust.keys import SignerLookup
from edgekit.trust.layout import FLEET_FIELD, ROOT, TARGETS, statement_file
from edgekit.trust.payload import Metadata, Root, TargetFile, Targets
from edgekit.trust.roles import keys_of
from edgekit.trust.sent import (
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

FORMAT = 1
MAX_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a role would state anew: statements by path, and paths it would drop.

    `before` is the version as published, and `replaced` are those of the paths in `added`
    under which something is stated already.
    """

    role: str
    before: int
    version: int
    expires: datetime
    added: Mapping[str, bytes]
    replaced: frozenset[str]
    dropped: tuple[str, ...]
    signed_by: tuple[str, ...]  # ids of the role's keys that have signed
    threshold: int

    @property
    def lacks(self) -> int:
        """How many signatures are still to come."""
        return max(0, self.threshold - len(self.signed_by))


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """New metadata of delegated roles, and the state of the fleet it stands on."""

    root: Metadata[Root]
    targets: Metadata[Targets]
    base: Mapping[str, Metadata[Targets]]
    roles: Mapping[str, Metadata[Targets]]
    statements: Mapping[str, bytes] = field(default_factory=dict)  # by file name

    @property
    def fleet(self) -> str:
        """The fleet's name."""
        return str(self.root.signed.unrecognized_fields[FLEET_FIELD])

    @property
    def complete(self) -> bool:
        """Whether every role has the signatures it needs."""
        return not any(change.lacks for change in self.changes())

    def changes(self) -> tuple[Change, ...]:
        """Return what each role would change; TrustError when it cannot be told."""
        return tuple(self._change(role) for role in sorted(self.roles))

    def sign(self, signers: SignerLookup) -> "Proposal":
        """Return it with the signatures that these keys can add, up to the thresholds.

        ConfigError when they can add none.
        """
        signed = dict(self.roles)
        added = 0
        for change in self.changes():
            if not change.lacks:
                continue
            metadata, new = _signed(
                self.roles[change.role], self._keyids(change.role), change.lacks, signers
            )
            signed[change.role] = metadata
            added += new
        if not added and not self.complete:
            raise none_can_sign(
                wanted=[
                    keyid
                    for change in self.changes()
                    for keyid in self._keyids(change.role)
                    if change.lacks and keyid not in change.signed_by
                ],
                signed=[k for one in self.changes() for k in one.signed_by if signers(k)],
            )
        return replace(self, roles=signed)

    def expired(self, now: datetime) -> bool:
        """Whether devices would refuse what it says for its date."""
        return any(change.expires <= now for change in self.changes())

    def refuse_unlike(self, current: Generation, now: datetime) -> None:
        """Raise ConfigError unless it stands on this state and is signed in full."""
        refuse_other_fleet(self.root, current)
        standing = current.roles
        if all(
            r in standing and standing[r].signed == m.signed for r, m in self.roles.items()
        ):
            raise ConfigError(
                f"{', '.join(self.roles)}: published already; nothing is left to do"
            )
        for change in self.changes():
            if change.lacks:
                raise ConfigError(
                    f"{change.role}: {len(change.signed_by)} of {change.threshold}"
                    " signatures; have it signed by `edgekit sign` first"
                )
            refuse_expired(change.role, change.expires, now)
            stands = standing.get(change.role)
            if stands is None or stands.signed != self.base[change.role].signed:
                raise ConfigError(
                    f"{change.role}: the fleet has changed since this was proposed;"
                    " propose it again"
                )

    def refuse_other_root(self, trusted: bytes) -> None:
        """Raise TrustError unless this root, or one that it signed, is the proposal's."""
        check_root(trusted, self.root)

    def stands_with(self, other: object) -> bool:
        """Whether another release stands on the same state of the roles both change."""
        return (
            isinstance(other, Proposal)
            and self.targets.signed == other.targets.signed
            and all(
                self.base[role].signed == other.base[role].signed
                for role in set(self.base) & set(other.base)
            )
        )

    def says_as(self, other: object) -> bool:
        """Whether another states the same, on the same state; dates aside."""
        return (
            isinstance(other, Proposal)
            and self.stands_with(other)
            and self.stated() == other.stated()
        )

    def stated(self) -> list[tuple[str, int, Mapping[str, bytes], tuple[str, ...]]]:
        """Return what each role would state anew, and under which version."""
        return [(c.role, c.version, c.added, c.dropped) for c in self.changes()]

    def to_json(self) -> bytes:
        """Encode for a file."""
        return canonical_json(
            {
                "format": FORMAT,
                "root": document(self.root),
                "targets": document(self.targets),
                "base": {role: document(one) for role, one in self.base.items()},
                "roles": {role: document(one) for role, one in self.roles.items()},
                "statements": {
                    name: base64.b64encode(data).decode()
                    for name, data in self.statements.items()
                },
            }
        )

    @classmethod
    def from_json(cls, data: bytes) -> "Proposal":
        """Parse and verify, or raise TrustError: whoever sent it may be anybody."""
        if len(data) > MAX_BYTES:
            raise TrustError(f"proposal: {len(data)} bytes, up to {MAX_BYTES} are read")
        reader = Reader.from_json(data, subject="proposal", error=TrustError)
        if reader.integer("format", least=1) > FORMAT:
            raise TrustError(f"proposal: a newer format than {FORMAT}; update edgekit")
        found = cls(
            root=root_in(reader.child("root"), subject="proposal: root"),
            targets=targets_in(reader.child("targets"), TARGETS),
            base={
                role: targets_in(one, role) for role, one in reader.named("base").items()
            },
            roles={
                role: targets_in(one, role) for role, one in reader.named("roles").items()
            },
            statements=_statements(reader),
        )
        found.verify()
        return found

    def verify(self) -> None:
        """Raise TrustError unless the state it stands on is signed and it fits on it.

        Signatures that are not right, or nobody's that counts, are left out.
        """
        check_signed(self.root.signed, ROOT, self.root)
        check_signed(self.root.signed, TARGETS, self.targets)
        if not self.roles or set(self.roles) != set(self.base):
            raise TrustError("proposal: new metadata and what it stands on do not match")
        for role, base in self.base.items():
            check_signed(self.targets.signed, role, base)
            self._refuse_more_than_statements(role)
        for change in self.changes():
            keep_signatures(self.roles[change.role], change.signed_by)

    def _refuse_more_than_statements(self, role: str) -> None:
        """A proposal changes targets and nothing else of a role."""
        base, new = self.base[role].signed, self.roles[role].signed
        if new.version <= base.version:
            raise TrustError(f"proposal: {role}: version {new.version} is not newer")
        if (new.unrecognized_fields, new.delegations, new.spec_version) != (
            base.unrecognized_fields,
            base.delegations,
            base.spec_version,
        ):
            raise TrustError(f"proposal: {role}: it changes more than statements")

    def _change(self, role: str) -> Change:
        base, new = self.base[role].signed.targets, self.roles[role].signed.targets
        added = {
            path: self._statement(path, target)
            for path, target in new.items()
            if base.get(path) != target
        }
        for path, data in added.items():
            _refuse_unlike_shown(role, path, data)
        keys = keys_of(self.targets.signed, role)
        return Change(
            role=role,
            before=self.base[role].signed.version,
            version=self.roles[role].signed.version,
            expires=self.roles[role].signed.expires,
            added=added,
            replaced=frozenset(set(added) & set(base)),
            dropped=tuple(sorted(set(base) - set(new))),
            signed_by=self._rightly_signed(role),
            threshold=keys.threshold,
        )

    def _rightly_signed(self, role: str) -> tuple[str, ...]:
        metadata = self.roles[role]
        result = self.targets.signed.get_verification_result(
            role, metadata.signed_bytes, metadata.signatures
        )
        return tuple(keyid for keyid in self._keyids(role) if keyid in result.signed)

    def _keyids(self, role: str) -> tuple[str, ...]:
        return keys_of(self.targets.signed, role).keyids

    def _statement(self, path: str, target: TargetFile) -> bytes:
        digest = target.hashes.get("sha256", "")
        data = self.statements.get(statement_file(path, digest))
        if data is None or sha256(data).hexdigest() != digest:
            raise TrustError(f"proposal: {path}: the statement itself is not in it")
        if target != TargetFile.from_data(path, data, ["sha256"]):
            raise TrustError(
                f"proposal: {path}: its length and SHA-256 are expected, and nothing else"
            )
        return data


def _refuse_unlike_shown(role: str, path: str, data: bytes) -> None:
    """What is shown is what a statement says: it must count there, and say no more."""
    said: ReleaseRecord | StagePointer
    if role == MODELS_ROLE:
        said = ReleaseRecord.from_json(data)
        expected = role, record_path(said.model, said.version)
    else:
        said = StagePointer.from_json(data)
        expected = stage_role(said.stage), pointer_path(said.stage, said.model)
    if (role, path) != expected:
        raise TrustError(
            f"proposal: {role}: {path} says what belongs to {expected[1]} of {expected[0]}"
        )
    if said.to_json() != data:
        raise TrustError(
            f"proposal: {path}: it says more than this edgekit can show; update edgekit"
        )


def _signed(
    metadata: Metadata[Targets],
    keyids: Sequence[str],
    wanted: int,
    signers: SignerLookup,
) -> tuple[Metadata[Targets], int]:
    copy = Metadata[Targets].from_bytes(metadata.to_bytes())
    added = 0
    for keyid in keyids:
        signer = None if keyid in copy.signatures else signers(keyid)
        if signer is not None and added < wanted:
            copy.sign(signer, append=True)
            added += 1
    return copy, added


def _statements(reader: Reader) -> dict[str, bytes]:
    texts = reader.string_map("statements")
    try:
        return {name: base64.b64decode(text, validate=True) for name, text in texts.items()}
    except ValueError as error:
        raise TrustError("proposal: statements: base64 is expected") from error
