"""A child process and the conversation with it. Knows no message.

What it says, and that it ended, arrives in the supervisor's inbox; nothing here waits.
"""

import contextlib
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from edgekit_agent import lines, memory


class Partner(Protocol):
    """Whoever carries out what the supervisor says: a process, or threads of this one."""

    @property
    def pid(self) -> int:
        """The process it runs in."""

    @property
    def rss_bytes(self) -> int:
        """The resident size of that process, 0 when it is gone."""

    def say(self, **document: object) -> None:
        """Send one object; never waits."""

    def kill(self) -> None:
        """End it now."""

    def wait(self, timeout_s: float) -> None:
        """Wait for its end, so long at most."""


@dataclass(frozen=True, slots=True)
class Said:
    """A child said something."""

    child: Partner
    document: dict[str, object]


@dataclass(frozen=True, slots=True)
class Ended:
    """A child is gone; `how` tells its exit code or signal."""

    child: Partner
    how: str


News = Said | Ended


class Child:
    """One process of the agent, started now.

    `module` is run as `python -m` does. `expendable` (0 to 1000) tells the kernel whom to
    kill first when memory runs out: the supervisor, which stays at 0, survives.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        inbox: queue.SimpleQueue[News],
        expendable: int,
        pass_fds: Collection[int] = (),
    ) -> None:
        command = [sys.executable, "-m", module, *arguments]
        self.module = module
        self._inbox = inbox
        self._process = subprocess.Popen(  # noqa: S603 - our own module and arguments
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=pass_fds
        )
        self._tell_kernel(expendable)
        threading.Thread(target=self._listen, name=module, daemon=True).start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def rss_bytes(self) -> int:
        """Its resident size, 0 when it is gone."""
        return memory.rss_bytes(self.pid) if self._process.poll() is None else 0

    def say(self, **document: object) -> None:
        """Send one object; a child that is gone hears nothing, its end is in the inbox."""
        with contextlib.suppress(BrokenPipeError, ValueError):  # closed, or hung up
            stdin = _open(self._process.stdin)
            stdin.write(lines.encode(document))
            stdin.flush()

    def kill(self) -> None:
        """End it now."""
        self._process.kill()

    def hang_up(self) -> None:
        """Say no more: it ends itself, and what it started."""
        with contextlib.suppress(BrokenPipeError):
            _open(self._process.stdin).close()

    def wait(self, timeout_s: float) -> None:
        """Wait for its end, then kill it."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _listen(self) -> None:
        for document in lines.read(_open(self._process.stdout)):
            self._inbox.put(Said(self, document))
        self._process.kill()  # it closed its output, or did not keep to the protocol
        status = self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            _open(self._process.stdin).close()
        _open(self._process.stdout).close()
        self._inbox.put(Ended(self, _how(status)))

    def _tell_kernel(self, expendable: int) -> None:
        with contextlib.suppress(OSError):  # it is already gone, or /proc is read-only
            Path(f"/proc/{self.pid}/oom_score_adj").write_text(f"{expendable}\n", "ascii")


def _open(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:  # pragma: no cover - both were asked for as pipes
        raise ValueError("a child has no pipe")
    return stream


def _how(status: int) -> str:
    if status >= 0:
        return f"exit code {status}"
    names = {member.value: member.name for member in signal.Signals}
    return f"killed by {names.get(-status, f'signal {-status}')}"
