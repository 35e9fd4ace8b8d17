"""The exchange of a model where there is no memory for two: who waits, and for how long."""

import threading

import pytest

from edgekit.schema import Enforcement
from edgekit_agent.service import shelf
from edgekit_agent.service.served import Identity, Served
from edgekit_agent.service.shelf import ExchangingError, Shelf
from edgekit_agent.storage.store import Store
from tests.agent.making import Made, made, stored

ROWS = b'{"dataframe_records": [{"a": 1, "b": 2}]}'


def served(store: Store, what: Made) -> Served:
    model = what.manifest.model
    digest = stored(store, what)
    identity = Identity(
        model=model.name, version=model.version, flavor="fp32", sha256=digest
    )
    return Served.load(store, identity)


@pytest.fixture
def full(store: Store) -> Shelf:
    """A shelf with version 1."""
    found = Shelf(Enforcement.STRICT)
    found.put(served(store, made(version="1")))
    return found


def asked(full: Shelf, model: str | None) -> tuple[threading.Thread, list[str]]:
    """Ask in another thread; the list gets the version that answered."""
    versions: list[str] = []

    def ask() -> None:
        versions.append(full.answer(model, ROWS)[1].version)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, versions


@pytest.mark.parametrize("model", ["wine", None])
def test_a_request_during_the_exchange_waits_and_gets_the_new_model(
    store: Store, full: Shelf, model: str | None
) -> None:
    with full.pause("wine"):
        assert full.identity("wine") is None, "its memory is free"
        assert full.names == ("wine",), "and yet it is served, in a moment"
        thread, versions = asked(full, model)
        new = served(store, made(version="2", scale=3.0))
        assert versions == []
        full.put(new)
    thread.join(30)
    assert versions == ["2"]


def test_another_model_does_not_wait(store: Store, full: Shelf) -> None:
    full.put(served(store, made(model="beer", version="7")))
    with full.pause("wine"):
        assert full.answer("beer", ROWS)[1].version == "7"


def test_a_request_does_not_wait_for_ever(
    full: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "EXCHANGE_S", 0.05)
    with full.pause("wine"), pytest.raises(ExchangingError, match="ask again later"):
        full.answer("wine", ROWS)


def test_what_is_being_answered_is_answered_before_the_exchange(
    full: Shelf,
) -> None:
    begun, go_on, paused = threading.Event(), threading.Event(), threading.Event()

    def hold() -> None:
        with full._using("wine"):  # noqa: SLF001 - a request that takes its time
            begun.set()
            go_on.wait(30)

    def exchange() -> None:
        with full.pause("wine"):
            paused.set()

    holder = threading.Thread(target=hold)
    holder.start()
    begun.wait(30)
    exchanger = threading.Thread(target=exchange)
    exchanger.start()
    assert not paused.wait(0.1)
    go_on.set()
    assert paused.wait(30)
    holder.join()
    exchanger.join()
