"""A power cut, a kill or a full disk at any single operation on files below a folder.

What the code under test really does is watched (Python's audit events, and os.fsync), on
real files. After a power cut the folder holds what a disk must hold and no more: contents
up to their last fsync, and maybe a part of what followed; names up to the last fsync of
their folder, and maybe some of the later ones, in their order.
"""

import contextlib
import errno
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from unittest import mock

_WRITES = os.O_WRONLY | os.O_RDWR
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir")


class PowerCutError(BaseException):
    """The machine is off: nothing may catch this, and nothing works after it."""


def off(_operation: str) -> None:
    raise PowerCutError


def full(_operation: str) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_only(_operation: str) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


@dataclass(eq=False)
class _File:
    """One inode: what is on the disk for sure, and what was seen last."""

    durable: bytes = b""
    seen: bytes = b""


Tree = dict[Path, _File | None]  # None: a folder


@dataclass
class Disk:
    """Watches `folder`; operation number `fail_at` (from 0) fails as `fail` says."""

    folder: Path
    fail_at: int | None = None
    fail: Callable[[str], None] = off
    for_good: bool = True  # everything after it fails, too
    operations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._tree: Tree = {}
        for path in sorted(self.folder.rglob("*")):
            content = None if path.is_dir() else path.read_bytes()
            self._tree[path] = None if content is None else _File(content, content)
        self._durable: Tree = dict(self._tree)  # names that are on the disk for sure
        self._later: list[tuple[frozenset[Path], Tree]] = []  # folders, names after it
        self._failed = False

    @contextmanager
    def watched(self) -> Iterator[Self]:
        """Watch what happens meanwhile."""
        _watching.append(self)
        with mock.patch("os.fsync", self._fsync):
            try:
                yield self
            finally:
                _watching.remove(self)

    def after_power_cut(self, target: Path, seed: int) -> Path:
        """Make `target` what the next boot finds, one of the possible ways."""
        chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._look()
        names = [self._durable, *(tree for _, tree in self._later)]
        for path, file in sorted(chance.choice(names).items()):
            place = target / path.relative_to(self.folder)
            if file is None:
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            cut = chance.randint(0, len(file.seen))
            place.write_bytes(chance.choice((file.durable, file.seen, file.seen[:cut])))
            if file.durable == file.seen:
                place.write_bytes(file.durable)
        return target

    def torn(self, target: Path) -> Iterator[Path]:
        """Yield what the next boot finds when one write reached the disk in part.

        Of each file whose last contents were not synced, each of some beginnings, beside
        all names as they were given last; each time in a folder of its own in `target`.
        """
        self._look()
        for path, file in sorted(self._tree.items()):
            if file is None or file.seen == file.durable:
                continue
            for number, length in enumerate(_beginnings(len(file.seen))):
                folder = target / f"{len(list(target.glob('*')))}-{number}"
                self._lay(folder, {path: file.seen[:length]})
                yield folder

    def _lay(self, folder: Path, other: dict[Path, bytes]) -> None:
        folder.mkdir(parents=True)
        for path, file in sorted(self._tree.items()):
            place = folder / path.relative_to(self.folder)
            if file is None:
                place.mkdir(parents=True, exist_ok=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(other.get(path, file.seen))

    def happens(self, event: str, arguments: tuple[object, ...]) -> None:
        """Take in an audit event, before the system does what it says."""
        if event == "open":
            self._opened(*arguments)
        elif event in _CHANGES:
            folder = arguments[-1] if isinstance(arguments[-1], int) else -1
            self._changed(event, *(_resolved(a, folder) for a in arguments[:2]))

    def _opened(self, path: object, _mode: object, flags: object) -> None:
        place = _resolved(path, -1)
        if place is None or not isinstance(flags, int) or not flags & _WRITES:
            return
        if not self._mine(place):
            return
        self._step("open")
        if self._tree.get(place) is None:
            self._name({place.parent}, {**self._tree, place: _File()})

    def _changed(self, event: str, source: Path | None, other: Path | None) -> None:
        if source is None or not self._mine(source):
            return
        self._step(event)
        self._look()
        tree = dict(self._tree)
        if event == "os.mkdir":
            tree[source] = None
        elif event == "os.rename" and other is not None:
            moved = {p: f for p, f in tree.items() if p == source or source in p.parents}
            for path, file in moved.items():
                del tree[path]
                tree[other / path.relative_to(source)] = file
        else:
            tree.pop(source, None)
        self._name({source.parent, *((other.parent,) if other else ())}, tree)

    def _fsync(self, descriptor: int) -> None:
        place = Path(f"/proc/self/fd/{descriptor}").readlink()
        if not self._mine(place) and place != self.folder:
            return
        self._step("fsync")
        self._look()
        if place.is_dir():
            touched = [n for n, (folders, _) in enumerate(self._later) if place in folders]
            if touched:
                self._durable = self._later[touched[-1]][1]
                del self._later[: touched[-1] + 1]
        elif (file := self._tree.get(place)) is not None:
            file.durable = file.seen

    def _name(self, folders: set[Path], tree: Tree) -> None:
        self._tree = tree
        self._later.append((frozenset(folders), tree))

    def _look(self) -> None:
        for path, file in self._tree.items():
            if file is not None and path.is_file():
                file.seen = path.read_bytes()

    def _mine(self, place: Path) -> bool:
        return self.folder in place.parents

    def _step(self, operation: str) -> None:
        number = len(self.operations)
        self.operations.append(operation)
        if number == self.fail_at or (self._failed and self.for_good):
            self._failed = True
            self.fail(operation)


def _beginnings(length: int) -> list[int]:
    """Return how much of a write may be there: all of a short one, else its ends."""
    if length <= 8:
        return list(range(length))
    return [0, 1, length // 4, length // 2, length - 2, length - 1]


def torn_writes(
    folder: Path, target: Path, change: Callable[[Path], object]
) -> Iterator[Path]:
    """Yield every state that `change`, made on copies of `folder`, leaves when it is torn.

    The power goes just before each fsync: what was written before it is there in part.
    """
    with Disk(copied(folder, target / "whole")).watched() as disk:
        change(disk.folder)
    for at, operation in enumerate(disk.operations):
        if operation == "fsync":
            cut = Disk(copied(folder, target / f"at{at}"), fail_at=at)
            with cut.watched(), contextlib.suppress(PowerCutError):
                change(cut.folder)
            (target / f"boot{at}").mkdir()
            yield from cut.torn(target / f"boot{at}")


def _resolved(path: object, folder: int) -> Path | None:
    if not isinstance(path, str | bytes | os.PathLike):
        return None
    name = Path(os.fsdecode(path))
    if folder >= 0 and not name.is_absolute():
        return Path(f"/proc/self/fd/{folder}").readlink() / name
    return name


_watching: list[Disk] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _watching and (event == "open" or event in _CHANGES):
        disk = _watching.pop()  # what it does itself is not watched
        try:
            disk.happens(event, arguments)
        finally:
            _watching.append(disk)


sys.addaudithook(_hook)


def copied(folder: Path, target: Path) -> Path:
    """Return a copy of a folder."""
    shutil.copytree(folder, target, symlinks=True)
    return target
