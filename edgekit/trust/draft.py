"""The next state of a repository in the making. Signs, and writes nothing.

Only the roles that a change touches get a new version, so that only their keys, and the
two online ones, need to be at hand.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from tuf.api.exceptions import UnsignedMetadataError

from edgekit.errors import ConfigError
from edgekit.trust.expiry import Lifetimes
from edgekit.trust.generation import Generation
from edgekit.trust.guard import issued
from edgekit.trust.keys import SignerLookup
from edgekit.trust.layout import (
    FLEET_FIELD,
    ISSUED_FIELD,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIME_FORMAT,
    TIMESTAMP,
    metadata_file,
    short,
    statement_file,
)
from edgekit.trust.limits import Limits
from edgekit.trust.payload import AnyMetadata, Metadata, MetaFile, Root, TargetFile, Targets
from edgekit.trust.roles import (
    RoleKeys,
    delegation,
    delegator_of,
    keys_of,
    replace_keys,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Under which terms a state is signed: by whom, when, for how long, how big."""

    signers: SignerLookup
    now: datetime
    lifetimes: Lifetimes
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """A role that gets a new version, and each set of keys that must sign it."""

    role: str
    version: int
    by: tuple[RoleKeys, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedDraft:
    """Files in the order they must be written in, and which keys signed each role."""

    files: tuple[tuple[str, bytes], ...]
    signed_by: dict[str, tuple[str, ...]]


class Draft:
    """A copy of a generation that takes changes; `next_version` gives unused versions."""

    def __init__(self, current: Generation, next_version: Callable[[str], int]) -> None:
        self._current = current
        self._next_version = next_version
        self._root = copy.deepcopy(current.root)
        self._timestamp = copy.deepcopy(current.timestamp)
        self._snapshot = copy.deepcopy(current.snapshot)
        self._roles = copy.deepcopy(dict(current.roles))
        self._touched = set(current.stale)
        self._signed: set[str] = set()  # roles that came with their signatures
        self._statements: list[tuple[str, bytes]] = []

    @property
    def changed(self) -> bool:
        """Whether there is anything to sign."""
        return bool(self._touched)

    @property
    def statements(self) -> tuple[tuple[str, bytes], ...]:
        """The new statements, by the names of their files."""
        return tuple(self._statements)

    def touch(self, role: str) -> None:
        """Give a role a new version and date though nothing in it changes."""
        if role not in {ROOT, SNAPSHOT, TIMESTAMP, *self._roles}:
            raise ConfigError(f"{role}: no such role in this fleet")
        self._touched.add(role)

    def put(self, role: str, path: str, data: bytes) -> None:
        """Let a role state `data` under a path."""
        target = TargetFile.from_data(path, data, ["sha256"])
        if self._targets(role).targets.get(path) != target:
            self._targets(role).targets[path] = target
            self._statements.append((statement_file(path, sha256(data).hexdigest()), data))
            self._touched.add(role)

    def drop(self, role: str, path: str) -> None:
        """Let a role no longer state anything under a path."""
        if self._targets(role).targets.pop(path, None) is not None:
            self._touched.add(role)

    def set_keys(self, role: str, keys: RoleKeys) -> None:
        """Let these keys sign for a role, and no others."""
        delegator = delegator_of(role)
        keys_of(self._delegator(delegator), role)
        replace_keys(self._delegator(delegator), role, keys)
        self._touched |= {delegator, role}

    def add_role(self, role: str, path: str, keys: RoleKeys) -> None:
        """Delegate a path to a role that does not exist yet."""
        delegations = self._targets(TARGETS).delegations
        if delegations is None or delegations.roles is None or role in self._roles:
            raise ConfigError(f"{role}: exists already in this fleet")
        delegations.roles[role] = delegation(role, path, keys)
        delegations.keys.update({key.keyid: key for key in keys.keys})
        fleet = self._root.signed.unrecognized_fields[FLEET_FIELD]
        empty = Targets(unrecognized_fields={FLEET_FIELD: fleet})
        self._roles[role] = Metadata(empty)
        self._touched |= {TARGETS, role}

    def propose(self, terms: Terms) -> dict[str, Metadata[Targets]]:
        """Return the delegated roles as they would be, with the signatures at hand.

        ConfigError when more than delegated roles change: keys are changed in one place.
        """
        roles = self._touched - self._current.stale
        if not roles <= set(self._current.delegations):
            raise ConfigError("proposal: only releases can be signed in several places")
        for role in roles:
            metadata = self._roles[role]
            self._date(role, metadata, terms)
            keys = keys_of(self._delegator(TARGETS), role)
            _sign_with_those_here(metadata, keys, terms.signers)
        return {role: self._roles[role] for role in roles}

    def adopt(self, role: str, metadata: Metadata[Targets]) -> None:
        """Take a role with the signatures it has; it must state what the draft does."""
        if metadata.signed.targets != self._targets(role).targets:
            raise ConfigError(
                f"{role}: the fleet has changed since this was proposed; propose it again"
            )
        self._roles[role] = metadata
        self._touched.add(role)
        self._signed.add(role)

    def propose_keys(
        self, terms: Terms
    ) -> tuple[Metadata[Root] | None, dict[str, Metadata[Targets]]]:
        """Return the new root, if it changes, and the other roles that people sign.

        With the signatures at hand; the online roles are signed when it is published.
        """
        people = (self._touched - self._current.stale) & {ROOT, *self._roles}
        for role in people:
            metadata: AnyMetadata = self._root if role == ROOT else self._roles[role]
            self._date(role, metadata, terms)
            for keys in self._needed_keys(role):
                _sign_with_those_here(metadata, keys, terms.signers)
        root = self._root if ROOT in people else None
        return root, {role: self._roles[role] for role in people - {ROOT}}

    def adopt_keys(
        self, root: Metadata[Root] | None, roles: Mapping[str, Metadata[Targets]]
    ) -> None:
        """Take a new root and roles with the signatures they have."""
        before = self._root.signed
        if root is not None:
            self._root = root
            self._touched.add(ROOT)
        for role in (SNAPSHOT, TIMESTAMP):
            if keys_of(before, role) != keys_of(self._root.signed, role):
                self._touched.add(role)
        self._roles.update(roles)
        self._touched |= set(roles)
        self._signed |= set(roles) | ({ROOT} if root is not None else set())

    def signings(self) -> tuple[Signing, ...]:
        """Return what sign() would sign, in its order."""
        roles = sorted(self._touched & set(self._roles))
        if self._touched & {SNAPSHOT, *self._roles}:
            roles.append(SNAPSHOT)
        if ROOT in self._touched:
            roles.append(ROOT)
        return tuple(
            Signing(
                role=role,
                version=self._next_version(role),
                by=tuple(self._needed_keys(role)),
            )
            for role in (*roles, TIMESTAMP)
        )

    def sign(self, terms: Terms) -> SignedDraft:
        """Sign what changed; ConfigError when a role has too few keys at hand.

        Statements come first, the timestamp last: up to it, the old state is the state.
        """
        self._refuse_earlier(terms.now)
        files = list(self._statements)
        signed_by: dict[str, tuple[str, ...]] = {}

        def finish(role: str, metadata: AnyMetadata) -> bytes:
            data, keyids = self._finish(role, metadata, terms)
            files.append((metadata_file(role, metadata.signed.version), data))
            signed_by[role] = keyids
            return data

        for role in sorted(self._touched & set(self._roles)):
            data = finish(role, self._roles[role])
            version = self._roles[role].signed.version
            self._snapshot.signed.meta[f"{role}.json"] = MetaFile(version, len(data))
        if self._touched & {SNAPSHOT, *self._roles}:
            data = finish(SNAPSHOT, self._snapshot)
            version = self._snapshot.signed.version
            self._timestamp.signed.snapshot_meta = MetaFile(version, len(data))
        if ROOT in self._touched:
            finish(ROOT, self._root)
        self._refuse_unreadable()
        stamp = terms.now.astimezone(UTC).strftime(TIME_FORMAT)
        self._timestamp.signed.unrecognized_fields[ISSUED_FIELD] = stamp
        finish(TIMESTAMP, self._timestamp)
        return SignedDraft(files=tuple(files), signed_by=signed_by)

    def _targets(self, role: str) -> Targets:
        try:
            return self._roles[role].signed
        except KeyError as error:
            known = ", ".join(r for r in self._roles if r != TARGETS)
            raise ConfigError(
                f"{role}: no such role in this fleet; known: {known}"
            ) from error

    def _delegator(self, role: str) -> Root | Targets:
        return self._root.signed if role == ROOT else self._roles[role].signed

    def _finish(
        self, role: str, metadata: AnyMetadata, terms: Terms
    ) -> tuple[bytes, tuple[str, ...]]:
        if role not in self._signed:
            self._date(role, metadata, terms)
            for keys in self._needed_keys(role):
                _sign(role, metadata, keys, terms.signers)
        delegators = [self._delegator(delegator_of(role))]
        if role == ROOT:
            delegators.append(self._current.root.signed)
        for delegator in delegators:
            delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        data = metadata.to_bytes()
        if len(data) > terms.limits.metadata_bytes(role):
            raise ConfigError(
                f"{role}: {len(data)} bytes of metadata, devices read up to"
                f" {terms.limits.metadata_bytes(role)}; withdraw old releases"
            )
        return data, tuple(metadata.signatures)

    def _refuse_unreadable(self) -> None:
        """Also what is not touched must be signed by the keys that are named for it now.

        A state of which one role is not could be read by nobody, nor be mended.
        """
        standing: dict[str, AnyMetadata] = {**self._roles, SNAPSHOT: self._snapshot}
        for role, metadata in standing.items():
            try:
                self._delegator(delegator_of(role)).verify_delegate(
                    role, metadata.signed_bytes, metadata.signatures
                )
            except UnsignedMetadataError as error:
                raise ConfigError(
                    f"{role}: its keys would be others and have not signed it; sign it"
                    " anew with the change"
                ) from error

    def _date(self, role: str, metadata: AnyMetadata, terms: Terms) -> None:
        """Make it the role's next version, unsigned."""
        metadata.signed.version = self._next_version(role)
        metadata.signed.expires = (terms.now + terms.lifetimes.of(role)).astimezone(UTC)
        metadata.signatures.clear()

    def _needed_keys(self, role: str) -> list[RoleKeys]:
        """A new root is signed by the old root's keys, and by its own."""
        now = keys_of(self._delegator(delegator_of(role)), role)
        return [keys_of(self._current.root.signed, ROOT), now] if role == ROOT else [now]

    def _refuse_earlier(self, now: datetime) -> None:
        """Devices take the latest signed time for the earliest possible one."""
        last = self._current.timestamp.signed
        if ISSUED_FIELD not in last.unrecognized_fields or self._revokes_online_key():
            return  # the first timestamp, or a change that lifts the devices' floor
        if now < issued(last):
            raise ConfigError(
                f"clock: it is {now:{TIME_FORMAT}}, but the last timestamp was signed at"
                f" {issued(last):{TIME_FORMAT}}; set the clock, or rotate the timestamp key"
                " if that one was wrong"
            )

    def _revokes_online_key(self) -> bool:
        before, after = self._current.root.signed, self._root.signed
        return TIMESTAMP in self._current.stale or any(
            set(before.roles[role].keyids) - set(after.roles[role].keyids)
            for role in (SNAPSHOT, TIMESTAMP)
        )


def _sign_with_those_here(
    metadata: AnyMetadata, keys: RoleKeys, signers: SignerLookup
) -> None:
    for keyid in keys.keyids:
        done = len(set(metadata.signatures) & set(keys.keyids))
        wanted = done < keys.threshold and keyid not in metadata.signatures
        signer = signers(keyid) if wanted else None
        if signer is not None:
            metadata.sign(signer, append=True)


def _sign(role: str, metadata: AnyMetadata, keys: RoleKeys, signers: SignerLookup) -> None:
    """Add signatures until the threshold is met, or raise ConfigError."""
    absent = []
    done = sum(keyid in metadata.signatures for keyid in keys.keyids)
    for keyid in keys.keyids:
        if done >= keys.threshold or keyid in metadata.signatures:
            continue
        signer = signers(keyid)
        if signer is None:
            absent.append(short(keyid))
            continue
        metadata.sign(signer, append=True)
        done += 1
    if done < keys.threshold:
        raise ConfigError(
            f"{role}: {done} of the {keys.threshold} keys it needs are at hand; not here:"
            f" {', '.join(absent)}"
        )
