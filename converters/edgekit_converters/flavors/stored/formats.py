"""How many values a stored weight may take, and how many of them share eight bytes.

A weight is a whole code around zero times the scale of its channel. Codes of more than
128 values take a byte each; smaller ones are digits of 63-bit numbers, so that no bit is
lost to powers of two: 13 codes of 27 values in eight bytes, 4.9 bits each. Knows no
graph.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgekit.table import Array

NIBBLE_BITS = 4
_NUMBER_BITS = 63  # of an int64, the sign unused
_BYTE = 8
_PLAIN_FROM = 128  # more values than this and a byte each is no worse


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """Codes from -largest to largest."""

    name: str
    largest: int

    @property
    def entries(self) -> int:
        """How many different codes there are."""
        return 2 * self.largest + 1

    @property
    def packed(self) -> bool:
        """Whether several codes share a number."""
        return self.entries <= _PLAIN_FROM

    @property
    def spare(self) -> bool:
        """Whether codes can be taken apart in about the memory of the weights."""
        return not self.packed or self.bits == NIBBLE_BITS

    @property
    def digits(self) -> int:
        """How many codes share an int64, if they are packed."""
        count = 1
        while self.entries ** (count + 1) < 2**_NUMBER_BITS:
            count += 1
        return count

    @property
    def bits(self) -> float:
        """What a code takes in the file."""
        return 64 / self.digits if self.packed else _BYTE


INT8 = Format(name="int8", largest=127)
INT6 = Format(name="int6", largest=26)
INT5 = Format(name="int5", largest=13)
INT4 = Format(name="int4", largest=7)
INT3 = Format(name="int3", largest=3)

FORMATS: Mapping[str, Format] = {one.name: one for one in (INT8, INT6, INT5, INT4, INT3)}


def pack(codes: Array, form: Format) -> Array:
    """Return [numbers] int64, each of `form.digits` codes, the first worth least."""
    numbers = -(-codes.size // form.digits)
    padded = np.zeros(numbers * form.digits, np.int64)
    padded[: codes.size] = codes.reshape(-1) + form.largest
    packed: Array = padded.reshape(numbers, form.digits) @ powers(form)
    return packed


def powers(form: Format) -> Array:
    """Return [digits] int64, what each digit of a packed number is worth."""
    return np.array([form.entries**place for place in range(form.digits)], np.int64)


def pack_bytes(codes: Array, form: Format) -> Array:
    """Return [bytes] uint8 of two codes each, the first worth least; up to 16 entries."""
    padded = np.zeros(codes.size + codes.size % 2, np.uint8)
    padded[: codes.size] = codes.reshape(-1) + form.largest
    pairs = padded.reshape(-1, 2)
    packed: Array = pairs[:, 0] | pairs[:, 1] << NIBBLE_BITS
    return packed
