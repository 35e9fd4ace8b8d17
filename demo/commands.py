"""Run edgekit's own commands, shown as a user would type them. Knows no story."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BIN = Path(sys.executable).parent
STOP_S = 10.0


class CommandFailedError(Exception):
    """A command of the demo did not end well; its output says why."""


@dataclass(slots=True, kw_only=True)
class Desk:
    """A folder in which commands run, with the operator's environment.

    `tell` is called with each command line before it runs; `idle` while it runs.
    """

    folder: Path
    environment: dict[str, str]
    tell: Callable[[str], None]
    idle: Callable[[], object] = lambda: None
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(self, *arguments: str) -> str:
        """Run a command to its end; return its standard output."""
        self.tell(self._shown(arguments))
        with subprocess.Popen(  # noqa: S603 - the commands are the demo's own
            self._program(arguments),
            cwd=self.folder,
            env=self._env(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            while True:
                try:
                    output, talk = process.communicate(timeout=0.2)
                    break
                except subprocess.TimeoutExpired:
                    self.idle()
        if process.returncode:
            raise CommandFailedError(f"{' '.join(arguments)}: {talk or output}")
        return output

    def run_json(self, *arguments: str) -> object:
        """Run a command with --json; return what it printed."""
        return json.loads(self.run(*arguments, "--json"))

    def start(self, *arguments: str, log: Path) -> None:
        """Start a command that runs until stop()."""
        self.tell(f"{self._shown(arguments)} &")
        with log.open("wb") as file:
            self.started.append(
                subprocess.Popen(  # noqa: S603 - the commands are the demo's own
                    self._program(arguments),
                    cwd=self.folder,
                    env=self._env(),
                    stdout=file,
                    stderr=subprocess.STDOUT,
                )
            )

    def stop(self) -> None:
        """End everything that was started, in order; kill what does not listen."""
        for process in self.started:
            process.send_signal(signal.SIGTERM)
        for process in self.started:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _shown(self, arguments: Sequence[str]) -> str:
        return " ".join(arguments).replace(str(self.folder), "$PWD")

    def _program(self, arguments: Sequence[str]) -> list[str]:
        return [str(BIN / arguments[0]), *arguments[1:]]

    def _env(self) -> dict[str, str]:
        return {**os.environ, **self.environment}
