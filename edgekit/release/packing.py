"""Turn accepted flavors into bundles, and bundles into what a release record says of them.

Knows a flavor's folder and a repository's two folders of bytes; no keys and no registry.
"""

from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from edgekit import atomic, bundle
from edgekit.errors import ConversionError, StoreError, TrustError
from edgekit.manifest import MANIFEST_NAME, Manifest
from edgekit.statement import CHUNK_BYTES, BundleEntry, ReleaseRecord
from edgekit.wire import MAX_BUNDLE_BYTES, MAX_CHUNKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """One bundle: its bytes, its chunk index, and its entry in the release record."""

    entry: BundleEntry
    content: bytes
    index: bytes
    manifest: Manifest


def pack(folder: Path, *, boards: tuple[str, ...]) -> Packed:
    """Pack a flavor's folder (manifest.json and the files it lists) for some boards.

    The same folder gives the same bytes. ConversionError when the folder is not what its
    manifest says, as after a hand has been at it, or its bundle cannot be delivered.
    """
    try:
        manifest = Manifest.from_json((folder / MANIFEST_NAME).read_bytes())
        members = {name: (folder / name).read_bytes() for name in manifest.files}
        content = bundle.pack(manifest, members)
    except (OSError, ValueError, TrustError) as error:
        raise ConversionError(
            f"{folder}: {error}; a flavor as it was converted is expected, remove its"
            " folder and release again"
        ) from error
    subject = f"{manifest.model.name} {manifest.model.version} {manifest.flavor}"
    chunk_bytes = fitting_chunk_bytes(subject, len(content))
    index = bundle.chunk_index(content, chunk_bytes)
    entry = _entry(manifest, content, index, boards, chunk_bytes=chunk_bytes)
    return Packed(entry=entry, content=content, index=index, manifest=manifest)


def fitting_chunk_bytes(subject: str, length: int) -> int:
    """Return how long the chunks of a bundle are: the default, where that is enough.

    A bundle has no more chunks than one message holds digests; a longer bundle takes
    longer chunks. ConversionError when the longest that brokers let through are too short.
    """
    if length > MAX_BUNDLE_BYTES:
        raise ConversionError(
            f"{subject}: its bundle takes {length / 1e6:.1f} MB, up to"
            f" {MAX_BUNDLE_BYTES / 1e6:.1f} MB can be delivered; release a smaller flavor,"
            " such as int8, or a smaller model"
        )
    return max(CHUNK_BYTES, -(-length // MAX_CHUNKS))


def store(repository: Path, packed: Packed) -> None:
    """Put a bundle and its chunk index where the depot finds them; again is harmless."""
    _put(repository / "blobs" / packed.entry.sha256, packed.content)
    _put(repository / "files" / "index" / packed.entry.index_sha256, packed.index)


def record(packed: tuple[Packed, ...], *, already: ReleaseRecord | None) -> ReleaseRecord:
    """Return the record of one version's bundles, with those it vouched for before.

    What was released stays vouched for, so that a stage that still points at it, or goes
    back to it, finds it. TrustError when the registry's files are no longer the ones that
    were released under the same version.
    """
    model = packed[0].manifest.model
    new = ReleaseRecord(
        model=model.name,
        version=model.version,
        run_id=model.run_id,
        source_sha256=model.source_sha256,
        bundles=tuple(one.entry for one in packed),
    )
    if already is None:
        return new
    if already.source_sha256 != new.source_sha256:
        raise TrustError(
            f"{new.model} {new.version}: its files have changed in the registry since it"
            f" was released (digest {new.source_sha256[:12]}, {already.source_sha256[:12]}"
            " is expected); register what changed as a new version"
        )
    fresh = {entry.sha256 for entry in new.bundles}
    kept = tuple(entry for entry in already.bundles if entry.sha256 not in fresh)
    return replace(already, bundles=(*new.bundles, *kept))


def _entry(
    manifest: Manifest,
    content: bytes,
    index: bytes,
    boards: tuple[str, ...],
    *,
    chunk_bytes: int,
) -> BundleEntry:
    members = sum(member.length for member in manifest.files.values())
    return BundleEntry(
        flavor=manifest.flavor,
        sha256=sha256(content).hexdigest(),
        length=len(content),
        chunk_bytes=chunk_bytes,
        index_sha256=sha256(index).hexdigest(),
        unpacked_bytes=members + len(manifest.to_json()),
        peak_rss_bytes=manifest.footprint.peak_rss_bytes,
        min_onnxruntime=manifest.runtime.min_onnxruntime,
        one_row_p95_us=manifest.footprint.one_row_p95_us,
        boards=boards,
        isas=manifest.runtime.isas,
        manifest_sha256=sha256(manifest.to_json()).hexdigest(),
    )


def _put(path: Path, content: bytes) -> None:
    """Write content-addressed bytes, unless they are there whole."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and sha256(path.read_bytes()).hexdigest() == path.name:
            return
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    atomic.write_bytes(path, content)
