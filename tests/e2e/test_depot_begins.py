"""The commands that run on and on, begun before their broker or refused by it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.address import BrokerAddress
from edgekit.fleet.book import STRANGERS
from edgekit.fleet.folder import FleetFolder
from tests.brokers import Mosquitto
from tests.e2e.household import Household, household

pytestmark = [pytest.mark.slow, pytest.mark.broker]


@pytest.fixture
def house() -> Iterator[Household]:
    """A household whose broker and depot are down."""
    with household() as found:
        found.stop("depot")
        found.broker.stop()
        (found.folder / "depot.log").unlink()
        yield found


def log_of(house: Household) -> str:
    return (house.folder / "depot.log").read_text("utf-8")


def test_a_depot_that_begins_before_its_broker_serves_once_it_is_there(
    house: Household,
) -> None:
    house.start_depot()
    house.until(lambda: log_of(house).count("trying again in") >= 2, "it tries again")
    house.restart_broker(BrokerAddress(url=house.broker.url).port)
    house.until(lambda: "serving" in log_of(house), "it serves")
    assert all(line.count("Connection refused") == 1 for line in tries(house))


def tries(house: Household) -> list[str]:
    return [line for line in log_of(house).splitlines() if "trying again" in line]


def test_a_depot_that_waits_for_its_broker_ends_when_it_is_told_to(
    house: Household,
) -> None:
    house.start_depot()
    house.until(lambda: "trying again in" in log_of(house), "it waits")
    process = house.processes.pop("depot")
    process.terminate()
    assert process.wait(10) == 0


def test_a_depot_that_its_broker_refuses_ends_with_the_reason(
    house: Household, tmp_path: Path
) -> None:
    guarded = Mosquitto(tmp_path, ("allow_anonymous false",))
    guarded.start()
    try:
        house.start_depot("--broker", guarded.url)
        assert house.processes.pop("depot").wait(30) == 8
    finally:
        guarded.kill()
    assert "the broker refuses: Not authorized" in log_of(house)
    assert "trying again" not in log_of(house)


def test_a_watch_that_begins_before_its_broker_hears_the_fleet_once_it_is_there(
    house: Household,
) -> None:
    fleet = house.folder / "fleet"
    program = Path(sys.executable).with_name("edgekit")
    command = [str(program), "fleet", "watch", "--fleet", str(fleet)]
    watch = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        assert watch.stderr is not None
        assert "; trying again in" in watch.stderr.readline()
        house.restart_broker(BrokerAddress(url=house.broker.url).port)
        with house.connected("device") as device:
            topic = house.topics.presence("stranger")
            device.publish(topic, b'{"online":true}', retain=True)
        house.until(lambda: heard(fleet) == [STRANGERS], "it hears the device")
    finally:
        watch.kill()
        watch.communicate()


def heard(fleet: Path) -> list[str]:
    """Who has said something that is of no use, as the watch has written it down."""
    with FleetFolder(path=fleet).book() as book:
        return [one.device for one in book.garbage()]
