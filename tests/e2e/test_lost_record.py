"""The record of a model is lost in both copies while no broker is in reach."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.statement import slug
from edgekit_agent.storage import testimony
from edgekit_agent.storage.store import Store
from tests.agent.making import made, stored
from tests.e2e.household import MODEL, Household, household

pytestmark = [pytest.mark.slow, pytest.mark.broker]

FIRST = made(version="1", scale=2.0)
SECOND = made(version="2", scale=3.0)
FORGED = made(version="2", scale=7.0)


@pytest.fixture
def alone() -> Iterator[Household]:
    """A device that served version 2, was switched off, and has no broker any more."""
    with household() as house:
        house.release(FIRST, 1)
        house.start_agent()
        house.until(lambda: house.serves("1"), "version 1 is served")
        house.release(SECOND, 2)
        house.until(lambda: house.serves("2"), "version 2 is served")
        mark = bundle(house) / testimony.SERVED
        house.until(mark.is_file, "that it served is noted")  # a moment after it serves
        house.stop("agent")
        house.stop("depot")
        house.broker.stop()
        yield house


def damage(house: Household) -> None:
    """Zero both copies of the record, as a dying flash does."""
    folder = house.folder / "state" / "models" / slug(MODEL)
    for name in ("state.json", "state.copy"):
        path = folder / name
        path.write_bytes(b"\0" * path.stat().st_size)


def bundle(house: Household) -> Path:
    return house.folder / "state" / "bundles" / SECOND.sha256


def test_what_served_last_serves_again_without_a_broker(alone: Household) -> None:
    damage(alone)
    alone.start_agent()
    alone.until(lambda: alone.serves("2"), "version 2 is served again")
    assert alone.answer() == [9.0]


def test_it_serves_again_when_the_records_are_gone_altogether(alone: Household) -> None:
    shutil.rmtree(alone.folder / "state" / "models")
    alone.start_agent()
    alone.until(lambda: alone.serves("2"), "version 2 is served again")


def test_what_was_forged_meanwhile_does_not_serve_what_served_before_does(
    alone: Household,
) -> None:
    damage(alone)
    store, folder = Store(alone.folder / "state"), bundle(alone)
    names = (testimony.SIGNED, testimony.SERVED)
    kept = {name: (folder / name).read_bytes() for name in names}
    shutil.rmtree(folder)
    stored(store, FORGED)
    store.bundle(FORGED.sha256).rename(folder)
    for name, data in kept.items():
        (folder / name).write_bytes(data)
    alone.start_agent()
    alone.until(lambda: alone.serves("1"), "version 1 is served")
    assert alone.answer() == [6.0]
    assert "its manifest is not the signed one" in alone.log


def test_nothing_serves_that_cannot_be_verified_until_a_broker_is_back(
    alone: Household,
) -> None:
    damage(alone)
    for one in (FIRST, SECOND):
        model = alone.folder / "state" / "bundles" / one.sha256 / "model.onnx"
        model.write_bytes(made(version="2", scale=7.0).data)
    alone.start_agent()
    alone.until(lambda: "stays unused" in alone.log, "the bundles are refused")
    alone.until(lambda: "Nothing serves until a broker" in alone.log, "the reason is told")
    alone.until(lambda: alone.worker() > 0, "the worker is there")
    assert not alone.serves("1")
    assert not alone.serves("2")
    alone.restart_broker(int(alone.broker.url.rpartition(":")[2]))
    alone.start_depot()
    alone.until(lambda: alone.serves("2"), "version 2 is fetched again")
    assert alone.answer() == [9.0]


def test_what_new_keys_have_signed_again_serves_without_a_broker() -> None:
    """A change of keys is heard as a release is, and what vouches is kept anew."""
    with household() as house:
        house.release(SECOND, 1)
        house.start_agent()
        house.until(lambda: house.serves("2"), "version 2 is served")
        signed = bundle(house) / testimony.SIGNED
        before = signed.read_bytes()
        for role in ("models", "stage-production"):
            house.signing.rotate(role)
        house.offer()
        house.until(lambda: signed.read_bytes() != before, "the evidence is renewed")
        house.stop("agent")
        house.stop("depot")
        house.broker.stop()
        damage(house)
        house.start_agent()
        house.until(lambda: house.serves("2"), "version 2 is served again")
