"""One household a test, in a folder with a short path, ended whatever happens."""

from collections.abc import Iterator

import pytest

from tests.agent.making import Made, made
from tests.e2e.household import Household, household


@pytest.fixture
def house() -> Iterator[Household]:
    """A fleet with one enrolled device; broker and depot run, the agent does not."""
    with household() as found:
        yield found


@pytest.fixture
def serving(house: Household) -> Household:
    """The same, and its agent serves version 1."""
    house.release(first(), 1)
    house.start_agent()
    house.until(lambda: house.serves("1"), "version 1 is served")
    return house


def first() -> Made:
    """Version 1 answers twice the sum."""
    return made(version="1", scale=2.0)
