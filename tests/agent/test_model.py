"""A model in the caller's own process: what it takes, and that it follows the agent."""

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import ConfigError, SchemaError, StoreError
from edgekit_agent.model import Model, Rows
from edgekit_agent.rules.record import Phase, Record, Release
from edgekit_agent.storage.store import Store
from tests.agent.making import Made, made, stored
from tests.agent.test_config import GOOD

OLD, NEW = made(version="1", scale=2.0), made(version="2", scale=3.0)
ROW = {"a": 1.0, "b": 2.0}


def choose(store: Store, what: Made) -> None:
    """Do what the agent does when it commits."""
    stored(store, what)
    current = Release(
        version=what.manifest.model.version, flavor="fp32", sha256=what.sha256, rollout=1
    )
    store.save(
        Record(model="wine", stage="production", phase=Phase.SERVING, current=current)
    )


def folder_of(store: Store) -> Path:
    return store.tuf.parent


@pytest.fixture
def wine(store: Store) -> Iterator[Model]:
    choose(store, OLD)
    with Model("wine", state_dir=folder_of(store), interval_s=0.01) as model:
        yield model


def until_version(model: Model, version: str) -> None:
    ends_s = time.monotonic() + 20
    while model.identity.version != version:
        assert time.monotonic() < ends_s
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("rows", "predictions"),
    [
        (ROW, [6.0]),
        ({"b": 2.0, "a": 1.0}, [6.0]),
        ({**ROW, "extra": 5}, [6.0]),
        ({"a": np.float32(1), "b": np.float64(2)}, [6.0]),
        ({"a": 1, "b": 0}, [2.0]),
        ({"a": None, "b": 2.0}, [np.nan]),
        ({"a": [1.0, 3.0], "b": np.array([2.0, 4.0])}, [6.0, 14.0]),
        ([ROW, {"a": 3.0, "b": 4.0}], [6.0, 14.0]),
        ({"a": [], "b": []}, []),
    ],
)
def test_rows_are_taken_in_any_shape(
    wine: Model, rows: Rows, predictions: list[float]
) -> None:
    answer = wine.predict(rows)
    np.testing.assert_array_equal(np.asarray(answer.prediction), predictions)
    assert answer.identity.sha256 == OLD.sha256


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ({"a": 1.0}, "Model is missing inputs ['b']."),
        ({"a": 1.0, "b": "x"}, "Can not safely convert str to float64."),
        ({"a": 1.0, "b": 7}, "Can not safely convert int64 to float64."),
        ({"a": 2**70, "b": 2**53 + 1}, "Can not safely convert"),
        ({"a": [1.0], "b": 2.0}, "column b: float, an array or a list"),
        ({"a": [1.0], "b": [1.0, 2.0]}, "All arrays must be of the same length"),
        (np.zeros((1, 2)), "Model is missing inputs"),
        ([{"a": 1.0}], "Model is missing inputs ['b']."),
    ],
)
def test_what_does_not_fit_is_refused_with_mlflows_sentence(
    wine: Model, rows: Rows, sentence: str
) -> None:
    with pytest.raises(SchemaError) as refusal:
        wine.predict(rows)
    assert sentence in str(refusal.value)


def test_the_short_way_and_the_long_way_answer_alike(wine: Model) -> None:
    short = wine.predict(ROW)
    table = wine.predict({name: np.array([value]) for name, value in ROW.items()})
    assert np.asarray(short.prediction).tobytes() == np.asarray(table.prediction).tobytes()


@pytest.mark.slow
def test_a_swap_under_load_answers_with_one_version_each_time(
    wine: Model, store: Store
) -> None:
    answers: set[tuple[str, float]] = set()
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            found = wine.predict(ROW)
            answers.add((found.identity.version, float(np.asarray(found.prediction)[0])))

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    for what in (NEW, OLD, NEW):
        choose(store, what)
        until_version(wine, what.manifest.model.version)
    ended.set()
    for asker in askers:
        asker.join()
    assert answers == {("1", 6.0), ("2", 9.0)}


def test_a_choice_that_cannot_be_loaded_leaves_the_old_one_answering(
    wine: Model, store: Store
) -> None:
    broken = made(version="2", opset=99)
    choose(store, broken)
    time.sleep(0.1)
    assert np.asarray(wine.predict(ROW).prediction).tolist() == [6.0]
    choose(store, made(version="3", scale=5.0))
    until_version(wine, "3")


def test_what_answers_needs_its_files_no_more(wine: Model, store: Store) -> None:
    shutil.rmtree(store.bundle(OLD.sha256))
    assert np.asarray(wine.predict(ROW).prediction).tolist() == [6.0]


def test_a_damaged_record_is_left_alone_and_the_old_one_answers(
    wine: Model, store: Store
) -> None:
    record = folder_of(store) / "models/wine/state.json"
    record.write_bytes(b"{")
    time.sleep(0.1)
    assert record.read_bytes() == b"{"
    assert np.asarray(wine.predict(ROW).prediction).tolist() == [6.0]
    choose(store, NEW)
    until_version(wine, "2")


def test_before_the_first_version_there_is_nothing_to_follow(store: Store) -> None:
    with pytest.raises(ConfigError, match="serves no version of it yet"):
        Model("wine", state_dir=folder_of(store))


def test_the_first_version_can_be_waited_for(store: Store) -> None:
    later = threading.Timer(0.2, choose, (store, OLD))
    later.start()
    with Model("wine", state_dir=folder_of(store), wait_s=20) as model:
        assert model.identity.version == "1"
    later.join()


def test_the_agents_own_settings_say_where_and_how(store: Store, folder: Path) -> None:
    choose(store, OLD)
    settings = folder / "agent.toml"
    settings.write_text(GOOD.replace("/var/lib/edgekit", str(folder_of(store))))
    with Model.follow("wine", settings=settings) as model:
        assert np.asarray(model.predict(ROW).prediction).tolist() == [6.0]
    with pytest.raises(ConfigError, match="model beer: this device does not serve it"):
        Model.follow("beer", settings=settings)


def test_a_record_that_cannot_be_read_is_an_error_of_the_store(store: Store) -> None:
    choose(store, OLD)
    record = folder_of(store) / "models/wine/state.json"
    record.unlink()
    record.mkdir()
    with pytest.raises(StoreError, match="cannot be read"):
        Model("wine", state_dir=folder_of(store))
