import json
from pathlib import Path

import pytest
from click.testing import Result

from edgekit import conversion, registry
from edgekit.cli import release as release_command
from edgekit.cli import rollback as rollback_command
from edgekit.cli import workplace
from edgekit.errors import RegistryError
from edgekit.fleet.folder import FleetFolder
from edgekit.statement import BundleEntry
from tests.core.commands import fleet_in, run
from tests.core.workshop import NOW, FakeConverter, FakeRegistry


class Desk:
    """An operator at a founded fleet, with a fake registry and converter."""

    def __init__(self, fleet: Path) -> None:
        self.fleet = fleet
        self.registry = FakeRegistry(aliases={"Production": "3", "production": "3"})
        self.converter = FakeConverter()
        self.asked_for: list[str | None] = []

    def open(self, uri: str | None = None, *, progress: object) -> FakeRegistry:
        assert progress
        self.asked_for.append(uri)
        return self.registry

    def run(self, *arguments: str) -> Result:
        return run(*arguments, fleet=self.fleet)

    def bundle(self, flavor: str) -> BundleEntry:
        (record,) = FleetFolder(path=self.fleet).repository().records()
        return next(b for b in record.bundles if b.flavor == flavor)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    made = Desk(fleet_in(tmp_path))
    monkeypatch.setattr(registry, "open", made.open)
    monkeypatch.setattr(conversion, "installed", lambda: made.converter)
    for module in (release_command, rollback_command):
        monkeypatch.setattr(module, "now", lambda: NOW)
    monkeypatch.setattr(workplace, "account", lambda: "ada")
    return made


def test_the_stage_that_follows_the_uri_gets_it(desk: Desk) -> None:
    result = desk.run("release", "models:/wine/production", "--board=raspberry-pi-4")

    assert result.exit_code == 0, result.stderr
    fp32, int8 = desk.bundle("fp32"), desk.bundle("int8")
    assert result.stdout == (
        "wine 3 released to production, rollout 1\n"
        "\n"
        "FLAVOR  BYTES  RSS       P95 US  FOR BOARDS      SHA256\n"
        f"fp32    {fp32.length} B  60.0 MiB  27      raspberry-pi-4  {fp32.sha256[:12]}\n"
        f"int8    {int8.length} B  60.0 MiB  27      generic-x86-64  {int8.sha256[:12]}\n"
    )
    again = desk.run("release", "models:/wine/production", "--board=raspberry-pi-4")
    assert again.stdout.startswith("wine 3 runs already in production, rollout 1\n")
    assert len(desk.converter.requests) == 1


def test_a_script_reads_json(desk: Desk) -> None:
    result = desk.run("release", "models:/wine/3", "--stage=staging", "--json")

    document = json.loads(result.stdout)
    assert (document["model"], document["version"]) == ("wine", "3")
    assert (document["stage"], document["rollout"]) == ("staging", 1)
    assert document["fresh"] is True
    assert {b["flavor"] for b in document["bundles"]} == {"fp32"}
    assert set(document["signers"]) == {"models", "stage-staging"}


def test_what_fleet_toml_says_of_a_model_is_used(desk: Desk) -> None:
    toml = desk.fleet / "fleet.toml"
    samples = (
        '[models.wine]\nsamples = "rows.csv"\ntarget = "class"\n'
        'metric = "auc"\nscore = "-margin"\ngroup = "clip"'
    )
    text = toml.read_text().replace("[models.wine]", samples)
    limits = "max_drop = 0.02\nproven_only = true"
    toml.write_text(text.replace("max_drop = 0.005", limits))
    (desk.fleet / "rows.csv").write_text("a,class\n")

    assert desk.run("release", "models:/wine/Production").exit_code == 0

    (request,) = desk.converter.requests
    assert request.samples == desk.fleet / "rows.csv"
    assert (request.target, request.max_drop) == ("class", 0.02)
    assert request.proven_only
    assert (request.metric, request.score, request.group) == ("auc", "-margin", "clip")
    assert request.logged_metrics == {"accuracy": 0.9}
    assert (request.trust_pickle, request.quantize) == (False, True)


def test_options_go_before_fleet_toml(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("a,y\n")
    result = desk.run(
        "release",
        "models:/wine/Production",
        f"--samples={tmp_path / 'other.csv'}",
        "--target=y",
        "--max-drop=0",
        "--metric=macro-f1",
        "--trust-pickle",
    )

    assert result.exit_code == 0, result.stderr
    (request,) = desk.converter.requests
    assert request.samples == tmp_path / "other.csv"
    assert (request.target, request.max_drop, request.trust_pickle) == ("y", 0, True)
    assert request.metric == "macro-f1"


def test_mlflows_stage_and_the_alias_of_its_name_mean_the_same(desk: Desk) -> None:
    result = desk.run("release", "models:/wine@production")

    assert result.exit_code == 0, result.stderr
    assert "production, rollout 1" in result.stdout


def test_a_uri_that_no_stage_follows_needs_a_stage(desk: Desk) -> None:
    result = desk.run("release", "models:/wine/7")

    assert (result.exit_code, result.stderr) == (
        3,
        (
            "error: models:/wine/7: no stage of fleet demo follows it; choose one with"
            " --stage: production, staging\n"
        ),
    )


def test_a_wrong_passphrase_is_said_before_anything_is_converted(
    desk: Desk, tmp_path: Path
) -> None:
    (tmp_path / "passphrase").write_text("wrong\n")
    result = desk.run(
        "release",
        "models:/wine/Production",
        f"--passphrase-file={tmp_path / 'passphrase'}",
    )

    assert result.exit_code == 3
    assert "wrong passphrase" in result.stderr
    assert not desk.converter.requests
    assert FleetFolder(path=desk.fleet).repository().pointers() == ()


def test_a_fleet_without_boards_says_where_to_name_them(desk: Desk) -> None:
    toml = desk.fleet / "fleet.toml"
    toml.write_text(toml.read_text().replace('    "generic-x86-64",\n', ""))

    result = desk.run("release", "models:/wine/Production")

    assert result.exit_code == 3
    assert result.stderr.startswith("error: no boards to convert for: enroll a device")


def test_boards_of_enrolled_devices_are_converted_for(desk: Desk) -> None:
    desk.run("device", "enroll", "pi-7", "--board=raspberry-pi-zero-2-w")
    desk.run("release", "models:/wine/Production")

    boards = [board.name for board in desk.converter.requests[0].boards]
    assert boards == ["generic-x86-64", "raspberry-pi-zero-2-w"]


def test_outside_a_fleet_nothing_is_made(tmp_path: Path) -> None:
    for arguments in (["release", "models:/wine/1"], ["rollback", "wine", "--stage=s"]):
        result = run(*arguments, fleet=tmp_path)
        assert result.exit_code == 3
        assert f"{tmp_path}: no fleet.toml here" in result.stderr
    assert not list(tmp_path.iterdir())


def test_going_back_and_its_limits(desk: Desk) -> None:
    for version in ("1", "2"):
        desk.run("release", f"models:/wine/{version}", "--stage=production")

    back = desk.run("rollback", "wine", "--stage=production")
    assert back.stdout == "wine in production goes back to version 1, rollout 3\n"
    further = desk.run("rollback", "wine", "--stage=production")
    assert (further.exit_code, further.stderr) == (
        3,
        (
            "error: wine in stage production: nothing ran before version 1; a version it"
            " ran later can be named with --to\n"
        ),
    )
    forward = desk.run("rollback", "wine", "--stage=production", "--to=2", "--json")
    document = json.loads(forward.stdout)
    assert (document["version"], document["rollout"]) == ("2", 4)


def test_a_key_can_be_on_a_stick(desk: Desk, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    (desk.fleet / "keys" / "models-1.pem").rename(stick / "models-1.pem")

    without = desk.run("release", "models:/wine/Production")
    assert (without.exit_code, without.stderr) == (
        3,
        (
            "error: models: 0 of the 1 keys it needs are at hand; put its key files into"
            " the keys folder, or name theirs with --keys\n"
        ),
    )
    assert desk.run("release", "models:/wine/Production", f"--keys={stick}").exit_code == 0


def test_a_version_is_traced_from_run_to_signers(desk: Desk) -> None:
    desk.run("release", "models:/wine/Production")
    repository = FleetFolder(path=desk.fleet).repository()
    keyids = {r.role: r.keys.keyids[0][:8] for r in repository.roles()}
    (record,) = repository.records()
    (bundle,) = record.bundles

    result = desk.run("trace", "wine@production")

    assert result.stdout == (
        "wine 3\n"
        "  stages    production\n"
        "  run       run-3 'fit' in experiment 'training' by ada at 2026-03-01 12:00; C=1;"
        " accuracy=0.9\n"
        f"  source    sha256 {record.source_sha256[:12]}\n"
        f"  flavor    fp32  sha256 {bundle.sha256[:12]}  {bundle.length} B  for"
        " generic-x86-64\n"
        "  release   rollout 1 of production by ada at 2026-03-01 12:00 UTC; signed: models"
        f" {keyids['models']}, stage-production {keyids['stage-production']}\n"
        "  device    none serves it, as far as fleet.db knows\n"
    )
    for uri in ("models:/wine/3", "models:/wine@Production"):
        assert desk.run("trace", uri).stdout == result.stdout


def test_a_registry_that_does_not_answer_is_said_and_the_rest_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.run("release", "models:/wine/Production")

    def unreachable(uri: str | None = None, *, progress: object) -> FakeRegistry:
        raise RegistryError(f"registry {uri}: not there ({progress is not None})")

    monkeypatch.setattr(registry, "open", unreachable)

    result = desk.run("trace", "wine@production")

    assert result.exit_code == 0
    assert "  run       run-3 (registry None: not there (True))\n" in result.stdout
    offline = desk.run("trace", "wine@production", "--offline")
    assert "  run       run-3 (not asked)\n" in offline.stdout


def test_a_traces_json_holds_whole_digests(desk: Desk) -> None:
    desk.run("release", "models:/wine/Production")

    (document,) = json.loads(desk.run("trace", "wine@production", "--json").stdout)

    assert document["bundles"][0]["sha256"] == desk.bundle("fp32").sha256
    assert document["run"]["started"] == document["releases"][0]["at"] == NOW.isoformat()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "trace: either MODEL@STAGE, a model URI, or --device is expected"),
        (["wine"], "trace wine: MODEL@STAGE or models:/… is expected"),
        (["wine@canary"], "wine@canary: never released; nothing is released yet"),
        (["--device=pi-7"], "device pi-7: not enrolled; enrolled are none"),
    ],
)
def test_what_cannot_be_traced_is_said(
    desk: Desk, arguments: list[str], sentence: str
) -> None:
    result = desk.run("trace", *arguments)

    assert (result.exit_code, result.stderr) == (3, f"error: {sentence}\n")
