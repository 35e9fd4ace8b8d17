"""The agent's life on a Raspberry Pi's processor, installed from wheels for it."""

import pytest

from tests.agent.making import made
from tests.arm64.boards import PATIENCE_S, Board
from tests.e2e.household import Household

pytestmark = [pytest.mark.slow, pytest.mark.broker, pytest.mark.arm64]

FIRST = made(version="1", scale=2.0)
SECOND = made(version="2", scale=3.0)
SPOILED = made(version="3", scale=5.0, golden_scale=2.0)


@pytest.mark.timeout(4 * PATIENCE_S)
def test_a_model_is_verified_proven_served_swapped_refused_and_rolled_back(
    house: Household, board: Board
) -> None:
    house.release(FIRST, 1)
    board.start_agent(house)
    house.until(lambda: house.serves("1"), "version 1 is served", patience_s=PATIENCE_S)
    assert house.answer() == [6.0]
    house.release(SECOND, 2)
    house.until(lambda: house.serves("2"), "version 2 is served", patience_s=PATIENCE_S)
    assert house.answer() == [9.0]
    house.release(SPOILED, 3)
    house.until(
        lambda: house.trouble().get("kind") == "rejected",
        "the proof refuses version 3",
        patience_s=PATIENCE_S,
    )
    assert "golden" in house.trouble()["reason"]
    assert house.answer() == [9.0]
    house.point(FIRST, 4)
    house.signing.offer("stage-production")
    house.offer()
    house.until(lambda: house.serves("1"), "version 1 is back", patience_s=PATIENCE_S)
    assert house.answer() == [6.0]
