"""A memory cgroup for one child: a cap that kills what takes more. Knows no model.

Version 2 where this process may make groups with the memory controller (root, or a user's
systemd session with delegation), else version 1. The kernel counts what the child touches
first: its own memory, and pages of files that were not in memory before. So libraries
that others have loaded already are not counted, and the peak resident size, which counts
them, is compared with the board's budget as well.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_PREFIX = "edgekit-trial-"
# The shell joins the group and becomes the child: nothing is charged to another group.
_JOIN = 'echo $$ > "$0" && exec "$@"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A throw-away group with a limit."""

    folder: Path

    def command(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs `command` inside."""
        return ["/bin/sh", "-c", _JOIN, str(self.folder / "cgroup.procs"), *command]

    def killed(self) -> bool:
        """Whether the kernel killed something in it for want of memory."""
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError):
                lines = (self.folder / name).read_text("ascii").splitlines()
                counts = dict(line.split(maxsplit=1) for line in lines)
                return int(counts.get("oom_kill", "0")) > 0
        return False


@contextlib.contextmanager
def capped(
    limit_bytes: int, *, root: Path = _ROOT, own: Path = _OWN
) -> Iterator[Group | None]:
    """Give a group that may take `limit_bytes`, or None where none can be made."""
    group = _make(limit_bytes, root, own)
    try:
        yield group
    finally:
        if group is not None:
            with contextlib.suppress(OSError):
                group.folder.rmdir()


def _make(limit_bytes: int, root: Path, own: Path) -> Group | None:
    for parent in _parents(root, own):
        try:
            folder = Path(tempfile.mkdtemp(dir=parent, prefix=_PREFIX))
        except OSError:
            continue
        try:
            _limit(folder, limit_bytes)
        except OSError:
            folder.rmdir()
            continue
        return Group(folder=folder)
    return None


def _parents(root: Path, own: Path) -> Iterator[Path]:
    """Yield where a group with the memory controller could be made, the nearest first."""
    try:
        lines = own.read_text("ascii").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            here = root / "memory" / path.lstrip("/")
            yield from (folder for folder in (here, root / "memory") if folder.is_dir())
        elif not controllers:
            here = root / path.lstrip("/")
            for folder in (here, *here.parents):
                if folder.is_relative_to(root) and _gives_memory(folder):
                    yield folder


def _gives_memory(folder: Path) -> bool:
    try:
        given = (folder / "cgroup.subtree_control").read_text("ascii").split()
    except OSError:
        return False
    return "memory" in given


def _limit(folder: Path, limit_bytes: int) -> None:
    """Set the limit, with no swap beside it where the kernel can say so."""
    if (folder / "memory.max").exists():
        (folder / "memory.max").write_text(str(limit_bytes), "ascii")
        with contextlib.suppress(OSError):
            (folder / "memory.swap.max").write_text("0", "ascii")
        return
    (folder / "memory.limit_in_bytes").write_text(str(limit_bytes), "ascii")
    with contextlib.suppress(OSError):
        (folder / "memory.memsw.limit_in_bytes").write_text(str(limit_bytes), "ascii")
