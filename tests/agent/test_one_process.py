"""Models in the agent's own process: its death is counted by the next one."""

import json
import queue
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.errors import ConfigError
from edgekit_agent import client
from edgekit_agent.config import Place, parse
from edgekit_agent.rules.events import (
    Load,
    Loaded,
    Online,
    Started,
    WorkerDied,
    WorkerReady,
)
from edgekit_agent.rules.record import Phase, Record, Release, TroubleKind
from edgekit_agent.rules.state import ModelState, Moment, Policy
from edgekit_agent.rules.step import step
from edgekit_agent.rules.watch import Patience
from edgekit_agent.storage.store import Store
from edgekit_agent.supervision.attendant import Attendant, Notice, Stats
from edgekit_agent.supervision.child import Ended, News
from edgekit_agent.supervision.lifeline import Death, Lifeline
from tests.agent.making import made, stored
from tests.agent.test_config import GOOD

POLICY = Policy()
CRASH = "the agent's process, which serves, ended: it was killed"
OLD = Release(version="1", flavor="fp32", sha256="a" * 64, rollout=1)
NEW = Release(version="2", flavor="fp32", sha256="b" * 64, rollout=2)


# --- what the disk says ----------------------------------------------------------------


@pytest.fixture
def boot(tmp_path: Path) -> Path:
    """A kernel's boot id."""
    path = tmp_path / "boot_id"
    path.write_text("first\n", "ascii")
    return path


def test_a_process_that_left_in_order_is_not_missed(tmp_path: Path, boot: Path) -> None:
    before = Lifeline(tmp_path / "serving.json", boot)
    assert before.begin() == Death()
    before.leave()
    assert Lifeline(tmp_path / "serving.json", boot).begin() == Death()


def test_deaths_are_counted_until_one_process_has_lived_a_while(
    tmp_path: Path, boot: Path
) -> None:
    path = tmp_path / "serving.json"
    found = [Lifeline(path, boot).begin().deaths for _ in range(4)]
    assert found == [0, 1, 2, 3]
    lived = Lifeline(path, boot)
    lived.begin()
    lived.calm()
    assert Lifeline(path, boot).begin().deaths == 1


def test_why_a_process_ended_is_told_where_it_knew(tmp_path: Path, boot: Path) -> None:
    path = tmp_path / "serving.json"
    killed = Lifeline(path, boot)
    killed.begin()
    assert Lifeline(path, boot).begin() == Death(
        deaths=1, why="it crashed, was killed, or memory ran out"
    )
    killed.note("no sign of life", by=NEW.sha256)
    assert Lifeline(path, boot).begin() == Death(
        deaths=1, why="no sign of life", by=NEW.sha256
    )


def test_what_the_machines_own_restart_ended_is_not_blamed(
    tmp_path: Path, boot: Path
) -> None:
    path = tmp_path / "serving.json"
    Lifeline(path, boot).begin()
    boot.write_text("second\n", "ascii")
    assert Lifeline(path, boot).begin() == Death()


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"boot": 1}', b"\xff\x00"])
def test_a_damaged_note_blames_nobody(tmp_path: Path, boot: Path, damage: bytes) -> None:
    path = tmp_path / "serving.json"
    path.write_bytes(damage)
    assert Lifeline(path, boot).begin() == Death()
    assert json.loads(path.read_bytes())["deaths"] == 0


def test_a_disk_that_takes_no_note_is_served_from(tmp_path: Path, boot: Path) -> None:
    nowhere = Lifeline(tmp_path / "missing" / "serving.json", boot)
    assert nowhere.begin() == Death()
    nowhere.calm()
    nowhere.leave()


# --- the rules: as when a worker of its own dies ---------------------------------------


def again(record: Record, crash: str = CRASH, by: str = "") -> ModelState:
    """What a record becomes in the next process."""
    at = Moment(s=100.0, utc="now")
    return step(ModelState(record=record), Started(crash=crash, by=by), at, POLICY).state


def on_probation(previous: Release | None = OLD) -> Record:
    return Record(
        model="wine",
        stage="p",
        phase=Phase.SERVING,
        current=NEW,
        previous=previous,
        probation=True,
    )


def test_a_new_version_that_keeps_taking_the_agent_along_is_undone() -> None:
    record = on_probation()
    for crashes in range(1, POLICY.crashes):
        record = again(record).record
        assert (record.crashes, record.current) == (crashes, NEW)
    state = again(record)
    assert state.record.current == OLD
    trouble = state.record.trouble
    assert trouble is not None
    assert trouble.kind is TroubleKind.FAILED
    assert trouble.reason == (
        "the agent's process, which serves, ended: it was killed (3 times);"
        " returned to the previous version"
    )
    at = Moment(s=101.0, utc="now")
    ready = step(state, WorkerReady(), at, POLICY)
    assert ready.actions == (Load(release=OLD),)


def test_a_version_pays_for_its_own_hang_alone() -> None:
    record = on_probation()
    assert again(record, by=NEW.sha256).record.crashes == 1
    assert again(record, by=OLD.sha256).record.crashes == 0, "the one before it hung"
    at = Moment(s=100.0, utc="now")
    serving = ModelState(record=record, loaded=NEW.sha256)
    for by, crashes in ((NEW.sha256, 1), (OLD.sha256, 0), ("", 1)):
        found = step(serving, WorkerDied(reason=CRASH, by=by), at, POLICY).state
        assert (found.record.crashes, found.loaded) == (crashes, None)


def test_a_process_counts_its_death_once_also_where_a_hook_was_asked_meanwhile() -> None:
    assert again(replace(on_probation(), unconfirmed=True)).record.crashes == 1


def test_a_version_that_served_its_probation_is_not_undone_by_a_crash() -> None:
    record = Record(model="wine", stage="p", phase=Phase.SERVING, current=NEW, previous=OLD)
    for _ in range(2 * POLICY.crashes):
        record = again(record).record
    assert record.current == NEW


def test_a_commit_that_takes_the_agent_along_is_given_up_and_the_old_version_serves() -> (
    None
):
    committing = Record(
        model="wine",
        stage="p",
        phase=Phase.COMMITTING,
        current=OLD,
        candidate=NEW,
    )
    state = again(committing)
    assert (state.record.phase, state.wanted) == (Phase.SERVING, OLD)
    assert state.record.trouble is not None
    assert state.record.trouble.kind is TroubleKind.NOT_NOW


def test_the_same_deaths_count_the_same_in_both_ways() -> None:
    at = Moment(s=100.0, utc="now")
    apart = ModelState(record=on_probation())
    for event in (Started(), Online(), WorkerReady(), Loaded(sha256=NEW.sha256)):
        apart = step(apart, event, at, POLICY).state
    apart = step(apart, WorkerDied(reason=CRASH), at, POLICY).state
    assert apart.record == again(on_probation()).record


# --- the conversation ------------------------------------------------------------------


def test_the_provisioning_file_says_where_models_run() -> None:
    def told(text: str) -> Place:
        return parse(GOOD + text, subject="agent.toml").serving.process

    assert told("") is Place.OWN
    assert told('[serving]\nprocess = "shared"\n') is Place.SHARED
    with pytest.raises(ConfigError, match="serving: process: one of own, shared"):
        told('[serving]\nprocess = "one"\n')


class Served:
    """An attendant whose worker is threads of the test's own process."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "state")
        self.store.prepare()
        self.socket = folder / "agent.sock"
        self.note = folder / "serving.json"
        self.inbox: queue.SimpleQueue[News] = queue.SimpleQueue()
        self.attendant = Attendant(
            "edgekit_agent.service.worker",
            *("--state-dir", str(folder / "state"), "--socket", str(self.socket)),
            inbox=self.inbox,
            patience=Patience(ping_s=0.05, silent_s=30.0),
            lifeline=Lifeline(self.note),
        )

    def next(self) -> Notice | Stats:
        """Return what the next of its lines means, passing over answers to pings."""
        while True:
            news = self.inbox.get(timeout=30)
            assert not isinstance(news, Ended), news
            meaning = self.attendant.heard(news, time.monotonic())
            if meaning is not None:
                return meaning


@pytest.fixture
def served(folder: Path) -> Iterator[Served]:
    found = Served(folder)
    assert found.attendant.begin(time.monotonic()) == Started()
    yield found
    found.attendant.stop(10)


def test_threads_are_spoken_to_as_a_process_is(served: Served) -> None:
    assert served.next() == Notice(model=None, event=WorkerReady())
    assert served.attendant.up
    assert served.note.exists(), "it is written down before anything is loaded"
    wine = made(version="7")
    release = Release(
        version="7", flavor="fp32", sha256=stored(served.store, wine), rollout=1
    )
    served.attendant.load("wine", release, time.monotonic(), overlap=True)
    assert served.next() == Notice(model="wine", event=Loaded(sha256=wine.sha256))
    rows = b'{"dataframe_records": [{"a": 1, "b": 2}]}'
    found = client.predict(served.socket, "wine", rows)
    assert (found.version, json.loads(found.body)) == ("7", {"predictions": [6.0]})
    served.attendant.ask_stats()
    stats = served.next()
    assert isinstance(stats, Stats)
    assert stats.bundles[0].rows == 1
    assert stats.rss_bytes == 0, "the agent's own size holds it"
    time.sleep(0.1)
    served.attendant.tick(time.monotonic())  # asks whether it lives
    assert served.inbox.get(timeout=30).document == {"event": "pong"}  # type: ignore[union-attr]  # Said


def test_an_orderly_end_leaves_no_note(served: Served) -> None:
    served.next()
    served.attendant.stop(10)
    assert not served.note.exists()
    assert isinstance(served.next(), Stats), "its last words are what it counted"
    assert isinstance(served.inbox.get(timeout=30), Ended)


def test_the_watchdog_is_held_back_while_the_threads_do_not_answer(served: Served) -> None:
    served.next()
    now_s = time.monotonic()
    assert not served.attendant.holds_up(now_s)
    assert served.attendant.holds_up(now_s + 1.0)
