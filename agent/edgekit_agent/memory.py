"""What a process takes and what the machine has left. Knows no model; reads /proc."""

import ctypes
import os
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_M_MMAP_THRESHOLD = -3  # glibc's malloc.h
_MMAP_THRESHOLD_BYTES = 128 * 1024


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


def available_bytes() -> int:
    """Return what the kernel could still give without swapping."""
    return _kilobytes(Path("/proc/meminfo"), "MemAvailable:")


def keep_heap_small() -> None:
    """Have large blocks go back to the system when they are freed, for ever.

    glibc raises the size from which it does so each time such a block is freed. Measured
    over 100 exchanges of a 20 MB model: 93 MB without, 67 MB and flat with this call.
    """
    adjust = getattr(ctypes.CDLL(None), "mallopt", None)
    if adjust is not None:  # musl has none
        adjust(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)


def _kilobytes(path: Path, key: str) -> int:
    for line in path.read_text("ascii").splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return 0
