"""What a process takes and what is left for it. Knows no model; reads /proc and /sys."""

import ctypes
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_M_TRIM_THRESHOLD = -1  # glibc's malloc.h
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_TRIM_THRESHOLD_BYTES = 64 * 1024
_MMAP_THRESHOLD_BYTES = 128 * 1024
_ARENAS = 2


def rss_bytes(pid: int | None = None) -> int:
    """Return the resident size of a process (this one by default), 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid or 'self'}/statm").read_text("ascii").split()
    except OSError:
        return 0
    return int(fields[1]) * _PAGE_BYTES


def peak_rss_bytes() -> int:
    """Return the largest resident size this process has had."""
    return _kilobytes(Path("/proc/self/status"), "VmHWM:")


def anonymous_bytes() -> int:
    """Return what this process has for itself: what is free again once it has ended."""
    return _kilobytes(Path("/proc/self/status"), "RssAnon:")


def available_bytes() -> int:
    """Return what the kernel could still give this process without swapping.

    The machine's memory, or less where a control group (systemd's MemoryMax, a container)
    bounds this process. Pages of files count as free in both: they can be had back, and of
    what a model is said to take, those of libraries are shared with what runs already.
    """
    free = _kilobytes(Path("/proc/meminfo"), "MemAvailable:")
    return min([free, *group_bytes(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))])


def group_bytes(membership: Path, root: Path) -> Iterator[int]:
    """Yield what each control group around this process has left, version 1 and 2.

    `membership` is /proc/self/cgroup: a line "0::/a/b" (version 2), or one whose
    controllers name memory (version 1), under `root`/memory.
    """
    try:
        lines = membership.read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        if not controllers:
            names, folder = _VERSION_2, root
        elif "memory" in controllers.split(","):
            names, folder = _VERSION_1, root / "memory"
        else:
            continue
        inner = Path(name.lstrip("/"))
        for group in (inner, *inner.parents):
            yield from _left(folder / group, names)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """The files of one version of control groups."""

    limit: str
    used: str
    pages: tuple[str, str]  # in memory.stat: of files, to be had back


_VERSION_1 = _Names(
    limit="memory.limit_in_bytes",
    used="memory.usage_in_bytes",
    pages=("total_inactive_file", "total_active_file"),
)
_VERSION_2 = _Names(
    limit="memory.max",
    used="memory.current",
    pages=("inactive_file", "active_file"),
)


def _left(group: Path, names: _Names) -> Iterator[int]:
    try:
        limit = (group / names.limit).read_text("ascii").strip()
        used = int((group / names.used).read_text("ascii"))
        stat = (group / "memory.stat").read_text("ascii").splitlines()
    except (OSError, ValueError):  # no such group, or one without this controller
        return
    if limit.isdecimal():  # version 2 says "max" where there is none
        words = (line.partition(" ") for line in stat)
        pages = sum(int(count) for name, _, count in words if name in names.pages)
        yield max(0, int(limit) - used + pages)


def keep_heap_small() -> None:
    """Have large blocks go back to the system when they are freed, for ever.

    glibc raises the size from which it does so each time such a block is freed. Measured
    over 100 exchanges of a 20 MB model: 93 MB without, 67 MB and flat with this call.
    Threads share two heaps, as the interpreter lets one of them run at a time: 1.2 MB less
    where the agent and its models are one process.
    """
    adjust = getattr(ctypes.CDLL(None), "mallopt", None)
    if adjust is not None:  # musl has none
        adjust(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
        adjust(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES)
        adjust(_M_ARENA_MAX, _ARENAS)


def _kilobytes(path: Path, key: str) -> int:
    for line in path.read_text("ascii").splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return 0
