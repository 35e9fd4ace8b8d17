"""Proposals in the wrong hands, at the wrong time or place, on a disk that gives up.

Each is refused with a sentence and an exit code, and nothing is left half-done.
"""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from tests.trust.people import People, for_bob, run, running_fleet
from tests.trust.simulator import pointer, record

pytestmark = pytest.mark.slow  # makes keys: each takes a fifth of a second on purpose


# --- the wrong folder, passphrase, fleet -------------------------------------------------


def test_a_wrong_passphrase_signs_nothing(people: People) -> None:
    file = for_bob(people)
    before = file.read_bytes()
    keys = f"--keys={people.folder / 'ada'}"
    result = run("sign", file, keys, "--yes", secret="a guess")  # noqa: S106 - it is none
    assert result.exit_code == 3
    assert "root-1.pem: wrong passphrase, or the file is damaged" in result.stderr
    assert file.read_bytes() == before


def test_an_empty_folder_signs_nothing(people: People) -> None:
    file = for_bob(people)
    before = file.read_bytes()
    result = people.sign("carol", file)
    assert result.exit_code == 3
    assert "none of the keys here can sign it; wanted is one of" in result.stderr
    assert file.read_bytes() == before


def test_a_file_that_is_no_proposal_and_one_that_is_not_there(people: People) -> None:
    folder, keys = people.folder, f"--keys={people.folder / 'ada'}"
    missing = run("sign", folder / "none.json", keys)
    assert missing.exit_code == 3
    assert "none.json: No such file or directory" in missing.stderr
    for name in ("ada/root-1.pem", "fleet/repository/files/1.root.json"):
        assert run("sign", folder / name, keys).exit_code == 7
        assert run("publish", folder / name, "--fleet", people.fleet).exit_code == 7


@pytest.mark.parametrize("name", ["theirs", "demo"])
def test_a_proposal_of_another_fleet_is_not_published(people: People, name: str) -> None:
    """Also of one with the same name, which was founded with other keys."""
    folder = people.folder / "elsewhere"
    running_fleet(folder / "template", name)
    other = People(folder / "template", folder)
    file = other.propose("renew", "models", "root")
    assert other.sign("ada", file).exit_code == 0
    before = people.contents()
    result = people.publish(file)
    assert result.exit_code == 3
    if name == "theirs":
        expected = "proposal: it is of the fleet theirs, one of the fleet demo is expected"
    else:
        expected = "root: the fleet has changed since this was proposed"
    assert expected in result.stderr
    assert people.contents() == before


# --- the same file again, and an old one -------------------------------------------------


def test_who_has_signed_is_told_so(people: People) -> None:
    file = for_bob(people)
    assert people.sign("ada", file).exit_code == 0
    before = file.read_bytes()
    result = people.sign("ada", file)
    assert result.exit_code == 3
    ada = people.keys("root").keyids[0][:8]
    assert f"; {ada} has signed already" in result.stderr
    assert file.read_bytes() == before


def test_what_has_all_signatures_is_not_signed_again(people: People) -> None:
    file = for_bob(people)
    people.sign("ada", file)
    people.sign("bob", file)
    result = people.sign("bob", file)
    assert result.exit_code == 3
    assert "it has all signatures; `edgekit publish` is next" in result.stderr


def test_what_is_published_is_not_published_again(people: People) -> None:
    file = people.propose("renew", "targets")
    people.sign("ada", file)
    assert people.publish(file).exit_code == 0
    before = people.contents()
    again = people.publish(file)
    assert again.exit_code == 3
    assert "targets: published already; nothing is left to do" in again.stderr
    assert people.contents() == before


def test_a_new_root_that_is_published_again_gets_but_a_new_timestamp(
    people: People,
) -> None:
    """Nobody can tell whether it was offered: whether the timestamp came after it."""
    file = for_bob(people)
    people.sign("ada", file)
    people.sign("bob", file)
    assert people.publish(file).exit_code == 0
    before = people.contents()
    again = people.publish(file)
    assert again.exit_code == 0, again.stderr
    after = people.contents()
    changed = {Path(name).name for name in after if after[name] != before.get(name)}
    assert changed == {"timestamp.json"}
    assert set(after) == set(before)
    assert people.device_runs() == "1"


def test_a_proposal_from_before_the_root_that_one_knows_is_refused(people: People) -> None:
    old = people.propose("renew", "targets")
    file = people.propose("renew", "root")
    assert people.sign("ada", file).exit_code == 0
    assert people.publish(file).exit_code == 0
    known = people.folder / "known.json"
    known.write_bytes(people.repository().trusted_root())
    result = people.sign("ada", old, f"--root={known}")
    assert result.exit_code == 7
    assert "it stands on root 1, a newer one or the one named, 2, is expected" in (
        result.stderr
    )


def test_what_is_proposed_again_keeps_the_signatures_it_has(people: People) -> None:
    file = for_bob(people)
    assert people.sign("ada", file).exit_code == 0
    before = file.read_bytes()
    theirs = people.folder / "bob-root.pub"
    again = people.propose("add", "root", "--threshold=2", "--theirs", theirs)
    assert again == file
    assert file.read_bytes() == before


def test_another_proposal_for_the_same_role_lies_beside_the_first(people: People) -> None:
    first = for_bob(people)
    before = first.read_bytes()
    second = people.propose("add", "root", "--theirs", people.makes("carol", "root"))
    assert second.name == "keys-root-2.json"
    assert first.read_bytes() == before


def test_what_can_no_longer_be_published_makes_room(people: People) -> None:
    first = people.propose("renew", "root")
    shutil.copy(first, people.folder / "copy.json")
    people.sign("ada", first)
    assert people.publish(first).exit_code == 0
    second = people.propose("renew", "root")
    assert second == first
    assert second.read_bytes() != (people.folder / "copy.json").read_bytes()


# --- edited by hand ----------------------------------------------------------------------


def test_a_version_far_ahead_is_shown_and_not_published(people: People) -> None:
    """Devices would refuse every later one; each alteration needs the signatures anew."""
    file = people.propose("renew", "targets")
    document = json.loads(file.read_bytes())
    document["roles"]["targets"]["signed"]["version"] = 900
    document["roles"]["targets"]["signatures"] = []
    file.write_text(json.dumps(document))
    shown = people.sign("ada", file)
    assert "targets, version 900 after 1 (898 left out), until " in shown.stdout
    before = people.contents()
    result = people.publish(file)
    assert result.exit_code == 3
    assert "targets: version 900 is proposed, 2 is the next one" in result.stderr
    assert people.contents() == before


def test_an_alteration_costs_the_signatures_that_are_there(people: People) -> None:
    file = for_bob(people)
    assert people.sign("ada", file).exit_code == 0
    document = json.loads(file.read_bytes())
    document["new_root"]["signed"]["expires"] = "2999-01-01T00:00:00Z"
    file.write_text(json.dumps(document))
    result = people.sign("bob", file)
    assert "until 2999-01-01: 0 of 1 signatures" in result.stdout
    assert people.publish(file).exit_code == 3


def test_signatures_that_are_none_are_not_handed_on(people: People) -> None:
    """They would stand in the repository, and in the ledger, as if somebody had signed."""
    file = people.propose("renew", "models", "targets")
    document = json.loads(file.read_bytes())
    for keyid in ("ab" * 32, people.keys("root").keyids[0]):
        forged = {"keyid": keyid, "sig": "00" * 64}
        document["roles"]["models"]["signatures"].append(forged)
    file.write_text(json.dumps(document))
    assert people.sign("ada", file).exit_code == 0
    assert people.publish(file).exit_code == 0
    name = f"{people.version('models')}.models.json"
    signed = json.loads(people.repository().files.read(name))
    keyids = [one["keyid"] for one in signed["signatures"]]
    assert keyids == list(people.keys("models").keyids)


# --- keys that are gone ------------------------------------------------------------------


def test_a_key_that_a_proposal_waits_for_is_not_called_useless(people: People) -> None:
    people.propose("rotate", "timestamp")
    told = run("keys", "list", EDGEKIT_FLEET=str(people.fleet)).stderr
    assert "timestamp-2.pem: keep it: it is to sign once " in told
    assert "destroy it" not in told
    shutil.rmtree(people.fleet / "pending")
    told = run("keys", "list", EDGEKIT_FLEET=str(people.fleet)).stderr
    assert "timestamp-2.pem: signs for no role; destroy it" in told


def test_a_new_online_key_that_was_lost_changes_nothing(people: People) -> None:
    file = people.propose("rotate", "timestamp")
    people.sign("ada", file)
    (people.fleet / "keys/timestamp-2.pem").unlink()
    before = people.contents()
    result = people.publish(file)
    assert result.exit_code == 3
    assert "timestamp: 0 of the 1 keys it needs are at hand" in result.stderr
    assert people.contents() == before
    assert people.device_runs() == "1"


# --- what a terminal would obey, and what changes under the reader's eyes ----------------


def test_what_is_shown_moves_no_cursor_and_hides_nothing(people: People) -> None:
    """A run id is free text of whoever proposes: it could overwrite the lines above it."""
    hidden = "5f\x1b[2K\x1b[1A\u202egood\n+ wine 1"
    proposal = people.repository().propose(
        records=[replace(record("2"), run_id=hidden)],
        pointers=[pointer("2", 2)],
        signers=lambda _keyid: None,
        now=datetime.now(UTC),
    )
    file = people.folder / "sent.json"
    file.write_bytes(proposal.to_json())
    shown = run("sign", file, f"--keys={people.fleet / 'keys'}", "--yes")
    assert shown.exit_code == 0, shown.stderr
    assert all(character.isprintable() or character == "\n" for character in shown.stdout)
    (line,) = (one for one in shown.stdout.splitlines() if "wine 2, run" in one)
    assert line.endswith(r"run 5f\x1b[2K\x1b[1A\u202egood\n+ wine 1")


def test_a_file_that_somebody_else_signs_meanwhile_keeps_that_signature(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = for_bob(people)
    bobs = people.sign("bob", file)
    assert bobs.exit_code == 0
    with_bobs = file.read_bytes()
    file.unlink()
    shutil.rmtree(people.fleet / "pending")
    theirs = people.folder / "bob-root.pub"
    file = people.propose("add", "root", "--threshold=2", "--theirs", theirs)

    def ask(*_args: object, **_more: object) -> bool:
        file.write_bytes(with_bobs)
        return True

    monkeypatch.setattr(click, "confirm", ask)
    result = run("sign", file, f"--keys={people.folder / 'ada'}")
    assert result.exit_code == 3
    assert "it has changed since it was shown; sign it again" in result.stderr
    assert file.read_bytes() == with_bobs


def test_nobody_is_asked_to_agree_to_what_is_not_shown(people: People) -> None:
    file = for_bob(people)
    before = file.read_bytes()
    result = run("sign", file, f"--keys={people.folder / 'ada'}", "--json")
    assert result.exit_code == 3
    assert "--json: it shows nothing that could be agreed to" in result.stderr
    assert file.read_bytes() == before


def test_a_key_that_is_there_already_is_not_added_twice(people: People) -> None:
    before = people.contents()
    ada = people.folder / "ada/root-1.pem"
    for how in (["--propose"], ["--propose", "--threshold=2"]):
        result = run(
            *("keys", "add", "root", "--theirs", ada, *how), "--fleet", people.fleet
        )
        assert result.exit_code == 3
        assert "one is there twice, different keys are expected" in result.stderr
    assert people.contents() == before
