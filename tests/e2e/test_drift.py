"""From a profile to a verdict, by the commands: real mosquitto, depot, agent and watch.

The watch is killed, the worker is killed and the broker restarted on the way: what was
asked is counted once, and drift is told in the column where it is.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from edgekit import bundle
from edgekit.binding import Predictions
from edgekit.cli.drift import DRIFTED
from edgekit.errors import EdgekitError
from edgekit.fleet.folder import FleetFolder
from edgekit.manifest import MANIFEST_NAME, PROFILE_NAME, Member
from edgekit.release import packing
from edgekit.statement import StagePointer
from edgekit.table import Array
from edgekit.telemetry import reference
from edgekit_agent.client import predict
from tests.agent.making import made
from tests.core.commands import PASSPHRASE, fleet_in, run
from tests.mosquitto import free_port, serving

pytestmark = [pytest.mark.slow, pytest.mark.broker]

WAIT_S = 240.0  # a device asks again a minute after nobody heard it, then after two
SCALE = 2.0
BOARD = "generic-x86-64"
_BROKER = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {data}/
"""


def table(rows: int, seed: int, *, shift: float = 0.0) -> dict[str, Array]:
    """Rows of both columns; `shift` moves the second by so many standard deviations."""
    random = np.random.default_rng(seed)
    return {"a": random.normal(5.0, 2.0, rows), "b": random.normal(shift, 1.0, rows)}


@dataclass
class Site:
    """A founded fleet, its broker and its processes, in a folder with a short path."""

    folder: Path
    fleet: Path
    port: int
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    broker: ExitStack = field(default_factory=ExitStack)

    def restart_broker(self) -> None:
        self.broker.close()
        self.broker.enter_context(serving(self.folder / "broker.conf", self.port))

    def start(self, name: str, program: str, *arguments: str) -> None:
        executable = Path(sys.executable).parent / program
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [str(executable), *arguments],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "EDGEKIT_FLEET": str(self.fleet)},
            )

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def kill_worker(self) -> None:
        pid = self.running["agent"].pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
        for child in children:
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"edgekit_agent.service.worker" in command:
                os.kill(int(child), signal.SIGKILL)

    def release(self) -> None:
        """Publish a version whose bundle tells how its reference data fall."""
        asked = table(2_000, 0)
        prediction = SCALE * (asked["a"] + asked["b"])
        profile = reference.build(asked, Predictions(prediction=prediction), classes=())
        manifest, members = bundle.read_members(BytesIO(made(scale=SCALE).data))
        members[PROFILE_NAME] = profile.to_json()
        files = {name: bundle.describe(content) for name, content in members.items()}
        flavor = self.folder / "flavor"
        flavor.mkdir()
        text = {**json.loads(manifest.to_json()), "files": _document(files)}
        (flavor / MANIFEST_NAME).write_text(json.dumps(text))
        for name, content in members.items():
            (flavor / name).write_bytes(content)
        packed = packing.pack(flavor, boards=(BOARD,))
        operator = FleetFolder(path=self.fleet)
        repository = operator.repository()
        packing.store(repository.folder, packed)
        pointer = StagePointer(
            model="wine",
            stage="production",
            version="1",
            rollout=1,
            bundles={packed.entry.flavor: packed.entry.sha256},
        )
        repository.publish(
            records=[packing.record((packed,), already=None)],
            pointers=[pointer],
            signers=operator.signers(PASSPHRASE),
            now=datetime.now(UTC).replace(microsecond=0),
        )

    def serves(self) -> bool:
        try:
            self.ask(table(1, 0))
        except EdgekitError:
            return False
        return True

    def ask(self, rows: dict[str, Array]) -> None:
        """Ask for two rows at a time."""
        data = np.stack([rows["a"], rows["b"]], axis=1).tolist()
        for at in range(0, len(data), 2):
            split = {"columns": ["a", "b"], "data": data[at : at + 2]}
            body = json.dumps({"dataframe_split": split}).encode()
            predict(self.folder / "run" / "agent.sock", "wine", body)

    def rows(self) -> int:
        """Return how many rows the fleet knows of."""
        with FleetFolder(path=self.fleet).book() as book:
            windows = [one.window for one in book.windows("pi-7")]
        return sum(bundle.rows for one in windows for bundle in one.bundles)

    def until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not holds():
            logs = "\n".join(path.read_text() for path in self.folder.glob("*.log"))
            assert time.monotonic() < deadline, f"it never came that {what}:\n{logs}"
            time.sleep(0.1)


def _document(files: dict[str, Member]) -> dict[str, object]:
    return {n: {"sha256": one.sha256, "length": one.length} for n, one in files.items()}


@contextmanager
def site() -> Iterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="ek-"))
    port = free_port()
    (folder / "broker.conf").write_text(_BROKER.format(port=port, data=folder))
    found = Site(folder=folder, fleet=fleet_in(folder), port=port)
    settings = found.fleet / "fleet.toml"
    settings.write_text(settings.read_text().replace(":1883", f":{port}"))
    try:
        found.restart_broker()
        found.release()
        enrolled = run(
            "device",
            "enroll",
            "pi-7",
            f"--board={BOARD}",
            f"--state-dir={folder}/state",
            f"--runtime-dir={folder}/run",
            "--telemetry-interval=1",
            fleet=found.fleet,
        )
        assert enrolled.exit_code == 0, enrolled.output
        found.start("depot", "edgekit", "depot")
        config = str(found.fleet / "devices" / "pi-7.toml")
        found.start("agent", "edgekit-agent", "run", "--config", config)
        yield found
    finally:
        for process in found.running.values():
            process.terminate()
        for process in found.running.values():
            process.wait(30)
        found.broker.close()
        shutil.rmtree(folder)


def verdicts(found: Site) -> tuple[int, int, dict[str, str]]:
    """Return exit code, rows, and the verdict of each column."""
    asked = "fleet", "drift", "wine", "--since=1h", "--json"
    result = run(*asked, fleet=found.fleet)
    told = json.loads(result.stdout)
    columns = {one["name"]: one["verdict"] for one in told["columns"]}
    return result.exit_code, told["rows"], columns


def test_drift_is_told_in_its_column_and_nothing_is_lost_or_counted_twice() -> None:
    with site() as found:
        found.until(found.serves, "the version is served")
        found.start("watch", "edgekit", "fleet", "watch")
        found.until(lambda: found.rows() >= 1, "the watch hears it")
        known = settled(found)

        found.ask(table(400, 1))
        found.kill("watch")
        found.ask(table(400, 2))
        found.start("watch", "edgekit", "fleet", "watch")
        found.until(lambda: found.rows() >= known + 800, "all of it is told")
        assert settled(found) == known + 800
        code, rows, calm = verdicts(found)
        assert (code, rows) == (0, known + 800)
        assert calm == {"a": "stable", "b": "stable", "prediction": "stable"}

        found.kill_worker()
        found.until(found.serves, "the worker is back")
        known = settled(found)
        found.ask(table(400, 3, shift=3.0))
        found.restart_broker()
        found.ask(table(400, 4, shift=3.0))
        found.until(lambda: found.rows() >= known + 800, "all of it is told")
        assert settled(found) == known + 800
        code, _, drifted = verdicts(found)
        assert code == DRIFTED
        assert (drifted["a"], drifted["b"]) == ("stable", "drifted")

        (row,) = json.loads(run("fleet", "status", "--json", fleet=found.fleet).stdout)
        assert row["receipt"]["standing"] == "signed"
        with FleetFolder(path=found.fleet).book() as book:
            assert book.garbage() == ()


def settled(found: Site) -> int:
    """Return the rows that the fleet knows when no more come for some windows."""
    before, since = found.rows(), time.monotonic()
    while time.monotonic() - since < 4:
        time.sleep(0.2)
        if found.rows() != before:
            before, since = found.rows(), time.monotonic()
    return before
