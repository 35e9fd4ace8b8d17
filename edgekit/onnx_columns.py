"""Find the columns of numbers in an ONNX file. Knows protobuf's wire format, and no onnx.

Weights as raw bytes or floats, and lists of whole numbers, of which forests are made. What
does not look like a model has none.
"""

from collections.abc import Iterator

from edgekit.columns import Column

_VARINT, _EIGHT, _LENGTH, _FOUR = 0, 1, 2, 5  # protobuf's wire types
_DEEPEST = 32  # graphs inside graphs
# onnx.proto: of each message, the fields that hold messages, and those that hold numbers
_WITHIN = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
    "tensor": {},
}
_FLOATS, _INTS = 4, 0
_COLUMNS = {"attribute": {7: _FLOATS, 8: _INTS}, "tensor": {4: _FLOATS}}
_KIND, _RAW = 2, 9  # of a tensor: its element type, its numbers as bytes
_WIDTH = {1: 4, 6: 4, 7: 8, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}  # of element types


def columns(content: bytes) -> list[Column]:
    """Return them in the order of the file; none if it is no model."""
    try:
        return list(_message(content, 0, len(content), "model", 0))
    except (IndexError, ValueError):
        return []


def _message(content: bytes, at: int, end: int, of: str, depth: int) -> Iterator[Column]:
    kind = 0
    while at < end:
        tag, at = _varint(content, at)
        field, wire = tag >> 3, tag & 7
        size = {_EIGHT: 8, _FOUR: 4}.get(wire, 0)
        if wire == _VARINT:
            value, at = _varint(content, at)
            kind = value if field == _KIND else kind
        elif wire == _LENGTH:
            size, at = _varint(content, at)
        elif not size:
            raise ValueError(f"wire type {wire}")
        if at + size > end:
            raise ValueError("a field that is longer than what it is in")
        if wire == _LENGTH:
            yield from _within(content, (at, at + size), (of, field), kind, depth)
        at += size


def _within(
    content: bytes, place: tuple[int, int], what: tuple[str, int], kind: int, depth: int
) -> Iterator[Column]:
    """Yield the columns in a field, `what`: of which message, and its number."""
    of, field = what
    inner = _WITHIN[of].get(field)
    width = _COLUMNS.get(of, {}).get(field)
    if of == "tensor" and field == _RAW:
        width = _WIDTH.get(kind)
    if inner is not None and depth < _DEEPEST:
        yield from _message(content, *place, inner, depth + 1)
    elif width is not None and place[0] < place[1]:
        yield Column(start=place[0], end=place[1], width=width)


def _varint(content: bytes, at: int) -> tuple[int, int]:
    number, shift = 0, 0
    while True:
        byte = content[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:  # noqa: PLR2004 - the last byte of a varint
            return number, at
        if shift > 63:  # noqa: PLR2004 - of a number's bits
            raise ValueError("a number of more than 64 bits")
