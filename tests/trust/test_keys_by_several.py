"""A change of keys that several people sign, each with an own key, on an own machine."""

from pathlib import Path

import pytest

from edgekit.trust.keys import public_key
from tests.trust.people import People, run, running_fleet

pytestmark = pytest.mark.slow  # makes keys: each takes a fifth of a second on purpose


def two_for_root(people: People) -> None:
    """Let Bob sign for the root beside Ada, both of them always."""
    public = people.makes("bob", "root")
    file = people.propose("add", "root", "--threshold=2", "--theirs", public)
    for name in ("ada", "bob"):
        assert people.sign(name, file).exit_code == 0
    assert people.publish(file).exit_code == 0


def test_a_root_of_two_people_who_never_share_a_machine(people: People) -> None:
    assert people.device_runs() == "1"
    public = people.makes("bob", "root")
    file = people.propose("add", "root", "--threshold=2", "--theirs", public)
    assert people.publish(file).exit_code == 3
    first = people.sign("ada", file)
    assert first.exit_code == 0, first.stderr
    assert "keys of root: 1 of 1 must sign now, 2 of 2 afterwards" in first.stdout
    assert first.stdout.endswith("1 more to come\n")
    early = people.publish(file)
    assert early.exit_code == 3
    assert "root: 1 signatures are missing" in early.stderr
    assert people.keys("root").threshold == 1
    assert people.sign("bob", file).stdout.endswith("nothing is missing\n")
    done = people.publish(file)
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "root: 2 of 2 keys must sign, none may be lost from now on\n"
    keys = people.keys("root")
    assert keys.threshold == 2
    assert public_key(public).keyid in keys.keyids
    assert people.device_runs() == "1"


def test_every_role_s_keys_change_by_the_signatures_of_their_holders(
    people: People,
) -> None:
    two_for_root(people)
    file = people.propose("rotate", "targets", "--theirs", people.makes("carol", "targets"))
    for name in ("ada", "bob", "carol"):
        assert people.sign(name, file).exit_code == 0, name
    assert people.publish(file).exit_code == 0
    assert people.device_runs() == "1"
    public = people.makes("bob", "models")
    file = people.propose("add", "models", "--threshold=2", "--theirs", public)
    for name in ("carol", "bob"):
        assert people.sign(name, file).exit_code == 0, name
    assert people.publish(file).exit_code == 0
    assert people.keys("models").threshold == 2
    assert people.device_runs() == "1"
    bobs = public_key(people.folder / "bob-root.pub").keyid
    file = people.propose("revoke", "root", "--key", bobs[:8], "--threshold=1")
    for name in ("bob", "ada"):
        assert people.sign(name, file).exit_code == 0, name
    assert people.publish(file).exit_code == 0
    assert bobs not in people.keys("root").keyids
    assert people.device_runs() == "1"
    assert people.device_runs("a new one") == "1"


def test_an_online_key_is_made_at_the_fleet_and_signed_for_elsewhere(
    people: People,
) -> None:
    old = people.keys("timestamp")
    file = people.propose("rotate", "timestamp")
    assert people.keys("timestamp") == old
    assert people.sign("ada", file).exit_code == 0
    assert people.publish(file).exit_code == 0
    assert people.keys("timestamp") != old
    assert people.device_runs() == "1"


def test_who_holds_none_of_the_keys_cannot_sign(people: People) -> None:
    people.makes("mallory", "root")
    file = people.propose("add", "root", "--theirs", people.makes("bob", "root"))
    before = file.read_bytes()
    result = people.sign("mallory", file)
    assert result.exit_code == 3
    assert "none of the keys here can sign it" in result.stderr
    assert file.read_bytes() == before


def test_a_new_key_alone_is_not_enough(people: People) -> None:
    file = people.propose("add", "root", "--theirs", people.makes("mallory", "root"))
    assert people.sign("mallory", file).exit_code == 0
    assert people.publish(file).exit_code == 3
    assert len(people.keys("root").keys) == 1


def test_what_was_proposed_before_another_change_is_proposed_again(people: People) -> None:
    public = people.makes("bob", "root")
    late = people.propose("add", "root", "--theirs", public)
    late = late.rename(late.with_name("late.json"))
    two_for_root(people)
    people.sign("ada", late)
    people.sign("bob", late)
    result = people.publish(late)
    assert result.exit_code == 3
    assert "the fleet has changed since" in result.stderr


def test_the_root_one_knows_can_be_insisted_on(people: People, tmp_path: Path) -> None:
    file = people.propose("add", "root", "--theirs", people.makes("bob", "root"))
    other = running_fleet(tmp_path / "other")
    strange = tmp_path / "strange.json"
    strange.write_bytes(other.repository.trusted_root())
    assert people.sign("ada", file, f"--root={strange}").exit_code == 7
    known = tmp_path / "known.json"
    known.write_bytes(people.root)
    assert people.sign("ada", file, f"--root={known}").exit_code == 0


def test_another_s_key_needs_a_proposal(people: People) -> None:
    public = people.makes("bob", "root")
    result = run(
        *("keys", "add", "root", "--theirs", public), EDGEKIT_FLEET=str(people.fleet)
    )
    assert result.exit_code == 3
    assert "--theirs: it belongs to --propose" in result.stderr


# --- a stage that is new, and signatures that are renewed ---------------------------------


def test_a_stage_is_founded_by_people_who_never_share_a_machine(people: People) -> None:
    public = people.makes("carol", "stage-canary")
    file = people.propose("add", "stage-canary", "--new", "--theirs", public)
    assert file.name == "keys-stage-canary.json"
    first = people.sign("ada", file)
    assert first.exit_code == 0, first.stderr
    assert "keys of stage-canary: a new stage, 1 of 1 afterwards" in first.stdout
    assert f"  + {public_key(public).keyid}\n" in first.stdout
    assert people.publish(file).exit_code == 3
    assert people.sign("carol", file).exit_code == 0
    done = people.publish(file)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("stage-canary: 1 of 1 keys must sign")
    assert people.keys("stage-canary").keyids == (public_key(public).keyid,)
    assert people.device_runs() == "1"
    again = run(
        *("keys", "add", "stage-canary", "--new", "--propose"),
        EDGEKIT_FLEET=str(people.fleet),
    )
    assert again.exit_code == 3
    assert "stage-canary: exists already in this fleet" in again.stderr


def test_a_stage_whose_key_is_made_at_the_fleet_is_signed_for_elsewhere(
    people: People,
) -> None:
    file = people.propose("add", "stage-canary", "--new")
    assert (people.fleet / "keys/stage-canary-1.pem").is_file()
    assert people.sign("ada", file).stdout.endswith("nothing is missing\n")
    assert people.publish(file).exit_code == 0
    assert len(people.keys("stage-canary").keys) == 1


@pytest.mark.parametrize("role", ["canary", "stage-", "stage-a/b", "models", "root"])
def test_a_new_stage_has_a_name_that_a_role_can_have(people: People, role: str) -> None:
    before = people.contents()
    for how in ([], ["--propose"], ["--dry-run"]):
        result = run("keys", "add", role, "--new", *how, EDGEKIT_FLEET=str(people.fleet))
        assert result.exit_code == 3, result.output
        assert f"{role}: " in result.stderr
    assert people.contents() == before


def test_roles_are_renewed_by_those_who_hold_their_keys(people: People) -> None:
    two_for_root(people)
    before = {state.role: state for state in people.repository().roles()}
    file = people.propose("renew", "root", "targets")
    assert file.name == "renew-root-targets.json"
    first = people.sign("ada", file)
    assert first.exit_code == 0, first.stderr
    assert "no key changes, nor anything else; signatures are renewed" in first.stdout
    assert people.publish(file).exit_code == 3
    assert people.sign("bob", file).exit_code == 0
    done = people.publish(file)
    assert done.exit_code == 0, done.stderr
    assert "root: signed by " in done.stdout
    after = {state.role: state for state in people.repository().roles()}
    for role in ("root", "targets"):
        assert after[role].version == before[role].version + 1
        assert after[role].keys == before[role].keys
    assert after["models"].version == before["models"].version
    assert people.device_runs() == "1"


def test_what_releases_sign_is_renewed_with_its_statements(people: People) -> None:
    file = people.propose("renew", "models", "stage-production")
    assert people.publish(file).exit_code == 0, "their keys are here: nothing was missing"
    assert people.device_runs() == "1"
    assert [one.version for one in people.repository().records()] == ["1"]


@pytest.mark.parametrize("roles", [[], ["snapshot"], ["root", "timestamp"]])
def test_what_the_fleet_signs_itself_is_not_proposed(
    people: People, roles: list[str]
) -> None:
    before = people.contents()
    fleet = str(people.fleet)
    result = run("keys", "renew", *roles, "--propose", EDGEKIT_FLEET=fleet)
    assert result.exit_code == 3
    assert "those whose keys are elsewhere are expected" in result.stderr
    assert people.contents() == before


def test_a_dry_run_tells_who_must_sign_for_a_new_stage_and_a_renewal(
    people: People,
) -> None:
    before, fleet = people.contents(), str(people.fleet)
    told = run("keys", "add", "stage-canary", "--new", "--dry-run", EDGEKIT_FLEET=fleet)
    assert told.exit_code == 3, "targets's key is Ada's"
    assert "stage-canary: no such role now\n" in told.stdout
    assert "1 more of" in told.stdout
    told = run("keys", "renew", "--dry-run", secret="", EDGEKIT_FLEET=fleet)
    assert told.exit_code == 0
    assert [line.split()[0] for line in told.stdout.splitlines()] == [
        "SIGNED",
        "snapshot",
        "timestamp",
    ]
    told = run("keys", "renew", "root", "--dry-run", secret="", EDGEKIT_FLEET=fleet)
    assert told.exit_code == 3
    assert "root: signatures would be missing" in told.stderr
    assert people.contents() == before
