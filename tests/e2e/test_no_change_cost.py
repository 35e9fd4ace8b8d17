"""What a fleet costs the broker when nothing happens, and when one model of many changes.

Counted by a proxy that reads MQTT itself, on a real broker, agent and depot.
"""

import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.agent.making import made
from tests.e2e.household import Household, household
from tests.e2e.test_aws_limits import tapped
from tests.wiretap import Kind, Packet, Wiretap

pytestmark = [pytest.mark.slow, pytest.mark.broker]

FIRST = made(version="1", scale=2.0)
SECOND = made(version="2", scale=3.0)
KEEPALIVE_S = 30.0
QUIET_S = KEEPALIVE_S + 8
PING_BYTES = 2
DEVICE = "edgekit-pi-7"
UPDATER = "edgekit-pi-7-updater"


@pytest.fixture(scope="module")
def quiet() -> Iterator[tuple[Household, Wiretap]]:
    """A fleet whose device serves version 1 and reports no telemetry for a day."""
    with household() as house, tapped(house) as wiretap:
        path = house.folder / "agent.toml"
        text = path.read_text("utf-8")
        assert "telemetry_interval_s = 1" in text
        path.write_text(
            text.replace("telemetry_interval_s = 1", "telemetry_interval_s = 86400"),
            "utf-8",
        )
        house.stop("depot")
        house.start_depot()
        for number in range(20):  # of another stage, none of its business
            said = f'{{"number":{number}}}'.encode()
            house.signing.put("stage-staging", f"stages/staging/m{number}.json", said)
        house.signing.offer("stage-staging")
        house.release(FIRST, 1)
        house.start_agent()
        house.until(lambda: house.serves("1"), "version 1 is served")
        house.until(lambda: house.reported().get("phase") == "serving", "it is reported")
        still(wiretap)
        yield house, wiretap


def still(wiretap: Wiretap) -> None:
    """Wait until nothing but keep-alives has passed for some seconds."""
    calm_since, seen = time.monotonic(), wiretap.position()
    end = time.monotonic() + 60
    while time.monotonic() < calm_since + 4:
        assert time.monotonic() < end, "it never came to rest"
        time.sleep(0.2)
        news = [
            p for p in wiretap.seen(seen) if p.kind not in {Kind.PINGREQ, Kind.PINGRESP}
        ]
        if news:
            calm_since, seen = time.monotonic(), wiretap.position()


def test_an_idle_fleet_costs_keep_alives_and_nothing_else(
    quiet: tuple[Household, Wiretap],
) -> None:
    _, wiretap = quiet
    began = wiretap.position()
    time.sleep(QUIET_S)
    passed = wiretap.seen(began)
    kinds = {packet.kind for packet in passed}
    assert kinds == {Kind.PINGREQ, Kind.PINGRESP}, Counter(map(described, passed))
    assert all(packet.length == PING_BYTES for packet in passed)
    asked = Counter(p.client_id for p in passed if p.kind == Kind.PINGREQ)
    assert len(asked) == 2, "the device and the depot"
    assert all(number <= QUIET_S // KEEPALIVE_S + 1 for number in asked.values())


def test_a_release_costs_a_device_the_metadata_that_changed(
    quiet: tuple[Household, Wiretap],
) -> None:
    house, wiretap = quiet
    before = set(house.signing.files)
    began = wiretap.position()
    house.release(SECOND, 2)
    house.until(lambda: house.serves("2"), "version 2 is served")
    house.until(lambda: house.reported().get("rollout") == 2, "it is reported")
    still(wiretap)
    new = set(house.signing.files) - before
    got = received(wiretap.seen(began), house)
    changed = new | {"timestamp.json", f"index/{SECOND.entry.index_sha256}", "(index)"}
    assert set(got) <= changed, set(got) - changed
    assert got["3.models.json"] == got["3.stage-production.json"] == 1
    bundle = sum(p.length for p in blobs(wiretap.seen(began)))
    assert bundle <= 1.05 * len(SECOND.data) + 200


def received(passed: list[Packet], house: Household) -> Counter[str]:
    """How often each file reached the device."""
    prefix = house.topics.file("")
    files = {*house.signing.files, f"index/{SECOND.entry.index_sha256}"}
    names = {house.topics.file(name): name for name in files}
    index = house.topics.index
    return Counter(
        "(index)" if p.topic == index else names.get(p.topic, p.topic.removeprefix(prefix))
        for p in passed
        if p.kind == Kind.PUBLISH
        and not p.from_client
        and p.client_id.startswith(DEVICE)
        and "/blob/" not in p.topic
    )


def blobs(passed: list[Packet]) -> list[Packet]:
    return [p for p in passed if "/blob/" in p.topic and p.client_id == UPDATER]


def described(packet: Packet) -> str:
    return f"{packet.client_id} {packet.kind} {packet.topic}"
