"""A fleet of one real agent, its depot and a real broker, for tests that break things.

The depot serves whatever lies in its folder, so a hostile one is a folder with other files:
they are signed by a simulator that can be made to lie. Models are really small
(tests/agent/making.py); registry and converters are left out, they have tests of their own.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from edgekit import atomic, board, embedded_broker
from edgekit.address import BrokerAddress
from edgekit.bundle import chunk_index
from edgekit.embedded_broker import EmbeddedBroker
from edgekit.errors import EdgekitError
from edgekit.fleet import config as fleet_config
from edgekit.fleet.config import FleetConfig
from edgekit.fleet.enroll import Provision
from edgekit.mqtt import MqttTransport
from edgekit.registry.uri import Selector
from edgekit.statement import (
    ReleaseRecord,
    StagePointer,
    pointer_path,
    record_path,
    slug,
    stage_role,
)
from edgekit.transport import Message
from edgekit.wire import Topics
from edgekit_agent.client import Prediction, predict
from tests.agent.making import Made
from tests.trust.simulator import Simulator

FLEET = "farm"
DEVICE = "pi-7"
MODEL = "wine"
STAGE = "production"
PATIENCE_S = 60.0
STOP_S = 20.0
ROWS = b'{"dataframe_records": [{"a": 1.0, "b": 2.0}]}'
State = dict[str, object]


@dataclass(kw_only=True)
class Household:
    """Everything on one machine; `folder` must have a short path (Unix sockets)."""

    folder: Path
    broker: EmbeddedBroker
    repository: Path
    signing: Simulator
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def topics(self) -> Topics:
        return Topics(fleet=FLEET)

    @property
    def socket(self) -> Path:
        return self.folder / "run" / "agent.sock"

    @property
    def hooks(self) -> Path:
        return self.folder / "hooks"

    @property
    def config(self) -> Path:
        return self.folder / "agent.toml"

    @property
    def log(self) -> str:
        return (self.folder / "agent.log").read_text("utf-8", errors="replace")

    # --- the operator, or whoever has got hold of the depot -----------------------------

    def store(self, made: Made) -> Path:
        """Put a bundle and its chunk index where the depot finds them."""
        path = self.repository / "blobs" / made.sha256
        path.write_bytes(made.data)
        index = self.repository / "files" / "index" / made.entry.index_sha256
        index.write_bytes(chunk_index(made.data))
        return path

    def vouch(self, made: Made, *others: Made) -> None:
        """Let the models role vouch for a version's bundles; nothing is offered yet."""
        model = made.manifest.model.name
        version = made.manifest.model.version
        said = ReleaseRecord(
            model=model,
            version=version,
            run_id="run",
            source_sha256="0" * 64,
            bundles=tuple(one.entry for one in (made, *others)),
        )
        self.signing.put("models", record_path(model, version), said.to_json())

    def point(self, made: Made, rollout: int, *others: Made) -> None:
        """Let the stage's role point at a version's bundles; nothing is offered yet."""
        model = made.manifest.model.name
        said = StagePointer(
            model=model,
            stage=STAGE,
            version=made.manifest.model.version,
            rollout=rollout,
            bundles={one.entry.flavor: one.sha256 for one in (made, *others)},
        )
        self.signing.put(stage_role(STAGE), pointer_path(STAGE, model), said.to_json())

    def release(self, made: Made, rollout: int, *others: Made) -> None:
        """Sign and offer a version in one or more flavors, as it should be."""
        for one in (made, *others):
            self.store(one)
        self.vouch(made, *others)
        self.point(made, rollout, *others)
        self.signing.offer("models", stage_role(STAGE))
        self.offer()

    def offer(self, files: Mapping[str, bytes] | None = None) -> None:
        """Lay named files into the depot's folder, the timestamp last."""
        files = self.signing.files if files is None else files
        for name in sorted(files, key=lambda name: name == "timestamp.json"):
            path = self.repository / "files" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_bytes(path, files[name])

    def hook(self, name: str, text: str) -> None:
        """Give the device a hook, in one step."""
        path = self.hooks / name
        path.parent.mkdir(exist_ok=True)
        beside = path.with_name(f".{name}")
        beside.write_text(f"#!/bin/sh\n{text}\n", "ascii")
        beside.chmod(0o755)
        beside.replace(path)

    # --- processes ---------------------------------------------------------------------

    def start_depot(self, *options: str) -> None:
        fleet = str(self.folder / "fleet")
        self._start("depot", "edgekit", "depot", "--fleet", fleet, *options)

    def start_agent(self, **environment: str) -> None:
        config = str(self.config)
        self._start("agent", "edgekit-agent", "run", "--config", config, **environment)

    def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal to a process and wait for its end."""
        process = self.processes.pop(name)
        process.send_signal(number)
        process.wait(PATIENCE_S)

    def power_cut(self) -> None:
        """Kill the agent and all its children at once, as a power cut does."""
        process = self.processes.pop("agent")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE_S)

    def restart_broker(self, port: int) -> None:
        """Bring the broker back where it was."""
        self.broker = embedded_broker.start(self.folder / "broker", port)

    def children_of_agent(self) -> list[int]:
        """Return the process ids of the agent's children."""
        pid = self.processes["agent"].pid
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
        return [int(child) for child in text.split()]

    def stop_all(self) -> None:
        """End everything; what does not end when asked is killed with its children."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(PATIENCE_S)
        self.processes.clear()
        self.broker.stop()

    def worker(self) -> int:
        """Return the process id of the worker, 0 while there is none."""
        return self._child("edgekit_agent.service.worker")

    def proof(self) -> int:
        """Return the process id of the proof, 0 while there is none."""
        return self._child("edgekit_agent.proof")

    def asked(self) -> int:
        """Return the process id of what runs a hook, 0 while there is none."""
        return self._child("edgekit_agent.supervision.hook")

    def updater(self) -> int:
        """Return the process id of the updater, 0 while there is none."""
        return self._child("edgekit_agent.update.updater")

    def _child(self, module: str) -> int:
        for pid in self.children_of_agent():
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if module.encode() in command:
                    return pid
        return 0

    def _start(self, name: str, program: str, *arguments: str, **environment: str) -> None:
        executable = Path(sys.executable).parent / program
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [str(executable), *arguments],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **environment},
            )

    # --- what can be seen --------------------------------------------------------------

    def ask(self, model: str = MODEL) -> Prediction:
        """Ask a model for one row."""
        return predict(self.socket, model, ROWS)

    def serves(self, version: str, model: str = MODEL) -> bool:
        """Whether the agent answers, and with this version."""
        try:
            return self.ask(model).version == version
        except EdgekitError:
            return False

    def answer(self, model: str = MODEL) -> list[float]:
        """Return the predictions for one row: scale * 3."""
        found: list[float] = json.loads(self.ask(model).body)["predictions"]
        return found

    def persisted(self) -> State:
        """Return the model's state as the agent keeps it on disk, {} before the first."""
        path = self.folder / "state" / "models" / slug(MODEL) / "state.json"
        try:
            found: State = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        return found

    def rests_on(self, version: str) -> bool:
        """Whether a version answers, and its coming to serve is over and remembered."""
        current = self.persisted().get("current")
        kept = isinstance(current, dict) and current["version"] == version
        return kept and self.serves(version)

    def device_report(self) -> State:
        """Return the device's whole reported state, {} when it has not."""
        return self._retained(self.topics.state(DEVICE)) or {}

    def reported(self, model: str = MODEL) -> State:
        """Return a model's state as the device reports it, {} when it has not."""
        found = self._retained(self.topics.state(DEVICE))
        models = found["models"] if found else None
        told = models if isinstance(models, list) else []
        return next((one for one in told if one["model"] == model), {})

    def _retained(self, topic: str) -> State | None:
        with self.connected("observer") as transport:
            transport.subscribe(topic)
            end = time.monotonic() + 2
            while time.monotonic() < end:
                arrival = transport.receive(0.2)
                if isinstance(arrival, Message):
                    found: State = json.loads(arrival.payload)
                    return found
        return None

    def online(self) -> bool | None:
        """Return the retained presence, None when there is none."""
        found = self._retained(self.topics.presence(DEVICE))
        return None if found is None else bool(found["online"])

    def trouble(self, model: str = MODEL) -> dict[str, str]:
        """Return the reported trouble, {} without one."""
        found = self.reported(model).get("trouble")
        return found if isinstance(found, dict) else {}

    def refused(self) -> list[dict[str, str]]:
        """Return the flavors that the device reports as found wrong."""
        found = self.reported().get("refused")
        return found if isinstance(found, list) else []

    @contextmanager
    def connected(self, name: str) -> Iterator[MqttTransport]:
        """Connect to the broker as anybody can."""
        transport = MqttTransport.connect(
            BrokerAddress(url=self.broker.url), client_id=name
        )
        try:
            yield transport
        finally:
            transport.close()

    def until(
        self, condition: Callable[[], bool], what: str, *, patience_s: float = PATIENCE_S
    ) -> None:
        """Wait for a condition; fail with the agent's log when it does not come."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            if condition():
                return
            time.sleep(0.05)
        raise AssertionError(f"it never came that {what}; the agent says:\n{self.log}")


def settle(folder: Path, models: Sequence[str]) -> Household:
    """Found a fleet with one device; nothing runs yet but the broker."""
    broker = embedded_broker.start(folder / "broker")
    address = BrokerAddress(url=broker.url)
    signing = Simulator(fleet=FLEET, stages=(STAGE, "staging"), now=datetime.now(UTC))
    repository = folder / "fleet" / "repository"
    for name in ("blobs", "files/index"):
        (repository / name).mkdir(parents=True)
    selector = Selector.parse("stage:Production", subject="test")
    stages = {STAGE: selector}
    config = FleetConfig(fleet=FLEET, broker=address, stages=stages)
    fleet_config.write(folder / "fleet", config)
    provision = Provision(
        fleet=FLEET,
        device=DEVICE,
        board=board.load("generic-x86-64"),
        broker=address,
        root=signing.trusted_root,
        models=[(model, STAGE) for model in models],
        state_dir=str(folder / "state"),
        runtime_dir=str(folder / "run"),
        telemetry_interval_s=1,
    )
    hooks = f'\n[hooks]\ndir = "{folder}/hooks"\n'
    (folder / "agent.toml").write_text(provision.to_toml() + hooks, "utf-8")
    house = Household(folder=folder, broker=broker, repository=repository, signing=signing)
    house.offer()
    return house


@contextmanager
def household(*models: str) -> Iterator[Household]:
    """Found a fleet in a folder with a short path, start its depot; end all afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="ek-"))
    found = settle(folder, models or (MODEL,))
    try:
        found.start_depot()
        yield found
    finally:
        found.stop_all()
        shutil.rmtree(folder)
