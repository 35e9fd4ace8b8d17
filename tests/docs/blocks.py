"""Run the fenced blocks of a Markdown text as its reader would. Knows none of its commands.

    ```console        `$ command` lines, each followed by the output it must give; a line
    $ echo hello      that ends in a backslash goes on in the next one. `...` stands for any
    hello             text, over several lines too. Without output, any will do.
    ```
    ```python         a script, run in the same folder; it must not fail
    ```

One shell runs all blocks of a text in order, so folders, variables and background jobs
last. A line above a block can say `<!-- not run: reason -->`, or `<!-- exits: 7 -->` for
its last command. Other languages are shown, not run; sh, bash and shell are refused, so
that no command escapes by its fence.
"""

import os
import re
import secrets
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_REMARK = re.compile(r"<!-- (not run|exits): *((?:(?!-->).)*?) *-->\n+\Z", re.DOTALL)
_UNRUN = frozenset({"bash", "sh", "shell", "zsh"})


class BlockError(Exception):
    """A block that cannot be understood, or that did not do what the text says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command of a text: its line there, and what must come of it."""

    line: int
    command: str
    expected: str | None  # None: any output
    exit_code: int = 0


def steps(text: str) -> list[Step]:
    """Return every command of a Markdown text in order, or raise BlockError."""
    found: list[Step] = []
    for fence in _FENCE.finditer(text):
        language, body = fence[1], fence[2]
        line = text.count("\n", 0, fence.start()) + 2
        kind, remark = _remark(text[: fence.start()], line)
        if kind == "not run":
            continue
        if language in _UNRUN:
            raise BlockError(f"line {line}: a {language} block; console is expected")
        if language == "console":
            found += _console(body, line, int(remark) if kind else 0)
        elif language == "python":
            script = f"python - <<'END_OF_BLOCK'\n{body}END_OF_BLOCK"
            found.append(Step(line=line, command=script, expected=None))
    return found


def check(step: Step, output: str, exit_code: int) -> None:
    """Raise BlockError unless a command gave what its text shows."""
    if exit_code != step.exit_code:
        raise BlockError(
            f"line {step.line}: `{step.command}` exits with {exit_code},"
            f" {step.exit_code} is expected:\n{output}"
        )
    if step.expected is not None and not matches(step.expected, output):
        raise BlockError(
            f"line {step.line}: `{step.command}` prints\n{_trimmed(output)}\ninstead"
            f" of\n{step.expected}"
        )


def matches(expected: str, output: str) -> bool:
    """Say whether an output is the expected one, where `...` is any text."""
    parts = (re.escape(part) for part in _trimmed(expected).split("..."))
    return re.fullmatch(".*?".join(parts), _trimmed(output), re.DOTALL) is not None


class Shell:
    """A bash that runs one command after the other, and forgets nothing in between."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            ["/bin/bash", "--noprofile", "--norc"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, command: str, *, timeout_s: float = 300) -> tuple[str, int]:
        """Return what a command printed on both outputs, and its exit code."""
        mark = secrets.token_hex(16)
        script = f"{{ {command}\n}} </dev/null\nprintf '\\n%s %d\\n' {mark} $?\n"
        stdin, stdout = self._pipes()
        stdin.write(script.encode())
        stdin.flush()
        deadline = time.monotonic() + timeout_s
        ending = re.compile(rf"\n{mark} (\d+)\n".encode())
        collected = b""
        while not (end := ending.search(collected)):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([stdout], [], [], left)[0]:
                raise BlockError(f"`{command}` runs for more than {timeout_s:g} s")
            received = os.read(stdout.fileno(), 65_536)
            if not received:
                raise BlockError(f"`{command}` ended the shell")
            collected += received
        return collected[: end.start()].decode(errors="replace"), int(end[1])

    def __enter__(self) -> Self:
        """Return the shell itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the shell and every job that its commands left behind."""
        os.killpg(self._process.pid, signal.SIGTERM)
        time.sleep(0.2)
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in self._pipes():
            pipe.close()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise BlockError("the shell has no pipes")
        return stdin, stdout


def _remark(before: str, line: int) -> tuple[str | None, str]:
    found = _REMARK.search(before)
    if not found:
        return None, ""
    if not found[2] or (found[1] == "exits" and not found[2].isdigit()):
        raise BlockError(f"line {line}: `{found[1]}` says no reason or exit code")
    return found[1], found[2]


def _console(body: str, first_line: int, last_exit_code: int) -> list[Step]:
    blocks: list[tuple[int, list[str], list[str]]] = []
    for line, text in enumerate(body.splitlines(), first_line):
        if text.startswith("$ "):
            blocks.append((line, [text.removeprefix("$ ")], []))
        elif not blocks:
            raise BlockError(f"line {line}: `$ ` is expected at the start of a console")
        elif blocks[-1][1][-1].endswith("\\") and not blocks[-1][2]:
            blocks[-1][1].append(text)
        else:
            blocks[-1][2].append(text)
    last = len(blocks) - 1
    return [
        Step(
            line=line,
            command="\n".join(command),
            expected="\n".join(output) if output else None,
            exit_code=last_exit_code if number == last else 0,
        )
        for number, (line, command, output) in enumerate(blocks)
    ]


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
