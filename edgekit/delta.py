"""The patch: what of a bundle's members a device does not hold already.

Make and apply it. Knows no paths, no keys and no network. It is not signed and need not
be: what it yields counts only when it matches the manifest, which signed data vouch for.
docs/formats/delta.md is its page. A member is cut into segments; each is a zstd frame
with a slice of the old member as its prefix, so that applying needs memory for one slice
and one segment, whatever the model's size.

    magic     8 bytes, b"EKDELTA" and the format version, 1
    segment   8 bytes offset and 4 bytes length of the slice of the old member, 4 bytes
              length of what it yields, 4 bytes length of the frame, the frame
    ...       of the members in the order of their names, each filled up to its length

A member that the old bundle holds unchanged has no segments.
"""

import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO

from edgekit.errors import TrustError
from edgekit.manifest import Member

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC = b"EKDELTA\x01"
SEGMENT_BYTES = 512 * 1024
SLICE_BYTES = 2**20
_MOST_FRAME_BYTES = SEGMENT_BYTES + 64 * 1024
_LEAST_PREFIX_BYTES = 8  # zstd ignores shorter ones
_LEVEL = 19
_WINDOW_LOG = 21  # a slice and a segment
_SEGMENT = struct.Struct(">QIII")

Slice = Callable[[str, int, int], bytes]  # of an old member: name, offset, length


def changed(old: Mapping[str, Member], new: Mapping[str, Member]) -> list[str]:
    """Return the names of the members that the old bundle does not hold unchanged."""
    return [name for name in sorted(new) if old.get(name) != new[name]]


def make(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> bytes:
    """Return the patch from one bundle's members (name -> content) to another's."""
    parts = [MAGIC]
    for name in sorted(name for name in new if old.get(name) != new[name]):
        before, after = old.get(name, b""), new[name]
        for at in range(0, len(after), SEGMENT_BYTES):
            start = _slice_start(at, len(before), len(after))
            base = before[start : start + SLICE_BYTES]
            segment = after[at : at + SEGMENT_BYTES]
            frame = _compressed(segment, base)
            parts += [_SEGMENT.pack(start, len(base), len(segment), len(frame)), frame]
    return b"".join(parts)


def apply(
    patch: BinaryIO,
    old: Mapping[str, Member],
    new: Mapping[str, Member],
    slice_of: Slice,
) -> Iterator[tuple[str, bytes]]:
    """Yield the changed members, name and next block, in order.

    Nothing is checked against digests here: the caller does, member by member. Raises
    TrustError when the patch is malformed or yields other lengths than `new` declares.
    """
    if patch.read(len(MAGIC)) != MAGIC:
        raise TrustError("patch: not an edgekit patch of format 1")
    for name in changed(old, new):
        held = old[name].length if name in old else 0
        left = new[name].length
        while left:
            block = _segment(patch, name, held, left, slice_of)
            left -= len(block)
            yield name, block
    if patch.read(1):
        raise TrustError("patch: bytes after the last segment")


def _segment(patch: BinaryIO, name: str, held: int, left: int, slice_of: Slice) -> bytes:
    head = patch.read(_SEGMENT.size)
    if len(head) != _SEGMENT.size:
        raise TrustError(f"patch: {name} ends too early")
    start, base_bytes, length, stored = _SEGMENT.unpack(head)
    if (
        not 0 < length <= min(left, SEGMENT_BYTES)
        or base_bytes > SLICE_BYTES
        or start + base_bytes > held
        or stored > _MOST_FRAME_BYTES
    ):
        raise TrustError(f"patch: a segment of {name} is out of range")
    base = slice_of(name, start, base_bytes) if base_bytes else b""
    return _decompressed(patch.read(stored), base, length, name)


def _slice_start(at: int, before: int, after: int) -> int:
    """Return where to look in the old member: where the segment lay in proportion."""
    middle = (at + SEGMENT_BYTES // 2) * before // max(after, 1)
    return max(0, min(middle - SLICE_BYTES // 2, before - SLICE_BYTES))


def _prefix(base: bytes) -> tuple[zstd.ZstdDict, int] | None:
    if len(base) < _LEAST_PREFIX_BYTES:
        return None
    return zstd.ZstdDict(base, is_raw=True).as_prefix


def _compressed(segment: bytes, base: bytes) -> bytes:
    compressor = zstd.ZstdCompressor(
        options={
            zstd.CompressionParameter.compression_level: _LEVEL,
            zstd.CompressionParameter.window_log: _WINDOW_LOG,
            zstd.CompressionParameter.content_size_flag: 0,
        },
        zstd_dict=_prefix(base),
    )
    return compressor.compress(segment, zstd.ZstdCompressor.FLUSH_FRAME)


def _decompressed(frame: bytes, base: bytes, length: int, name: str) -> bytes:
    decompressor = zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG},
        zstd_dict=_prefix(base),
    )
    try:
        block = decompressor.decompress(frame, length + 1)
    except zstd.ZstdError as error:
        raise TrustError(f"patch: {name}: {error}") from error
    if len(block) != length or not decompressor.eof or decompressor.unused_data:
        raise TrustError(
            f"patch: a segment of {name} is not the {length} bytes it declares"
        )
    return block
