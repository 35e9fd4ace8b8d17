"""Hold an update in one of its states, for as long as a test likes, by a real cause.

Nothing here depends on being quick: each state has something in it that does not go on
before `let_go`. A provisioning file that is a FIFO, a depot that sends 1 KiB a second, a
model that computes for ages, a hook that waits, a worker that is stopped.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from enum import StrEnum
from functools import cache
from pathlib import Path

from edgekit_agent.rules.record import Phase
from tests.agent.looping import loop_model
from tests.agent.making import Made, made, repacked
from tests.e2e.household import Household

PADDING_BYTES = 400_000
_SLOWEST = "1"  # KiB a second
_ENDLESS = 1e15  # rounds: some days


class Moment(StrEnum):
    """Where an update is held."""

    CHECKING = "checking"
    FETCHING = "fetching"
    PROVING = "proving"
    ASKING = "asking"
    COMMITTING = "committing"
    CONFIRMING = "confirming"  # it serves; the device has not said yet that all is well


@cache
def released(version: str, scale: float, *, endless: bool = False) -> Made:
    """A version; an `endless` one never ends its proof."""
    found = made(version=version, scale=scale, padding_bytes=PADDING_BYTES)
    return repacked(found, loop_model(scale, rounds=_ENDLESS)) if endless else found


class Stuck:
    """One update that stays in a moment. Make it before the release, let go at the end."""

    def __init__(self, house: Household, moment: Moment) -> None:
        self._house = house
        self._moment = moment
        self._text = house.config.read_bytes()
        self._gate = house.folder / "gate"
        self._worker = house.worker()
        _OBSTACLES[moment](self)

    def reached(self, version: str) -> bool:
        """Whether the update is there, as the disk has it, and what works there runs."""
        record = self._house.persisted()
        current, candidate = record.get("current"), record.get("candidate")
        if self._moment is Moment.CONFIRMING:
            there = bool(record.get("unconfirmed")) and _version(current) == version
        else:
            there = record.get("phase") == Phase(self._moment.value)
            there = there and (_version(candidate) == version or candidate is None)
        return there and bool(self.job())

    def job(self) -> int:
        """Return the process that works in this moment, 0 while there is none."""
        match self._moment:
            case Moment.CHECKING | Moment.FETCHING:
                return self._house.updater()
            case Moment.PROVING:
                return self._house.proof()
            case Moment.ASKING | Moment.CONFIRMING:
                return self._house.asked()
            case Moment.COMMITTING:
                return self._worker

    def let_go(self) -> None:
        """Take the obstacle away, for whatever still waits at it and for what comes."""
        match self._moment:
            case Moment.CHECKING:
                self._restore_config()
            case Moment.FETCHING:
                self._house.stop("depot")
                self._house.start_depot()
            case Moment.PROVING:
                _end(self._house.proof() if "agent" in self._house.processes else 0)
            case Moment.ASKING | Moment.CONFIRMING:
                for hook in self._house.hooks.glob("p*"):
                    hook.unlink()
                _write(self._gate, b"go\n")
            case Moment.COMMITTING:
                (self._house.hooks / "pre-activate").unlink()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._worker, signal.SIGCONT)

    # --- the obstacles ------------------------------------------------------------------

    def config_is_a_fifo(self) -> None:
        """The updater waits where it opens its provisioning file."""
        beside = self._house.folder / "agent.fifo"
        os.mkfifo(beside)
        beside.replace(self._house.config)

    def _restore_config(self) -> None:
        kept = self._house.config.with_name("gate")
        os.link(self._house.config, kept)
        beside = self._house.folder / "agent.new"
        beside.write_bytes(self._text)
        beside.replace(self._house.config)
        _write(kept, self._text)

    def depot_is_slow(self) -> None:
        """A chunk takes a minute."""
        self._house.stop("depot")
        self._house.start_depot("--max-rate", _SLOWEST)

    def hook_waits(self, name: str) -> None:
        """The device does not make up its mind before it is let through the gate."""
        os.mkfifo(self._gate)
        self._house.hook(name, f"read -r word < {self._gate}; exit 0")

    def worker_is_stopped(self) -> None:
        """It is told to load the candidate, and does not stir."""
        self._house.hook("pre-activate", f"kill -STOP {self._worker}; exit 0")


_OBSTACLES: dict[Moment, Callable[[Stuck], None]] = {
    Moment.CHECKING: Stuck.config_is_a_fifo,
    Moment.FETCHING: Stuck.depot_is_slow,
    Moment.PROVING: lambda _stuck: None,  # the model is the obstacle
    Moment.ASKING: lambda stuck: stuck.hook_waits("pre-activate"),
    Moment.COMMITTING: Stuck.worker_is_stopped,
    Moment.CONFIRMING: lambda stuck: stuck.hook_waits("post-activate"),
}


def _version(release: object) -> str:
    return str(release["version"]) if isinstance(release, dict) else ""


def _end(pid: int) -> None:
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _write(fifo: Path, text: bytes) -> None:
    """Write into a FIFO if anybody reads it, within the time it takes to open it."""
    for _ in range(20):
        try:
            descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads, or not yet
            time.sleep(0.05)
            continue
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
        return
