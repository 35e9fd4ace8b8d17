"""Patches between bundles: right, small where little changed, refused when malformed."""

import io
import random
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit import delta
from edgekit.bundle import describe
from edgekit.errors import TransportError, TrustError
from edgekit.manifest import Member
from edgekit.offer import Offer, Patch

Members = dict[str, bytes]
RANDOM = random.Random(7)  # noqa: S311 - repeatable, not secret
WEIGHTS = RANDOM.randbytes(3 * delta.SEGMENT_BYTES + 123)


def described(members: Members) -> dict[str, Member]:
    return {name: describe(content) for name, content in members.items()}


def patched(old: Members, new: Members, patch: bytes) -> Members:
    result = {name: old[name] for name in new if old.get(name) == new[name]}

    def slice_of(name: str, offset: int, length: int) -> bytes:
        return old[name][offset : offset + length]

    stream = io.BytesIO(patch)
    for name, block in delta.apply(stream, described(old), described(new), slice_of):
        result[name] = result.get(name, b"") + block
    return {**dict.fromkeys(new, b""), **result}


BYTES = st.binary(max_size=300)
MEMBERS = st.dictionaries(st.sampled_from(["a", "b", "c"]), BYTES)


@given(MEMBERS, MEMBERS)
def test_a_patch_turns_any_members_into_any_others(old: Members, new: Members) -> None:
    assert patched(old, new, delta.make(old, new)) == new


def test_a_changed_end_costs_little_more_than_itself() -> None:
    old = {"model.onnx": WEIGHTS, "golden.json": b"same"}
    new = {**old, "model.onnx": WEIGHTS[:-1000] + RANDOM.randbytes(1000)}
    patch = delta.make(old, new)
    assert patched(old, new, patch) == new
    assert len(patch) < 2_000


def test_what_moved_is_found_again() -> None:
    old = {"model.onnx": WEIGHTS}
    new = {"model.onnx": RANDOM.randbytes(5_000) + WEIGHTS}
    patch = delta.make(old, new)
    assert patched(old, new, patch) == new
    assert len(patch) < 7_000


def test_an_unchanged_bundle_costs_the_magic() -> None:
    old = {"model.onnx": WEIGHTS}
    assert delta.make(old, old) == delta.MAGIC


OLD, NEW = {"m": b"old content " * 40}, {"m": b"new content " * 50}
PATCH = delta.make(OLD, NEW)
HEAD = struct.Struct(">QIII")


def with_head(**changes: int) -> bytes:
    fields = dict(zip("obls", HEAD.unpack_from(PATCH, 8), strict=True))
    return PATCH[:8] + HEAD.pack(*{**fields, **changes}.values()) + PATCH[8 + HEAD.size :]


@pytest.mark.parametrize(
    "patch",
    [
        b"",
        b"EKDELTA\x02" + PATCH[8:],
        PATCH[:-1],
        PATCH[:20],
        PATCH + b"x",
        with_head(o=10**9),
        with_head(b=2**31),
        with_head(b=481),
        with_head(l=0),
        with_head(l=599),
        with_head(l=2**31),
        with_head(s=2**31),
        with_head(s=3),
    ],
)
def test_a_malformed_patch_is_a_trust_error(patch: bytes) -> None:
    with pytest.raises(TrustError, match=r"^patch: "):
        patched(OLD, NEW, patch)


@given(st.binary(max_size=300))
def test_noise_never_crashes(noise: bytes) -> None:
    with pytest.raises(TrustError):
        patched(OLD, NEW, delta.MAGIC + noise)


def test_an_offer_survives_encoding_and_leaves_out_what_is_too_long() -> None:
    patch = Patch.of(b"content", "ab" * 32, describe(b"content").sha256.encode()[:32])
    assert Offer.from_json(Offer(patches=(patch,)).to_json()) == Offer(patches=(patch,))
    assert Offer(patches=()).to_json() == b""
    long = replace(patch, index=bytes(80_000))
    offered = Offer.from_json(Offer(patches=(patch, long)).to_json())
    assert offered.patches == (patch,)


@pytest.mark.parametrize(
    "payload", [b"", b"{}", b'{"format":1,"patches":[{"from":1}]}', b'{"format":2}']
)
def test_a_malformed_offer_is_a_transport_error(payload: bytes) -> None:
    with pytest.raises(TransportError):
        Offer.from_json(payload)
