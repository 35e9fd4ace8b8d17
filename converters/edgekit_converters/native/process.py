"""One child process with a time limit, its words in a file. Knows no model."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def run(
    command: Sequence[str],
    *,
    log: Path,
    cwd: Path,
    env: Mapping[str, str],
    timeout_s: float,
) -> int:
    """Return the exit code, below 0 for a signal; what it started has ended with it.

    subprocess.TimeoutExpired after `timeout_s`.
    """
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
            return child.wait(timeout_s)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
