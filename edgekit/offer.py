"""What a depot says of the patches to one bundle. Not signed: a hint, and no more.

Knows no files and no network: JSON bytes in, frozen values out, and back.
"""

import binascii
import hashlib
from dataclasses import dataclass

from edgekit.document import Reader, canonical_json
from edgekit.errors import TransportError
from edgekit.statement import CHUNK_BYTES, DIGEST_BYTES, MAX_CHUNK_BYTES, BundleEntry
from edgekit.wire import MAX_CHUNKS, MAX_PAYLOAD_BYTES

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A patch from the bundle `old`; `entry` and `index` are those of the patch's file."""

    old: str
    entry: BundleEntry
    index: bytes

    @classmethod
    def of(cls, content: bytes, old: str, index: bytes) -> "Patch":
        """Describe a patch, cut into chunks of the default length."""
        digest = hashlib.sha256(content).hexdigest()
        return _patch(old, digest, len(content), CHUNK_BYTES, index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The patches to one bundle."""

    patches: tuple[Patch, ...]

    def to_json(self) -> bytes:
        """Encode; patches that one message does not hold are left out. b"": none."""
        tables = [
            {
                "from": patch.old,
                "sha256": patch.entry.sha256,
                "length": patch.entry.length,
                "chunk_bytes": patch.entry.chunk_bytes,
                "index": patch.index.hex(),
            }
            for patch in self.patches
        ]
        while tables:
            payload = canonical_json({"format": FORMAT, "patches": tables})
            if len(payload) <= MAX_PAYLOAD_BYTES:
                return payload
            tables.pop()
        return b""

    @classmethod
    def from_json(cls, data: bytes) -> "Offer":
        """Parse, or raise TransportError."""
        reader = Reader.from_json(data, subject="patch offer", error=TransportError)
        reader.integer("format", least=FORMAT, most=FORMAT)
        return cls(patches=tuple(map(_read, reader.children("patches"))))


def _read(reader: Reader) -> Patch:
    length = reader.integer("length", least=1)
    chunk_bytes = reader.integer("chunk_bytes", least=1, most=MAX_CHUNK_BYTES)
    try:
        index = binascii.unhexlify(reader.text("index"))
    except (ValueError, binascii.Error):
        reader.fail("index", "hexadecimal digits")
    chunks = -(-length // chunk_bytes)
    if chunks > MAX_CHUNKS or len(index) != chunks * DIGEST_BYTES:
        reader.fail("index", f"the digests of {chunks} chunks, up to {MAX_CHUNKS},")
    return _patch(
        reader.sha256("from"), reader.sha256("sha256"), length, chunk_bytes, index
    )


def _patch(old: str, sha256: str, length: int, chunk_bytes: int, index: bytes) -> Patch:
    entry = BundleEntry(
        flavor="patch",
        sha256=sha256,
        length=length,
        chunk_bytes=chunk_bytes,
        index_sha256=hashlib.sha256(index).hexdigest(),
        unpacked_bytes=0,
        peak_rss_bytes=0,
        min_onnxruntime="0",
        one_row_p95_us=0,
    )
    return Patch(old=old, entry=entry, index=index)
