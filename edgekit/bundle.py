"""The bundle: one file with a manifest, a model, and what proves it.

Pack and unpack it. Knows no paths, no keys and no network: bytes and streams in, members
out. docs/formats/bundle.md is its page. The same members give the same bytes; reading
needs memory for one block and the zstd window (2 MiB), whatever the bundle's size.

    magic     8 bytes, b"EDGEKIT" and the format version, 1
    member    1 byte name length, name (ASCII), 8 bytes raw length, 8 bytes stored length,
              one zstd frame; numbers are big-endian
    ...       manifest.json first, the others in the order of their names, nothing after
"""

import hashlib
import io
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, Protocol

from edgekit.errors import TrustError
from edgekit.manifest import MANIFEST_NAME, Manifest, Member
from edgekit.statement import CHUNK_BYTES, DIGEST_BYTES

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC = b"EDGEKIT\x01"
MAX_MANIFEST_BYTES = 4 * 2**20
MAX_MEMBER_BYTES = 4 * 2**30
BLOCK_BYTES = 64 * 1024
_LEVEL = 19
_WINDOW_LOG = 21  # 2 MiB: what a device must spare to unpack
_SIZES = struct.Struct(">QQ")


class Sink(Protocol):
    """Where a member's content goes, block by block."""

    def write(self, block: bytes, /) -> object:
        """Take the next block."""


def pack(manifest: Manifest, members: Mapping[str, bytes]) -> bytes:
    """Return the bundle file of `manifest` and `members` (name -> content).

    The manifest's `files` must describe exactly these members: ValueError otherwise.
    """
    described = {name: describe(content) for name, content in members.items()}
    if described != dict(manifest.files):
        raise ValueError("the manifest does not describe the members that are packed")
    ordered = [(MANIFEST_NAME, manifest.to_json())]
    ordered += [(name, members[name]) for name in sorted(members)]
    return MAGIC + b"".join(_frame(name, content) for name, content in ordered)


def describe(content: bytes) -> Member:
    """Return the manifest entry of a member."""
    return Member(sha256=hashlib.sha256(content).hexdigest(), length=len(content))


def chunk_index(bundle: bytes, chunk_bytes: int = CHUNK_BYTES) -> bytes:
    """Return the raw SHA-256 digests of the bundle's chunks, one after the other."""
    return b"".join(
        hashlib.sha256(bundle[at : at + chunk_bytes]).digest()
        for at in range(0, len(bundle), chunk_bytes)
    )


def chunk_digest(index: bytes, number: int) -> bytes:
    """Return the raw digest of one chunk."""
    return index[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]


def unpack(stream: BinaryIO, open_member: Callable[[str], Sink]) -> Manifest:
    """Read a bundle, writing each member to the sink that `open_member(name)` gives.

    The manifest is not written, it is returned. Every content is checked against the
    manifest as it passes; TrustError when anything differs, is missing, is in excess or
    is longer than declared. What was already written must then be thrown away.
    """
    manifest = read_manifest(stream)
    for expected in sorted(manifest.files):
        name, length, stored = _header(stream)
        declared = manifest.files[expected]
        if name != expected or length != declared.length:
            raise TrustError(
                f"bundle: member {name!r} of {length} bytes, the manifest declares"
                f" {expected!r} of {declared.length}"
            )
        digest = hashlib.sha256()
        sink = open_member(name)
        for block in _inflate(stream, length, stored, name):
            digest.update(block)
            sink.write(block)
        if digest.hexdigest() != declared.sha256:
            raise TrustError(f"bundle: member {name} does not match its manifest")
    if stream.read(1):
        raise TrustError("bundle: bytes after the last member")
    return manifest


def read_manifest(stream: BinaryIO) -> Manifest:
    """Read a bundle's beginning, up to the end of its manifest; TrustError as unpack."""
    length, stored = _manifest_sizes(stream)
    return Manifest.from_json(b"".join(_inflate(stream, length, stored, MANIFEST_NAME)))


def head_bytes(beginning: bytes) -> int:
    """Return how many bytes of a bundle its manifest takes, magic and header included."""
    stream = io.BytesIO(beginning)
    _, stored = _manifest_sizes(stream)
    return stream.tell() + stored


def read_members(stream: BinaryIO) -> tuple[Manifest, dict[str, bytes]]:
    """Read a whole bundle into memory (for tools; a device streams)."""
    blocks: dict[str, list[bytes]] = {}

    class _Memory:
        def __init__(self, name: str) -> None:
            self._blocks = blocks.setdefault(name, [])

        def write(self, block: bytes, /) -> None:
            self._blocks.append(block)

    manifest = unpack(stream, _Memory)
    return manifest, {name: b"".join(parts) for name, parts in blocks.items()}


def wire_bytes(content: bytes) -> int:
    """Return how many bytes this content takes in a bundle, a member's name aside."""
    return len(_frame("", content))


def _frame(name: str, content: bytes) -> bytes:
    compressor = zstd.ZstdCompressor(
        options={
            zstd.CompressionParameter.compression_level: _LEVEL,
            zstd.CompressionParameter.window_log: _WINDOW_LOG,
            zstd.CompressionParameter.content_size_flag: 0,
            zstd.CompressionParameter.checksum_flag: 1,
        }
    )
    stored = compressor.compress(content, zstd.ZstdCompressor.FLUSH_FRAME)
    encoded = name.encode("ascii")
    return bytes([len(encoded)]) + encoded + _SIZES.pack(len(content), len(stored)) + stored


def _manifest_sizes(stream: BinaryIO) -> tuple[int, int]:
    if _exactly(stream, len(MAGIC)) != MAGIC:
        raise TrustError("bundle: not an edgekit bundle of format 1")
    name, length, stored = _header(stream)
    if name != MANIFEST_NAME or length > MAX_MANIFEST_BYTES:
        raise TrustError(f"bundle: {name!r} comes first, a small manifest is expected")
    return length, stored


def _header(stream: BinaryIO) -> tuple[str, int, int]:
    name = _exactly(stream, _exactly(stream, 1)[0])
    length, stored = _SIZES.unpack(_exactly(stream, _SIZES.size))
    if length > MAX_MEMBER_BYTES or stored > MAX_MEMBER_BYTES:
        raise TrustError(f"bundle: member {name!r} of {length} bytes is too long")
    return name.decode("ascii", errors="replace"), length, stored


def _inflate(stream: BinaryIO, length: int, stored: int, name: str) -> Iterator[bytes]:
    decompressor = zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
    )
    written = 0
    while not decompressor.eof:
        block = b""
        if decompressor.needs_input:
            if not stored:
                break
            block = _exactly(stream, min(BLOCK_BYTES, stored))
            stored -= len(block)
        try:
            out = decompressor.decompress(block, BLOCK_BYTES)
        except zstd.ZstdError as error:
            raise TrustError(f"bundle: member {name}: {error}") from error
        written += len(out)
        if written > length:
            break
        if out:
            yield out
    if not decompressor.eof or stored or written != length or decompressor.unused_data:
        raise TrustError(f"bundle: member {name} is not the {length} bytes it declares")


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise TrustError("bundle: it ends too early")
    return data
