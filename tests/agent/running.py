"""One device that really runs, under a broker in memory and releases of the test's own."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekit.errors import EdgekitError
from edgekit.mqtt import LastWill
from edgekit.telemetry.taken import Taken
from edgekit.telemetry.window import Window
from edgekit.wire import Topics
from edgekit_agent import client
from edgekit_agent.config import Config, parse
from edgekit_agent.daemon import now
from edgekit_agent.rules.state import Policy
from edgekit_agent.rules.watch import Patience
from edgekit_agent.storage.store import Store
from edgekit_agent.supervision import report
from edgekit_agent.supervision.notify import Notifier
from edgekit_agent.supervision.settings import Settings
from edgekit_agent.supervision.supervisor import Supervisor
from tests.agent.making import Made, made
from tests.fakes import FakeBroker, FakeTransport

WAIT_S = 30.0
ROWS = b'{"dataframe_records": [{"a": 1, "b": 2}]}'
TOPICS = Topics(fleet="demo")
QUICK = Policy(settle_s=0.2, backoff_s=0.2, probation_s=600.0)


def configuration(folder: Path, models: tuple[str, ...]) -> Config:
    tables = "".join(
        f'[[models]]\nname = "{m}"\nstage = "production"\nmost_difference = 100.0\n'
        for m in models
    )
    return parse(
        f"""
        format = 1
        fleet = "demo"
        device = "pi-7"
        board = "raspberry-pi-4"
        state_dir = "{folder}/state"
        runtime_dir = "{folder}"
        telemetry_interval_s = 1
        home_assistant = "homeassistant"
        root = '{{"signed": {{"_type": "root", "x-edgekit-fleet": "demo"}}}}'
        [broker]
        url = "mqtt://localhost:1"
        [hooks]
        dir = "{folder}/hooks"
        time_limit_s = 20
        [serving]
        mqtt = true
        [limits]
        model_ram_mb = 4096
        model_flash_mb = 100
        {tables}
        """,
        subject="agent.toml",
    )


class Agent:
    """One device: starts and stops the supervisor, releases what it should fetch."""

    def __init__(self, folder: Path, *models: str) -> None:
        self.folder = folder
        self.config = configuration(folder, models or ("wine",))
        self.store = Store(self.config.state_dir)
        self.store.prepare()
        self.broker = FakeBroker()
        self.plan: dict[str, dict[str, Any]] = {}
        self.rollout = 0
        self.transport: FakeTransport | None = None
        self.supervisor: Supervisor | None = None
        self._thread: threading.Thread | None = None
        self._lock = -1
        self._write_plan()

    def start(
        self,
        policy: Policy = QUICK,
        *,
        request_s: float = 30.0,
        **settings: Any,  # noqa: ANN401 - Settings' own
    ) -> "Agent":
        device = self.config.device
        will = LastWill(topic=TOPICS.presence(device), payload=report.offline())
        self.transport = self.broker.connect("pi-7", will)
        self._lock = self.store.lock(wait_s=10)
        state_dir = ("--state-dir", str(self.config.state_dir))
        socket = ("--socket", str(self.config.socket))
        recent = ("--recent-rows", "200", "--recent-bytes", "100000")
        patient = ("--request-s", str(request_s))
        patience = Patience(again_s=0.1, silent_s=3.0, ping_s=0.5, start_s=30.0)
        self.supervisor = Supervisor(
            self.config,
            Settings(
                updater=(
                    "tests.agent.fake_updater",
                    str(self.folder / "plan.json"),
                    str(self.config.state_dir),
                ),
                proof=("edgekit_agent.proof", *state_dir),
                worker=(
                    "edgekit_agent.service.worker",
                    *state_dir,
                    *socket,
                    *recent,
                    *patient,
                ),
                lock=self._lock,
                policy=policy,
                patience=patience,
                loop_s=0.1,
                **settings,
            ),
            store=self.store,
            transport=self.transport,
            notifier=Notifier(None),
            clock=now,
        )
        self._thread = threading.Thread(target=self.supervisor.run)
        self._thread.start()
        return self

    def stop(self) -> None:
        if self.supervisor is not None and self._thread is not None:
            self.supervisor.stop()
            self._thread.join(20)
            assert not self._thread.is_alive()
            os.close(self._lock)
            self.supervisor = None
            self.broker.retained.pop(TOPICS.state("pi-7"), None)

    def release(self, what: Made, *, announce: bool = True, **more: object) -> None:
        self.rollout += 1
        identity = what.manifest.model
        path = self.folder / what.sha256
        path.write_bytes(what.data)
        self.plan[identity.name] = {
            "bundle": str(path),
            "release": {
                "version": identity.version,
                "flavor": "fp32",
                "sha256": what.sha256,
                "rollout": self.rollout,
            },
            **more,
        }
        self._write_plan()
        if announce:
            self.announce()

    def hook(self, name: str, text: str) -> None:
        """Give the device a hook, in one step; "" takes it away."""
        folder = self.config.hooks.folder
        folder.mkdir(exist_ok=True)
        beside = folder / f".{name}"
        beside.write_text(f"#!/bin/sh\n{text}\n")
        beside.chmod(0o755)
        beside.replace(folder / name)

    def plans(self, plan: dict[str, object]) -> None:
        self.plan["wine"] = plan
        self._write_plan()
        self.rollout += 1
        self.announce()

    def announce(self) -> None:
        text = f"timestamp {self.rollout}".encode()
        self.broker.inject(TOPICS.file("timestamp.json"), text, qos=1, retain=True)

    def _write_plan(self) -> None:
        (self.folder / "plan.json").write_text(json.dumps(self.plan))

    def reported(self, model: str = "wine") -> dict[str, Any]:
        state = json.loads(self.broker.retained.get(TOPICS.state("pi-7"), b'{"models":[]}'))
        for told in state["models"]:
            if told["model"] == model:
                found: dict[str, Any] = told
                return found
        return {}

    def until(self, holds: Callable[[dict[str, Any]], Any], model: str = "wine") -> None:
        deadline = time.monotonic() + WAIT_S
        while True:
            told = self.reported(model)
            if told and holds(told):
                return
            assert time.monotonic() < deadline, told
            time.sleep(0.02)

    def serves(self, version: str, model: str = "wine") -> None:
        def holds(told: dict[str, Any]) -> bool:
            current = told["current"] or {}
            return told["loaded"] and current.get("version") == version

        self.until(holds, model)
        assert self.predict(model).version == version

    def troubled(self, kind: str, error: str) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def holds(told: dict[str, Any]) -> bool:
            found.update(told["trouble"] or {})
            return (found.get("kind"), found.get("error")) == (kind, error)

        self.until(holds)
        return found

    def predict(self, model: str = "wine", rows: bytes = ROWS) -> client.Prediction:
        return client.predict(self.config.socket, model, rows)

    @contextmanager
    def asking(self, rows: bytes) -> Iterator[list[str]]:
        """Ask beside for as long as the block lasts; the list says how that ended."""
        ended: list[str] = []

        def ask() -> None:
            try:
                ended.append(self.predict(rows=rows).version)
            except EdgekitError as error:
                ended.append(type(error).__name__)

        asker = threading.Thread(target=ask)
        asker.start()
        yield ended
        asker.join(WAIT_S)

    def worker_pid(self) -> int:
        assert self.supervisor is not None
        child = self.supervisor._steward.worker._child  # noqa: SLF001 - to kill it from outside
        assert child is not None
        return child.pid

    def windows(self) -> list[Window]:
        """Every window that was sent, each once."""
        topic = TOPICS.telemetry("pi-7")
        sent = (Window.decode(m.payload) for m in self.broker.published if m.topic == topic)
        return list({(one.boot_id, one.first): one for one in sent}.values())

    def counted(self) -> int:
        """How many requests the windows tell of."""
        return sum(b.requests for w in self.windows() for b in w.bundles)

    def take(self, *windows: Window) -> None:
        """Say, as the fleet does, that windows were taken."""
        for one in windows:
            ranges = frozenset({(one.first, one.last)})
            taken = Taken(boot_id=one.boot_id, windows=ranges)
            self.broker.inject(TOPICS.taken("pi-7"), taken.encode(), qos=1)

    def wait(self, holds: Callable[[], bool], *, take: bool = False) -> None:
        """Wait for something; meanwhile take what is sent, if that is wanted."""
        deadline = time.monotonic() + WAIT_S
        while not holds():
            assert time.monotonic() < deadline
            if take:
                self.take(*self.windows())
            time.sleep(0.1)


V1 = made(version="1", scale=2.0)
V2 = made(version="2", scale=3.0)
BAD = made(version="3", scale=5.0, golden_scale=2.0)
