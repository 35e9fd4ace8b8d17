"""Receipts of a real agent: signed when what serves changes, by a process that ends."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.receipt import Receipt
from edgekit.trust.receipt import generate, verify
from edgekit_agent.supervision import receipts
from tests.agent.making import made
from tests.agent.running import TOPICS, WAIT_S, Agent

pytestmark = pytest.mark.slow

SECRET, PUBLIC = generate()
TOPIC = TOPICS.receipt("pi-7")


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Agent]:
    key = tmp_path / "receipt.key"
    key.write_bytes(SECRET)
    key.chmod(0o600)
    agent = Agent(tmp_path, "wine", "press")
    agent.config = replace(agent.config, receipt_key_file=key)
    yield agent
    agent.stop()


def signed(device: Agent, holds: Callable[[Receipt], object]) -> Receipt:
    """Wait for the retained receipt to be one that the device's own key signed."""
    deadline = time.monotonic() + WAIT_S
    while True:
        payload = device.broker.retained.get(TOPIC)
        receipt = verify(payload, PUBLIC) if payload else None
        if receipt is not None and holds(receipt):
            return receipt
        assert time.monotonic() < deadline, receipt
        time.sleep(0.02)


def test_each_change_of_what_serves_is_signed(device: Agent) -> None:
    device.start()
    first, second = made(version="1"), made(version="2", scale=3.0)
    device.release(first)
    device.serves("1")

    receipt = signed(device, lambda told: len(told.models) == 1)
    (wine,) = receipt.models
    assert (receipt.fleet, receipt.device, receipt.seq) == ("demo", "pi-7", 1)
    assert (wine.model, wine.stage, wine.version) == ("wine", "production", "1")
    assert (wine.sha256, wine.rollout) == (first.sha256, 1)
    state = json.loads(device.broker.retained[TOPICS.state("pi-7")])
    assert receipt.boot_id == state["boot_id"]

    device.release(second)
    device.serves("2")
    later = signed(device, lambda told: told.models[0].version == "2")
    assert (later.boot_id, later.seq) == (receipt.boot_id, 2)

    device.release(made(model="press"))
    device.serves("1", "press")
    both = signed(device, lambda told: len(told.models) == 2)
    assert [one.model for one in both.models] == ["wine", "press"]


def test_a_crashed_worker_that_comes_back_is_no_news(device: Agent) -> None:
    device.start()
    device.release(made())
    device.serves("1")
    signed(device, lambda told: told.seq == 1)
    os.kill(device.worker_pid(), signal.SIGKILL)
    device.until(lambda told: not told["loaded"])
    device.serves("1")
    device.stop()
    assert verify(device.broker.retained[TOPIC], PUBLIC).seq == 1


def test_the_next_life_signs_anew(device: Agent) -> None:
    device.start()
    device.release(made())
    device.serves("1")
    first = signed(device, lambda told: told.models)
    device.stop()
    device.start()
    later = signed(device, lambda told: told.boot_id != first.boot_id)
    assert (later.seq, later.models) == (1, first.models)


def test_a_key_that_others_may_read_signs_nothing(
    device: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    assert device.config.receipt_key_file is not None
    device.config.receipt_key_file.chmod(0o644)
    device.start()
    device.release(made())
    device.serves("1")
    deadline = time.monotonic() + WAIT_S
    while "others may use it" not in caplog.text:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert device.predict().version == "1"
    assert TOPIC not in device.broker.retained


def test_a_device_without_a_key_signs_nothing_and_serves(device: Agent) -> None:
    device.config = replace(device.config, receipt_key_file=None)
    device.start()
    device.release(made())
    device.serves("1")
    device.stop()
    assert TOPIC not in device.broker.retained


def test_a_receipt_is_renewed_every_day(
    device: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "AGAIN_S", 0.5)
    device.start()
    device.release(made())
    device.serves("1")
    renewed = signed(device, lambda told: told.seq > 1)
    assert renewed.models[0].version == "1"
