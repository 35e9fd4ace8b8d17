import hashlib
import io
import os
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit import bundle
from edgekit.errors import TrustError
from edgekit.manifest import Manifest
from tests.core.examples import MEMBERS, manifest
from tests.core.onnx_files import forest_file

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ROOT = Path(__file__).parents[2]
SIZES = struct.Struct(">QQ")
NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True).filter(
    lambda name: name not in {"manifest.json", "model.onnx"}
)
PACKED = bundle.pack(manifest(), MEMBERS)
FOREST = {"model.onnx": forest_file(300), "golden.json": b"{}"}
IN_COLUMNS = bundle.pack(manifest(FOREST), FOREST)


def unpacked(data: bytes) -> tuple[Manifest, dict[str, bytes]]:
    return bundle.read_members(io.BytesIO(data))


def frame(name: str, raw: bytes, *, length: int | None = None) -> bytes:
    """A member as it stands in a bundle, with a declared length that may lie."""
    stored = zstd.compress(raw)
    encoded = name.encode()
    sizes = SIZES.pack(len(raw) if length is None else length, len(stored))
    return bytes([len(encoded)]) + encoded + sizes + stored


def assembled(described: Mapping[str, bytes], *frames: bytes) -> bytes:
    """A bundle whose manifest describes some contents and whose frames are given."""
    first = frame("manifest.json", manifest(described).to_json())
    return bundle.MAGIC + first + b"".join(frames)


@given(st.dictionaries(NAMES, st.binary(max_size=200_000), max_size=3), st.binary())
def test_any_members_survive_packing_and_unpacking(
    others: dict[str, bytes], model: bytes
) -> None:
    members = {**others, "model.onnx": model}
    assert unpacked(bundle.pack(manifest(members), members)) == (manifest(members), members)


def test_members_come_sorted_after_the_manifest_whatever_the_order_given() -> None:
    backwards = dict(sorted(MEMBERS.items(), reverse=True))
    assert bundle.pack(manifest(backwards), backwards) == PACKED
    assert list(unpacked(PACKED)[1]) == sorted(MEMBERS)


def test_a_member_longer_than_the_window_is_streamed_in_blocks() -> None:
    members = {"model.onnx": os.urandom(5 * 2**20) + bytes(5 * 2**20)}
    blocks: list[int] = []

    class Measured:
        def write(self, block: bytes, /) -> None:
            blocks.append(len(block))

    packed = bundle.pack(manifest(members), members)
    bundle.unpack(io.BytesIO(packed), lambda _name: Measured())
    assert sum(blocks) == len(members["model.onnx"])
    assert max(blocks) <= bundle.BLOCK_BYTES


def test_the_same_members_give_the_same_bytes_in_every_process() -> None:
    script = (
        "import sys; from edgekit import bundle; from tests.core import examples;"
        "sys.stdout.buffer.write(bundle.pack(examples.manifest(), examples.MEMBERS))"
    )
    for seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        made = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, check=True
        )
        assert made.stdout == PACKED


def test_packing_what_the_manifest_does_not_describe_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="does not describe"):
        bundle.pack(manifest(), {**MEMBERS, "golden.json": b"other"})
    with pytest.raises(ValueError, match="does not describe"):
        bundle.pack(manifest(), {**MEMBERS, "extra": b""})


def test_one_flipped_byte_anywhere_changes_the_digest_and_never_crashes() -> None:
    digest = hashlib.sha256(PACKED).digest()
    refused = 0
    for position in range(len(PACKED)):
        for mask in (0x01, 0x80, 0xFF):
            changed = bytearray(PACKED)
            changed[position] ^= mask
            assert hashlib.sha256(changed).digest() != digest
            try:
                assert unpacked(bytes(changed)) == (manifest(), dict(MEMBERS))
            except TrustError:
                refused += 1
    # What passes changed only how a frame announces itself, never what it holds.
    assert refused > 0.98 * 3 * len(PACKED)


def test_a_bundle_cut_anywhere_is_refused() -> None:
    for length in range(len(PACKED)):
        with pytest.raises(TrustError):
            unpacked(PACKED[:length])


@pytest.mark.parametrize("more", [b"\0", b"x" * 100, PACKED, frame("zzz", b"")])
def test_bytes_after_the_last_member_are_refused(more: bytes) -> None:
    with pytest.raises(TrustError, match="bytes after the last member"):
        unpacked(PACKED + more)


@given(st.binary(max_size=300))
def test_noise_is_refused_and_never_crashes(noise: bytes) -> None:
    with pytest.raises(TrustError):
        unpacked(noise)
    with pytest.raises(TrustError):
        unpacked(bundle.MAGIC + noise)


def test_a_bundle_of_another_format_is_refused() -> None:
    with pytest.raises(TrustError, match="not an edgekit bundle of format 1 or 2"):
        unpacked(b"EDGEKIT\x03" + PACKED[8:])


def test_a_zip_bomb_stops_at_the_declared_length() -> None:
    bomb = frame("model.onnx", bytes(64 * 2**20), length=10)
    assert len(bomb) < 10_000
    written: list[bytes] = []

    class Kept:
        def write(self, block: bytes, /) -> None:
            written.append(block)

    with pytest.raises(TrustError, match="not the 10 bytes it declares"):
        bundle.unpack(
            io.BytesIO(assembled({"model.onnx": bytes(10)}, bomb)), lambda _name: Kept()
        )
    assert not written


def test_a_manifest_that_inflates_without_end_is_refused() -> None:
    small = frame("manifest.json", bytes(64 * 2**20), length=bundle.MAX_MANIFEST_BYTES)
    with pytest.raises(TrustError, match="not the 4194304 bytes it declares"):
        unpacked(bundle.MAGIC + small)


def test_a_manifest_declared_too_long_is_refused_unread() -> None:
    long = frame("manifest.json", b"", length=bundle.MAX_MANIFEST_BYTES + 1)
    with pytest.raises(TrustError, match="a small manifest is expected"):
        unpacked(bundle.MAGIC + long)


def test_a_member_declared_beyond_the_limit_is_refused_unread() -> None:
    sizes = SIZES.pack(2**63, 10)
    with pytest.raises(TrustError, match="too long"):
        unpacked(assembled({"model.onnx": b""}, b"\x0amodel.onnx" + sizes))


def test_a_window_larger_than_a_device_spares_is_refused() -> None:
    compressor = zstd.ZstdCompressor(
        options={
            zstd.CompressionParameter.window_log: 27,
            zstd.CompressionParameter.content_size_flag: 0,
        }
    )
    raw = os.urandom(100)
    stored = compressor.compress(raw) + compressor.flush()
    member = b"\x0amodel.onnx" + SIZES.pack(len(raw), len(stored)) + stored
    with pytest.raises(TrustError, match=r"member model\.onnx: "):
        unpacked(assembled({"model.onnx": raw}, member))


def test_a_member_shorter_than_declared_is_refused() -> None:
    short = frame("model.onnx", b"abc", length=4)
    with pytest.raises(TrustError, match="not the 4 bytes it declares"):
        unpacked(assembled({"model.onnx": b"abcd"}, short))


def test_a_second_frame_inside_a_member_is_refused() -> None:
    stored = zstd.compress(b"abc") + zstd.compress(b"d")
    member = b"\x0amodel.onnx" + SIZES.pack(4, len(stored)) + stored
    with pytest.raises(TrustError, match="not the 4 bytes it declares"):
        unpacked(assembled({"model.onnx": b"abcd"}, member))


def test_a_member_with_other_content_than_its_manifest_says_is_refused() -> None:
    with pytest.raises(TrustError, match=r"member model\.onnx does not match"):
        unpacked(assembled({"model.onnx": b"abcd"}, frame("model.onnx", b"abce")))


def test_a_member_under_another_name_is_refused() -> None:
    with pytest.raises(TrustError, match=r"'model\.bin' of 4 bytes, the manifest declares"):
        unpacked(assembled({"model.onnx": b"abcd"}, frame("model.bin", b"abcd")))


def test_a_member_left_out_is_refused() -> None:
    with pytest.raises(TrustError, match="ends too early"):
        unpacked(assembled(MEMBERS, frame("golden.json", b"{}")))


def test_a_bundle_without_a_manifest_in_front_is_refused() -> None:
    with pytest.raises(TrustError, match=r"'model\.onnx' comes first"):
        unpacked(bundle.MAGIC + frame("model.onnx", b"abcd"))


@given(st.binary(max_size=5_000), st.integers(1, 700))
def test_the_chunk_index_covers_every_byte(data: bytes, chunk_bytes: int) -> None:
    index = bundle.chunk_index(data, chunk_bytes)
    cut = [data[at : at + chunk_bytes] for at in range(0, len(data), chunk_bytes)]
    assert len(index) == 32 * len(cut)
    for number, chunk in enumerate(cut):
        assert bundle.chunk_digest(index, number) == hashlib.sha256(chunk).digest()


def test_a_forest_goes_in_columns_and_what_gains_nothing_as_older_readers_know_it() -> None:
    assert IN_COLUMNS[: len(bundle.MAGIC_2)] == bundle.MAGIC_2
    assert PACKED[: len(bundle.MAGIC)] == bundle.MAGIC
    assert unpacked(IN_COLUMNS) == (manifest(FOREST), FOREST)
    plain = zstd.compress(FOREST["model.onnx"], level=19)
    assert bundle.wire_bytes(FOREST["model.onnx"]) < 0.9 * len(plain)


def test_a_bundle_in_columns_is_as_safe_flipped_and_cut_anywhere() -> None:
    refused = 0
    for position in range(len(IN_COLUMNS)):
        changed = bytearray(IN_COLUMNS)
        changed[position] ^= 0x11
        try:
            assert unpacked(bytes(changed)) == (manifest(FOREST), FOREST)
        except TrustError:
            refused += 1
    assert refused > 0.98 * len(IN_COLUMNS)
    for length in range(0, len(IN_COLUMNS), 7):
        with pytest.raises(TrustError):
            unpacked(IN_COLUMNS[:length])


def coded_member(coded: bytes, raw: bytes, *, coding: int = 1) -> bytes:
    """A bundle of format 2 with one member of these coded bytes, declared as `raw`."""
    stored = zstd.compress(coded)
    described = manifest({"model.onnx": raw}).to_json()
    first = zstd.compress(described)
    head = b"\x0dmanifest.json\0" + SIZES.pack(len(described), len(first)) + first
    member = b"\x0amodel.onnx" + bytes([coding]) + SIZES.pack(len(raw), len(stored))
    return bundle.MAGIC_2 + head + member + stored


def test_columns_that_unfold_beyond_the_declared_length_stop_there() -> None:
    written: list[bytes] = []

    class Kept:
        def write(self, block: bytes, /) -> None:
            written.append(block)

    endless = b"\0\x80\x80\x80\x08" + bytes(2**24)  # a copy of 16 MiB
    with pytest.raises(TrustError, match="not the 100 bytes it declares"):
        bundle.unpack(io.BytesIO(coded_member(endless, bytes(100))), lambda _name: Kept())
    assert not written


def test_columns_that_unfold_to_less_than_declared_are_refused() -> None:
    with pytest.raises(TrustError, match="not the 4 bytes it declares"):
        unpacked(coded_member(b"\0\x03abc", b"abcd"))


def test_an_unknown_coding_is_refused() -> None:
    with pytest.raises(TrustError, match="in coding 2, 0 or 1 expected"):
        unpacked(coded_member(b"abcd", b"abcd", coding=2))
