"""The loop tells what was answered, once and in order."""

import itertools
import json
from typing import Any

import pytest

from edgekit.errors import ConfigError
from edgekit.telemetry.refusals import Reason, Refusals, added
from edgekit_agent import client
from edgekit_agent.supervision import home_assistant
from edgekit_agent.supervision.refusals import Refused
from tests.agent.running import ROWS, TOPICS, V1, Agent

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


def refused(agent: Agent) -> Refusals:
    """What the windows that were sent tell of refusals."""
    found: Refusals = {}
    for window in agent.windows():
        found = added(found, window.refusals)
    return found


def test_whatever_is_refused_is_told_once_by_its_reason(agent: Agent) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    with pytest.raises(ConfigError, match="beer"):
        client.predict(agent.config.socket, "beer", ROWS)
    for payload in (b"{", b"no acknowledgement"):
        agent.broker.inject(TOPICS.taken("pi-7"), payload, qos=1)
    agent.broker.inject(f"{TOPICS.device('pi-7')}/ask/wine/no good", ROWS)
    agent.broker.inject(TOPICS.ask("pi-7", "beer", "q"), ROWS)
    agent.plans({"error": "TrustError", "reason": "forged", "refused": 3})
    told = {
        Reason.HTTP_MODEL: 2,  # one of them came over the broker, and was passed on
        Reason.BROKER_TAKEN: 2,
        Reason.BROKER_TOPIC: 1,
        Reason.UPDATE_UNTRUSTED: 1,
        Reason.UPDATE_CHUNK: 3,
    }
    agent.wait(lambda: len(refused(agent)) == len(told), take=True)
    agent.plans({"nothing": True})
    found = dict(refused(agent))
    tries = found[Reason.UPDATE_UNTRUSTED]  # an update that fails is tried again
    assert found.pop(Reason.UPDATE_CHUNK) in {3 * tries, 3 * tries + 3}
    assert {**told, Reason.UPDATE_UNTRUSTED: tries} == {**found, Reason.UPDATE_CHUNK: 3}
    here = Refused.read(agent.config.runtime_dir)
    assert here is not None
    assert here.counts["http-model"] == here.counts["broker-taken"] == 2
    agent.stop()
    assert refused(agent)[Reason.HTTP_MODEL] == 2
    agent.start()
    agent.wait(lambda: (Refused.read(agent.config.runtime_dir) or here).counts == {})


def test_what_was_dropped_on_its_way_in_is_told(agent: Agent) -> None:
    agent.start()
    agent.wait(lambda: len(agent.windows()) >= 1)
    assert agent.transport is not None
    agent.transport.inbox.dropped += 7
    agent.wait(lambda: refused(agent) == {Reason.BROKER_DROPPED: 7}, take=True)
    seen = len(agent.windows())
    agent.wait(lambda: len(agent.windows()) >= seen + 2, take=True)
    assert refused(agent) == {Reason.BROKER_DROPPED: 7}


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


def test_a_stop_while_an_update_is_under_way_loses_no_count(agent: Agent) -> None:
    """The updater is ended first: what the worker tells comes after its end."""
    agent.start()
    agent.release(V1)
    agent.serves("1")
    agent.plans({"hang": True})
    agent.until(lambda told: told["phase"] == "checking")
    began = len(agent.windows())
    agent.wait(lambda: len(agent.windows()) >= began + 3, take=True)  # it really runs
    asked = 40
    before = agent.counted()
    for _ in range(asked):
        agent.predict()
    agent.stop()
    agent.start()
    agent.wait(lambda: agent.counted() >= before + asked, take=True)
