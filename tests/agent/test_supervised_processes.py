"""What the supervisor does about a process, or a disk, that fails."""

import os
import signal
from pathlib import Path

import pytest

from tests.agent.looping import HANGS, looping
from tests.agent.running import (
    QUICK,
    TOPICS,
    V1,
    V2,
    Agent,
)

pytestmark = pytest.mark.slow


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


def test_a_version_that_hangs_on_some_rows_is_undone(agent: Agent) -> None:
    """One request never ends while others are answered: the worker itself is well."""
    agent.start(request_s=1.0)
    agent.release(V1)
    agent.serves("1")
    agent.release(looping("2", 3.0))
    agent.serves("2")
    for _ in range(QUICK.crashes):
        agent.until(lambda told: told["loaded"])
        before = agent.worker_pid()
        with agent.asking(HANGS) as ended:
            assert agent.predict().version == "2"
            agent.until(lambda told: not told["loaded"])
        assert ended == ["TransportError"]
        assert not Path(f"/proc/{before}").exists()
    trouble = agent.troubled("failed", "WorkerDied")
    assert "wine: a request has been computed for" in trouble["reason"]
    assert trouble["reason"].endswith("(3 times); returned to the previous version")
    agent.serves("1")


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
