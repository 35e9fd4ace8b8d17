"""The loop tells what was answered, once and in order."""

import itertools
import json
from typing import Any

import pytest

from edgekit_agent.supervision import home_assistant
from tests.agent.running import (
    V1,
    Agent,
)

pytestmark = pytest.mark.slow


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
