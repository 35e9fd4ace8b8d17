import os
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit import columns
from edgekit.columns import BLOCK_BYTES, MAX_MARKS, Column
from edgekit.errors import TrustError
from edgekit.onnx_columns import columns as onnx_columns
from tests.core.onnx_files import field, forest_file, ints, tensor, varint, whole

NUMBERS = st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 300), min_size=32)
NOISE = st.binary(max_size=200)


def one_column(raw: bytes, width: int, before: bytes = b"") -> tuple[bytes, list[Column]]:
    found = [Column(start=len(before), end=len(before) + len(raw), width=width)]
    return before + raw, found


def read(coded: bytes, cut: int = 7) -> bytes:
    """Decode from blocks of a few bytes."""
    blocks = [coded[at : at + cut] for at in range(0, len(coded), cut)]
    return b"".join(columns.decoded(blocks))


def gladly(part: bytes) -> bytes:
    """Whatever is coded is taken for smaller than what is not."""
    return b"" if part[:1] in b"\1\2\3\4\5" else part


def least(kind: int) -> columns.Packer:
    """The numbers in this form, and in no other, are taken for the smallest."""
    return lambda part: b"" if part[:1] == bytes([kind]) else b"xx"


@given(NUMBERS, NOISE, NOISE, st.sampled_from([3, 4, 5]))
def test_numbers_in_any_form_come_back(
    numbers: list[int], before: bytes, after: bytes, kind: int
) -> None:
    marks = bytes(number % 2 for number in numbers)
    raw = b"".join(map(varint, numbers))
    content = before + marks + b"!" + raw + after
    start = len(before)
    found = [
        Column(start=start, end=start + len(marks), width=0),
        Column(start=start + len(marks) + 1, end=len(content) - len(after), width=0),
    ]
    coded = columns.coded(content, found, least(kind))
    assert read(coded) == content


@given(st.binary(min_size=32, max_size=400), st.sampled_from([2, 4, 8]), NOISE)
def test_planes_come_back(raw: bytes, width: int, before: bytes) -> None:
    content, found = one_column(raw, width, before)
    assert read(columns.coded(content, found, gladly)) == content


@given(st.binary(max_size=300), st.data())
def test_columns_of_noise_come_back(content: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, len(content)))
    width = data.draw(st.sampled_from([0, 2, 4, 8]))
    found = [Column(start=start, end=end, width=width)]
    assert read(columns.coded(content, found, gladly)) == content


def test_a_long_column_comes_back_in_blocks() -> None:
    content, found = one_column(os.urandom(5 * BLOCK_BYTES + 12), 4)
    coded = columns.coded(content, found, gladly)
    blocks = list(columns.decoded([coded]))
    assert b"".join(blocks) == content
    assert max(map(len, blocks)) <= BLOCK_BYTES


def test_a_long_run_of_large_numbers_comes_back_in_blocks() -> None:
    raw = b"".join(varint(2**62 + number) for number in range(20_000))
    content, found = one_column(raw, 0)
    coded = columns.coded(content, found, gladly)
    assert len(coded) < len(content) / 8
    blocks = list(columns.decoded([coded]))
    assert b"".join(blocks) == content
    assert max(map(len, blocks)) <= BLOCK_BYTES


@pytest.mark.parametrize(
    "raw", [b"\x80" * 40, b"\x80\x00" * 20, varint(2**63) * 32, b"\x01" * 31]
)
def test_numbers_that_would_not_come_back_are_left_as_they_are(raw: bytes) -> None:
    content, found = one_column(raw, 0)
    assert read(columns.coded(content, found, gladly)) == content


@given(st.binary(max_size=300))
def test_noise_is_read_or_refused(noise: bytes) -> None:
    taken = 0
    try:
        for block in columns.decoded([noise]):
            taken += len(block)
            assert len(block) <= BLOCK_BYTES
    except TrustError:
        pass
    assert taken <= 10 * len(noise)


@pytest.mark.parametrize(
    ("coded", "said"),
    [
        (b"\x06\x01", "kind 6, 0 to 5 expected"),
        (b"\x00\x00", "holds nothing"),
        (b"\x00", "end too early"),
        (b"\x00\x05abcd", "end too early"),
        (b"\x03\x05\x00\x00", "end too early"),
        (b"\x00" + b"\xff" * 10 + b"\x01", "more than 63 bits"),
        (b"\x01" + varint(BLOCK_BYTES) + b"\x02", "of 2 bytes in one piece"),
        (b"\x01\x04\x03" + bytes(12), "4 numbers of 3 bytes"),
        (b"\x02" + varint(MAX_MARKS + 1), "at most 1048576 expected"),
        (b"\x02\x02\x01\x02", "neither 0 nor 1"),
        (b"\x04\x02\x00\x00", "2 numbers for 0 marks"),
        (b"\x02\x01\x00\x05\x02\x00\x00", "2 numbers for 1 marks"),
        (b"\x03\x01\x03", "below 0"),
        (b"\x03\x02" + b"\xfe" + b"\xff" * 8 + b"\x01\x02", "more than 63 bits"),
        (b"\x03\x01" + b"\xff" * 10 + b"\x01", "more than 63 bits"),
    ],
)
def test_what_is_no_coding_is_refused(coded: bytes, said: str) -> None:
    with pytest.raises(TrustError, match=said):
        read(coded)


def parts(content: bytes) -> Sequence[tuple[bytes, int]]:
    return [(content[c.start : c.end], c.width) for c in onnx_columns(content)]


def test_columns_of_a_model_are_its_numbers_also_in_graphs_inside() -> None:
    floats = struct.pack("<3f", 1, 2, 3)
    inner = field(5, field(6, field(5, tensor(10, b"half"))))
    node = field(5, field(7, floats)) + ints("ids", [1, 300]) + inner
    graph = field(1, node) + field(5, tensor(1, floats)) + field(5, tensor(3, b"int8"))
    model = whole(1, 8) + field(7, graph)
    assert parts(model) == [
        (floats, 4),
        (b"\x01\xac\x02", 0),
        (b"half", 2),
        (floats, 4),
    ]


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 30, forest_file(50)[:-3]])
def test_what_is_no_model_has_no_columns(content: bytes) -> None:
    assert onnx_columns(content) == []


@given(st.binary(max_size=200))
def test_columns_of_noise_lie_inside_it_in_order(noise: bytes) -> None:
    at = 0
    for column in onnx_columns(noise):
        assert at <= column.start < column.end <= len(noise)
        at = column.end
