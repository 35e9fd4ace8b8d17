import json
from dataclasses import replace

import numpy as np

from edgekit.binding import Predictions
from edgekit.durations import Durations
from edgekit.telemetry import reference
from edgekit.telemetry.counts import BundleCounts
from edgekit.telemetry.profile import Profile
from edgekit.telemetry.window import Health, Window
from edgekit.wire import Topics
from edgekit_agent.rules.record import Phase, Record, Release
from edgekit_agent.rules.state import ModelState
from edgekit_agent.service.telemetry import Counter
from edgekit_agent.supervision import home_assistant
from edgekit_agent.supervision.home_assistant import Today
from tests.agent.test_report import configuration

RANDOM = np.random.default_rng(3)
SHA = "a" * 64
CONFIG = configuration()
TOPICS = Topics(fleet="demo")


def table(shift: float) -> dict[str, np.ndarray]:
    return {"x": RANDOM.normal(size=3_000) + shift, "y": RANDOM.normal(size=3_000)}


ANSWERS = Predictions(prediction=np.zeros(3_000))
PROFILE = reference.build(table(0.0), ANSWERS, classes=("0",))


def counted(shift: float, profile: Profile | None = PROFILE) -> BundleCounts:
    counter = Counter(profile)
    counter.answered(rows=3_000, us=1_500, inputs=table(shift), answers=ANSWERS)
    found = counter.take(model="wine", version="2", flavor="int8", sha256=SHA)
    assert found is not None
    return found


def window(end: str, *bundles: BundleCounts) -> Window:
    return Window(
        device="pi-7",
        boot_id="b",
        first=1,
        last=1,
        start=end,
        end=end,
        health=Health(cpu_c=48.5),
        bundles=bundles,
    )


def serving() -> list[ModelState]:
    release = Release(version="2", flavor="int8", sha256=SHA, rollout=1)
    record = Record(model="wine", stage="production", phase=Phase.SERVING, current=release)
    return [ModelState(record=record, loaded=SHA)]


def figures(today: Today, profile: Profile | None = PROFILE) -> dict[str, object]:
    told = home_assistant.figures(CONFIG, today, serving(), lambda _: profile)
    found = json.loads(told)
    assert isinstance(found, dict)
    return found


def test_the_discovery_document_is_home_assistants_for_a_device() -> None:
    told = json.loads(home_assistant.discovery(CONFIG))
    assert set(told) == {"dev", "o", "cmps", "state_topic", "qos", "availability"}
    assert told["o"]["name"] == "edgekit-agent"
    assert told["state_topic"] == TOPICS.figures("pi-7")
    assert told["availability"][0]["topic"] == TOPICS.presence("pi-7")
    components = told["cmps"]
    assert {"cpu_temperature", "model_0_drift", "model_0_version"} <= set(components)
    assert all(one["p"] == "sensor" for one in components.values())
    unique = {one["unique_id"] for one in components.values()}
    assert len(unique) == len(components)
    assert all(one.startswith(told["dev"]["ids"][0]) for one in unique)


def test_two_devices_never_share_an_id() -> None:
    ids = {
        home_assistant.object_id(replace(CONFIG, device=device))
        for device in ("pi 7", "pi/7", "pi_7", "ü" * 300)
    }
    assert len(ids) == 4
    assert all(one.isascii() and len(one) < 130 for one in ids)
    topic = home_assistant.discovery_topic(CONFIG, "homeassistant")
    assert topic == f"homeassistant/device/{home_assistant.object_id(CONFIG)}/config"


def test_every_template_finds_its_figure() -> None:
    today = Today()
    today.add(window("2026-01-01T10:00:00Z", counted(0.0)))
    told = figures(today)
    models = told["models"]
    assert isinstance(models, list)
    for one in json.loads(home_assistant.discovery(CONFIG))["cmps"].values():
        path = one["value_template"].strip("{} ").removeprefix("value_json.")
        value = models[0] if path.startswith("models[0].") else told
        assert path.removeprefix("models[0].") in value
    assert models[0] == {
        "model": "wine",
        "version": "2",
        "requests": 1,
        "errors": 0,
        "p95_ms": 1.5,
        "drift": 0.0,
    }
    assert told["cpu_c"] == 48.5


def test_drift_is_told_of_the_day_and_forgotten_at_midnight() -> None:
    today = Today()
    today.add(window("2026-01-01T23:58:00Z", counted(2.0)))
    models = figures(today)["models"]
    assert isinstance(models, list)
    assert models[0]["drift"] > 0.25
    today.add(window("2026-01-02T00:01:00Z", counted(0.0)))
    models = figures(today)["models"]
    assert isinstance(models, list)
    assert (models[0]["drift"], models[0]["requests"]) == (0.0, 1)


def test_what_is_not_known_is_null() -> None:
    today = Today()
    today.add(window("2026-01-01T10:00:00Z", counted(0.0, None)))
    models = figures(today, None)["models"]
    assert isinstance(models, list)
    assert models[0]["drift"] is None
    models = figures(Today())["models"]
    assert isinstance(models, list)
    assert (models[0]["p95_ms"], models[0]["requests"]) == (None, 0)


def test_few_rows_are_no_drift() -> None:
    durations = Durations()
    few = BundleCounts(
        model="wine",
        version="2",
        flavor="int8",
        sha256=SHA,
        requests=2,
        durations=durations.buckets,
        inputs=tuple((2, *(0,) * (len(column.histogram) - 1)) for column in PROFILE.inputs),
        outputs=((0, 0, 0),),
    )
    today = Today()
    today.add(window("2026-01-01T10:00:00Z", few))
    models = figures(today)["models"]
    assert isinstance(models, list)
    assert models[0]["drift"] is None
