"""Keep the last real inputs of a model with what it answered, in bounded memory.

A candidate is compared with these before it serves (edgekit_agent.shadow). They stay in
this process; a proof gets them through a file that only the agent's user can read, on the
runtime folder's tmpfs, and deletes it. Nothing of them is reported but the agreement.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit import golden
from edgekit.golden import Golden
from edgekit.table import Array, Table, rows, take

log = logging.getLogger(__name__)

_PLAIN = "biufOU"  # what golden vectors can hold; times are left out
_TEXT_BYTES = 64  # a text in an array of objects, about: its length is not looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    inputs: Table
    outputs: Mapping[str, Array]
    count: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How much each model keeps; nothing where `rows` is 0."""

    rows: int = 0
    most_bytes: int = 0

    def recent(self) -> "Recent | None":
        """Return an empty memory for a model, None where nothing is kept."""
        if not self.rows:
            return None
        return Recent(most_rows=self.rows, most_bytes=self.most_bytes)


def write(path: Path, content: bytes) -> None:
    """Let a file appear whole, for nobody else to read; it is no loss if it does not."""
    beside = path.with_name(f".{path.name}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        beside.replace(path)
    except OSError as error:
        log.warning("%s: cannot be written: %s", path, error.strerror)


class Recent:
    """The last `most_rows` rows, as long as they take no more than `most_bytes`."""

    def __init__(self, *, most_rows: int, most_bytes: int) -> None:
        self._most_rows = most_rows
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._asked: deque[_Asked] = deque()
        self._rows = 0
        self._bytes = 0

    def add(self, inputs: Table, prediction: Array | Mapping[str, Array]) -> None:
        """Keep one request; of more rows than are kept, the first ones."""
        count = min(rows(inputs), self._most_rows)
        outputs = prediction if isinstance(prediction, Mapping) else {"": prediction}
        if not count or not all(map(_is_plain, (*inputs.values(), *outputs.values()))):
            return
        if count < rows(inputs):
            inputs, outputs = take(inputs, [*range(count)]), take(outputs, [*range(count)])
        size = sum(_size(array) for array in (*inputs.values(), *outputs.values()))
        if size > self._most_bytes:
            return
        asked = _Asked(inputs=inputs, outputs=outputs, count=count, size_bytes=size)
        with self._lock:
            self._asked.append(asked)
            self._rows += count
            self._bytes += size
            while self._rows > self._most_rows or self._bytes > self._most_bytes:
                gone = self._asked.popleft()
                self._rows -= gone.count
                self._bytes -= gone.size_bytes

    def encode(self) -> bytes:
        """Return what is kept as lines, each of them golden vectors of one request."""
        with self._lock:
            asked = tuple(self._asked)
        lines = [
            golden.encode(Golden(inputs=one.inputs, outputs=one.outputs))
            for one in asked
            if all(map(_is_text, (*one.inputs.values(), *one.outputs.values())))
        ]
        return b"".join(line + b"\n" for line in lines)


def _is_plain(array: Array) -> bool:
    return np.asarray(array).dtype.kind in _PLAIN


def _is_text(array: Array) -> bool:
    """Whether an array of objects holds texts only: lists and mappings are left out."""
    objects = np.asarray(array).dtype.kind == "O"
    return not objects or all(isinstance(value, str) for value in array.flat)


def _size(array: Array) -> int:
    array = np.asarray(array)
    return array.nbytes + (array.size * _TEXT_BYTES if array.dtype.kind == "O" else 0)
