"""`edgekit fleet drift`: from fleet.db and the signed bundle to a verdict and exit code."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgekit import bundle
from edgekit.cli import drift as command
from edgekit.errors import ConfigError, StoreError, TrustError
from edgekit.fleet.book import Book, Device
from edgekit.fleet.folder import FleetFolder
from edgekit.manifest import PROFILE_NAME
from edgekit.release import packing
from edgekit.statement import StagePointer
from tests.core import drift_cases as cases
from tests.core import examples
from tests.core.commands import PASSPHRASE, fleet_in, run
from tests.core.reports import window

pytestmark = pytest.mark.slow  # founds fleets: a key takes a fifth of a second on purpose

NOW = datetime(2026, 3, 8, 12, tzinfo=UTC)
KNOWN = cases.profile()


class Site:
    """A fleet whose production stage runs wine 3, with a profile in its bundle or not."""

    def __init__(self, place: Path, *, profile: bool = True) -> None:
        self.path = fleet_in(place)
        self.folder = FleetFolder(path=self.path)
        flavor = place / "int8"
        flavor.mkdir()
        members = dict(examples.MEMBERS)
        if profile:
            members[PROFILE_NAME] = KNOWN.to_json()
        for name, content in members.items():
            (flavor / name).write_bytes(content)
        manifest = examples.manifest(members)
        assert manifest.files == {n: bundle.describe(c) for n, c in members.items()}
        (flavor / "manifest.json").write_bytes(manifest.to_json())
        packed = packing.pack(flavor, boards=())
        repository = self.folder.repository()
        packing.store(repository.folder, packed)
        self.digest = packed.entry.sha256
        self.blob = repository.blobs / self.digest
        pointer = StagePointer(
            model="wine",
            stage="production",
            version="3",
            rollout=1,
            bundles={packed.entry.flavor: self.digest},
        )
        repository.publish(
            records=[packing.record((packed,), already=None)],
            pointers=[pointer],
            signers=self.folder.signers(PASSPHRASE),
            now=NOW,
        )

    def hear(self, device: str, day: int, *, hue: float = 0.0, rows: int = 600) -> None:
        asked = cases.table(rows, day, hue=hue)
        told = cases.counted(asked, KNOWN, sha256=self.digest)
        end = f"2026-03-{day:02}T08:00:00Z"
        with self.folder.book() as book:
            self._enrolled(book, device)
            payload = window(device, first=day, end=end, bundles=[told])
            heard = book.hear_telemetry(device, payload, NOW)
        assert heard
        assert heard.news

    @staticmethod
    def _enrolled(book: Book, device: str) -> None:
        if device not in {one.name for one in book.devices()}:
            book.enroll(
                Device(
                    name=device,
                    board="raspberry-pi-4",
                    models=(("wine", "production"),),
                    enrolled_by="ada",
                    enrolled_at=NOW,
                )
            )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(command, "now", lambda: NOW)
    return Site(tmp_path)


def test_a_calm_fleet_ends_with_0(site: Site) -> None:
    site.hear("pi-7", 6)
    site.hear("pi-8", 7)
    result = run("fleet", "drift", "wine", fleet=site.path)
    assert result.exit_code == 0, result.output
    first, *_, last = result.stdout.splitlines()
    assert first == (
        "wine 3 in production since 2026-03-01 12:00 UTC: 1,200 rows from 2 devices,"
        " against 2,000 reference rows (samples)"
    )
    assert last == "Calm: all 5 columns are as in the reference data."


def test_drift_ends_with_13_and_names_the_column(site: Site) -> None:
    site.hear("pi-7", 7, hue=2.0)
    result = run("fleet", "drift", "wine", fleet=site.path)
    assert result.exit_code == command.DRIFTED == 13
    drifted = [
        line.split()[0] for line in result.stdout.splitlines() if " drifted " in line
    ]
    assert {"hue", "prediction"} <= {*drifted}
    assert "alcohol" not in drifted


def test_age_stage_and_device_narrow_what_is_looked_at(site: Site) -> None:
    site.hear("pi-7", 2, hue=2.0)
    site.hear("pi-7", 8)
    site.hear("pi-8", 8, hue=2.0)
    asked = "fleet", "drift", "wine", "--since=24h"
    assert run(*asked, "--device=pi-7", fleet=site.path).exit_code == 0
    assert run(*asked, "--device=pi-8", fleet=site.path).exit_code == command.DRIFTED
    assert run(*asked, fleet=site.path).exit_code == command.DRIFTED
    assert run(*asked, "--stage=staging", fleet=site.path).exit_code == 3


def test_too_few_rows_are_no_drift(site: Site) -> None:
    site.hear("pi-7", 8, rows=20)
    result = run("fleet", "drift", "wine", fleet=site.path)
    assert result.exit_code == 0
    assert "too few rows" in result.stdout
    assert "are needed" in result.stdout


def test_before_anything_is_heard_it_says_so(site: Site) -> None:
    result = run("fleet", "drift", "wine", fleet=site.path)
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (
        0,
        "No rows were counted: nothing can be said.",
    )


def test_a_script_reads_json_and_a_person_a_page(site: Site, tmp_path: Path) -> None:
    site.hear("pi-7", 7, hue=2.0)
    html = tmp_path / "drift.html"
    result = run("fleet", "drift", "wine", "--json", f"--html={html}", fleet=site.path)
    told = json.loads(result.stdout)
    worst = told["columns"][0]
    assert (told["verdict"], worst["name"]) == ("drifted", "prediction")
    assert worst["verdict"] == "drifted"
    assert sum(worst["seen"]) == told["rows"] == 600
    assert len(worst["bins"]) == len(worst["seen"]) == len(worst["reference"])
    assert worst["days"][0]["day"] == "2026-03-07"
    assert html.read_text().startswith("<!doctype html>")


def test_a_bundle_without_a_profile_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "now", lambda: NOW)
    result = run("fleet", "drift", "wine", fleet=Site(tmp_path, profile=False).path)
    assert result.exit_code == ConfigError.exit_code
    assert "its bundles hold no reference profile" in result.stderr


def test_a_bundle_that_was_exchanged_is_not_believed(site: Site) -> None:
    site.hear("pi-7", 7)
    site.blob.write_bytes(site.blob.read_bytes() + b"!")
    result = run("fleet", "drift", "wine", fleet=site.path)
    assert result.exit_code == TrustError.exit_code
    site.blob.unlink()
    assert run("fleet", "drift", "wine", fleet=site.path).exit_code == StoreError.exit_code


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--since=soon"], "an age such as 90m"),
        (["--since=999999w"], "an age such as 90m"),
        (["--device=pi-9"], "device pi-9: not enrolled"),
    ],
)
def test_what_cannot_be_looked_at_is_said(
    site: Site, options: list[str], sentence: str
) -> None:
    result = run("fleet", "drift", "wine", *options, fleet=site.path)
    assert result.exit_code == ConfigError.exit_code
    assert sentence in result.stderr
