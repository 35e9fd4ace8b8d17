"""Columns of numbers in a member, coded so that they compress better, and back again.

A coded content is a sequence of pieces: a kind (1 byte), a count, and what the kind says.
Counts and numbers are varints as protobuf has them: 7 bits a byte, the lowest first.

    COPY       count bytes, as they are
    PLANES     width (1 byte), then count numbers of so many bytes each: all first bytes,
               all second bytes, ...
    MARKS      count bytes, each 0 or 1; as they are, and kept for what follows
    RISING     count varints: of each number, how far it is from one above the last,
               zigzag (0, -1, 1, -2 are 0, 1, 2, 3); the first follows -1
    SORTED     as RISING; numbers with mark 0 and with mark 1 rise apart
    HALF       as SORTED, but numbers with mark 1 are given as they are

Reading needs memory for one block and the marks. docs/formats/bundle.md is its page.
Knows no bundle and no ONNX.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from edgekit.errors import TrustError

BLOCK_BYTES = 64 * 1024  # the most that PLANES holds, and that is given out at once
MAX_MARKS = 2**20
WIDTHS = (2, 4, 8)
COPY, PLANES, MARKS, RISING, SORTED, HALF = range(6)
_SMALLEST = 32  # bytes of a column that is worth a piece of its own
_BITS = 63  # of a number
_MORE = 0x80

Packer = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Where numbers stand side by side: of `width` bytes each, or varints if it is 0."""

    start: int
    end: int
    width: int


def decoded(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the content of coded blocks, at most BLOCK_BYTES at once.

    TrustError for what is no such coding. The caller bounds how much it takes.
    """
    source = _Source(blocks)
    marks = b""
    while not source.ended:
        kind, count = source.take(1)[0], source.number()
        if kind == COPY:
            for size in _sizes(count):
                yield source.take(size)
        elif kind == PLANES:
            yield _joined(source, count)
        elif kind == MARKS:
            if count > MAX_MARKS:
                raise TrustError(f"columns: {count} marks, at most {MAX_MARKS} expected")
            marks = b"".join(source.take(size) for size in _sizes(count))
            if marks.strip(b"\0\1"):
                raise TrustError("columns: a mark is neither 0 nor 1")
            yield from (marks[at : at + BLOCK_BYTES] for at in range(0, count, BLOCK_BYTES))
        elif kind in {RISING, SORTED, HALF}:
            if kind != RISING and count != len(marks):
                raise TrustError(f"columns: {count} numbers for {len(marks)} marks")
            yield from _numbers(source, count, b"" if kind == RISING else marks, kind)
        else:
            raise TrustError(f"columns: a piece of kind {kind}, 0 to {HALF} expected")


def coded(content: bytes, found: Sequence[Column], packed: Packer) -> bytes:
    """Return the content with those columns coded that `packed` then makes smaller.

    `found` are columns in the order of the content, none inside another.
    """
    pieces: list[bytes] = []
    at, marks = 0, b""
    for column in found:
        raw = content[column.start : column.end]
        if column.width:
            piece = _planes(raw, column.width, packed)
        elif _are_marks(raw):
            marks, piece = raw, _piece(MARKS, len(raw)) + raw
        else:
            piece = _risen(raw, marks, packed)
        if piece:
            pieces += [_copied(content[at : column.start]), piece]
            at = column.end
    return b"".join([*pieces, _copied(content[at:])])


class _Source:
    """Bytes from blocks, however they were cut."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._block = b""
        self._at = 0

    @property
    def ended(self) -> bool:
        while self._at == len(self._block):
            block = next(self._blocks, None)
            if block is None:
                return True
            self._block, self._at = block, 0
        return False

    def take(self, size: int) -> bytes:
        taken = self._block[self._at : self._at + size]
        self._at += len(taken)
        while len(taken) < size:
            if self.ended:
                raise TrustError("columns: they end too early")
            more = self._block[self._at : self._at + size - len(taken)]
            self._at += len(more)
            taken += more
        return taken

    def number(self) -> int:
        """Return a varint; TrustError for 0, which counts nothing, and for a long one."""
        number, shift = 0, 0
        while True:
            byte = self.take(1)[0]
            number |= (byte & ~_MORE) << shift
            shift += 7
            if byte < _MORE:
                break
            if shift > _BITS:
                raise TrustError("columns: a number of more than 63 bits")
        if not number:
            raise TrustError("columns: a piece that holds nothing")
        return number

    def rest(self) -> bytes:
        """Return what is left of a block, at least a byte; `skip` says what was used."""
        if self.ended:
            raise TrustError("columns: they end too early")
        return self._block[self._at :]

    def skip(self, size: int) -> None:
        self._at += size


def _sizes(count: int) -> Iterator[int]:
    while count:
        size = min(count, BLOCK_BYTES)
        yield size
        count -= size


def _joined(source: _Source, count: int) -> bytes:
    width = source.take(1)[0]
    if width not in WIDTHS or width * count > BLOCK_BYTES:
        raise TrustError(f"columns: {count} numbers of {width} bytes in one piece")
    out = bytearray(width * count)
    for place in range(width):
        out[place::width] = source.take(count)
    return bytes(out)


def _numbers(source: _Source, count: int, marks: bytes, kind: int) -> Iterator[bytes]:
    """Yield the varints of `count` numbers. One loop: a forest has a million of them."""
    last = [-1, -1]
    done = value = shift = 0
    while done < count:
        rest = source.rest()
        out = bytearray()
        used = 0
        for byte in rest:
            used += 1
            if byte >= _MORE:
                value |= (byte & ~_MORE) << shift
                shift += 7
                if shift > _BITS:
                    raise TrustError("columns: a number of more than 63 bits")
                continue
            value |= byte << shift
            mark = marks[done] if marks else 0
            if not mark or kind != HALF:
                value = last[mark] + 1 + (value >> 1 ^ -(value & 1))
                last[mark] = value
            if not 0 <= value < 1 << _BITS:
                raise TrustError("columns: a number below 0 or of more than 63 bits")
            while value >= _MORE:
                out.append(value & ~_MORE & 0xFF | _MORE)
                value >>= 7
            out.append(value)
            value = shift = 0
            done += 1
            if done == count or len(out) > BLOCK_BYTES - 16:
                break
        source.skip(used)
        yield bytes(out)


def _planes(raw: bytes, width: int, packed: Packer) -> bytes:
    if len(raw) < _SMALLEST or len(raw) % width:
        return b""
    pieces = []
    step = BLOCK_BYTES // width * width
    for at in range(0, len(raw), step):
        part = raw[at : at + step]
        planes = b"".join(part[place::width] for place in range(width))
        pieces.append(_piece(PLANES, len(part) // width) + bytes([width]) + planes)
    best = min(b"".join(pieces), raw, key=lambda form: len(packed(form)))
    return best if best is not raw else b""


def _risen(raw: bytes, marks: bytes, packed: Packer) -> bytes:
    """Return the piece that compresses best; none if the numbers as they are do."""
    numbers = _read(raw)
    if len(raw) < _SMALLEST or numbers is None:
        return b""
    forms = [raw, _piece(RISING, len(numbers)) + _steps(numbers, b"", RISING)]
    if len(marks) == len(numbers):
        forms += [
            _piece(kind, len(numbers)) + _steps(numbers, marks, kind)
            for kind in (SORTED, HALF)
        ]
    best = min(forms, key=lambda form: len(packed(form)))
    return best if best is not raw else b""


def _steps(numbers: Sequence[int], marks: bytes, kind: int) -> bytes:
    last = [-1, -1]
    out = bytearray()
    for place, number in enumerate(numbers):
        mark = marks[place] if marks else 0
        value = number
        if not mark or kind != HALF:
            step = number - last[mark] - 1
            last[mark] = number
            value = 2 * step if step >= 0 else -2 * step - 1
        out += _varint(value)
    return bytes(out)


def _read(raw: bytes) -> list[int] | None:
    """Return the numbers of varints; None unless each is as short as it can be."""
    ends = [at + 1 for at, byte in enumerate(raw) if byte < _MORE]
    if not ends or ends[-1] != len(raw):
        return None
    numbers = []
    for start, end in pairwise([0, *ends]):
        if end - start > 1 and (raw[end - 1] == 0 or end - start > _BITS // 7):
            return None
        number = 0
        for byte in reversed(raw[start:end]):
            number = number << 7 | byte & ~_MORE
        numbers.append(number)
    return numbers


def _are_marks(raw: bytes) -> bool:
    return _SMALLEST <= len(raw) <= MAX_MARKS and not raw.strip(b"\0\1")


def _copied(raw: bytes) -> bytes:
    return _piece(COPY, len(raw)) + raw if raw else b""


def _piece(kind: int, count: int) -> bytes:
    return bytes([kind]) + _varint(count)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= _MORE:
        out.append(number & ~_MORE & 0xFF | _MORE)
        number >>= 7
    out.append(number)
    return bytes(out)
