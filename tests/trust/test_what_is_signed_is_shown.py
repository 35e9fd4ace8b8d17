"""A release that somebody signs far away holds nothing but what that person is shown."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from edgekit.cli import main, proposals
from edgekit.cli.failure import FailingGroup
from edgekit.errors import ConfigError, TrustError
from edgekit.trust.draft import Draft
from edgekit.trust.generation import Generation, load
from edgekit.trust.key_proposal import parse
from edgekit.trust.proposal import Proposal
from edgekit.trust.redraft import renewing
from edgekit.trust.repository import Repository
from tests.trust.simulator import NOW, bundle, pointer, record
from tests.trust.workbench import Keys, release

Document = dict[str, Any]
RECORD = "models/wine/9.json"


@pytest.fixture
def sent(repository: Repository, keys: Keys) -> Document:
    """A release of version 9 to production, after one of version 1."""
    release(repository, keys.look_up, "1", 1)
    proposal = repository.propose(
        records=[record("9")],
        pointers=[pointer("9", 2)],
        signers=lambda _keyid: None,
        now=NOW,
    )
    found: Document = json.loads(proposal.to_json())
    return found


def targets(document: Document, role: str = "models") -> Document:
    found: Document = document["roles"][role]["signed"]["targets"]
    return found


def state(document: Document, path: str, data: bytes, role: str = "models") -> None:
    """Let a role state bytes under a path, by their digest and with the bytes there."""
    digest = sha256(data).hexdigest()
    targets(document, role)[path] = {"length": len(data), "hashes": {"sha256": digest}}
    folder, _, name = path.rpartition("/")
    named = f"targets/{folder}/{digest}.{name}"
    document["statements"][named] = base64.b64encode(data).decode()


def _a_record_of_another_version(document: Document) -> None:
    state(document, "models/wine/10.json", record("9").to_json())


def _a_record_over_another(document: Document) -> None:
    state(document, "models/wine/1.json", record("9").to_json())


def _a_pointer_of_another_stage(document: Document) -> None:
    said = pointer("9", 2, stage="staging").to_json()
    state(document, "stages/production/wine.json", said, "stage-production")


def _a_pointer_of_another_model(document: Document) -> None:
    said = pointer("9", 2).to_json()
    state(document, "stages/production/beer.json", said, "stage-production")


def _more_about_a_bundle(document: Document) -> None:
    said = json.loads(record("9").to_json())
    said["bundles"][0]["x-more"] = 1
    state(document, RECORD, json.dumps(said).encode())


def _another_digest(document: Document) -> None:
    targets(document)[RECORD]["hashes"]["sha512"] = "00"


def _a_field_of_its_own(document: Document) -> None:
    targets(document)[RECORD]["custom"] = {"hidden": 1}


def _another_length(document: Document) -> None:
    targets(document)[RECORD]["length"] += 1


def _another_specification(document: Document) -> None:
    document["roles"]["models"]["signed"]["spec_version"] = "1.0.777"


FORGERIES: list[Callable[[Document], None]] = [
    _a_record_of_another_version,
    _a_record_over_another,
    _a_pointer_of_another_stage,
    _a_pointer_of_another_model,
    _more_about_a_bundle,
    _another_digest,
    _a_field_of_its_own,
    _another_length,
    _another_specification,
]


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_what_is_not_shown_is_not_signed(
    sent: Document, forge: Callable[[Document], None]
) -> None:
    parse(json.dumps(sent).encode())
    forge(sent)
    with pytest.raises(TrustError, match="proposal"):
        parse(json.dumps(sent).encode())


def test_a_renewal_hides_no_field_by_the_name_of_keys(
    repository: Repository, keys: Keys
) -> None:
    """Only a root has keys at its top; delegations have theirs."""
    for role in ("models", "targets"):
        proposal = repository.propose_keys(
            renewing([role]), signers=keys.signers.get, now=NOW
        )
        document = json.loads(proposal.to_json())
        document["roles"][role]["signed"]["keys"] = {"hidden": "x"}
        with pytest.raises(TrustError, match=f"{role}: it changes more than keys"):
            parse(json.dumps(document).encode())


# --- what is shown -----------------------------------------------------------------------


def shown(document: Document, capsys: pytest.CaptureFixture[str]) -> str:
    proposals.show(parse(json.dumps(document).encode()))
    return capsys.readouterr().out


def test_versions_that_are_left_out_are_told(
    sent: Document, capsys: pytest.CaptureFixture[str]
) -> None:
    """Devices never go back: whoever signs 99 has every lower one refused for ever."""
    told = shown(sent, capsys)
    assert "\nmodels, version 3 after 2: 0 of 1 signatures" in told
    assert "left out" not in told
    sent["roles"]["models"]["signed"]["version"] = 99
    assert "\nmodels, version 99 after 2 (96 left out): 0 of" in shown(sent, capsys)


def test_digests_are_shown_whole(
    repository: Repository, keys: Keys, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = replace(bundle("9"), manifest_sha256="ab" * 32)
    said = replace(record("9"), bundles=(entry,), extra={"x-more": "\x1b[2K"})
    proposal = repository.propose(
        records=[said],
        pointers=[pointer("9", 1)],
        signers=keys.signers.get,
        now=NOW,
    )
    told = shown(json.loads(proposal.to_json()), capsys)
    assert told.count(f"sha256 {entry.sha256}\n") == 2, "the record's and the pointer's"
    assert f"manifest sha256 {'ab' * 32}\n" in told
    assert 'x-more: "\\u001b[2K"' in told


def test_a_record_in_place_of_another_is_told(
    sent: Document, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "in place of" not in shown(sent, capsys)
    state(sent, "models/wine/1.json", replace(record("1"), run_id="other").to_json())
    assert "+ wine 1, run other\n" in (told := shown(sent, capsys))
    assert "    in place of what is signed under this version\n" in told


def test_a_path_that_names_no_version_is_refused_with_a_sentence(
    repository: Repository, keys: Keys
) -> None:
    """Of a fleet that signed it once itself."""
    repository._revisions.make(  # noqa: SLF001 - no command states such a path
        lambda draft, _current: draft.put("models", "odd", b"{}"), keys.signers.get, NOW
    )
    current = load(repository.files)
    proposal = parse(_without_odd(repository, current, keys).to_json())
    assert isinstance(proposal, Proposal)
    with pytest.raises(TrustError, match=r"odd: models/MODEL/VERSION\.json is"):
        repository.publish_proposal(proposal, signers=keys.signers.get, now=NOW)


def _without_odd(repository: Repository, current: Generation, keys: Keys) -> Proposal:
    draft = Draft(current, lambda role: current.version(role) + 1)
    draft.drop("models", "odd")
    terms = repository._revisions.terms(keys.signers.get, NOW)  # noqa: SLF001 - as above
    roles = draft.propose(terms)
    return Proposal(
        root=current.root,
        targets=current.roles["targets"],
        base={role: current.roles[role] for role in roles},
        roles=roles,
    )


def test_an_error_moves_no_cursor_either(
    repository: Repository, keys: Keys, tmp_path: Path
) -> None:
    change = renewing(["models"])
    proposal = repository.propose_keys(change, signers=keys.signers.get, now=NOW)
    document = json.loads(proposal.to_json())
    document["roles"]["\x1b[2J\x1b[HSign this?"] = document["targets"]
    file = tmp_path / "sent.json"
    file.write_text(json.dumps(document))
    keys_option = f"--keys={tmp_path}"
    result = CliRunner().invoke(main, ["sign", str(file), keys_option], color=True)
    assert result.exit_code == 7
    assert result.stderr.startswith(r"error: proposal: \x1b[2J\x1b[HSign this?: ")
    assert "\x1b" not in result.stderr


def test_what_a_line_of_an_error_holds_is_told_in_one_line() -> None:
    @click.group(cls=FailingGroup)
    def group() -> None:
        """Fail."""

    @group.command()
    def fail() -> None:
        raise ConfigError("a\x1b[1Ab: one\nand another\u202e")

    result = CliRunner().invoke(group, ["fail"], color=True)
    assert result.exit_code == 3
    assert result.stderr == "error: a\\x1b[1Ab: one\nand another\\u202e\n"
