"""The real loop, worker and proof; the broker and what is released are a test's own."""

import itertools
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import EdgekitError
from edgekit.mqtt import LastWill
from edgekit.taken import Taken
from edgekit.window import Window
from edgekit.wire import Topics
from edgekit_agent import client
from edgekit_agent.config import Config, parse
from edgekit_agent.daemon import now
from edgekit_agent.rules.state import Policy
from edgekit_agent.rules.watch import Patience
from edgekit_agent.storage.store import Store
from edgekit_agent.supervision import home_assistant, report
from edgekit_agent.supervision.notify import Notifier
from edgekit_agent.supervision.supervisor import Settings, Supervisor
from tests.agent.making import Made, made, repacked
from tests.agent.test_proof import nan_model, slow_model
from tests.fakes import FakeBroker, FakeTransport

pytestmark = pytest.mark.slow

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

    def start(self, policy: Policy = QUICK, **settings: Any) -> "Agent":  # noqa: ANN401 - Settings' own
        device = self.config.device
        will = LastWill(topic=TOPICS.presence(device), payload=report.offline())
        self.transport = self.broker.connect("pi-7", will)
        self._lock = self.store.lock(wait_s=10)
        state_dir = ("--state-dir", str(self.config.state_dir))
        socket = ("--socket", str(self.config.socket))
        recent = ("--recent-rows", "200", "--recent-bytes", "100000")
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
                worker=("edgekit_agent.service.worker", *state_dir, *socket, *recent),
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

    def predict(self, model: str = "wine") -> client.Prediction:
        return client.predict(self.config.socket, model, ROWS)

    def worker_pid(self) -> int:
        assert self.supervisor is not None
        child = self.supervisor._worker._child  # noqa: SLF001 - to kill it from outside
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


@pytest.fixture
def agent(folder: Path) -> Iterator[Agent]:
    logging.getLogger("edgekit_agent").setLevel(logging.INFO)
    found = Agent(folder)
    yield found
    found.stop()


V1 = made(version="1", scale=2.0)
V2 = made(version="2", scale=3.0)
BAD = made(version="3", scale=5.0, golden_scale=2.0)


def test_a_release_is_a_push_and_serves_after_its_proof(agent: Agent) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    assert agent.predict().body == b'{"predictions": [6.0]}'
    agent.release(V2)
    agent.serves("2")
    told = agent.reported()
    assert told["previous"]["version"] == "1"
    assert told["phase"] == "serving"
    assert told["rollout"] == 2


def test_a_request_over_the_broker_is_answered_by_what_serves(agent: Agent) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    agent.broker.inject(TOPICS.ask("pi-7", "wine", "q1"), ROWS)
    answers: dict[str, dict[str, Any]] = {}
    deadline = time.monotonic() + WAIT_S
    while "q1" not in answers:
        assert time.monotonic() < deadline
        time.sleep(0.02)
        prefix = TOPICS.answer("pi-7", "")
        for one in list(agent.broker.published):
            if one.topic.startswith(prefix):
                answers[one.topic.removeprefix(prefix)] = json.loads(one.payload)
    assert answers["q1"]["status"] == 200
    assert answers["q1"]["sha256"] == V1.sha256
    assert answers["q1"]["body"] == {"predictions": [6.0]}


def test_a_refused_proof_is_reported_and_the_old_model_serves_on(agent: Agent) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    agent.release(BAD)
    trouble = agent.troubled("rejected", "ProofError")
    assert "golden vectors: output y" in trouble["reason"]
    assert trouble["sha256"] == BAD.sha256
    agent.serves("1")
    assert not agent.store.bundle(BAD.sha256).exists(), "what is refused takes no flash"


def test_going_back_needs_no_download(agent: Agent) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    agent.release(V2)
    agent.serves("2")
    agent.release(V1, bundle="/nowhere")
    agent.serves("1")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("TransportError", "not-now"),
        ("StoreError", "not-now"),
        ("NoRoomNow", "not-now"),
        ("TrustError", "rejected"),
        ("AdmissionError", "rejected"),
    ],
)
def test_a_failed_update_is_reported_with_its_kind(
    agent: Agent, error: str, kind: str
) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    agent.plans({"error": error, "reason": "as planned"})
    assert agent.troubled(kind, error)["reason"] == "as planned"
    agent.serves("1")
    agent.release(V2)
    agent.serves("2")
    assert agent.reported()["trouble"] is None


@pytest.mark.parametrize("plan", ["crash", "hang"])
def test_an_updater_that_crashes_or_hangs_is_not_now(agent: Agent, plan: str) -> None:
    agent.start(updater_silent_s=2.0)
    agent.plans({plan: True})
    trouble = agent.troubled("not-now", "UpdaterEnded")
    assert "killed by SIG" in trouble["reason"]
    agent.release(V1)
    agent.serves("1")


def test_a_killed_worker_is_replaced_and_the_model_serves_again(agent: Agent) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    os.kill(agent.worker_pid(), signal.SIGKILL)
    agent.until(lambda told: not told["loaded"])
    agent.serves("1")


def test_a_hung_worker_is_killed_and_replaced(agent: Agent) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    first = agent.worker_pid()
    os.kill(first, signal.SIGSTOP)
    agent.until(lambda told: not told["loaded"])
    agent.serves("1")
    assert agent.worker_pid() != first


def test_a_new_version_that_keeps_crashing_the_worker_is_undone(agent: Agent) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    agent.release(V2)
    agent.serves("2")
    for _ in range(QUICK.crashes):
        agent.until(lambda told: told["loaded"])
        os.kill(agent.worker_pid(), signal.SIGKILL)
        agent.until(lambda told: not told["loaded"])
    trouble = agent.troubled("failed", "WorkerDied")
    assert trouble["reason"].endswith("(3 times); returned to the previous version")
    agent.serves("1")


def test_a_model_on_the_disk_is_served_before_any_broker_answers(agent: Agent) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    agent.stop()
    agent.broker = FakeBroker()
    agent.start()
    assert agent.transport is not None
    agent.transport.session_ended("no network")
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            assert agent.predict().version == "1"
            break
        except EdgekitError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_broker_that_returns_is_told_and_asked_again(agent: Agent) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    agent.broker.kill(forget_retained=True)
    assert agent.predict().version == "1"
    agent.release(V2)  # published while the device is away
    agent.broker.restart()
    agent.serves("2")
    presence = json.loads(agent.broker.retained[TOPICS.presence("pi-7")])
    assert presence["online"] is True


def test_a_replayed_announcement_starts_no_update(agent: Agent) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    before = len(agent.broker.published)
    for _ in range(5):
        agent.announce()
    time.sleep(1.5)
    states = [m for m in agent.broker.published[before:] if m.topic == TOPICS.state("pi-7")]
    assert states == []


def test_one_model_fails_without_touching_the_other(folder: Path) -> None:
    agent = Agent(folder, "wine", "beer")
    agent.start()
    try:
        agent.release(V1)
        agent.release(made(model="beer", version="9", scale=7.0, golden_scale=1.0))
        agent.serves("1")
        agent.until(lambda told: told["trouble"], "beer")
        assert agent.reported("beer")["current"] is None
        agent.release(made(model="beer", version="10", scale=7.0))
        agent.serves("10", "beer")
        agent.serves("1")
    finally:
        agent.stop()


def test_telemetry_windows_are_numbered_and_follow_each_other(agent: Agent) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    for _ in range(5):
        agent.predict()
    agent.wait(lambda: agent.counted() >= 6, take=True)
    windows = agent.windows()
    assert windows[0].first == 1
    pairs = itertools.pairwise(windows)
    assert all(later.first == before.last + 1 for before, later in pairs)
    assert len({window.boot_id for window in windows}) == 1
    assert all(w.health.worker_rss_bytes > 2**20 for w in windows if w.bundles)
    assert {(b.version, b.errors) for w in windows for b in w.bundles} == {("1", 0)}


def test_windows_are_kept_until_the_fleet_has_them(agent: Agent) -> None:
    agent.start()
    agent.wait(lambda: len(agent.windows()) >= 2)
    folder = agent.config.state_dir / "telemetry"
    first, second = agent.windows()[:2]
    agent.take(first, second)
    agent.wait(lambda: not list(folder.glob("000000000[12].*")))
    agent.stop()
    kept = {path.name for path in folder.iterdir()}
    assert kept
    agent.start()
    agent.wait(lambda: kept.isdisjoint(path.name for path in folder.iterdir()), take=True)


def test_home_assistant_is_told_where_the_figures_are(agent: Agent) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    topic = home_assistant.discovery_topic(agent.config, "homeassistant")
    agent.wait(lambda: topic in agent.broker.retained)
    document = json.loads(agent.broker.retained[topic])

    def told() -> dict[str, Any]:
        found = agent.broker.retained.get(document["state_topic"], b'{"models":[{}]}')
        model = json.loads(found)["models"][0]
        assert isinstance(model, dict)
        return model

    agent.predict()
    agent.wait(lambda: told().get("requests", 0) >= 1)
    assert (told()["version"], told()["errors"]) == ("1", 0)


def test_an_orderly_stop_loses_no_count(agent: Agent) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    asked = 40
    for _ in range(asked):
        agent.predict()
    agent.stop()
    agent.start()
    agent.wait(lambda: agent.counted() >= asked, take=True)


def test_an_orderly_stop_says_goodbye_and_ends_its_children(agent: Agent) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    pid = agent.worker_pid()
    agent.stop()
    assert json.loads(agent.broker.retained[TOPICS.presence("pi-7")]) == {"online": False}
    assert not Path(f"/proc/{pid}/cmdline").exists()


def test_a_bit_flipped_on_flash_is_noticed_and_healed_at_the_next_start(
    agent: Agent,
) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    agent.stop()
    model = agent.store.bundle(V1.sha256) / "model.onnx"
    content = bytearray(model.read_bytes())
    content[10] ^= 1
    model.write_bytes(content)
    agent.start()
    agent.serves("1")
    seen = [m.payload for m in agent.broker.published if m.topic == TOPICS.state("pi-7")]
    assert any(b"changed on the disk" in payload for payload in seen)


def test_a_disk_that_refuses_writes_leaves_the_old_model_serving(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    real = os.fsync

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    agent.release(V2)
    assert "No space left" in agent.troubled("not-now", "StoreError")["reason"]
    agent.serves("1")
    monkeypatch.setattr(os, "fsync", real)
    agent.serves("2")


def test_a_device_that_says_not_now_is_asked_again_and_serves_the_old_meanwhile(
    agent: Agent,
) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    busy = agent.folder / "busy"
    busy.touch()
    agent.hook(
        "pre-activate",
        f'echo "$EDGEKIT_FROM_VERSION -> $2: the pump runs"; echo retry-after: 5;'
        f" test -e {busy} && exit 21; exit 0",
    )
    agent.release(V2)
    trouble = agent.troubled("not-now", "HookNotNow")
    assert trouble["reason"] == "pre-activate: 1 -> 2: the pump runs"
    assert trouble["again_s"] == 5
    agent.serves("1")
    told = agent.reported()["hook"]
    assert (told["hook"], told["answer"]) == ("pre-activate", "not-now")
    assert "retry-after: 5" in told["output"]
    busy.unlink()
    agent.serves("2")
    assert agent.reported()["trouble"] is None


def test_a_device_that_refuses_keeps_the_old_until_something_else_is_released(
    agent: Agent,
) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    agent.hook("pre-activate", "echo this line is certified; exit 1")
    agent.release(V2)
    trouble = agent.troubled("failed", "HookError")
    assert trouble["reason"] == "pre-activate: exit code 1: this line is certified"
    agent.serves("1")
    agent.hook("pre-activate", "exit 0")
    agent.release(V2)  # signed anew: another rollout
    agent.serves("2")


def test_a_device_that_is_not_well_after_the_change_goes_back(agent: Agent) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    noted = agent.folder / "noted"
    agent.hook("post-activate", "echo too many alarms; exit 1")
    agent.hook("post-rollback", f'echo "$EDGEKIT_FROM_VERSION -> $2" > {noted}')
    agent.release(V2)
    trouble = agent.troubled("failed", "HookError")
    assert "too many alarms; returned to the previous version" in trouble["reason"]
    agent.serves("1")
    agent.until(lambda told: told["hook"]["hook"] == "post-rollback")
    assert noted.read_text() == "2 -> 1\n"


def test_a_candidate_is_compared_with_the_champion_on_what_was_really_asked(
    agent: Agent,
) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    for _ in range(30):
        agent.predict()
    agent.release(V2)
    agent.serves("2")
    compared = agent.reported()["proof"]["shadow"]
    assert (compared["rows"], compared["failed"], compared["labels"]) == (31, 0, False)
    assert compared["difference"] == 3.0, "9 instead of 6"
    for _ in range(30):
        agent.predict()
    agent.release(made(version="4", scale=1000.0))
    reason = agent.troubled("rejected", "ProofError")["reason"]
    assert "shadow: a number differs from the champion's by 2991" in reason
    assert "up to 100 is expected" in reason
    agent.serves("2")
    assert list(agent.folder.glob("recent-*")) == []


def large(version: str, scale: float) -> Made:
    """A model of which two together are more than this device allows."""
    return made(version=version, scale=scale, peak_rss_bytes=3000 * 2**20)


def hammered(agent: Agent, ended: threading.Event) -> tuple[threading.Thread, list[str]]:
    """Ask without a pause; the list gets each answer as version and number."""
    seen: list[str] = []

    def ask() -> None:
        while not ended.is_set():
            try:
                found = agent.predict()
            except EdgekitError as error:
                seen.append(str(error))
            else:
                seen.append(f"{found.version}: {json.loads(found.body)['predictions']}")

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, seen


def test_without_memory_for_two_requests_wait_for_the_swap_and_the_pause_is_reported(
    agent: Agent,
) -> None:
    agent.start()
    agent.release(large("1", 2.0))
    agent.serves("1")
    assert agent.reported()["pause_ms"] == 0, "nothing served before"
    ended = threading.Event()
    thread, seen = hammered(agent, ended)
    agent.release(large("2", 3.0))
    agent.serves("2")
    ended.set()
    thread.join()
    assert agent.reported()["pause_ms"] > 0
    assert set(seen) <= {"1: [6.0]", "2: [9.0]"}


def nan_bundle() -> Made:
    return repacked(made(version="2"), nan_model())


def slow_bundle() -> Made:
    """Right, and slower than a tenth of a second: 10 times what serves, and the floor."""
    return repacked(made(version="2"), slow_model())


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (lambda: made(version="2", scale=2.02, golden_scale=2.0), "output y at (0, 0)"),
        (lambda: made(version="2", scale=-2.0, golden_scale=2.0), "3 of 3 differ"),
        (lambda: made(version="2", opset=99), "cannot load it"),
        (nan_bundle, "is nan"),
        (slow_bundle, "one row took"),
    ],
    ids=["corrupted scale", "swapped", "wrong opset", "NaN", "slow"],
)
def test_a_bad_model_never_answers_one_request(
    agent: Agent, bad: Callable[[], Made], reason: str
) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    ended = threading.Event()
    thread, seen = hammered(agent, ended)
    agent.release(bad())
    told = agent.troubled("rejected", "ProofError")
    ended.set()
    thread.join()
    assert reason in told["reason"]
    assert set(seen) == {"1: [6.0]"}
