"""Run the agent, or a few lines of Python, on an emulated board."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.household import Household

PATIENCE_S = 280.0  # emulated, beside other tests
_AGENT = "from edgekit_agent.cli import main; main()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A board's Python, and the folder with edgekit's wheels."""

    python: Path
    site: Path

    @property
    def environment(self) -> dict[str, str]:
        """What its processes see: nothing of the host's Python."""
        kept = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
        return {**kept, "EDGEKIT_SITE": str(self.site)}

    def run(self, code: str, *arguments: str) -> str:
        """Run Python code there and return what it prints; its last words when it fails."""
        done = subprocess.run(
            [str(self.python), "-c", code, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
            env=self.environment,
        )
        if done.returncode:
            raise AssertionError(f"exit code {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout

    def start_agent(self, house: Household) -> None:
        """Let the agent of a household run on this board."""
        command = [str(self.python), "-c", _AGENT, "run"]
        with (house.folder / "agent.log").open("ab") as log:
            house.processes["agent"] = subprocess.Popen(
                [*command, "--config", str(house.folder / "agent.toml")],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self.environment,
            )
