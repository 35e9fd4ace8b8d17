"""Proposals of other keys by a repository with its keys in memory: what becomes of them."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from edgekit.atomic import write_bytes
from edgekit.errors import ConfigError, StoreError, TrustError
from edgekit.trust.key_proposal import KeyProposal, parse
from edgekit.trust.redraft import Redraft, founding, naming, renewing
from edgekit.trust.repository import Repository
from edgekit.trust.roles import RoleKeys
from tests.power import torn_writes
from tests.trust.simulator import NOW, record
from tests.trust.workbench import Keys, create, release, runs

PEOPLE = ("root", "targets", "models", "stage-production", "stage-staging")


def proposed(repository: Repository, keys: Keys, change: Redraft) -> KeyProposal:
    """Propose where only the fleet's own keys are, and sign where the others are."""
    online = fleet_s(keys)
    sent = repository.propose_keys(
        change, signers=lambda k: keys.signers[k] if k in online else None, now=NOW
    )
    signed = parse(parse(sent.to_json()).sign(keys.signers.get).to_json())
    assert isinstance(signed, KeyProposal)
    assert signed.complete
    return signed


def fleet_s(keys: Keys) -> set[str]:
    roles = ("snapshot", "timestamp")
    return {signer.public_key.keyid for role in roles for signer in keys.of[role]}


def publish(repository: Repository, keys: Keys, proposal: KeyProposal) -> None:
    online = fleet_s(keys)
    repository.publish_keys(
        proposal, signers=lambda k: keys.signers[k] if k in online else None, now=NOW
    )


@pytest.mark.slow  # every write is torn in several places
@pytest.mark.parametrize("role", [*PEOPLE, "timestamp", "snapshot", "stage-canary"])
def test_a_change_cut_anywhere_is_finished_by_its_proposal(
    tmp_path: Path, keys: Keys, role: str
) -> None:
    """Without one more signature: those who gave theirs may be far away."""
    repository = create(tmp_path / "repository", keys)
    release(repository, keys.look_up, "1", 1)
    new = keys.make(role)
    change = founding(role, new) if role == "stage-canary" else naming(role, new)
    proposal = proposed(repository, keys, change)

    def carry_out(folder: Path) -> None:
        publish(Repository.open(folder), keys, proposal)

    before = repository.files.read("timestamp.json")
    states = 0
    for number, folder in enumerate(
        torn_writes(tmp_path / "repository", tmp_path / "torn", carry_out)
    ):
        states += 1
        healed = Repository.open(folder)
        stamp = healed.files.read("timestamp.json")
        try:
            publish(healed, keys, proposal)
        except ConfigError as error:
            assert "published already" in str(error)  # noqa: PT017 - most need no such
            assert proposal.roles, "of a new root alone, nobody can know that"
            assert stamp != before, "a running depot was told"
        else:
            assert healed.files.read("timestamp.json") != stamp
        after = {state.role: state.keys for state in healed.roles()}
        assert after[role] == new
        assert runs(healed, tmp_path / f"device{number}") == "1"
    assert states >= 12


@pytest.mark.parametrize("role", PEOPLE)
def test_a_renewal_changes_nothing_but_version_and_date(
    repository: Repository, keys: Keys, role: str
) -> None:
    proposal = proposed(repository, keys, renewing([role]))
    assert proposal.key_changes() == ()
    before = {state.role: state for state in repository.roles()}
    publish(repository, keys, proposal)
    after = {state.role: state for state in repository.roles()}
    assert after[role].version == before[role].version + 1
    assert {r: after[r].keys for r in after} == {r: before[r].keys for r in before}
    if role == "root":
        return
    with pytest.raises(ConfigError, match="published already"):
        publish(repository, keys, proposal)


@pytest.mark.parametrize("role", ["root", "timestamp"])
def test_a_new_root_that_no_timestamp_followed_is_offered_by_its_proposal(
    tmp_path: Path, keys: Keys, role: str
) -> None:
    """A running depot looks at nothing else, and each root is as good as the last."""
    repository = create(tmp_path / "repository", keys)
    release(repository, keys.look_up, "1", 1)
    (present,) = (state.keys for state in repository.roles() if state.role == role)
    more = RoleKeys(keys=(*present.keys, *keys.make(role).keys))
    proposal = proposed(repository, keys, naming(role, more))

    def cut(path: Path, data: bytes) -> None:
        if path.name == "timestamp.json":
            raise StoreError(f"{path}: cut")
        write_bytes(path, data)

    with pytest.raises(StoreError, match="cut"):
        publish(Repository.open(repository.folder, write=cut), keys, proposal)
    before = repository.files.read("timestamp.json")
    publish(repository, keys, proposal)
    assert repository.files.read("timestamp.json") != before
    assert "3.root.json" not in repository.files.names()
    assert runs(repository, tmp_path / "device") == "1"


@pytest.mark.parametrize("role", PEOPLE)
def test_what_has_expired_is_not_published(
    repository: Repository, keys: Keys, role: str
) -> None:
    """Every device would refuse the role, and all that it states, from then on."""
    proposal = proposed(repository, keys, renewing([role]))
    before = repository.files.names()
    late = NOW + timedelta(days=365)
    assert proposal.expired(late)
    with pytest.raises(ConfigError, match=f"{role}: what is proposed expired on 2027-06"):
        repository.publish_keys(proposal, signers=keys.signers.get, now=late)
    assert repository.files.names() == before


def test_a_release_that_has_expired_is_not_published(
    repository: Repository, keys: Keys
) -> None:
    proposal = repository.propose(records=[record("1")], signers=keys.signers.get, now=NOW)
    before, late = repository.files.names(), NOW + timedelta(days=365)
    with pytest.raises(ConfigError, match="models: what is proposed expired on 2027-06"):
        repository.publish_proposal(proposal, signers=keys.signers.get, now=late)
    assert repository.files.names() == before


def test_a_renewal_that_would_change_a_statement_is_refused(
    repository: Repository, keys: Keys
) -> None:
    release(repository, keys.look_up, "1", 1)
    proposal = proposed(repository, keys, renewing(["models"]))
    document = json.loads(proposal.to_json())
    document["roles"]["models"]["signed"]["targets"] = {}
    with pytest.raises(TrustError, match="models: it changes more than keys"):
        parse(json.dumps(document).encode())


def test_a_stage_that_was_founded_meanwhile_is_not_founded_again(
    repository: Repository, keys: Keys
) -> None:
    late = proposed(repository, keys, founding("stage-canary", keys.make("stage-canary")))
    other = founding("stage-canary", keys.make("stage-canary"))
    repository.redraft(other, signers=keys.signers.get, now=NOW)
    with pytest.raises(ConfigError, match="the fleet has changed since"):
        publish(repository, keys, late)


def test_while_a_change_is_half_done_nothing_is_proposed(
    tmp_path: Path, keys: Keys
) -> None:
    """The proposal that was cut short has the signatures that are missing."""
    repository = create(tmp_path / "repository", keys)
    proposal = proposed(repository, keys, naming("targets", keys.make("targets")))
    assert proposal.new_root is not None
    repository.files.write("2.root.json", proposal.new_root.to_bytes())
    with pytest.raises(ConfigError, match="`edgekit publish` its proposal again"):
        proposed(repository, keys, renewing(["models"]))
    publish(repository, keys, proposal)
    assert runs(repository, tmp_path / "device") is None
    proposed(repository, keys, renewing(["models"]))


def test_what_says_the_same_is_told_from_what_does_not(
    repository: Repository, keys: Keys
) -> None:
    one = proposed(repository, keys, renewing(["models"]))
    again = replace(one, roles=dict(one.roles))
    other = proposed(repository, keys, renewing(["root"]))
    assert one.says_as(again)
    assert not one.says_as(other)
    assert one.stands_with(other)
    publish(repository, keys, other)
    later = proposed(repository, keys, renewing(["models"]))
    assert not one.stands_with(later)
    assert not one.says_as(later)


@pytest.mark.parametrize("role", ["root", "models"])
def test_a_new_key_brings_nothing_but_itself(
    repository: Repository, keys: Keys, role: str
) -> None:
    """A key that no role names, and a field beside a key, would be signed unseen."""
    new = keys.make(role)
    proposal = proposed(repository, keys, naming(role, new))
    (more,) = keys.make("targets").keys
    for name, key in (
        (more.keyid, more.to_dict()),
        (new.keyids[0], {**new.keys[0].to_dict(), "x-more": 1}),
    ):
        document = json.loads(proposal.to_json())
        if role == "root":
            document["new_root"]["signed"]["keys"][name] = key
        else:
            document["roles"]["targets"]["signed"]["delegations"]["keys"][name] = key
        with pytest.raises(TrustError, match="a key that some role names is expected"):
            parse(json.dumps(document).encode())


# --- whose keys change, signs ------------------------------------------------------------


@pytest.mark.parametrize("role", ["models", "stage-production", "targets"])
def test_a_role_whose_keys_change_cannot_be_left_unsigned(
    repository: Repository, keys: Keys, role: str
) -> None:
    """Its old metadata would stand under keys that never signed it: nobody reads on."""
    proposal = proposed(repository, keys, naming(role, keys.make(role)))
    document = json.loads(proposal.to_json())
    del document["roles"][role]
    document["base"].pop(role, None)
    with pytest.raises(TrustError, match=f"{role}: its keys change, new metadata of it"):
        parse(json.dumps(document).encode())


@pytest.mark.parametrize("role", ["models", "stage-production", "targets"])
def test_a_state_that_nobody_could_read_is_not_written(
    repository: Repository, keys: Keys, role: str
) -> None:
    """Though it was signed: the last guard before the disk."""
    proposal = proposed(repository, keys, naming(role, keys.make(role)))
    broken = replace(
        proposal,
        roles={name: one for name, one in proposal.roles.items() if name != role},
        base={name: one for name, one in proposal.base.items() if name != role},
    )
    before = repository.files.names()
    with pytest.raises(ConfigError, match=f"{role}: its keys would be others"):
        publish(repository, keys, broken)
    assert repository.files.names() == before
    publish(repository, keys, proposal)
