"""What is not proven never answers; what serves meanwhile loses no request."""

import json
import threading
from collections.abc import Callable

import pytest

from edgekit.errors import EdgekitError
from tests.agent.making import Made, made, repacked
from tests.agent.running import (
    BAD,
    V1,
    V2,
    Agent,
)
from tests.agent.test_proof import nan_model, slow_model

pytestmark = pytest.mark.slow


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
