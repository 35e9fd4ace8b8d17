from collections.abc import Iterator

import click
import pytest

from docs.cli_reference import TARGET, reference
from edgekit.cli import main
from edgekit.errors import EdgekitError


def every_command(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for child, inner in command.commands.items():
            yield from every_command(inner, f"{name} {child}")


COMMANDS = dict(every_command(main, "edgekit"))


def test_the_reference_is_what_the_commands_say_today() -> None:
    assert TARGET.read_text("utf-8") == reference(), "run `make docs`"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_every_option_says_what_it_does(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    options = [p for p in command.params if isinstance(p, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_the_reference_tells_of_every_command_of_the_agent() -> None:
    page = TARGET.read_text("utf-8")
    for name in ("run", "predict", "status"):
        assert f"## edgekit-agent {name}\n" in page


def test_every_error_has_an_exit_code_of_its_own() -> None:
    errors = [e for e in EdgekitError.__subclasses__() if e.__module__ == "edgekit.errors"]
    codes = [error.exit_code for error in errors]
    assert len(set(codes)) == len(codes)
    assert not set(codes) & {0, 1, 2}


def test_the_commands_own_help_lists_every_exit_code() -> None:
    told = main.help or ""
    for error in EdgekitError.__subclasses__():
        if error.__module__ == "edgekit.errors":
            assert f"{error.exit_code} " in told, error.__name__
