"""The real loop, worker and proof; the broker and what is released are a test's own."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import EdgekitError
from tests.agent.making import made
from tests.agent.running import (
    ROWS,
    TOPICS,
    V1,
    V2,
    WAIT_S,
    Agent,
)
from tests.fakes import FakeBroker

pytestmark = pytest.mark.slow


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


def test_an_orderly_stop_says_goodbye_and_ends_its_children(agent: Agent) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    pid = agent.worker_pid()
    agent.stop()
    assert json.loads(agent.broker.retained[TOPICS.presence("pi-7")]) == {"online": False}
    assert not Path(f"/proc/{pid}/cmdline").exists()
