"""How commands talk: progress on standard error, tables on standard output, the time."""

import os
import pwd
from collections.abc import Sequence
from datetime import UTC, datetime

import click

_KIB = 1024


def say(sentence: str) -> None:
    """Tell the operator what happens, on standard error."""
    click.echo(sentence, err=True)


def show_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns, one row a line; an empty cell becomes a dash."""
    cells = [list(headings), *([cell or "-" for cell in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(headings))]
    for row in cells:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def plain(text: str) -> str:
    """Return a line in which nothing moves the cursor, hides or turns what stands there.

    For what somebody else wrote: a terminal obeys characters that nobody sees.
    """
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def size(length: int) -> str:
    """Return a number of bytes as people read it: 812 B, 14.2 KiB, 3.1 MiB."""
    if length < _KIB:
        return f"{length} B"
    if length < _KIB**2:
        return f"{length / _KIB:.1f} KiB"
    return f"{length / _KIB**2:.1f} MiB"


def account() -> str:
    """Return the name of the account that runs this command, its number if it has none."""
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def now() -> datetime:
    """Return the time of day, to the second, as it is signed and written down."""
    return datetime.now(UTC).replace(microsecond=0)
