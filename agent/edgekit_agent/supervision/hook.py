"""The process that runs one hook of the device's owner and tells what it answered.

A hook is a foreign program: it gets no secret, descriptor or variable of the agent, ends
within its time, and whatever it started ends with it. docs/hooks.md is the page.
"""

import argparse
import contextlib
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit_agent import lines
from edgekit_agent.rules.hook import MAX_OUTPUT_CHARS, Answer, Hook

NOT_NOW = 21  # the exit code
AGAIN_S = 300
LEAST_AGAIN_S = 5
MOST_AGAIN_S = 86_400
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_AGAIN = re.compile(r"retry-after:\s*(\d{1,9})", re.IGNORECASE)
_MAX_REASON_CHARS = 300
_BLOCK_BYTES = 4096
_KEPT_BLOCKS = 4
_OUTPUT_S = 2.0  # for what it printed to arrive, once it has ended
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a hook came to: `reason` its last line, `output` the end of all its lines."""

    answer: Answer
    reason: str
    again_s: int
    output: str
    took_ms: int


def find(folder: Path, hook: Hook) -> Path | None:
    """Return the path of a hook, None when the device has none.

    One that cannot be looked at counts as there: it is not passed over in silence.
    """
    path = folder / hook.value
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return path
    return path


def unsafe(path: Path) -> str | None:
    """Return why a hook is not run, None when it may be.

    Whoever may write it would decide what this device runs, as the agent's user.
    """
    try:
        for checked in (path.parent, path):
            found = checked.stat()
            if found.st_uid not in (0, os.geteuid()):
                return f"{checked}: owned by user {found.st_uid}, root's is expected"
            if found.st_mode & _OTHERS_MAY_WRITE:
                mode = stat.S_IMODE(found.st_mode)
                return f"{checked}: mode {mode:o}, others may write it; 755 is expected"
    except OSError as error:
        return f"{path}: {error.strerror}"
    if not path.is_file() or not os.access(path, os.X_OK):
        return f"{path}: not an executable file; chmod 755, and a first line #!/bin/sh"
    return None


class Running:
    """One hook, started now; OSError when it cannot be."""

    def __init__(self, path: Path, variables: Mapping[str, str]) -> None:
        arguments = [variables.get(f"EDGEKIT_{key}", "") for key in ("MODEL", "VERSION")]
        self._process = subprocess.Popen(  # noqa: S603 - what the device's owner put there
            [str(path), *arguments],
            env={"PATH": _PATH, "LANG": "C.UTF-8", **variables},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._name = path.name
        self._blocks: deque[bytes] = deque(maxlen=_KEPT_BLOCKS)
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def end(self) -> None:
        """End it and all it started that did not leave its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self, limit_s: float) -> Told:
        """Return its answer; a hook that has not ended by then is ended."""
        began_s = time.monotonic()
        try:
            status: int | None = self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            status = None
        self.end()
        self._process.wait()
        self._reading.join(_OUTPUT_S)
        took_ms = round((time.monotonic() - began_s) * 1000)
        return self._told(status, limit_s, took_ms)

    def _told(self, status: int | None, limit_s: float, took_ms: int) -> Told:
        output = _printable(b"".join(self._blocks))
        said = [line.strip() for line in output.splitlines() if line.strip()]
        wishes = [found[1] for line in said if (found := _AGAIN.fullmatch(line))]
        words = [line for line in said if not _AGAIN.fullmatch(line)]
        again_s = int(wishes[-1]) if wishes else AGAIN_S
        answer, how = _answer(status, limit_s)
        last = words[-1][:_MAX_REASON_CHARS] if words else ""
        return Told(
            answer=answer,
            reason=": ".join(part for part in (self._name, how, last) if part),
            again_s=min(max(again_s, LEAST_AGAIN_S), MOST_AGAIN_S),
            output=output[-MAX_OUTPUT_CHARS:],
            took_ms=took_ms,
        )

    def _read(self) -> None:
        if self._process.stdout is None:  # pragma: no cover - it was asked for as a pipe
            return
        with self._process.stdout as stream:
            while block := os.read(stream.fileno(), _BLOCK_BYTES):
                self._blocks.append(block)


def _answer(status: int | None, limit_s: float) -> tuple[Answer, str]:
    match status:
        case None:
            return Answer.BROKE, f"not done within {limit_s:g} s, and ended"
        case 0:
            return Answer.GO, ""
        case code if code == NOT_NOW:
            return Answer.NOT_NOW, ""
        case code if code < 0:
            return Answer.BROKE, f"killed by signal {-code}"
        case code:
            return Answer.FAILED, f"exit code {code}"


def _printable(output: bytes) -> str:
    text = output.decode("utf-8", "replace")
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def broken(path: Path, why: str) -> Told:
    """Return the answer that a hook which cannot be run stands for."""
    return Told(
        answer=Answer.BROKE,
        reason=f"{path.name}: cannot be run: {why}",
        again_s=AGAIN_S,
        output="",
        took_ms=0,
    )


def start(path: Path, variables: Mapping[str, str]) -> Running | Told:
    """Start a hook, or return why it cannot be; one that is gone has nothing to say."""
    if not os.path.lexists(path):
        return Told(answer=Answer.GO, reason="", again_s=AGAIN_S, output="", took_ms=0)
    why = unsafe(path)
    if why is not None:
        return broken(path, why)
    try:
        return Running(path, variables)
    except OSError as error:
        return broken(path, f"{path}: {error.strerror}")


def main() -> None:
    """Run one hook and tell its answer; when the supervisor goes, the hook goes."""
    arguments = _arguments()
    voice = lines.Voice.claim()
    begun = start(arguments.path, dict(arguments.variable))
    if isinstance(begun, Running):
        _follow(begun)
        begun = begun.wait(arguments.limit_s)
    voice.say(
        "answered",
        answer=begun.answer.value,
        reason=begun.reason,
        again_s=begun.again_s,
        output=begun.output,
        took_ms=begun.took_ms,
    )


def _follow(running: Running) -> None:
    """End the hook and this process when standard input ends."""

    def follow() -> None:
        while sys.stdin.buffer.read(_BLOCK_BYTES):
            pass
        running.end()
        os._exit(0)

    threading.Thread(target=follow, name="supervisor", daemon=True).start()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="edgekit_agent.supervision.hook", description=__doc__
    )
    parser.add_argument("path", type=Path)
    parser.add_argument("--limit-s", type=float, required=True)
    parser.add_argument(
        "--variable", action="append", default=[], type=lambda text: text.split("=", 1)
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
