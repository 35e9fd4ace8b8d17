"""A place where bytes from outside come in, and what it owes them: an answer or a refusal.

Knows neither hypothesis nor atheris, which make the bytes.
"""

import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from edgekit.errors import EdgekitError

ROOM_BYTES = 64 * 2**20


class Form(Enum):
    """What the bytes are meant to be, which tells how to damage them well."""

    BYTES = auto()
    JSON = auto()
    TOML = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """One way in.

    `entry` is given the bytes; of its errors only `refusals` are allowed. `seeds` makes
    examples that are taken. `room_bytes` bounds what it may take of memory meanwhile.
    """

    name: str
    entry: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]
    refusals: tuple[type[EdgekitError], ...] = ()
    form: Form = Form.BYTES
    examples: int = 60
    room_bytes: int = ROOM_BYTES

    def feed(self, data: bytes) -> EdgekitError | None:
        """Return the refusal, None when the bytes were taken; raise what nobody expects."""
        try:
            self.entry(data)
        except self.refusals as refusal:
            _check_sentence(refusal)
            return refusal
        return None

    def feed_measured(self, data: bytes) -> None:
        """Feed, and raise AssertionError when it takes more memory than it may."""
        tracemalloc.start()
        try:
            self.feed(data)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak_bytes <= self.room_bytes, f"{len(data)} bytes took {peak_bytes}"


def _check_sentence(refusal: EdgekitError) -> None:
    """A refusal is a sentence for a log: there, and not without end."""
    text = str(refusal)
    assert text, "a refusal says nothing"
    assert len(text) < 2**20, f"a refusal of {len(text)} characters"
