"""Boards learn their speed from what the fleet's devices report."""

from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from edgekit import board, bundle
from edgekit.fleet.book import Book, Device
from edgekit.fleet.calibration import pairs, profile_text, reported, times_here
from edgekit.fleet.folder import FleetFolder
from edgekit.telemetry.counts import BundleCounts
from tests.core.commands import fleet_in, run
from tests.core.examples import MEMBERS, manifest
from tests.core.reports import counts, window

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TIMES_US = {"tiny": 10, "middle": 100, "large": 1_000}
NAME = "raspberry-pi-4"


def released(blobs: Path, one_row_p50_us: int) -> str:
    """Put a bundle that took so long here among the blobs; return its digest."""
    told = replace(manifest().footprint, one_row_p50_us=one_row_p50_us)
    content = bundle.pack(replace(manifest(), footprint=told), MEMBERS)
    digest = sha256(content).hexdigest()
    blobs.mkdir(parents=True, exist_ok=True)
    (blobs / digest).write_bytes(content)
    return digest


def served(digest: str, p50_us: int, **changes: Any) -> BundleCounts:  # noqa: ANN401 - any field of it
    """A bundle in a window, with requests of one row each."""
    known = {"sha256": digest, "requests": 50, "rows": 50, "violations": {}, **changes}
    return counts(p50_us, **known)


def enrolled(book: Book, device: str, name: str = NAME) -> None:
    book.enroll(
        Device(
            name=device,
            board=name,
            models=(("wine", "production"),),
            enrolled_by="ada",
            enrolled_at=NOW,
        )
    )


def heard(book: Book, device: str, *bundles: BundleCounts, seq: int = 1) -> None:
    told = book.hear_telemetry(device, window(device, first=seq + 1, bundles=bundles), NOW)
    assert told
    assert told.news


def test_only_requests_of_single_rows_on_devices_of_the_board_count(
    tmp_path: Path,
) -> None:
    digest = "ab" * 32
    with Book(tmp_path / "fleet.db") as book:
        enrolled(book, "pi-1")
        enrolled(book, "gateway-1", "gateway-256mb")
        heard(book, "gateway-1", served(digest, 1))
        heard(book, "pi-1", served(digest, 700))
        heard(book, "pi-1", served(digest, 2, rows=500), seq=2)
        heard(book, "pi-1", served(digest, 3, requests=5, rows=5), seq=3)
        heard(book, "pi-1", served(digest, 4, errors=1), seq=4)
        assert [one.p50_us for one in reported(book, NAME)] == [700]


def test_a_device_counts_once_for_each_bundle_with_its_median(tmp_path: Path) -> None:
    digest = "ab" * 32
    with Book(tmp_path / "fleet.db") as book:
        enrolled(book, "pi-1")
        for seq, p50_us in enumerate((500, 90_000, 520)):
            heard(book, "pi-1", served(digest, p50_us), seq=seq)
        heard(book, "pi-1", served("cd" * 32, 1), seq=9)
        (pair,) = pairs(reported(book, NAME), {digest: 100})
    assert (pair.device, pair.here_us, pair.there_us) == ("pi-1", 100, 520)


def test_a_bundle_that_is_gone_or_damaged_is_left_out(tmp_path: Path) -> None:
    whole, damaged = released(tmp_path, 10), released(tmp_path, 20)
    (tmp_path / damaged).write_bytes(b"EDGEKIT\x01 and no more")
    assert times_here(tmp_path, [whole, damaged, "ef" * 32]) == {whole: 10}


@pytest.mark.parametrize("name", board.shipped())
def test_a_profile_is_written_as_it_is_read(name: str) -> None:
    known = replace(board.load(name), allow_domains=("com.microsoft",))
    assert board.parse(profile_text(known), subject=name) == known


@pytest.mark.slow
def test_the_command_keeps_what_it_learned_in_the_fleet_s_own_profile(
    tmp_path: Path,
) -> None:
    folder = FleetFolder(path=fleet_in(tmp_path))
    blobs = folder.repository().blobs
    digests = {name: released(blobs, us) for name, us in TIMES_US.items()}
    with folder.book() as book:
        for device in ("pi-1", "pi-2"):
            enrolled(book, device)
            told = [served(digests[n], 800 + 6 * us) for n, us in TIMES_US.items()]
            heard(book, device, *told)

    result = run("boards", "calibrate", NAME, fleet=folder.path)

    assert result.exit_code == 0, result.output
    assert result.stdout == (
        f"{NAME}: 800 us and 6.00 times the time on the machine that converts"
        " (6.00 to 6.00; 6 reports of 2 devices)\n"
        f"  kept in {folder.path}/boards/{NAME}.toml\n"
    )
    known = folder.board(NAME).latency
    assert known is not None
    assert (known.overhead_us, known.devices) == (800, 2)
    shown = run("boards", "show", f"{folder.path}/boards/{NAME}.toml").stdout
    assert "latency         800 us and 6.00 times" in shown


@pytest.mark.slow
def test_without_reports_the_command_says_so_and_writes_nothing(tmp_path: Path) -> None:
    folder = fleet_in(tmp_path)
    result = run("boards", "calibrate", NAME, fleet=folder)
    assert result.exit_code == 6
    assert "no device of this board has reported" in result.stderr
    assert not (folder / "boards").exists()
