"""Files in memory that fail at a chosen operation, and forget as a power cut does."""

import errno
import os
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


class PowerCutError(BaseException):
    """The device is gone; nothing may catch this."""


@dataclass
class _Content:
    now: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    unsynced: list[tuple[int, bytes]] = field(default_factory=list)
    name_is_durable: bool = False


@dataclass
class FailingFiles:
    """edgekit_agent.update.partial.Files; operation number `fail_at` (from 0) fails.

    `fail` is called with the operation's name and raises; a failing write may have
    written a part of its data. After a power cut every operation meets it. Threads take
    turns.
    """

    fail_at: int | None = None
    fail: Callable[[str], None] = lambda _operation: cut_power()
    seed: int = 0
    operations: list[str] = field(default_factory=list)
    contents: dict[Path, _Content] = field(default_factory=dict)
    renames: list[tuple[Path, Path, _Content | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - repeatable, not secret
        self._turn = threading.RLock()
        self._is_dead = False

    def size(self, path: Path) -> int | None:
        content = self.contents.get(path)
        return None if content is None else len(content.now)

    def read(self, path: Path, offset: int, length: int) -> bytes:
        return bytes(self.contents[path].now[offset : offset + length])

    def write(self, path: Path, offset: int, data: bytes) -> None:
        with self._turn:
            if self._fails_now("write"):
                self._put(path, offset, data[: self._random.randint(0, len(data))])
                self._die("write")
            self._put(path, offset, data)

    def sync(self, path: Path) -> None:
        with self._turn:
            self._step("sync")
            content = self.contents[path]
            content.durable = bytes(content.now)
            content.unsynced.clear()

    def sync_folder(self, folder: Path) -> None:
        with self._turn:
            self._step("sync_folder")
            assert folder
            for content in self.contents.values():
                content.name_is_durable = True
            self.renames.clear()

    def replace(self, source: Path, target: Path) -> None:
        self._step("replace")
        self.renames.append((source, target, self.contents.get(target)))
        self.contents[target] = self.contents.pop(source)

    def remove(self, path: Path) -> None:
        self._step("remove")
        self.contents.pop(path, None)

    def after_kill(self) -> "FailingFiles":
        """What the next process finds: all that was written."""
        return FailingFiles(contents=self.contents)

    def after_power_cut(self) -> "FailingFiles":
        """What the next boot finds: what was synced, and any part of the rest."""
        for source, target, replaced in reversed(self.renames):
            if self._random.random() < 0.5:
                self.contents[source] = self.contents.pop(target)
                if replaced is not None:
                    self.contents[target] = replaced
        survivors = {}
        for path, content in self.contents.items():
            if content.name_is_durable or self._random.random() < 0.5:
                survivors[path] = self._remembered(content)
        return FailingFiles(contents=survivors)

    def _remembered(self, content: _Content) -> _Content:
        now = bytearray(content.durable)
        for offset, data in content.unsynced:
            kept = data[: self._random.choice((0, len(data) // 2, len(data)))]
            if kept:
                now.extend(bytes(max(0, offset + len(kept) - len(now))))
                now[offset : offset + len(kept)] = kept
        return _Content(now=now, durable=bytes(now), name_is_durable=True)

    def _put(self, path: Path, offset: int, data: bytes) -> None:
        content = self.contents.setdefault(path, _Content())
        content.unsynced.append((offset, bytes(data)))
        content.now.extend(bytes(max(0, offset + len(data) - len(content.now))))
        content.now[offset : offset + len(data)] = data

    def _fails_now(self, operation: str) -> bool:
        if self._is_dead:
            raise PowerCutError
        self.operations.append(operation)
        return self.fail_at == len(self.operations) - 1

    def _step(self, operation: str) -> None:
        if self._fails_now(operation):
            self._die(operation)

    def _die(self, operation: str) -> None:
        try:
            self.fail(operation)
        except PowerCutError:
            self._is_dead = True
            raise


def cut_power() -> None:
    raise PowerCutError


def fill_disk(_operation: str) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
