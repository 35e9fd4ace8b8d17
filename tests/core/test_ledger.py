import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import ConfigError, StoreError
from edgekit.release.history import Action, Entry, before, target
from edgekit.release.ledger import Ledger

FIRST = Entry(
    stage="production",
    model="anomaly detector",
    rollout=1,
    version="1",
    run_id="8f0c",
    bundles={"fp32": "ab" * 32, "int8": "cd" * 32},
    signers={"models": ("k1", "k2"), "stage-production": ("k3",)},
    who="ada",
    at=datetime(2026, 3, 1, 12, tzinfo=UTC),
    action=Action.RELEASE,
)


def history(*versions: str) -> tuple[Entry, ...]:
    """Entries of these versions in turn; "<1" is a rollback to 1."""
    return tuple(
        replace(
            FIRST,
            rollout=number,
            version=version.removeprefix("<"),
            bundles={"fp32": version.removeprefix("<")},
            action=Action.ROLLBACK if version.startswith("<") else Action.RELEASE,
        )
        for number, version in enumerate(versions, 1)
    )


def test_what_is_written_is_read_back_after_reopening(tmp_path: Path) -> None:
    second = replace(FIRST, rollout=2, version="2", action=Action.ROLLBACK)
    staging = replace(FIRST, stage="staging")
    with Ledger(tmp_path / "ledger.db") as ledger:
        for entry in (FIRST, staging, second):
            ledger.append(entry)

    with Ledger(tmp_path / "ledger.db") as ledger:
        assert ledger.entries(stage="production", model=FIRST.model) == (FIRST, second)
        assert ledger.newest(stage="staging", model=FIRST.model) == staging
        assert ledger.newest(stage="staging", model="wine") is None
        assert ledger.everything() == (FIRST, staging, second)


@pytest.mark.parametrize("rollout", [1, 2])
def test_a_rollout_number_is_never_used_twice(tmp_path: Path, rollout: int) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.append(replace(FIRST, rollout=2))
        with pytest.raises(StoreError) as raised:
            ledger.append(replace(FIRST, rollout=rollout, version="9"))

        assert str(raised.value) == (
            f"ledger: anomaly detector in stage production: rollout {rollout}, one above 2"
            " is expected"
        )
        assert [entry.version for entry in ledger.everything()] == ["1"]


@pytest.mark.parametrize("statement", ["DELETE FROM entry", "UPDATE entry SET who = 'eve'"])
def test_the_past_cannot_be_rewritten(tmp_path: Path, statement: str) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.append(FIRST)
        with (
            pytest.raises(StoreError, match="the ledger is append-only"),
            ledger.transaction() as cursor,
        ):
            cursor.execute(statement)

        assert ledger.everything() == (FIRST,)


def test_a_file_that_is_no_ledger_is_said(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"precious" * 200)

    with pytest.raises(StoreError, match=r"ledger\.db: file is not a database"):
        Ledger(tmp_path / "ledger.db")

    assert (tmp_path / "ledger.db").read_bytes() == b"precious" * 200


def test_a_ledger_of_a_newer_edgekit_is_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "ledger.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(StoreError, match="schema version 99, this edgekit knows 1"):
        Ledger(tmp_path / "ledger.db")


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        (["1"], None),
        (["1", "2"], "1"),
        (["1", "2", "3"], "2"),
        (["1", "2", "3", "<2"], "1"),
        (["1", "2", "3", "<2", "<1"], None),
        (["1", "2", "<1", "3"], "1"),
        (["1", "2", "1"], "2"),
        (["1", "2", "3", "<1"], None),
        (["<1", "2"], "1"),
    ],
)
def test_going_back_twice_goes_further_back(
    versions: list[str], expected: str | None
) -> None:
    found = before(history(*versions))

    assert (found.version if found else None) == expected


@given(st.lists(st.sampled_from(["1", "2", "3", "<1", "<2", "<3"]), min_size=1))
def test_repeated_rollbacks_always_come_to_an_end(versions: list[str]) -> None:
    entries = history(*versions)
    for _ in range(len(versions)):
        found = before(entries)
        if found is None:
            return
        assert not found.same_bytes(entries[-1])
        entries = (
            *entries,
            replace(found, rollout=len(entries) + 1, action=Action.ROLLBACK),
        )

    assert before(entries) is None


def test_a_named_version_is_found_as_it_last_ran() -> None:
    entries = (*history("1", "2"), replace(FIRST, version="1", rollout=3))
    entries = (*entries, replace(FIRST, version="4", rollout=4))

    assert target(entries, "1", model="m", stage="s").rollout == 3


@pytest.mark.parametrize(
    ("versions", "wanted", "sentence"),
    [
        ([], None, "wine in stage s: never released; `edgekit release` does that"),
        (
            ["1"],
            None,
            (
                "wine in stage s: nothing ran before version 1; a version it ran later can"
                " be named with --to"
            ),
        ),
        (["1", "2"], "2", "wine in stage s: version 2 is what it runs already"),
        (["1", "2"], "7", "wine in stage s: version 7 was never released; it ran 1, 2"),
    ],
)
def test_where_there_is_no_way_back_it_says_why(
    versions: list[str], wanted: str | None, sentence: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        target(history(*versions), wanted, model="wine", stage="s")

    assert str(raised.value) == sentence
