"""Counts of a real agent reach the fleet's book over a real broker, whoever dies."""

import itertools
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgekit.fleet.book import Book, Device
from edgekit.fleet.watch import Listener
from tests.agent.making import made
from tests.e2e.household import DEVICE, MODEL, STAGE, Household, household

pytestmark = [pytest.mark.slow, pytest.mark.broker]

FIRST = made(version="1", scale=2.0)
SECOND = made(version="2", scale=3.0)
AGAIN_S = 180.0  # what was sent before somebody listened comes again after a minute


@pytest.fixture
def house() -> Iterator[Household]:
    with household() as found:
        found.release(FIRST, 1)
        found.start_agent()
        found.until(lambda: found.serves("1"), "version 1 is served")
        yield found


def book(house: Household) -> Book:
    found = Book(house.folder / "fleet.db")
    if not found.devices():
        found.enroll(
            Device(
                name=DEVICE,
                board="generic-x86-64",
                models=((MODEL, STAGE),),
                enrolled_by="test",
                enrolled_at=datetime.now(UTC),
            )
        )
    return found


@contextmanager
def listening(house: Household) -> Iterator[None]:
    """Have the operator's side listen, as `edgekit fleet watch` does."""
    over = threading.Event()

    def listen() -> None:
        with house.connected("ear") as transport:
            heard = Listener(
                transport=transport,
                topics=house.topics,
                book=book(house),
                now=lambda: datetime.now(UTC),
                monotonic=time.monotonic,
            ).follow(pause_s=0.2)
            for _ in itertools.takewhile(lambda _: not over.is_set(), heard):
                pass

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def told(house: Household) -> dict[str, int]:
    """The requests that the fleet knows of, by version."""
    counts: dict[str, int] = {}
    for one in book(house).windows(DEVICE):
        for bundle in one.window.bundles:
            counts[bundle.version] = counts.get(bundle.version, 0) + bundle.requests
    return counts


def waiting(house: Household) -> set[Path]:
    return set((house.folder / "state" / "telemetry").glob("*.*"))


def ask(house: Household, times: int) -> int:
    for _ in range(times):
        house.answer()
    return times


def test_what_was_asked_while_nobody_listened_is_told_later_to_the_last_request(
    house: Household,
) -> None:
    house.stop("agent")
    before = told(house)
    assert not before
    house.start_agent()
    house.until(lambda: house.serves("1"), "version 1 is served")
    asked = ask(house, 20)
    house.release(SECOND, 2)
    house.until(lambda: house.serves("2"), "version 2 is served")
    ask(house, 5)
    house.stop("agent")  # orderly: what is open is kept, too
    assert waiting(house)
    house.start_agent()
    with listening(house):
        for condition, what in (
            (lambda: told(house).get("1", 0) >= asked, "all is told"),
            (lambda: told(house).get("2", 0) >= 5, "of both versions"),
            (lambda: len(waiting(house)) <= 2, "the device keeps nothing else"),
        ):
            house.until(condition, what, patience_s=AGAIN_S)
    first = told(house)
    with listening(house):
        time.sleep(3)
    assert told(house)["1"] == first["1"], "nothing comes twice"


def test_a_killed_agent_loses_what_it_had_not_written_and_counts_nothing_twice(
    house: Household,
) -> None:
    with listening(house):
        asked = ask(house, 20)
        house.until(lambda: sum(told(house).values()) >= asked, "all is told")
        known = sum(told(house).values())
    more = ask(house, 10)
    kept = len(waiting(house))
    house.until(lambda: len(waiting(house)) >= kept + 2, "it is written down")
    house.stop("agent", signal.SIGKILL)
    house.start_agent()
    house.until(lambda: house.serves("1"), "version 1 is served")
    with listening(house):
        house.until(
            lambda: sum(told(house).values()) >= known + more,
            "all is told",
            patience_s=AGAIN_S,
        )
    assert not book(house).garbage()
