"""`edgekit boards`: show the profiles of boards. Knows their fields, decides nothing."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import click

from edgekit import board
from edgekit.cli.options import fleet_option, json_option, print_json
from edgekit.fleet import calibration
from edgekit.fleet.folder import FleetFolder
from edgekit.latency import calibrate

_HEADINGS = ("NAME", "ARCH", "ISA", "RAM MB", "MODEL RAM MB", "FLASH MB", "SPEED", "TITLE")
_UNITS = {"ram_mb": "MB", "model_ram_mb": "MB", "model_flash_mb": "MB"}


@click.group(name="boards")
def command() -> None:
    """Say what the known boards can hold and run.

    A board is a class of devices: its profile decides which flavors of a model fit.
    Where a command takes --board, it takes one of these names or the path of a .toml
    file of your own; boards/README.md says what each field means and how to measure it.
    """


@command.command(name="list")
@json_option
def list_boards(*, as_json: bool) -> None:
    """List the shipped profiles, one board a line."""
    profiles = [board.load(name) for name in board.shipped()]
    if as_json:
        print_json([dataclasses.asdict(profile) for profile in profiles])
        return
    rows = [_HEADINGS, *(_row(profile) for profile in profiles)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    for row in rows:
        click.echo(_aligned(row, widths))


@command.command(name="show")
@click.argument("name")
@json_option
def show_board(name: str, *, as_json: bool) -> None:
    """Print one profile with the source of each figure.

    NAME is a shipped board, or the path of a .toml file: a way to check one of your own.
    """
    profile = board.load(name)
    if as_json:
        print_json(dataclasses.asdict(profile))
        return
    click.echo(f"{profile.name}: {profile.title}")
    for field in dataclasses.fields(profile):
        if field.name in {"name", "title", "sources", "latency"}:
            continue
        value = _text(getattr(profile, field.name)) or "none"
        unit = _UNITS.get(field.name, "")
        click.echo(f"  {field.name:<15} {value} {unit}".rstrip())
        if field.name in profile.sources:
            click.echo(f"  {'':<15}   {profile.sources[field.name]}")
    if profile.latency is not None:
        click.echo(f"  {'latency':<15} {_calibrated(profile.latency)}")


@command.command(name="calibrate")
@click.argument("name")
@fleet_option
@json_option
def calibrate_board(name: str, fleet_folder: Path, *, as_json: bool) -> None:
    """Learn how fast a board is from what the fleet's devices report.

    Their telemetry has the latency of each bundle they serve; its manifest says how long
    a row took on the machine that converted it. What comes out is kept in the fleet's own
    profile of the board, boards/NAME.toml in its folder, and later releases and
    conversions with that file tell times on the board by it. Only windows of at least 20
    requests of one row each count.

    \b
    Example:
      edgekit boards calibrate raspberry-pi-4 --fleet ./fleet

    Exit code 6: no device of this board has reported anything yet.
    """  # noqa: D301 - click's mark for lines that stay as they are
    fleet = FleetFolder(path=fleet_folder)
    profile = fleet.board(name)
    with fleet.book() as book:
        told = calibration.reported(book, profile.name)
    blobs = fleet.repository().blobs
    here_us = calibration.times_here(blobs, (one.sha256 for one in told))
    known = calibrate(calibration.pairs(told, here_us))
    calibrated = dataclasses.replace(profile, latency=known)
    kept = fleet.keep_board(profile.name, calibration.profile_text(calibrated))
    if as_json:
        print_json(
            {"board": profile.name, "profile": str(kept), **dataclasses.asdict(known)}
        )
        return
    click.echo(f"{profile.name}: {_calibrated(known)}")
    click.echo(f"  kept in {kept}")


def _row(profile: board.Board) -> tuple[str, ...]:
    return (
        profile.name,
        profile.arch,
        _text(profile.isa),
        str(profile.ram_mb),
        str(profile.model_ram_mb),
        str(profile.model_flash_mb),
        f"{profile.speed:g}",
        profile.title,
    )


def _calibrated(known: board.Calibration) -> str:
    return (
        f"{known.overhead_us} us and {known.factor:.2f} times the time on the machine that"
        f" converts ({known.low:.2f} to {known.high:.2f}; {known.pairs} reports of"
        f" {known.devices} devices)"
    )


def _text(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    return "  ".join(cells).rstrip()
