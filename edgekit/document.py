"""Read JSON objects and TOML tables into frozen types. Knows no files and no network.

Two kinds of document exist. What people write (TOML) refuses unknown keys and offers
the nearest spelling. What others sign (JSON) keeps unknown fields, so that an old device
can verify and run what a newer release tool wrote.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from edgekit.errors import EdgekitError

_LARGEST = sys.float_info.max


def canonical_json(value: object) -> bytes:
    """Encode so that equal values give equal bytes: sorted keys, no blanks, UTF-8.

    NaN and infinities are refused with ValueError, as RFC 8259 has none.
    """
    return json.dumps(
        value,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    ).encode()


def read_toml(text: str, *, subject: str, error: type[EdgekitError]) -> dict[str, object]:
    """Parse TOML, or raise `error`."""
    import tomllib  # noqa: PLC0415 - processes that read JSON alone do without

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as cause:  # numbers and nesting without end, too
        raise error(f"{subject}: not TOML: {cause}") from cause


def refuse_unknown(
    table: Mapping[str, object],
    known: Iterable[str],
    *,
    subject: str,
    error: type[EdgekitError],
) -> None:
    """Raise `error` naming the first unknown key and its nearest known spelling."""
    allowed = sorted(known)
    for key in table:
        if key not in allowed:
            import difflib  # noqa: PLC0415 - 0.2 MB, for a sentence that few need

            near = difflib.get_close_matches(key, allowed, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(allowed)}"
            raise error(f"{subject}: unknown key {key}; {hint}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A typed view of one JSON object or TOML table.

    `subject` starts every message; `error` is the class raised for anything unusable.
    """

    table: Mapping[str, object]
    subject: str
    error: type[EdgekitError]

    @classmethod
    def from_json(cls, data: bytes, *, subject: str, error: type[EdgekitError]) -> "Reader":
        """Parse one JSON object, or raise `error`."""
        try:
            value = json.loads(data)
            canonical_json(value)  # refuses NaN and lone surrogates: no JSON has them
        except (ValueError, RecursionError) as cause:
            raise error(f"{subject}: not JSON: {cause}") from cause
        if not isinstance(value, dict):
            raise error(f"{subject}: a JSON object is expected")
        return cls(table=value, subject=subject, error=error)

    def fail(self, key: str, expected: str) -> NoReturn:
        """Raise the error for `key`, saying what is expected there."""
        raise self.error(f"{self.subject}: {key}: {expected} is expected")

    def has(self, key: str) -> bool:
        """Tell whether the key is there, and not null."""
        return self.table.get(key) is not None

    def text(self, key: str, default: str | None = None) -> str:
        """Return a string."""
        value = self.table.get(key, default)
        if not isinstance(value, str):
            self.fail(key, "a text")
        return value

    def one_of(self, key: str, allowed: Iterable[str], default: str | None = None) -> str:
        """Return one of these texts."""
        value, known = self.text(key, default), tuple(allowed)
        if value not in known:
            self.fail(key, f"one of {', '.join(known)}")
        return value

    def integer(
        self, key: str, default: int | None = None, *, least: int = 0, most: int = 2**53
    ) -> int:
        """Return a whole number within bounds (JSON's exact range by default)."""
        value = self.table.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(key, "a whole number")
        if not least <= value <= most:
            self.fail(key, f"a whole number from {least} to {most}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """Return a finite number."""
        value = self.table.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.fail(key, "a number")
        if not -_LARGEST <= value <= _LARGEST:
            self.fail(key, "a finite number")
        return float(value)

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """Return true or false."""
        value = self.table.get(key, default)
        if not isinstance(value, bool):
            self.fail(key, "true or false")
        return value

    def sha256(self, key: str) -> str:
        """Return a SHA-256 digest, 64 lower-case hexadecimal digits."""
        value = self.text(key)
        if len(value) != 64 or set(value) - set("0123456789abcdef"):  # noqa: PLR2004
            self.fail(key, "a SHA-256 digest of 64 lower-case hexadecimal digits")
        return value

    def texts(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """Return a list of strings."""
        if key not in self.table and default is not None:
            return default
        value = self.table.get(key)
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            self.fail(key, "a list of texts")
        return tuple(value)

    def child(self, key: str, *, optional: bool = False) -> "Reader":
        """Return the reader of a nested object (an empty one where it is optional)."""
        value = self.table.get(key, {} if optional else None)
        if not isinstance(value, dict):
            self.fail(key, "an object")
        return Reader(table=value, subject=f"{self.subject}: {key}", error=self.error)

    def children(self, key: str, *, optional: bool = False) -> tuple["Reader", ...]:
        """Return the readers of a list of objects."""
        value = self.table.get(key, [] if optional else None)
        if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
            self.fail(key, "a list of objects")
        return tuple(
            Reader(table=v, subject=f"{self.subject}: {key}[{i}]", error=self.error)
            for i, v in enumerate(value)
        )

    def named(self, key: str, *, optional: bool = False) -> dict[str, "Reader"]:
        """Return the readers of an object whose values are objects."""
        inner = self.child(key, optional=optional)
        return {name: inner.child(name) for name in inner.table}

    def string_map(self, key: str, *, optional: bool = False) -> dict[str, str]:
        """Return an object whose values are strings."""
        inner = self.child(key, optional=optional)
        return {name: inner.text(name) for name in inner.table}

    def rest(self, known: Iterable[str]) -> dict[str, object]:
        """Return what a newer writer added."""
        return {k: v for k, v in self.table.items() if k not in set(known)}
