"""The bundle: one file with a manifest, a model, and what proves it.

Pack and unpack it. Knows no paths, no keys and no network: bytes and streams in, members
out. docs/formats/bundle.md is its page. The same members give the same bytes; reading
needs memory for one block and the zstd window (2 MiB), whatever the bundle's size.

    magic     8 bytes, b"EDGEKIT" and the format version, 1 or 2
    member    1 byte name length, name (ASCII), 8 bytes raw length, 8 bytes stored length,
              one zstd frame; numbers are big-endian. Format 2 has 1 byte after the name:
              how the content is coded, 0 as it is, 1 in columns (edgekit/columns.py)
    ...       manifest.json first, the others in the order of their names, nothing after

Format 2 is written where columns save something worth it, so that a reader of format 1
reads the rest, and says of these what it cannot.
"""

import hashlib
import io
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from edgekit import columns
from edgekit.errors import TrustError
from edgekit.manifest import MANIFEST_NAME, Manifest, Member
from edgekit.onnx_columns import columns as onnx_columns
from edgekit.statement import CHUNK_BYTES, DIGEST_BYTES

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC = b"EDGEKIT\x01"
MAGIC_2 = b"EDGEKIT\x02"
MAGICS = frozenset({MAGIC, MAGIC_2})
MAX_MANIFEST_BYTES = 4 * 2**20
MAX_MEMBER_BYTES = 4 * 2**30
BLOCK_BYTES = 64 * 1024
_LEVEL = 19
_WINDOW_LOG = 21  # 2 MiB: what a device must spare to unpack
_SIZES = struct.Struct(">QQ")
_PLAIN, _IN_COLUMNS = 0, 1
_WORTH = 0.97  # of the bytes: what columns must come to, for older readers to be left out
_TRIED_BYTES = 256 * 1024  # of a column, to see whether it is worth coding


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
    stored = [_stored(MANIFEST_NAME, manifest.to_json())]
    stored += [_stored(name, members[name]) for name in sorted(members)]
    newer = any(member.coding != _PLAIN for member in stored)
    heads = [member.head(newer=newer) + member.frame for member in stored]
    return (MAGIC_2 if newer else MAGIC) + b"".join(heads)


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
    newer, first = _beginning(stream)
    manifest = _manifest(stream, first)
    for expected in sorted(manifest.files):
        head = _header(stream, newer=newer)
        declared = manifest.files[expected]
        if head.name != expected or head.length != declared.length:
            raise TrustError(
                f"bundle: member {head.name!r} of {head.length} bytes, the manifest"
                f" declares {expected!r} of {declared.length}"
            )
        digest = hashlib.sha256()
        sink = open_member(head.name)
        for block in _content(stream, head):
            digest.update(block)
            sink.write(block)
        if digest.hexdigest() != declared.sha256:
            raise TrustError(f"bundle: member {head.name} does not match its manifest")
    if stream.read(1):
        raise TrustError("bundle: bytes after the last member")
    return manifest


def read_manifest(stream: BinaryIO) -> Manifest:
    """Read a bundle's beginning, up to the end of its manifest; TrustError as unpack."""
    _, head = _beginning(stream)
    return _manifest(stream, head)


def head_bytes(beginning: bytes) -> int:
    """Return how many bytes of a bundle its manifest takes, magic and header included."""
    stream = io.BytesIO(beginning)
    _, head = _beginning(stream)
    return stream.tell() + head.stored


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
    stored = _stored("", content)
    return len(stored.head(newer=stored.coding != _PLAIN)) + len(stored.frame)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    """What stands before a member's frame."""

    name: str
    coding: int
    length: int
    stored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """A member as it is packed."""

    name: str
    coding: int
    length: int
    frame: bytes

    def head(self, *, newer: bool) -> bytes:
        encoded = self.name.encode("ascii")
        coding = bytes([self.coding]) if newer else b""
        sizes = _SIZES.pack(self.length, len(self.frame))
        return bytes([len(encoded)]) + encoded + coding + sizes


def _stored(name: str, content: bytes) -> _Stored:
    """Pack a content the way that takes fewer bytes, the plain one if about as few."""
    frame, coding = _frame(content), _PLAIN
    found = onnx_columns(content)
    if found:
        coded = columns.coded(content, found, lambda part: _frame(part[:_TRIED_BYTES]))
        if len(coded) <= _most_coded(len(content)):
            smaller = _frame(coded)
            if len(smaller) <= _WORTH * len(frame):
                frame, coding = smaller, _IN_COLUMNS
    return _Stored(name=name, coding=coding, length=len(content), frame=frame)


def _most_coded(length: int) -> int:
    """Return how long a content may be while it is coded: it is seldom longer."""
    return 2 * length + 1024


def _frame(content: bytes) -> bytes:
    compressor = zstd.ZstdCompressor(
        options={
            zstd.CompressionParameter.compression_level: _LEVEL,
            zstd.CompressionParameter.window_log: _WINDOW_LOG,
            zstd.CompressionParameter.content_size_flag: 0,
            zstd.CompressionParameter.checksum_flag: 1,
        }
    )
    return compressor.compress(content, zstd.ZstdCompressor.FLUSH_FRAME)


def _beginning(stream: BinaryIO) -> tuple[bool, _Head]:
    """Return whether the format is 2, and the manifest's head."""
    magic = _exactly(stream, len(MAGIC))
    if magic not in MAGICS:
        raise TrustError("bundle: not an edgekit bundle of format 1 or 2")
    newer = magic == MAGIC_2
    head = _header(stream, newer=newer)
    small = head.length <= MAX_MANIFEST_BYTES and head.coding == _PLAIN
    if head.name != MANIFEST_NAME or not small:
        raise TrustError(f"bundle: {head.name!r} comes first, a small manifest is expected")
    return newer, head


def _manifest(stream: BinaryIO, head: _Head) -> Manifest:
    return Manifest.from_json(b"".join(_content(stream, head)))


def _header(stream: BinaryIO, *, newer: bool) -> _Head:
    name = _exactly(stream, _exactly(stream, 1)[0]).decode("ascii", errors="replace")
    coding = _exactly(stream, 1)[0] if newer else _PLAIN
    length, stored = _SIZES.unpack(_exactly(stream, _SIZES.size))
    if length > MAX_MEMBER_BYTES or stored > MAX_MEMBER_BYTES:
        raise TrustError(f"bundle: member {name!r} of {length} bytes is too long")
    if coding not in {_PLAIN, _IN_COLUMNS}:
        raise TrustError(f"bundle: member {name!r} in coding {coding}, 0 or 1 expected")
    return _Head(name=name, coding=coding, length=length, stored=stored)


def _content(stream: BinaryIO, head: _Head) -> Iterator[bytes]:
    """Yield a member's content; TrustError where it is not as long as declared."""
    most = head.length if head.coding == _PLAIN else _most_coded(head.length)
    blocks = _inflate(stream, head, most)
    if head.coding == _IN_COLUMNS:
        blocks = columns.decoded(blocks)
    written = 0
    for block in blocks:
        written += len(block)
        if written > head.length:
            break
        yield block
    if written != head.length:
        raise _not_declared(head)


def _inflate(stream: BinaryIO, head: _Head, most: int) -> Iterator[bytes]:
    """Yield what a frame holds, at most so much; TrustError if it does not end there."""
    decompressor = zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
    )
    written, stored = 0, head.stored
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
            raise TrustError(f"bundle: member {head.name}: {error}") from error
        written += len(out)
        if written > most:
            break
        if out:
            yield out
    if not decompressor.eof or stored or written > most or decompressor.unused_data:
        raise _not_declared(head)


def _not_declared(head: _Head) -> TrustError:
    return TrustError(
        f"bundle: member {head.name} is not the {head.length} bytes it declares"
    )


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise TrustError("bundle: it ends too early")
    return data
