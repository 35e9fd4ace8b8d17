"""The loop asks the device's owner before and after a change."""

import pytest

from tests.agent.running import (
    V1,
    V2,
    Agent,
)

pytestmark = pytest.mark.slow


def test_a_device_that_says_not_now_is_asked_again_and_serves_the_old_meanwhile(
    agent: Agent,
) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    busy = agent.folder / "busy"
    busy.touch()
    agent.hook(
        "pre-activate",
        f'echo "$EDGEKIT_FROM_VERSION -> $2: the pump runs"; echo retry-after: 5;'
        f" test -e {busy} && exit 21; exit 0",
    )
    agent.release(V2)
    trouble = agent.troubled("not-now", "HookNotNow")
    assert trouble["reason"] == "pre-activate: 1 -> 2: the pump runs"
    assert trouble["again_s"] == 5
    agent.serves("1")
    told = agent.reported()["hook"]
    assert (told["hook"], told["answer"]) == ("pre-activate", "not-now")
    assert "retry-after: 5" in told["output"]
    busy.unlink()
    agent.serves("2")
    assert agent.reported()["trouble"] is None


def test_a_device_that_refuses_keeps_the_old_until_something_else_is_released(
    agent: Agent,
) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    agent.hook("pre-activate", "echo this line is certified; exit 1")
    agent.release(V2)
    trouble = agent.troubled("failed", "HookError")
    assert trouble["reason"] == "pre-activate: exit code 1: this line is certified"
    agent.serves("1")
    agent.hook("pre-activate", "exit 0")
    agent.release(V2)  # signed anew: another rollout
    agent.serves("2")


def test_a_device_that_is_not_well_after_the_change_goes_back(agent: Agent) -> None:
    agent.start()
    agent.release(V1)
    agent.serves("1")
    noted = agent.folder / "noted"
    agent.hook("post-activate", "echo too many alarms; exit 1")
    agent.hook("post-rollback", f'echo "$EDGEKIT_FROM_VERSION -> $2" > {noted}')
    agent.release(V2)
    trouble = agent.troubled("failed", "HookError")
    assert "too many alarms; returned to the previous version" in trouble["reason"]
    agent.serves("1")
    agent.until(lambda told: told["hook"]["hook"] == "post-rollback")
    assert noted.read_text() == "2 -> 1\n"
