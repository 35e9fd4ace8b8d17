"""`edgekit boards`: show the profiles of boards. Knows their fields, decides nothing."""

import dataclasses
from collections.abc import Sequence

import click

from edgekit import board
from edgekit.cli.options import json_option, print_json

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
        if field.name in {"name", "title", "sources"}:
            continue
        value = _text(getattr(profile, field.name))
        unit = _UNITS.get(field.name, "")
        click.echo(f"  {field.name:<15} {value} {unit}".rstrip())
        if field.name in profile.sources:
            click.echo(f"  {'':<15}   {profile.sources[field.name]}")


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


def _text(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    return "  ".join(cells).rstrip()
