"""What a process takes and what the machine has left, from /proc. Knows no model."""

import os
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


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


def _kilobytes(path: Path, key: str) -> int:
    for line in path.read_text("ascii").splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return 0
