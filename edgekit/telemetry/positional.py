"""Read JSON lists whose places have meanings, from senders that are not trusted.

The counterpart of edgekit.document's Reader: same strictness, no names on the wire.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from edgekit.errors import TransportError

_LARGEST = sys.float_info.max


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A typed view of one list; `subject` starts every message. Raises TransportError."""

    items: Sequence[object]
    subject: str

    @classmethod
    def from_json(cls, data: bytes, *, subject: str) -> "Row":
        """Parse one JSON list."""
        try:
            value = json.loads(data)
            json.dumps(value, ensure_ascii=False).encode()  # refuses lone surrogates
        except (ValueError, RecursionError) as error:
            raise TransportError(f"{subject}: not JSON: {error}") from error
        return cls.of(value, subject=subject)

    @classmethod
    def of(cls, value: object, *, subject: str) -> "Row":
        """Take a value that must be a list."""
        if not isinstance(value, list):
            raise TransportError(f"{subject}: a list is expected")
        return cls(items=value, subject=subject)

    def fail(self, place: int, expected: str) -> NoReturn:
        """Raise the error for a place, saying what is expected there."""
        raise TransportError(f"{self.subject}: [{place}]: {expected} is expected")

    def absent(self, place: int) -> bool:
        """Whether null stands there."""
        return self._item(place) is None

    def integer(self, place: int, *, least: int = 0, most: int = 2**53) -> int:
        """Return a whole number within bounds (JSON's exact range by default)."""
        value = self._item(place)
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(place, "a whole number")
        if not least <= value <= most:
            self.fail(place, f"a whole number from {least} to {most}")
        return value

    def number(self, place: int) -> float:
        """Return a finite number."""
        value = self._item(place)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.fail(place, "a number")
        if not -_LARGEST <= value <= _LARGEST:
            self.fail(place, "a finite number")
        return float(value)

    def flag(self, place: int) -> bool:
        """Return true or false."""
        value = self._item(place)
        if not isinstance(value, bool):
            self.fail(place, "true or false")
        return value

    def text(self, place: int, *, most: int) -> str:
        """Return a text of up to `most` characters, safe to print on a terminal."""
        value = self._item(place)
        if not isinstance(value, str) or len(value) > most or not value.isprintable():
            self.fail(place, f"a printable text of up to {most} characters")
        return value

    def row(self, place: int) -> "Row":
        """Return a list in the list."""
        return Row.of(self._item(place), subject=f"{self.subject}: [{place}]")

    def rows(self, place: int) -> "tuple[Row, ...]":
        """Return a list of lists."""
        inner = self.row(place)
        return tuple(inner.row(at) for at in range(len(inner.items)))

    def integers(self) -> tuple[int, ...]:
        """Return all of it as whole numbers from 0."""
        for place, value in enumerate(self.items):
            if type(value) is not int or not 0 <= value <= 2**53:
                self.fail(place, "a whole number from 0")
        return tuple(self.items)  # type: ignore[arg-type]  # just checked, one by one

    def counts(self, *, most: int) -> dict[int, int]:
        """Return number -> count of a list of number, count, number, count ... in order.

        Numbers are at most `most`.
        """
        flat = self.integers()
        numbers = flat[::2]
        if len(flat) % 2 or list(numbers) != sorted(set(numbers)):
            raise TransportError(
                f"{self.subject}: number, count, number, count ... in order is expected"
            )
        if any(number > most for number in numbers):
            raise TransportError(f"{self.subject}: numbers up to {most} are expected")
        return dict(zip(numbers, flat[1::2], strict=True))

    def _item(self, place: int) -> object:
        if place >= len(self.items):
            self.fail(place, "something more")
        return self.items[place]


def pairs(counts: Mapping[int, int]) -> list[int]:
    """Return number, count, number, count ... in order, as Row.counts reads it."""
    return [part for pair in sorted(counts.items()) for part in pair]
