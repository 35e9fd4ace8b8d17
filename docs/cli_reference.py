"""Write docs/cli.md from the --help of every command. Knows the commands, not what they do.

Run by `make docs`; tests/docs/test_cli_reference.py says when the file is out of date.
"""

# ruff: noqa: INP001 - a script beside the page it writes, not a package
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from edgekit.cli import main as edgekit
from edgekit.cli.drift import DRIFTED
from edgekit.errors import EdgekitError

WIDTH = 92
TARGET = Path(__file__).with_name("cli.md")
_AGENT = "edgekit-agent"
_HEADER = """\
# Command reference

Written by `make docs` from the commands' own `--help`. Data goes to standard output, talk
to standard error.

## Exit codes

| code | error | meaning |
|---|---|---|
| 0 | | Done. |
| 1 | | Interrupted (Ctrl-C), or a fault of edgekit's own. Nothing half done is left. |
| 2 | | The command line is wrong: see `--help`. |
"""


def reference() -> str:
    """Return the whole page."""
    sections = [*_click_sections(edgekit, "edgekit"), *_agent_sections()]
    return "\n".join([_HEADER + _exit_codes(), *sections])


def _exit_codes() -> str:
    errors = sorted(EdgekitError.__subclasses__(), key=lambda error: error.exit_code)
    rows = (
        f"| {error.exit_code} | {error.__name__} | {_sentence(error)} |\n"
        for error in errors
        if error.__module__ == EdgekitError.__module__
    )
    return (
        "".join(rows) + f"| {DRIFTED} | | `edgekit fleet drift`: a column has drifted. |\n"
    )


def _sentence(error: type[EdgekitError]) -> str:
    return (error.__doc__ or "").partition("\n")[0]


def _click_sections(command: click.Command, name: str) -> Iterator[str]:
    context = click.Context(command, info_name=name, terminal_width=WIDTH)
    yield _section(name, command.get_help(context))
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None and not found.hidden:
                yield from _click_sections(found, f"{name} {child}")


def _agent_sections() -> Iterator[str]:
    overview = _agent_help()
    yield _section(_AGENT, overview)
    for name in re.findall(r"^ {4}([a-z-]+) {2,}", overview, re.MULTILINE):
        yield _section(f"{_AGENT} {name}", _agent_help(name))


def _agent_help(*subcommand: str) -> str:
    program = Path(sys.executable).with_name(_AGENT)
    environment = {**os.environ, "COLUMNS": str(WIDTH), "NO_COLOR": "1"}
    return subprocess.run(  # noqa: S603 - our own program
        [program, *subcommand, "--help"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def _section(name: str, text: str) -> str:
    level = "#" * min(1 + len(name.split()), 4)
    lines = "\n".join(line.rstrip() for line in text.strip().splitlines())
    return f"{level} {name}\n\n```text\n{lines}\n```\n"


if __name__ == "__main__":
    TARGET.write_text(reference(), "utf-8")
