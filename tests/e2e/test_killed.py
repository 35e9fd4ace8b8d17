"""Power cuts: the agent is killed in every persisted state and must serve and go on."""

import json
import os
import signal
import time
from collections.abc import Callable

import pytest

from edgekit_agent.rules.record import Phase
from tests.agent.making import made
from tests.e2e.household import Household

pytestmark = [pytest.mark.slow, pytest.mark.broker]

# Large enough to be caught while it is fetched.
SECOND = made(version="2", scale=3.0, padding_bytes=8_000_000)
UPDATE_PHASES = (Phase.CHECKING, Phase.FETCHING, Phase.PROVING, Phase.COMMITTING)


def catch(house: Household, phase: Phase, kill: Callable[[], None]) -> bool:
    """Kill in the instant when a phase is on disk; False when the update went by."""
    path = house.folder / "state" / "models" / "wine" / "state.json"
    end = time.monotonic() + 60
    wanted = phase.value
    while time.monotonic() < end:
        state = json.loads(path.read_bytes())
        if state["phase"] == wanted and (state.get("candidate") or phase is Phase.CHECKING):
            kill()
            return True
        current = state.get("current")
        if current and current["version"] == "2" and state["phase"] == Phase.SERVING:
            return False
    raise AssertionError(f"neither {wanted} nor the end came; the agent says:\n{house.log}")


def kill_supervisor(house: Household) -> None:
    house.stop("agent", signal.SIGKILL)


def power_cut(house: Household) -> None:
    house.power_cut()


@pytest.mark.parametrize("how", [kill_supervisor, power_cut])
@pytest.mark.parametrize("phase", UPDATE_PHASES)
def test_killed_in_a_state_it_serves_whole_and_finishes_the_update(
    serving: Household, phase: Phase, how: Callable[[Household], None]
) -> None:
    serving.release(SECOND, 2)
    assert catch(serving, phase, lambda: how(serving)), f"{phase} was too short to catch"
    serving.start_agent()
    serving.until(
        lambda: serving.serves("1") or serving.serves("2"), "a whole model is served"
    )
    assert serving.answer() in ([6.0], [9.0])
    serving.until(lambda: serving.serves("2"), "the update is finished")
    assert serving.answer() == [9.0]


@pytest.mark.parametrize("phase", [Phase.IDLE, Phase.SERVING])
def test_killed_at_rest_it_comes_back_as_it_was(house: Household, phase: Phase) -> None:
    if phase is Phase.SERVING:
        house.release(made(version="1", scale=2.0), 1)
    house.start_agent()
    house.until(lambda: house.persisted().get("phase") == phase, f"it is {phase}")
    house.power_cut()
    house.start_agent()
    if phase is Phase.IDLE:
        house.release(made(version="1", scale=2.0), 1)
    house.until(lambda: house.serves("1"), "version 1 is served")
    assert house.answer() == [6.0]


def test_killed_again_and_again_it_still_ends_up_with_a_model(serving: Household) -> None:
    serving.release(SECOND, 2)
    for _ in range(6):
        time.sleep(0.7)
        serving.power_cut()
        serving.start_agent()
    serving.until(lambda: serving.serves("2"), "the update is finished")
    leftovers = list((serving.folder / "state" / "incoming").iterdir())
    assert leftovers == []


def test_a_killed_worker_is_replaced_and_loses_no_model(serving: Household) -> None:
    children = serving.children_of_agent()
    for process in children:
        os.kill(process, signal.SIGKILL)
    serving.until(lambda: serving.serves("1"), "a new worker serves")
    assert serving.answer() == [6.0]
