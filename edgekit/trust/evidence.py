"""What was signed for one release, kept so that a device can check it again by itself.

A pointer is replaced by the next one, and a device keeps no metadata of before. With these
four files beside a bundle it can tell much later, without a broker, that both roles vouched
for it. Signatures count only by keys that are trusted now: when a signature was made nobody
can tell, so one by a key that was replaced may be a thief's of yesterday. Where keys were
replaced, the newest metadata of the role on the disk may still state the same, under the
new ones. Expiry is not looked at: what serves goes on serving, and how stale it is the
floor tells. Knows no network and no clock.
"""

import base64
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from tuf.api.exceptions import LengthOrHashMismatchError, RepositoryError

from edgekit.document import Reader, canonical_json
from edgekit.errors import TrustError
from edgekit.statement import (
    MODELS_ROLE,
    ReleaseRecord,
    StagePointer,
    pointer_path,
    record_path,
    stage_role,
)
from edgekit.trust.delegation import (
    delegated,
    delegation,
    refuse_foreign_paths,
    refuse_strays,
)
from edgekit.trust.floor import Floor
from edgekit.trust.guard import check_fleet
from edgekit.trust.layout import METADATA, ROOT, TARGETS, cached_file
from edgekit.trust.payload import Metadata, Root, Targets
from edgekit.trust.vouched import Vouched, check_pointer, vouch

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The metadata of the models role and of the stage's, and what they sign for."""

    models: bytes
    stage: bytes
    pointer: bytes
    record: bytes

    def to_json(self) -> bytes:
        """Encode canonically."""
        named = {one.name: getattr(self, one.name) for one in fields(self)}
        texts = {name: base64.b64encode(data).decode() for name, data in named.items()}
        return canonical_json({"format": FORMAT, **texts})

    @classmethod
    def from_json(cls, data: bytes) -> "Evidence":
        """Parse, or raise TrustError."""
        reader = Reader.from_json(data, subject="evidence", error=TrustError)
        reader.integer("format", least=FORMAT, most=FORMAT)
        try:
            files = {
                one.name: base64.b64decode(reader.text(one.name), validate=True)
                for one in fields(cls)
            }
        except ValueError as error:
            raise TrustError("evidence: base64 is expected") from error
        return cls(**files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """The keys that a device trusts: what it last accepted, read from its own disk.

    `newest` is the metadata of roles below that lies there, by role, as it was read:
    whether it is rightly signed is found out when it is needed.
    """

    fleet: str
    targets: Targets
    newest: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, root: bytes, *, fleet: str) -> "Trusted":
        """Read a trust client's folder, from the provisioned root on; or raise TrustError.

        What is older than the folder's floor is refused: it may be put there.
        """
        metadata = folder / METADATA
        floor = _floor(folder, fleet)
        newest = _newest_root(root, metadata / "root_history")
        path = metadata / cached_file(TARGETS)
        targets = _signed(newest, TARGETS, _read(path), fleet)
        for role, version in ((ROOT, newest.version), (TARGETS, targets.version)):
            if version < floor.versions.get(role, 0):
                raise TrustError(
                    f"{role}: version {version} lies on the disk, version"
                    f" {floor.versions[role]} was accepted before"
                )
        check_fleet(ROOT, newest, fleet)
        refuse_strays(targets)
        return cls(fleet=fleet, targets=targets, newest=_newest(metadata, targets))

    def vouched(self, evidence: Evidence, *, stage: str, model: str) -> Vouched:
        """Return what the evidence proves, or raise TrustError."""
        path = pointer_path(stage, model)
        said = self._statement(stage_role(stage), path, evidence.stage, evidence.pointer)
        pointer = check_pointer(StagePointer.from_json(said), stage=stage, model=model)
        path = record_path(model, pointer.version)
        made = self._statement(MODELS_ROLE, path, evidence.models, evidence.record)
        return vouch(pointer, ReleaseRecord.from_json(made))

    def _statement(self, role: str, path: str, metadata: bytes, data: bytes) -> bytes:
        """Return a statement by a role's kept metadata, or else by its newest one."""
        try:
            return self._stated(role, path, metadata, data)
        except TrustError:
            if role not in self.newest:
                raise
            try:
                return self._stated(role, path, self.newest[role], data)
            except TrustError:
                pass
            raise

    def _stated(self, role: str, path: str, metadata: bytes, data: bytes) -> bytes:
        allowed = delegation(self.targets, role)
        signed = _signed(self.targets, role, metadata, self.fleet)
        refuse_foreign_paths(allowed, signed)
        target = signed.targets.get(path)
        if target is None:
            raise TrustError(f"{path}: {role} has not signed it")
        try:
            target.verify_length_and_hashes(data)
        except LengthOrHashMismatchError as error:
            raise TrustError(f"{path}: not the bytes that {role} signed for") from error
        return data


def _newest(metadata: Path, targets: Targets) -> dict[str, bytes]:
    found = {}
    for role in delegated(targets):
        with contextlib.suppress(OSError):
            found[role] = (metadata / cached_file(role)).read_bytes()
    return found


def _newest_root(provisioned: bytes, history: Path) -> Root:
    """Return the last root of the chain that lies on the disk."""
    trusted = _root(provisioned).signed
    while True:
        version = trusted.version + 1
        path = history / f"{version}.{ROOT}.json"
        if not path.is_file():
            return trusted
        newer = _root(_read(path))
        for delegator in (trusted, newer.signed):
            _verify(delegator, ROOT, newer)
        if newer.signed.version != version:
            raise TrustError(f"{path}: it is version {newer.signed.version}")
        trusted = newer.signed


def _signed(delegator: Root | Targets, role: str, data: bytes, fleet: str) -> Targets:
    try:
        metadata = Metadata[Targets].from_bytes(data)
    except RepositoryError as error:
        raise TrustError(f"{role}: damaged, signed metadata is expected") from error
    if not isinstance(metadata.signed, Targets):
        raise TrustError(f"{role}: it is {metadata.signed.type} metadata")
    _verify(delegator, role, metadata)
    check_fleet(role, metadata.signed, fleet)
    return metadata.signed


def _root(data: bytes) -> Metadata[Root]:
    try:
        metadata = Metadata[Root].from_bytes(data)
    except RepositoryError as error:
        raise TrustError(f"{ROOT}: damaged, signed metadata is expected") from error
    if not isinstance(metadata.signed, Root):
        raise TrustError(f"{ROOT}: it is {metadata.signed.type} metadata")
    return metadata


def _verify(
    delegator: Root | Targets, role: str, metadata: Metadata[Root] | Metadata[Targets]
) -> None:
    try:
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError) as error:
        raise TrustError(
            f"{role}: not signed by enough of the keys trusted now; one that was replaced"
            " counts for nothing"
        ) from error


def _floor(folder: Path, fleet: str) -> Floor:
    try:
        return Floor.from_json((folder / "floor.json").read_bytes())
    except (OSError, TrustError):
        return Floor(fleet=fleet)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TrustError(f"{path}: cannot be read: {error.strerror}") from error
