"""What may not hide in a proposal of other keys, whoever edited it."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from edgekit.errors import TrustError
from edgekit.trust.key_proposal import KeyProposal, parse
from edgekit.trust.keys import public_key
from edgekit.trust.proposal import MAX_BYTES
from tests.trust.people import People

pytestmark = pytest.mark.slow  # makes keys: each takes a fifth of a second on purpose

Document = dict[str, Any]


def _targets(document: Document) -> Document:
    found: Document = document["roles"]["targets"]["signed"]
    return found


def _a_statement(document: Document) -> None:
    _targets(document)["targets"]["x"] = {"length": 1, "hashes": {"sha256": "0" * 64}}


def _another_path(document: Document) -> None:
    _targets(document)["delegations"]["roles"][0]["paths"] = ["*"]


def _another_role(document: Document) -> None:
    roles = _targets(document)["delegations"]["roles"]
    roles.append({**roles[0], "name": "backdoor", "paths": ["stages/*/*"]})


def _another_fleet(document: Document) -> None:
    _targets(document)["x-edgekit-fleet"] = "theirs"


def _an_older_version(document: Document) -> None:
    _targets(document)["version"] = document["targets"]["signed"]["version"]


def _a_release(document: Document) -> None:
    models: Document = document["roles"]["models"]["signed"]
    models["targets"].clear()


def _a_base_nobody_signed(document: Document) -> None:
    document["base"]["models"]["signed"]["version"] += 1


def _a_role_without_base(document: Document) -> None:
    del document["base"]["models"]


def _no_change(document: Document) -> None:
    document["roles"] = {}
    document["base"] = {}


def _a_newer_format(document: Document) -> None:
    document["format"] = 3


def _another_kind_of_metadata(document: Document) -> None:
    document["roles"]["targets"] = document["root"]


def _more_signatures_than_keys(document: Document) -> None:
    _targets(document)["delegations"]["roles"][0]["threshold"] = 9


def _a_fraction(document: Document) -> None:
    _targets(document)["x-half"] = 0.5


def _a_key_that_is_not_there(document: Document) -> None:
    _targets(document)["delegations"]["roles"][0]["keyids"].append("ab" * 32)


FORGERIES: list[Callable[[Document], None]] = [
    _a_statement,
    _another_path,
    _another_role,
    _another_fleet,
    _an_older_version,
    _a_release,
    _a_base_nobody_signed,
    _a_role_without_base,
    _no_change,
    _a_newer_format,
    _another_kind_of_metadata,
    _more_signatures_than_keys,
    _a_fraction,
    _a_key_that_is_not_there,
]


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_nothing_but_keys_can_be_slipped_in(
    people: People, forge: Callable[[Document], None]
) -> None:
    file = people.propose("add", "models", "--theirs", people.makes("bob", "models"))
    document = json.loads(file.read_bytes())
    assert set(document["roles"]) == {"models", "targets"}
    forge(document)
    file.write_text(json.dumps(document))
    with pytest.raises(TrustError):
        parse(file.read_bytes())
    before = file.read_bytes()
    assert people.sign("ada", file).exit_code == 7
    assert file.read_bytes() == before


def test_a_root_that_changes_more_than_keys_is_refused(people: People) -> None:
    file = people.propose("add", "root", "--theirs", people.makes("bob", "root"))
    for field, value in (("consistent_snapshot", False), ("version", 3)):
        document = json.loads(file.read_bytes())
        document["new_root"]["signed"][field] = value
        with pytest.raises(TrustError):
            parse(json.dumps(document).encode())


def test_a_wrong_signature_counts_for_nothing(people: People) -> None:
    file = people.propose("add", "root", "--theirs", people.makes("bob", "root"))
    people.sign("ada", file)
    document = json.loads(file.read_bytes())
    for signature in document["new_root"]["signatures"]:
        signature["sig"] = "00" * 64
    proposal = parse(json.dumps(document).encode())
    assert isinstance(proposal, KeyProposal)
    assert [one.lacks for one in proposal.gathered()] == [1]
    file.write_text(json.dumps(document))
    assert people.sign("ada", file).exit_code == 0
    assert people.publish(file).exit_code == 0


def test_an_endless_file_is_not_read() -> None:
    with pytest.raises(TrustError, match="are read"):
        parse(b" " * (MAX_BYTES + 1))


# --- keys that hide ----------------------------------------------------------------------


def test_a_key_under_the_id_of_another_is_refused(people: People) -> None:
    """The ids that are shown and compared would be the old ones, the key Mallory's."""
    file = people.propose("rotate", "models", "--theirs", people.makes("bob", "models"))
    people.makes("mallory", "models")
    document = json.loads(file.read_bytes())
    delegations = document["roles"]["targets"]["signed"]["delegations"]
    strange = public_key(people.folder / "mallory-models.pub").to_dict()
    for keyid in delegations["roles"][0]["keyids"]:
        delegations["keys"][keyid] = strange
    file.write_text(json.dumps(document))
    result = people.sign("ada", file)
    assert result.exit_code == 7
    assert "its id is not its digest" in result.stderr


def test_a_published_key_cannot_be_exchanged_in_the_root(people: People) -> None:
    file = people.propose("add", "root", "--theirs", people.makes("bob", "root"))
    people.makes("mallory", "root")
    strange = public_key(people.folder / "mallory-root.pub").to_dict()
    document = json.loads(file.read_bytes())
    keyid = people.keys("timestamp").keyids[0]
    document["new_root"]["signed"]["keys"][keyid] = strange
    with pytest.raises(TrustError, match="its id is not its digest"):
        parse(json.dumps(document).encode())


def test_one_key_under_two_ids_does_not_sign_twice(people: People) -> None:
    file = people.propose(
        *("add", "models", "--threshold=2"), "--theirs", people.makes("bob", "models")
    )
    document = json.loads(file.read_bytes())
    delegations = document["roles"]["targets"]["signed"]["delegations"]
    first, second = delegations["roles"][0]["keyids"]
    delegations["keys"][second] = delegations["keys"][first]
    with pytest.raises(TrustError, match="its id is not its digest"):
        parse(json.dumps(document).encode())


def test_a_field_that_nobody_knows_yet_cannot_be_added_to_a_role(people: People) -> None:
    file = people.propose("add", "models", "--theirs", people.makes("bob", "models"))
    document = json.loads(file.read_bytes())
    document["roles"]["targets"]["signed"]["delegations"]["roles"][0]["x-more"] = 1
    with pytest.raises(TrustError, match="changes more than keys"):
        parse(json.dumps(document).encode())
    file = people.propose("add", "root", "--theirs", people.makes("bob", "root"))
    document = json.loads(file.read_bytes())
    document["new_root"]["signed"]["roles"]["timestamp"]["x-more"] = 1
    with pytest.raises(TrustError, match="changes more than keys"):
        parse(json.dumps(document).encode())


# --- a new stage -------------------------------------------------------------------------


def _delegated(document: Document) -> Document:
    roles = _targets(document)["delegations"]["roles"]
    found: Document = next(one for one in roles if one["name"] == "stage-canary")
    return found


def _paths_of_another(document: Document) -> None:
    _delegated(document)["paths"] = ["stages/production/*"]


def _more_paths(document: Document) -> None:
    _delegated(document)["paths"].append("models/*/*")


def _not_terminating(document: Document) -> None:
    _delegated(document)["terminating"] = False


def _hashed_paths(document: Document) -> None:
    delegated = _delegated(document)
    del delegated["paths"]
    delegated["path_hash_prefixes"] = [""]


def _a_statement_to_begin_with(document: Document) -> None:
    new = document["roles"]["stage-canary"]["signed"]
    new["targets"]["stages/canary/x.json"] = {"length": 1, "hashes": {"sha256": "0" * 64}}


def _delegations_of_its_own(document: Document) -> None:
    new = document["roles"]["stage-canary"]["signed"]
    new["delegations"] = {"keys": {}, "roles": []}


def _of_another_fleet(document: Document) -> None:
    document["roles"]["stage-canary"]["signed"]["x-edgekit-fleet"] = "theirs"


def _no_delegation(document: Document) -> None:
    del document["roles"]["targets"]


def _no_metadata(document: Document) -> None:
    del document["roles"]["stage-canary"]


def _no_stage_s_name(document: Document) -> None:
    _delegated(document)["name"] = "canary"
    document["roles"]["canary"] = document["roles"].pop("stage-canary")


@pytest.mark.parametrize(
    "forge",
    [
        _paths_of_another,
        _more_paths,
        _not_terminating,
        _hashed_paths,
        _a_statement_to_begin_with,
        _delegations_of_its_own,
        _of_another_fleet,
        _no_delegation,
        _no_metadata,
        _no_stage_s_name,
        _another_role,
    ],
    ids=lambda forge: forge.__name__,
)
def test_a_new_stage_is_a_new_stage_and_nothing_else(
    people: People, forge: Callable[[Document], None]
) -> None:
    public = people.makes("bob", "stage-canary")
    file = people.propose("add", "stage-canary", "--new", "--theirs", public)
    document = json.loads(file.read_bytes())
    forge(document)
    with pytest.raises(TrustError):
        parse(json.dumps(document).encode())


@pytest.mark.parametrize(
    "data", [b"", b"\xff{", b"[]", b"{}", b"[" * 100_000, b'{"kind":0}']
)
def test_garbage_is_no_proposal(data: bytes) -> None:
    with pytest.raises(TrustError, match="proposal"):
        parse(data)
