"""A release that two people sign, each with an own key, on an own machine."""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from edgekit import conversion, registry
from edgekit.cli import workplace
from edgekit.errors import TrustError
from edgekit.fleet.folder import FleetFolder
from edgekit.trust.proposal import MAX_BYTES, Proposal
from tests.core.commands import fleet_in, run
from tests.core.workshop import FakeConverter, FakeRegistry
from tests.power import torn_writes

pytestmark = pytest.mark.slow  # makes keys: each takes a fifth of a second on purpose


class Two:
    """Ada at the fleet's folder; Bob, far away, with one key file and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.fleet = fleet_in(folder)
        self.bob = folder / "bob"
        self.bob.mkdir()
        made = self.ada("keys", "add", "stage-production", "--threshold=2")
        assert made.exit_code == 0, made.stderr
        key = self.fleet / "keys" / "stage-production-2.pem"
        shutil.move(key, self.bob / "mine.pem")

    def ada(self, *arguments: str) -> Result:
        return run(*arguments, fleet=self.fleet)

    def release(self, version: str) -> Path:
        """Ada's half; return the file that she sends to Bob."""
        result = self.ada("release", f"models:/wine/{version}", "--stage=production")
        assert result.exit_code == 0, result.stderr
        return self.fleet / "pending" / f"wine-{version}-production.json"

    def sign(self, file: Path, *more: str) -> Result:
        """Bob's half; he has no fleet folder."""
        return run("sign", str(file), f"--keys={self.bob}", "--yes", *more)

    def publish(self, file: Path) -> Result:
        return self.ada("publish", str(file))

    def runs(self) -> str | None:
        """The version that production runs, as the repository is signed."""
        repository = FleetFolder(path=self.fleet).repository()
        pointer = repository.pointer(stage="production", model="wine")
        return None if pointer is None else pointer.version


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Two:
    fake, converter = FakeRegistry(), FakeConverter()

    def opened(_uri: str | None = None, *, progress: object) -> FakeRegistry:
        assert progress
        return fake

    monkeypatch.setattr(registry, "open", opened)
    monkeypatch.setattr(conversion, "installed", lambda: converter)
    monkeypatch.setattr(workplace, "account", lambda: "ada")
    return Two(tmp_path)


def test_nothing_runs_before_the_second_signature(two: Two) -> None:
    result = two.ada("release", "models:/wine/3", "--stage=production")
    assert result.exit_code == 0
    assert "stage-production, version 3 after 2: 1 of 2 signatures" in result.stdout
    assert "+ wine in production: version 3, rollout 1, in fp32" in result.stdout
    assert "pending: nothing runs it yet" in result.stdout
    assert two.runs() is None
    early = two.publish(two.fleet / "pending" / "wine-3-production.json")
    assert early.exit_code == 3
    assert "stage-production: 1 of 2 signatures; have it signed" in early.stderr
    assert two.runs() is None


def test_two_people_release_and_the_ledger_names_both(two: Two) -> None:
    file = two.release("3")
    signed = two.sign(file)
    assert signed.exit_code == 0, signed.stderr
    assert signed.stdout.endswith("nothing is missing\n")
    assert two.publish(file).stdout == "wine 3 released to production, rollout 1\n"
    assert two.runs() == "3"
    with FleetFolder(path=two.fleet).ledger() as ledger:
        (entry,) = ledger.entries(stage="production", model="wine")
    assert len(entry.signers["stage-production"]) == 2
    assert two.publish(file).exit_code == 3  # the fleet is past it


def test_a_rollback_needs_both_too(two: Two) -> None:
    for version in ("3", "4"):
        file = two.release(version)
        two.sign(file)
        two.publish(file)
    assert two.runs() == "4"
    result = two.ada("rollback", "wine", "--stage=production")
    assert "pending" in result.stdout
    assert two.runs() == "4"
    file = two.fleet / "pending" / "wine-3-production.json"
    two.sign(file)
    assert two.publish(file).stdout == "wine 3 released to production, rollout 3\n"
    assert two.runs() == "3"


def test_a_proposal_that_was_overtaken_is_refused(two: Two) -> None:
    first, second = two.release("3"), two.release("4")
    two.sign(first)
    two.sign(second)
    assert two.publish(second).exit_code == 0
    late = two.publish(first)
    assert late.exit_code == 3
    assert "the fleet has changed since this was proposed" in late.stderr
    assert two.runs() == "4"


def test_a_stage_with_one_key_is_released_at_once(two: Two) -> None:
    result = two.ada("release", "models:/wine/3", "--stage=staging")
    assert "wine 3 released to staging, rollout 1" in result.stdout


def test_a_missing_key_of_a_role_with_one_is_an_error_not_a_proposal(two: Two) -> None:
    (two.fleet / "keys" / "models-1.pem").unlink()
    result = two.ada("release", "models:/wine/3", "--stage=production")
    assert result.exit_code == 3
    assert "models: 0 of the 1 keys it needs are at hand" in result.stderr
    assert not (two.fleet / "pending").exists()


def test_the_wrong_persons_keys_sign_nothing(two: Two) -> None:
    file = two.release("3")
    before = file.read_bytes()
    (two.bob / "mine.pem").unlink()
    shutil.copy(two.fleet / "keys" / "models-1.pem", two.bob)
    result = two.sign(file)
    assert result.exit_code == 3
    assert "none of the keys here can sign it; wanted is one of" in result.stderr
    assert file.read_bytes() == before


def test_bob_is_asked_and_may_say_no(two: Two) -> None:
    file = two.release("3")
    before = file.read_bytes()
    result = run("sign", str(file), f"--keys={two.bob}")
    assert result.exit_code == 1
    assert "Sign this?" in result.stderr
    assert file.read_bytes() == before


def test_a_root_that_bob_trusts_is_compared(two: Two, tmp_path: Path) -> None:
    file = two.release("3")
    trusted = tmp_path / "root.json"
    trusted.write_bytes(FleetFolder(path=two.fleet).repository().trusted_root())
    document = json.loads(trusted.read_bytes())
    strange = tmp_path / "strange.json"
    document["signed"]["keys"] = {}
    for role in document["signed"]["roles"].values():
        role["keyids"] = ["0" * 64]
    strange.write_text(json.dumps(document))
    assert two.sign(file, f"--root={strange}").exit_code == 7
    assert two.sign(file, f"--root={trusted}").exit_code == 0


def test_a_version_is_withdrawn_and_no_stage_goes_back_to_it(two: Two) -> None:
    for version in ("3", "4"):
        two.ada("release", f"models:/wine/{version}", "--stage=staging")
    used = two.ada("withdraw", "wine", "4")
    assert used.exit_code == 3
    assert "points at version 4" in used.stderr
    assert two.ada("withdraw", "wine", "3").stdout == "wine 3 withdrawn\n"
    again = two.ada("withdraw", "wine", "3")
    assert again.exit_code == 3
    assert "wine 3: no release of it is signed" in again.stderr
    back = two.ada("rollback", "wine", "--stage=staging")
    assert back.exit_code == 3
    assert "points at version 3, of which the models role vouches for 0" in back.stderr


def test_a_withdrawal_by_two_is_pending_until_both_have_signed(two: Two) -> None:
    for version in ("3", "4"):
        two.ada("release", f"models:/wine/{version}", "--stage=staging")
    assert two.ada("keys", "add", "models", "--threshold=2").exit_code == 0
    shutil.move(two.fleet / "keys" / "models-2.pem", two.bob / "models.pem")
    pending = two.ada("withdraw", "wine", "3")
    assert "models, version 5 after 4: 1 of 2 signatures" in pending.stdout
    assert "- models/wine/3.json" in pending.stdout
    file = two.fleet / "pending" / "withdraw-wine-3.json"
    assert two.sign(file).exit_code == 0
    told = two.publish(file)
    assert told.stdout == "published; no stage runs anything else than before\n"
    records = FleetFolder(path=two.fleet).repository().records()
    assert [record.version for record in records] == ["4"]


def test_a_forged_signature_neither_counts_nor_hinders(two: Two) -> None:
    """Nor does it reach the ledger, as if Bob had signed before he has."""
    file = two.release("3")
    document = json.loads(file.read_bytes())
    stage = document["roles"]["stage-production"]
    keyids = next(
        state.keys.keyids
        for state in FleetFolder(path=two.fleet).repository().roles()
        if state.role == "stage-production"
    )
    stage["signatures"] += [
        {"keyid": k, "sig": "00" * 64} for k in (*keyids[1:], "ab" * 32)
    ]
    file.write_text(json.dumps(document))
    assert "1 of 2 signatures" in two.publish(file).stderr
    assert two.sign(file).exit_code == 0
    assert two.publish(file).exit_code == 0
    with FleetFolder(path=two.fleet).ledger() as ledger:
        (entry,) = ledger.entries(stage="production", model="wine")
    assert sorted(entry.signers["stage-production"]) == sorted(keyids)


def test_a_release_that_is_made_again_keeps_the_signatures_it_has(two: Two) -> None:
    file = two.release("3")
    assert two.sign(file).exit_code == 0
    before = file.read_bytes()
    told = two.ada("release", "models:/wine/3", "--stage=production")
    assert "it has all signatures: `edgekit publish`" in told.stdout
    assert file.read_bytes() == before
    assert two.publish(file).exit_code == 0
    again = two.publish(file)
    assert again.exit_code == 3
    assert "published already; nothing is left to do" in again.stderr


def test_a_publication_that_was_cut_short_is_finished_by_the_same_file(
    two: Two, tmp_path: Path
) -> None:
    file = two.release("3")
    two.sign(file)
    whole = two.fleet

    def publish(copy: Path) -> None:
        result = run("publish", str(file), fleet=copy)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception

    for number, copy in enumerate(torn_writes(whole, tmp_path / "torn", publish)):
        if number % 3:
            continue  # a third of the places: each costs the opening of a key
        two.fleet = copy
        assert two.runs() in {None, "3"}
        publish(copy)
        assert two.runs() == "3"
        with FleetFolder(path=copy).ledger() as ledger:
            assert len(ledger.entries(stage="production", model="wine")) == 1


def _another_statement(document: Any) -> None:  # noqa: ANN401 - JSON
    name = next(name for name in document["statements"] if "stages" in name)
    document["statements"][name] = base64.b64encode(b"{}").decode()


def _another_role(document: Any) -> None:  # noqa: ANN401 - JSON
    document["roles"]["targets"] = document["base"]["targets"] = document["targets"]


def _delegations(document: Any) -> None:  # noqa: ANN401 - JSON
    delegations = document["targets"]["signed"]["delegations"]
    document["roles"]["stage-production"]["signed"]["delegations"] = delegations


def _set(path: str, value: object) -> Callable[[Any], None]:
    def change(document: Any) -> None:  # noqa: ANN401 - JSON
        *folders, last = path.split("/")
        for folder in folders:
            document = document[folder]
        document[last] = value

    return change


ALTERATIONS: dict[str, Callable[[Any], None]] = {
    "another statement": _another_statement,
    "another role": _another_role,
    "delegations": _delegations,
    "no statement": _set("statements", {}),
    "an old version": _set("roles/stage-production/signed/version", 1),
    "another fleet": _set("roles/stage-production/signed/x-edgekit-fleet", "other"),
    "another base": _set("base/stage-production/signed/version", 0),
    "another root": _set("root/signed/version", 9),
    "a newer format": _set("format", 2),
}


@pytest.mark.parametrize("change", ALTERATIONS)
def test_an_altered_proposal_is_not_even_shown(two: Two, change: str) -> None:
    file = two.release("3")
    document = json.loads(file.read_bytes())
    ALTERATIONS[change](document)
    altered = json.dumps(document).encode()
    with pytest.raises(TrustError, match="proposal"):
        Proposal.from_json(altered)
    file.write_bytes(altered)
    assert two.sign(file).exit_code == 7
    assert file.read_bytes() == altered


@pytest.mark.parametrize("data", [b"", b"\xff{", b"[]", b"{}", b" " * (MAX_BYTES + 1)])
def test_garbage_is_no_proposal(data: bytes) -> None:
    with pytest.raises(TrustError, match="proposal"):
        Proposal.from_json(data)


def test_no_secret_is_in_the_file(two: Two) -> None:
    text = two.release("3").read_text()
    assert "PRIVATE" not in text
    assert set(json.loads(text)) == {
        "format",
        "root",
        "targets",
        "base",
        "roles",
        "statements",
    }
