"""One child process with limits of time and memory, its words in a file. Knows no model.

A damaged or hostile model may make its library ask for more memory than there is, and a
machine that swaps is lost to everybody on it.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekit.errors import ConversionError

MEMORY_SHARE = 0.75  # of what is free at the start
_GLANCE_S = 0.2
_MB = 2**20


def run(
    command: Sequence[str],
    *,
    log: Path,
    cwd: Path,
    env: Mapping[str, str],
    timeout_s: float,
) -> int:
    """Return the exit code, below 0 for a signal; what it started has ended with it.

    subprocess.TimeoutExpired after `timeout_s`, ConversionError when it takes more than
    MEMORY_SHARE of the memory that is free now.
    """
    most_bytes = int(MEMORY_SHARE * _kilobytes(Path("/proc/meminfo"), "MemAvailable:"))
    with log.open("wb") as stream:
        child = subprocess.Popen(  # noqa: S603 - the caller's command, no shell
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            cwd=cwd,
            env=dict(env),
            start_new_session=True,
        )
        try:
            return _watched(child, timeout_s, most_bytes)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _watched(child: subprocess.Popen[bytes], timeout_s: float, most_bytes: int) -> int:
    until = time.monotonic() + timeout_s
    status = Path(f"/proc/{child.pid}/status")
    while True:
        try:
            return child.wait(min(_GLANCE_S, max(until - time.monotonic(), 0)))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= until:
                raise
        taken = _kilobytes(status, "VmRSS:") + _kilobytes(status, "VmSwap:")
        if taken > most_bytes:
            raise ConversionError(
                f"the model takes more than {most_bytes // _MB:,} MB of memory while it is"
                " converted, three quarters of what is free here; ended"
            )


def _kilobytes(path: Path, key: str) -> int:
    """Return a line's number of kilobytes in bytes, 0 where there is none."""
    with contextlib.suppress(OSError):
        for line in path.read_text("ascii", "replace").splitlines():
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    return 0
