"""ONNX files as bytes, made without onnx, which the core does not need."""

import random
import struct


def varint(number: int) -> bytes:
    """A whole number as protobuf writes it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, content: bytes) -> bytes:
    """A field of bytes: a text, a message, packed numbers."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def whole(number: int, value: int) -> bytes:
    """A field of one whole number."""
    return varint(number << 3) + varint(value)


def ints(name: str, values: list[int]) -> bytes:
    """A node's attribute of whole numbers, packed."""
    return field(5, field(1, name.encode()) + field(8, b"".join(map(varint, values))))


def tensor(kind: int, raw: bytes) -> bytes:
    """A tensor of raw bytes: its element type, then they."""
    return whole(2, kind) + field(9, raw)


def forest_file(splits: int) -> bytes:
    """A model of one node like a TreeEnsemble: marks, numbers that rise, thresholds."""
    chance = random.Random(3)  # noqa: S311 - numbers, not secrets
    marks = [chance.random() < 0.5 for _ in range(splits)]
    ways, nodes, leaves = [], 0, 0
    for is_leaf in marks:
        nodes, leaves = nodes + (not is_leaf), leaves + is_leaf
        ways.append(leaves - 1 if is_leaf else nodes)
    thresholds = [chance.gauss(0, 1) for _ in range(splits)]
    packed = struct.pack(f"<{splits}f", *thresholds)
    splits_of = field(5, field(1, b"nodes_splits") + field(5, tensor(1, packed)))
    node = ints("nodes_trueleafs", [int(mark) for mark in marks])
    node += ints("nodes_truenodeids", ways) + splits_of
    return whole(1, 10) + field(7, field(1, node))
