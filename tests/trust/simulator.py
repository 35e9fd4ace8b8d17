"""A fleet's repository in memory, and a source that can be made to lie.

Implements the production port MetadataSource. It is written on python-tuf's metadata types
alone, so that the client is not tested against edgekit's own idea of a repository.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from edgekit.statement import BundleEntry, ReleaseRecord, StagePointer
from edgekit.trust.payload import (
    AnyMetadata,
    CryptoSigner,
    DelegatedRole,
    Delegations,
    Key,
    Metadata,
    MetaFile,
    Role,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TOP = ("root", "targets", "snapshot", "timestamp")


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def bundle(version: str, flavor: str = "fp32") -> BundleEntry:
    return BundleEntry(
        flavor=flavor,
        sha256=digest(f"wine {version} {flavor}"),
        length=70_000,
        chunk_bytes=65_024,
        index_sha256=digest(f"index {version} {flavor}"),
        unpacked_bytes=100_000,
        peak_rss_bytes=50_000_000,
        min_onnxruntime="1.17",
        one_row_p95_us=900,
    )


def record(version: str, *flavors: str, model: str = "wine") -> ReleaseRecord:
    return ReleaseRecord(
        model=model,
        version=version,
        run_id="5f0c",
        source_sha256=digest(f"source {version}"),
        bundles=tuple(bundle(version, flavor) for flavor in flavors or ("fp32",)),
    )


def pointer(
    version: str,
    rollout: int,
    *flavors: str,
    stage: str = "production",
    model: str = "wine",
) -> StagePointer:
    return StagePointer(
        model=model,
        stage=stage,
        version=version,
        rollout=rollout,
        bundles={f: bundle(version, f).sha256 for f in flavors or ("fp32",)},
    )


@dataclass
class Files:
    """A MetadataSource over a dict, which notes what it was asked for."""

    files: dict[str, bytes]
    asked: list[str] = field(default_factory=list)

    def file(self, name: str, max_bytes: int) -> bytes | None:
        self.asked.append(name)
        data = self.files.get(name)
        return data if data is None else data[: max_bytes + 1]


class Simulator(Files):
    """The signing side. Edit `root`, `timestamp`, ... and `signers`; then `offer`."""

    def __init__(
        self,
        *,
        fleet: str = "demo",
        stages: tuple[str, ...] = ("production", "staging"),
        now: datetime = NOW,
        signers: Mapping[str, list[CryptoSigner]] | None = None,
    ) -> None:
        super().__init__(files={})
        self.fleet, self.now = fleet, now
        self.paths = {"models": "models/*/*"}
        self.paths.update({f"stage-{s}": f"stages/{s}/*" for s in stages})
        self.signers = dict(
            signers or {r: [CryptoSigner.generate_ed25519()] for r in (*TOP, *self.paths)}
        )
        self._found()
        self.offer_root()
        self.offer("targets", *self.paths)

    def _found(self) -> None:
        named = {"x-edgekit-fleet": self.fleet}
        expires = self.now + 365 * DAY
        self.root = Root(
            expires=expires,
            keys={s.public_key.keyid: s.public_key for r in TOP for s in self.signers[r]},
            roles={r: Role(self._keyids(r), 1) for r in TOP},
            unrecognized_fields=dict(named),
        )
        self.timestamp = Timestamp(
            expires=self.now + 30 * DAY, unrecognized_fields=dict(named)
        )
        self.snapshot = Snapshot(
            expires=self.now + 30 * DAY, meta={}, unrecognized_fields=dict(named)
        )
        delegated = {
            role: DelegatedRole(role, self._keyids(role), 1, terminating=True, paths=[path])
            for role, path in self.paths.items()
        }
        keys: dict[str, Key] = {
            s.public_key.keyid: s.public_key for r in delegated for s in self.signers[r]
        }
        self.roles = {
            "targets": Targets(
                expires=expires,
                delegations=Delegations(keys, delegated),
                unrecognized_fields=dict(named),
            ),
            **{
                role: Targets(expires=expires, unrecognized_fields=dict(named))
                for role in self.paths
            },
        }
        self.timestamp.version = self.snapshot.version = 0
        for role in self.roles.values():
            role.version = 0

    def _keyids(self, role: str) -> list[str]:
        return [signer.public_key.keyid for signer in self.signers[role]]

    @property
    def trusted_root(self) -> bytes:
        return self.files["1.root.json"]

    def signed(self, role: str, metadata: AnyMetadata) -> bytes:
        for signer in self.signers[role]:
            metadata.sign(signer, append=True)
        return metadata.to_bytes()

    def put(self, role: str, path: str, data: bytes) -> None:
        """Let a role state something, whatever its paths are."""
        self.roles[role].targets[path] = TargetFile.from_data(path, data, ["sha256"])
        folder, _, base = path.rpartition("/")
        self.files[f"targets/{folder}/{sha256(data).hexdigest()}.{base}"] = data

    def release(self, version: str, rollout: int, stage: str = "production") -> None:
        """Publish a version, all signed as it should be."""
        self.put("models", f"models/wine/{version}.json", record(version).to_json())
        self.point(version, rollout, stage)
        self.offer("models", f"stage-{stage}")

    def point(self, version: str, rollout: int, stage: str = "production") -> None:
        said = pointer(version, rollout, stage=stage).to_json()
        self.put(f"stage-{stage}", f"stages/{stage}/wine.json", said)

    def offer(self, *roles: str) -> None:
        """Sign roles under new versions, with a new snapshot and timestamp."""
        for role in roles:
            self.roles[role].version += 1
            self.offer_role(role)
        self.offer_snapshot()
        self.offer_timestamp()

    def offer_role(self, role: str) -> bytes:
        """Sign a role's present version; the snapshot will list it."""
        data = self.signed(role, Metadata(self.roles[role]))
        version = self.roles[role].version
        self.snapshot.meta[f"{role}.json"] = MetaFile(version, len(data))
        self.files[f"{version}.{role}.json"] = data
        return data

    def offer_snapshot(self) -> bytes:
        self.snapshot.version += 1
        data = self.signed("snapshot", Metadata(self.snapshot))
        self.timestamp.snapshot_meta = MetaFile(self.snapshot.version, len(data))
        self.files[f"{self.snapshot.version}.snapshot.json"] = data
        return data

    def offer_timestamp(self) -> bytes:
        self.timestamp.version += 1
        issued = self.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        self.timestamp.unrecognized_fields["x-edgekit-issued"] = issued
        data = self.signed("timestamp", Metadata(self.timestamp))
        self.files["timestamp.json"] = data
        return data

    def list_without_lengths(self, role: str) -> None:
        """Offer what lists a role again, so that only its signatures bind it."""
        if role in self.roles:
            self.snapshot.meta[f"{role}.json"].length = None
            self.offer_snapshot()
        if role != "timestamp":
            self.timestamp.snapshot_meta.length = None
            self.offer_timestamp()

    def offer_root(self, *, also: tuple[CryptoSigner, ...] = ()) -> None:
        """Sign the root with its keys, and with the former ones in `also`."""
        metadata = Metadata(self.root)
        for signer in also:
            metadata.sign(signer, append=True)
        name = f"{self.root.version}.root.json"
        self.files[name] = self.signed("root", metadata)

    def rotate(self, role: str, *, count: int = 1, threshold: int = 1) -> None:
        """Replace all keys of a role, and sign everything that follows from it."""
        old = tuple(self.signers[role])
        self.signers[role] = [CryptoSigner.generate_ed25519() for _ in range(count)]
        delegator = self.root if role in TOP else self.roles["targets"]
        for signer in old:
            delegator.revoke_key(signer.public_key.keyid, role)
        for signer in self.signers[role]:
            delegator.add_key(signer.public_key, role)
        delegator.get_delegated_role(role).threshold = threshold
        if role in TOP:
            self.root.version += 1
            self.offer_root(also=old if role == "root" else ())
            self.offer(*{role} & set(self.roles))
        else:
            self.offer("targets", role)

    def advance(self, by: timedelta) -> None:
        """Let time pass on the operator's side; what is signed from now on lives on."""
        self.now += by
        self.timestamp.expires = self.snapshot.expires = self.now + 30 * DAY
        self.root.expires = self.now + 365 * DAY
        for role in self.roles.values():
            role.expires = self.now + 365 * DAY
