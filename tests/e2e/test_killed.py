"""Deaths: whatever dies in whatever state, a whole model serves and the update goes on."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from edgekit_agent.rules.record import Phase
from tests.agent.making import made
from tests.e2e.household import Household, household
from tests.e2e.stuck import Moment, Stuck, released

pytestmark = [pytest.mark.slow, pytest.mark.broker]

FIRST = released("1", 2.0)
SECOND = released("2", 3.0)
ENDLESS = released("2", 3.0, endless=True)
THIRD = released("3", 4.0)
NEIGHBOUR = made(model="beer", version="7", scale=10.0)
ANSWERS = {"1": [6.0], "2": [9.0], "3": [12.0]}


@dataclass(frozen=True)
class Victim:
    """Who dies; `agent_gone`: it must be started again."""

    name: str
    kill: Callable[[Household, Stuck], None]
    agent_gone: bool = False


def _kill_job(_house: Household, stuck: Stuck) -> None:
    os.kill(stuck.job(), signal.SIGKILL)


def _kill_worker(house: Household, _stuck: Stuck) -> None:
    os.kill(house.worker(), signal.SIGKILL)


def _kill_supervisor(house: Household, _stuck: Stuck) -> None:
    house.stop("agent", signal.SIGKILL)


def _power_cut(house: Household, _stuck: Stuck) -> None:
    house.power_cut()


JOB = Victim("job", _kill_job)  # the updater, the proof or the hook of that moment
WORKER = Victim("worker", _kill_worker)
SUPERVISOR = Victim("supervisor", _kill_supervisor, agent_gone=True)
POWER = Victim("power", _power_cut, agent_gone=True)


@dataclass(frozen=True)
class Case:
    """One death. `scenario`: what the update is; `moment`: where it is held meanwhile."""

    scenario: str
    moment: Moment
    victim: Victim

    def __str__(self) -> str:
        return f"{self.scenario}-{self.moment}-{self.victim.name}"

    @property
    def target(self) -> str:
        """The version that is being released when something dies."""
        return {"first": "2", "second": "2", "rollback": "1", "two-models": "2"}[
            self.scenario
        ]

    @property
    def ends_with(self) -> str:
        """The version that serves in the end.

        A model that never ends its proof is superseded by the third; one whose confirming
        hook was killed is undone, where there is something to go back to.
        """
        if self.moment is Moment.PROVING:
            return "3"
        undone = self.moment is Moment.CONFIRMING and self.victim is JOB
        if undone and self.scenario != "first":
            return {"1": "2", "2": "1"}[self.target]
        return self.target


_UNCHANGED = (Moment.CHECKING, Moment.ASKING, Moment.COMMITTING, Moment.CONFIRMING)
CASES = [
    case
    for case in (
        *(Case("second", m, v) for m in Moment for v in (SUPERVISOR, POWER, WORKER, JOB)),
        *(Case("first", m, v) for m in Moment for v in (SUPERVISOR, POWER)),
        *(Case("rollback", m, v) for m in _UNCHANGED for v in (SUPERVISOR, POWER)),
        *(Case("two-models", m, v) for m in _UNCHANGED for v in (POWER, WORKER)),
        *(Case("first", m, JOB) for m in (Moment.ASKING, Moment.CONFIRMING)),
    )
    # while it commits, the worker is the job
    if (case.moment, case.victim) != (Moment.COMMITTING, JOB)
]


def prepare(house: Household, case: Case) -> None:
    """Bring the device to where the update of this case begins."""
    if case.scenario == "two-models":
        house.release(NEIGHBOUR, 1)
    if case.scenario != "first":
        house.release(FIRST, 1)
    house.start_agent()
    if case.scenario == "first":
        house.until(lambda: house.persisted().get("phase") == Phase.IDLE, "it looked")
        house.until(lambda: bool(house.worker()), "a worker runs")
        return
    calm(house, "1")
    if case.scenario == "rollback":
        house.release(SECOND, 2)
        calm(house, "2")
    if case.scenario == "two-models":
        house.until(lambda: house.serves("7", "beer"), "the neighbour is served")


def calm(house: Household, version: str) -> None:
    """Wait until a version serves and nothing is left to do."""

    def rests() -> bool:
        record = house.persisted()
        current = record.get("current") or {}
        at_rest = record.get("phase") == Phase.SERVING and not record.get("unconfirmed")
        return at_rest and current["version"] == version and house.serves(version)  # type: ignore[index]  # JSON

    house.until(rests, f"version {version} serves, and all is at rest")


def release(house: Household, case: Case) -> None:
    """Begin the update of this case."""
    if case.scenario == "rollback":
        house.point(FIRST, 3)
        house.signing.offer("stage-production")
        house.offer()
    else:
        house.release(ENDLESS if case.moment is Moment.PROVING else SECOND, 2)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_after_a_death_a_whole_model_serves_and_the_update_goes_on(case: Case) -> None:
    models = ("wine", "beer") if case.scenario == "two-models" else ("wine",)
    with household(*models) as house:
        prepare(house, case)
        stuck = Stuck(house, case.moment)
        release(house, case)
        house.until(lambda: stuck.reached(case.target), f"it is {case.moment}")
        case.victim.kill(house, stuck)
        stuck.let_go()
        if case.moment is Moment.PROVING:
            house.release(THIRD, 3)
        if case.victim.agent_gone:
            house.start_agent()
        before = {"first": case.ends_with, "rollback": "2"}.get(case.scenario, "1")
        lawful = {before, case.target, case.ends_with}
        house.until(
            lambda: any(house.serves(version) for version in lawful), "a model serves"
        )
        answered = house.ask()
        assert answered.version in lawful
        assert house.answer() in [ANSWERS[version] for version in lawful]
        calm(house, case.ends_with)
        assert house.answer() == ANSWERS[case.ends_with]
        if case.scenario == "two-models":
            house.until(lambda: house.serves("7", "beer"), "the neighbour serves, too")
            assert house.answer("beer") == [30.0]
        assert list((house.folder / "state" / "incoming").iterdir()) == []


def test_there_are_enough_cases_and_each_has_its_own_name() -> None:
    assert len({str(case) for case in CASES}) == len(CASES) >= 40


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
