"""Models in the agent's own process: what takes it down is undone by the next one."""

import os
import signal
import threading

import pytest

from edgekit.errors import EdgekitError, TransportError
from edgekit.manifest import MODEL_NAME
from edgekit_agent import client
from edgekit_agent.rules.record import Phase
from edgekit_agent.supervision.tenant import EXIT_CODE
from tests.agent.looping import HANGS, looping
from tests.agent.making import made
from tests.e2e.household import Household
from tests.e2e.init import Init, kept_running

pytestmark = [pytest.mark.slow, pytest.mark.broker]

FIRST = made(version="1", scale=2.0)
SECOND = made(version="2", scale=3.0)
THIRD = made(version="4", scale=7.0)
WRONG = made(version="3", scale=5.0, golden_scale=2.0)
HANGING = looping("2", 3.0)
BEGUN = "worker: started"


def served(house: Household, version: str) -> None:
    house.until(lambda: house.serves(version), f"version {version} is served")


def test_it_serves_swaps_without_loss_refuses_and_goes_back(house: Household) -> None:
    house.release(FIRST, 1)
    with kept_running(house) as init:
        served(house, "1")
        assert house.worker() == 0
        seen: list[str] = []
        over = threading.Event()
        asker = threading.Thread(target=_ask, args=(house, over, seen))
        asker.start()
        house.release(SECOND, 2)
        served(house, "2")
        house.release(WRONG, 3)
        house.until(lambda: house.trouble().get("kind") == "rejected", "it is refused")
        house.point(FIRST, 4)
        house.signing.offer("stage-production")
        house.offer()
        served(house, "1")
        over.set()
        asker.join()
        assert set(seen) == {"1", "2"}
        assert init.endings == []
    assert not (house.folder / "state" / "serving.json").exists(), "it left in order"


def _ask(house: Household, over: threading.Event, seen: list[str]) -> None:
    while not over.is_set():
        try:
            seen.append(house.ask().version)
        except EdgekitError as error:
            seen.append(str(error))


def test_a_version_that_keeps_taking_the_agent_down_is_undone(house: Household) -> None:
    house.release(FIRST, 1)
    with kept_running(house) as init:
        served(house, "1")
        house.release(SECOND, 2)
        for _ in range(3):
            house.until(lambda: house.rests_on("2"), "version 2 came to serve")
            killed(house, init)
        served(house, "1")
        given_up(house, "returned to the previous version")
        assert init.endings == [-signal.SIGKILL] * 3
        house.release(THIRD, 3)
        served(house, "4")


def test_a_version_that_takes_the_agent_down_while_it_loads_is_given_up(
    house: Household,
) -> None:
    """Once it is proven and agreed to, its file has no end: reading it waits for ever."""
    house.release(FIRST, 1)
    with kept_running(house) as init:
        served(house, "1")
        model = house.folder / "state" / "bundles" / SECOND.sha256 / MODEL_NAME
        house.hook("pre-activate", f"mv {model} {model}.kept && mkfifo {model}")
        house.release(SECOND, 2)
        for _ in range(3):
            house.until(lambda: committing(house), "the second is being loaded")
            model.with_name(f"{MODEL_NAME}.kept").replace(model)
            killed(house, init)
            served(house, "1")
        given_up(house, "(3 attempts)")
        assert house.answer() == [6.0]
        house.hook("pre-activate", "exit 0")
        house.release(THIRD, 3)
        served(house, "4")


def committing(house: Household) -> bool:
    """Whether the agent has been told to load the second version, in this life."""
    _, _, life = house.log.rpartition(BEGUN)
    return f"-> {Phase.COMMITTING} version 2" in life


def killed(house: Household, init: Init) -> None:
    """Kill the agent, and wait until the next one has begun."""
    lives = house.log.count(BEGUN)
    init.kill()
    house.until(lambda: house.log.count(BEGUN) > lives, "another one begins")


def given_up(house: Household, end: str) -> None:
    """Wait until it is reported that the second version is given up, and why."""
    house.until(lambda: house.trouble().get("kind") == "failed", "it is reported")
    reason = house.trouble()["reason"]
    assert reason.startswith("the agent's process, which serves, ended: it crashed")
    assert reason.endswith(end)


def test_a_process_that_is_stopped_is_restarted_by_the_watchdog(house: Household) -> None:
    house.release(FIRST, 1)
    with kept_running(house, watchdog_s=6.0) as init:
        served(house, "1")
        os.kill(init.pid, signal.SIGSTOP)
        house.until(lambda: bool(init.endings), "the watchdog bites")
        served(house, "1")
        assert init.bitten == 1


def test_threads_that_hang_end_the_process_and_it_serves_again(house: Household) -> None:
    house.release(FIRST, 1)
    with kept_running(house, watchdog_s=300.0) as init:
        served(house, "1")
        trap = house.socket.with_name(f".recent-{SECOND.sha256[:12]}")
        os.mkfifo(trap)  # the worker writes its last inputs there, and waits for a reader
        house.release(SECOND, 2)
        house.until(lambda: bool(init.endings), "the process ends itself")
        trap.unlink()
        assert init.endings[0] == EXIT_CODE
        assert init.bitten == 0
        served(house, "2")
        assert "no sign of life" in house.log


def test_a_request_that_never_ends_ends_the_process_and_its_version_pays(
    house: Household,
) -> None:
    house.release(FIRST, 1)
    with kept_running(house, "time_limit_s = 1", watchdog_s=300.0) as init:
        served(house, "1")
        house.release(HANGING, 2)
        served(house, "2")
        with pytest.raises(TransportError):
            client.predict(house.socket, "wine", HANGS)
        house.until(lambda: bool(init.endings), "the process ends itself")
        assert init.endings[0] == EXIT_CODE
        assert init.bitten == 0
        served(house, "2")
        trouble = house.trouble()
        assert (trouble["kind"], trouble["error"]) == ("not-now", "WorkerDied")
        assert "a request has been computed for" in trouble["reason"]
