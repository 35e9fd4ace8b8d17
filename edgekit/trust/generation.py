"""One published state of a repository, read back and verified. Signs and writes nothing.

Nothing is signed on top of a state that is not itself signed: whoever can write to the
folder but holds no key could otherwise slip a statement in and have it signed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.serialization import DeserializationError

from edgekit.errors import TrustError
from edgekit.trust.layout import (
    FLEET_FIELD,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    TIMESTAMP_FILE,
    TOP_LEVEL_ROLES,
    delegated_paths,
    metadata_file,
    statement_file,
)
from edgekit.trust.payload import (
    AnyMetadata,
    Metadata,
    Root,
    Signed,
    Snapshot,
    Targets,
    Timestamp,
)
from edgekit.trust.roles import (
    RoleKeys,
    founding_online,
    founding_root,
    founding_targets,
    role_names,
)
from edgekit.trust.shelf import Shelf

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What the current timestamp stands for. Treat it as read-only.

    `stale` are roles signed for the previous root only: a change of keys was cut short
    after the new root was written, and they must be signed anew.
    """

    root: Metadata[Root]
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    roles: Mapping[str, Metadata[Targets]]  # targets and all that it delegates to
    stale: frozenset[str]

    @property
    def targets(self) -> Targets:
        """The top-level targets role."""
        return self.roles[TARGETS].signed

    @property
    def delegations(self) -> tuple[str, ...]:
        """The names of the delegated roles."""
        return tuple(role for role in self.roles if role != TARGETS)

    def delegator(self, role: str) -> Root | Targets:
        """Return the signed part that names the keys of a role."""
        return self.root.signed if role in TOP_LEVEL_ROLES else self.targets

    def version(self, role: str) -> int:
        """Return the version of a role's metadata."""
        return self.signed(role).version

    def signed(self, role: str) -> Signed:
        """Return the signed part of a role's metadata."""
        top: dict[str, Signed] = {
            ROOT: self.root.signed,
            SNAPSHOT: self.snapshot.signed,
            TIMESTAMP: self.timestamp.signed,
        }
        return top[role] if role in top else self.roles[role].signed

    def names(self) -> frozenset[str]:
        """Return the names of the files it is made of, its root and timestamp included."""
        metadata = {metadata_file(role, self.version(role)) for role in self.roles}
        metadata |= {
            metadata_file(role, self.version(role)) for role in (ROOT, SNAPSHOT, TIMESTAMP)
        }
        statements = {
            statement_file(path, target.hashes["sha256"])
            for role in self.roles.values()
            for path, target in role.signed.targets.items()
        }
        return frozenset(metadata | statements)


def founding(
    fleet: str, stages: tuple[str, ...], keys: Mapping[str, RoleKeys]
) -> Generation:
    """Return a generation of which everything is still to be signed."""
    snapshot, timestamp = founding_online(fleet)
    empty = {
        role: Metadata(Targets(unrecognized_fields={FLEET_FIELD: fleet}))
        for role in delegated_paths(stages)
    }
    return Generation(
        root=Metadata(founding_root(fleet, keys)),
        timestamp=Metadata(timestamp),
        snapshot=Metadata(snapshot),
        roles={TARGETS: Metadata(founding_targets(fleet, stages, keys)), **empty},
        stale=frozenset(role_names(stages)),
    )


def load(shelf: Shelf) -> Generation:
    """Read and verify the current state, or raise TrustError or StoreError."""
    root, previous = _roots(shelf)
    timestamp = _parsed(shelf, TIMESTAMP_FILE, Timestamp)
    version = timestamp.signed.snapshot_meta.version
    snapshot = _metadata(shelf, SNAPSHOT, version, Snapshot)
    versions = {
        name.removesuffix(".json"): entry.version
        for name, entry in snapshot.signed.meta.items()
    }
    targets = _metadata(shelf, TARGETS, versions[TARGETS], Targets)
    delegated = {
        role: _metadata(shelf, role, versions[role], Targets)
        for role in _delegated(targets)
    }
    for role, metadata in delegated.items():
        _verify(targets.signed, role, metadata)
    top: dict[str, AnyMetadata] = {
        TIMESTAMP: timestamp,
        SNAPSHOT: snapshot,
        TARGETS: targets,
    }
    return Generation(
        root=root,
        timestamp=timestamp,
        snapshot=snapshot,
        roles={TARGETS: targets, **delegated},
        stale=frozenset(
            role for role, md in top.items() if _is_stale(root, previous, role, md)
        ),
    )


def _roots(shelf: Shelf) -> tuple[Metadata[Root], Metadata[Root]]:
    """Return the newest root and the one before it (the first has itself)."""
    root = previous = _verified_root(shelf, 1, None)
    version = 2
    while shelf.file(metadata_file(ROOT, version), 0) is not None:
        previous, root = root, _verified_root(shelf, version, root)
        version += 1
    return root, previous


def _verified_root(
    shelf: Shelf, version: int, previous: Metadata[Root] | None
) -> Metadata[Root]:
    root = _metadata(shelf, ROOT, version, Root)
    _verify(root.signed, ROOT, root)
    if previous is not None:
        _verify(previous.signed, ROOT, root)
    return root


def _metadata(shelf: Shelf, role: str, version: int, kind: type[T]) -> Metadata[T]:
    name = metadata_file(role, version)
    metadata = _parsed(shelf, name, kind)
    if metadata.signed.version != version:
        raise TrustError(f"{name}: says it is version {metadata.signed.version}")
    return metadata


def _parsed(shelf: Shelf, name: str, kind: type[T]) -> Metadata[T]:
    try:
        metadata = Metadata[T].from_bytes(shelf.read(name))
    except DeserializationError as error:
        raise TrustError(f"{name}: damaged, signed metadata is expected") from error
    if not isinstance(metadata.signed, kind):
        raise TrustError(f"{name}: says it is {metadata.signed.type}")
    return metadata


def _delegated(targets: Metadata[Targets]) -> tuple[str, ...]:
    delegations = targets.signed.delegations
    return tuple(delegations.roles or ()) if delegations else ()


def _is_stale(
    root: Metadata[Root], previous: Metadata[Root], role: str, metadata: AnyMetadata
) -> bool:
    try:
        _verify(root.signed, role, metadata)
    except TrustError:
        _verify(previous.signed, role, metadata)
        return True
    return False


def _verify(delegator: Root | Targets, role: str, metadata: AnyMetadata) -> None:
    try:
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except UnsignedMetadataError as error:
        raise TrustError(
            f"repository: {error}; nothing is signed on top of it, restore the folder"
        ) from error
