"""The lawful life of one device: update, go back, broken broker, power cuts."""

import shutil
import signal

import pytest

from tests.agent.making import made
from tests.e2e.household import Household

pytestmark = [pytest.mark.slow, pytest.mark.broker]

SECOND = made(version="2", scale=3.0)


def test_a_release_is_pushed_and_swapped_in_without_a_restart(serving: Household) -> None:
    assert serving.answer() == [6.0]
    serving.release(SECOND, 2)
    serving.until(lambda: serving.serves("2"), "version 2 is served")
    assert serving.answer() == [9.0]
    serving.until(lambda: serving.reported()["phase"] == "serving", "it is reported")
    reported = serving.reported()
    assert reported["current"]["sha256"] == SECOND.sha256  # type: ignore[index]  # JSON
    assert reported["previous"]["version"] == "1"  # type: ignore[index]  # JSON
    assert reported["trouble"] is None


def test_the_operator_goes_back_without_a_download(serving: Household) -> None:
    serving.release(SECOND, 2)
    serving.until(lambda: serving.serves("2"), "version 2 is served")
    blob = serving.repository / "blobs" / made(version="1", scale=2.0).sha256
    blob.unlink()  # nobody could send it again
    serving.point(made(version="1", scale=2.0), 3)
    serving.signing.offer("stage-production")
    serving.offer()
    serving.until(lambda: serving.serves("1"), "version 1 is served again")
    assert serving.answer() == [6.0]


def test_a_dead_broker_neither_stops_service_nor_loses_a_release(
    serving: Household,
) -> None:
    port = int(serving.broker.url.rpartition(":")[2])
    serving.broker.kill()
    assert serving.answer() == [6.0]
    serving.release(SECOND, 2)  # while nobody can hear it
    assert serving.answer() == [6.0]
    serving.restart_broker(port)
    serving.until(lambda: serving.serves("2"), "what was missed arrives")
    assert serving.answer() == [9.0]


def test_a_device_that_was_off_catches_up(serving: Household) -> None:
    serving.stop("agent")
    serving.release(SECOND, 2)
    serving.start_agent()
    serving.until(lambda: serving.serves("2"), "version 2 is served")


def test_a_device_that_starts_before_the_depot_is_served_soon_after_its_start(
    house: Household,
) -> None:
    house.stop("depot")
    port = int(house.broker.url.rpartition(":")[2])
    house.broker.kill()
    shutil.rmtree(house.folder / "broker")  # with all that was published
    house.restart_broker(port)
    house.start_agent()
    house.until(lambda: "is a depot serving" in house.log, "the depot is missed")
    house.release(made(version="1", scale=2.0), 1)
    house.start_depot()
    house.until(lambda: house.serves("1"), "version 1 is served", patience_s=15)


def test_it_serves_from_disk_before_any_broker_answers(serving: Household) -> None:
    serving.stop("agent")
    serving.broker.kill()
    serving.start_agent()
    serving.until(lambda: serving.serves("1"), "version 1 is served offline")
    assert serving.answer() == [6.0]


def test_a_vanished_device_is_reported_offline_by_its_last_will(
    serving: Household,
) -> None:
    serving.until(lambda: serving.online() is True, "it is reported online")
    serving.power_cut()
    serving.until(lambda: serving.online() is False, "the last will is heard")


def test_a_graceful_stop_says_goodbye(serving: Household) -> None:
    process = serving.processes["agent"]
    serving.stop("agent", signal.SIGTERM)
    assert process.returncode == 0
    serving.until(lambda: serving.online() is False, "the goodbye is heard")
