"""What the fleet's signers state: which bundles exist, and which version a stage runs.

Knows no keys, files or network: JSON bytes in, frozen values out, and back. Two kinds of
statement exist, each a TUF target of its own role (docs/formats/repository.md):

- a release record, vouched for by the `models` role: these bundles were made;
- a stage pointer, vouched for by the stage's role: this stage runs this version.

A device runs a bundle only when both name its digest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from edgekit.document import Reader, canonical_json
from edgekit.errors import TrustError

FORMAT = 1
CHUNK_BYTES = 65_024  # just under 64 KiB: some brokers drop a client above it
MAX_CHUNK_BYTES = 120 * 1024  # AWS IoT Core disconnects at 128 KB, header included
DIGEST_BYTES = 32
MAX_CHUNKS = 4064  # whose digests fit one message of 127 KiB


def slug(name: str) -> str:
    """Return a name as one path segment or topic level: percent-encoded, reversible.

    MLflow names may hold spaces, `+`, `#`, `.` and any script; a slug holds none of
    `/ + # * ?` and is never `.` or `..`.
    """
    return quote(name, safe="").replace(".", "%2E")


def record_path(model: str, version: str) -> str:
    """Return the TUF target path of a release record."""
    return f"models/{slug(model)}/{slug(version)}.json"


def pointer_path(stage: str, model: str) -> str:
    """Return the TUF target path of a stage pointer."""
    return f"stages/{slug(stage)}/{slug(model)}.json"


def stage_role(stage: str) -> str:
    """Return the name of the TUF role that signs the pointers of a stage."""
    return f"stage-{slug(stage)}"


MODELS_ROLE = "models"


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleEntry:
    """One bundle that exists, and what a device must have to hold and run it.

    `sha256` is the digest of the whole bundle file and its address; `index_sha256` that of
    its chunk index, the chunks' raw SHA-256 digests in order. `isas` empty: any.
    """

    flavor: str
    sha256: str
    length: int
    chunk_bytes: int
    index_sha256: str
    unpacked_bytes: int  # flash the unpacked bundle takes
    peak_rss_bytes: int  # measured with a session loaded, see the manifest's footprint
    min_onnxruntime: str
    one_row_p95_us: int
    boards: tuple[str, ...] = ()  # boards it was fitted to, best first choice for them
    isas: tuple[str, ...] = ()
    manifest_sha256: str = ""  # of manifest.json; "" in records of before it was said

    @property
    def chunks(self) -> int:
        """How many chunks the bundle is cut into."""
        return -(-self.length // self.chunk_bytes)

    def chunk_length(self, number: int) -> int:
        """Return the bytes of chunk `number`, counted from 0; the last may be short."""
        return min(self.chunk_bytes, self.length - number * self.chunk_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRecord:
    """The models role says: this version was converted into these bundles."""

    model: str
    version: str
    run_id: str
    source_sha256: str
    bundles: tuple[BundleEntry, ...]
    extra: Mapping[str, object] = field(default_factory=dict)
    format: int = FORMAT

    @classmethod
    def from_json(cls, data: bytes) -> "ReleaseRecord":
        """Parse, or raise TrustError."""
        reader = _reader(data, "release record")
        return cls(
            format=reader.integer("format"),
            model=reader.text("model"),
            version=reader.text("version"),
            run_id=reader.text("run_id"),
            source_sha256=reader.sha256("source_sha256"),
            bundles=tuple(_bundle(entry) for entry in reader.children("bundles")),
            extra=reader.rest(
                {"format", "model", "version", "run_id", "source_sha256", "bundles"}
            ),
        )

    def to_json(self) -> bytes:
        """Encode canonically."""
        return canonical_json(
            {
                **self.extra,
                "format": self.format,
                "model": self.model,
                "version": self.version,
                "run_id": self.run_id,
                "source_sha256": self.source_sha256,
                "bundles": [
                    {
                        "flavor": b.flavor,
                        "sha256": b.sha256,
                        "length": b.length,
                        "chunk_bytes": b.chunk_bytes,
                        "index_sha256": b.index_sha256,
                        "unpacked_bytes": b.unpacked_bytes,
                        "peak_rss_bytes": b.peak_rss_bytes,
                        "min_onnxruntime": b.min_onnxruntime,
                        "one_row_p95_us": b.one_row_p95_us,
                        "boards": list(b.boards),
                        "isas": list(b.isas),
                        **_said(manifest_sha256=b.manifest_sha256),
                    }
                    for b in self.bundles
                ],
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePointer:
    """A stage's role says: this stage of this model runs this version.

    `rollout` counts the pointer's changes and only ever grows, also when an operator goes
    back to an older version; `bundles` maps flavor to bundle digest.
    """

    model: str
    stage: str
    version: str
    rollout: int
    bundles: Mapping[str, str]
    extra: Mapping[str, object] = field(default_factory=dict)
    format: int = FORMAT

    @classmethod
    def from_json(cls, data: bytes) -> "StagePointer":
        """Parse, or raise TrustError."""
        reader = _reader(data, "stage pointer")
        bundles = reader.child("bundles")
        return cls(
            format=reader.integer("format"),
            model=reader.text("model"),
            stage=reader.text("stage"),
            version=reader.text("version"),
            rollout=reader.integer("rollout", least=1),
            bundles={flavor: bundles.sha256(flavor) for flavor in bundles.table},
            extra=reader.rest(
                {"format", "model", "stage", "version", "rollout", "bundles"}
            ),
        )

    def to_json(self) -> bytes:
        """Encode canonically."""
        return canonical_json(
            {
                **self.extra,
                "format": self.format,
                "model": self.model,
                "stage": self.stage,
                "version": self.version,
                "rollout": self.rollout,
                "bundles": dict(self.bundles),
            }
        )


def _said(**texts: str) -> dict[str, str]:
    """Return what is said: earlier records are the same to the byte."""
    return {key: text for key, text in texts.items() if text}


def _reader(data: bytes, subject: str) -> Reader:
    reader = Reader.from_json(data, subject=subject, error=TrustError)
    version = reader.integer("format", least=1)
    if version > FORMAT:
        raise TrustError(
            f"{subject}: format {version}, this edgekit reads up to {FORMAT};"
            " update the agent first"
        )
    return reader


def _bundle(reader: Reader) -> BundleEntry:
    entry = BundleEntry(
        flavor=reader.text("flavor"),
        sha256=reader.sha256("sha256"),
        length=reader.integer("length", least=1),
        chunk_bytes=reader.integer("chunk_bytes", least=1, most=MAX_CHUNK_BYTES),
        index_sha256=reader.sha256("index_sha256"),
        unpacked_bytes=reader.integer("unpacked_bytes"),
        peak_rss_bytes=reader.integer("peak_rss_bytes"),
        min_onnxruntime=reader.text("min_onnxruntime"),
        one_row_p95_us=reader.integer("one_row_p95_us"),
        boards=reader.texts("boards", ()),
        isas=reader.texts("isas", ()),
        manifest_sha256=reader.text("manifest_sha256", ""),
    )
    if entry.chunks > MAX_CHUNKS:
        raise TrustError(
            f"{reader.subject}: {entry.chunks} chunks, at most {MAX_CHUNKS} are expected"
        )
    return entry
