"""A device that holds the version before fetches what changed: counted in bytes."""

from collections.abc import Iterator

import pytest

from tests.agent.making import made
from tests.e2e.household import Household, household
from tests.e2e.test_aws_limits import tapped
from tests.wiretap import Kind, Wiretap

pytestmark = [pytest.mark.slow, pytest.mark.broker]

FIRST = made(version="1", scale=2.0, padding_bytes=2_000_000)
SECOND = made(version="2", scale=3.0, padding_bytes=2_000_000)
UPDATER = "edgekit-pi-7-updater"


@pytest.fixture
def waiting() -> Iterator[tuple[Household, Wiretap]]:
    """A device that holds version 1 and is off; the patch to version 2 is made."""
    with household() as house, tapped(house) as wiretap:
        house.stop("depot")
        house.start_depot()
        house.release(FIRST, 1)
        house.start_agent()
        house.until(lambda: house.serves("1"), "version 1 is served")
        house.stop("agent")
        house.release(SECOND, 2)
        house.until(lambda: offered(wiretap, house), "the patch is offered")
        yield house, wiretap


def offered(wiretap: Wiretap, house: Household) -> bool:
    """Whether the depot has told of a patch to the second version."""
    topic = house.topics.delta(SECOND.sha256)
    return any(
        packet.topic == topic and FIRST.sha256.encode() in packet.payload
        for packet in wiretap.seen()
        if packet.kind == Kind.PUBLISH and packet.from_client
    )


def received(wiretap: Wiretap, since: int) -> int:
    """How many bytes of bundles and patches reached the updater."""
    return sum(
        len(packet.payload)
        for packet in wiretap.seen(since)
        if packet.kind == Kind.PUBLISH
        and not packet.from_client
        and packet.client_id == UPDATER
        and "/blob/" in packet.topic
    )


def test_a_patch_is_fetched_instead_of_the_bundle(
    waiting: tuple[Household, Wiretap],
) -> None:
    house, wiretap = waiting
    name = f"{SECOND.sha256}.{FIRST.sha256}"
    digest = (house.repository / "patches" / name).read_text("ascii")
    patch_bytes = (house.repository / "patches" / digest).stat().st_size
    assert patch_bytes < 0.05 * len(SECOND.data)
    began = wiretap.position()
    house.start_agent()
    house.until(lambda: house.serves("2"), "version 2 is served")
    assert house.answer() == [9.0]
    assert "patch from" in house.log
    # The patch, the chunk of the bundle in which its manifest is, and the offer.
    most = patch_bytes + SECOND.entry.chunk_length(0) + 4096
    assert patch_bytes < received(wiretap, began) <= most


def test_a_patch_that_does_not_fit_costs_a_whole_download_and_nothing_else(
    waiting: tuple[Household, Wiretap],
) -> None:
    house, wiretap = waiting
    name = f"{SECOND.sha256}.{FIRST.sha256}"
    path = (
        house.repository
        / "patches"
        / ((house.repository / "patches" / name).read_text("ascii"))
    )
    path.write_bytes(bytes(path.stat().st_size))
    began = wiretap.position()
    house.start_agent()
    house.until(lambda: house.serves("2"), "version 2 is served")
    assert house.answer() == [9.0]
    assert received(wiretap, began) >= len(SECOND.data)
