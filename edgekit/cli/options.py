"""Options that several commands share: the fleet folder, --json, the passphrase."""

import json
import os
import warnings
from collections.abc import Callable
from getpass import GetPassWarning
from pathlib import Path
from typing import Any, TypeVar

import click

from edgekit.errors import ConfigError

Command = TypeVar("Command", bound=Callable[..., Any])

PASSPHRASE_VARIABLE = "EDGEKIT_PASSPHRASE"  # noqa: S105 - a name, not a secret


def fleet_option(function: Command) -> Command:
    """Add --fleet DIR."""
    return click.option(
        "--fleet",
        "fleet_folder",
        type=click.Path(path_type=Path, file_okay=False),
        default=".",
        envvar="EDGEKIT_FLEET",
        show_default=True,
        show_envvar=True,
        help="The fleet folder that `edgekit init` made.",
    )(function)


def json_option(function: Command) -> Command:
    """Add --json."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print JSON for a script, not a table."
    )(function)


def keys_option(function: Command) -> Command:
    """Add --keys FOLDER, repeatable."""
    return click.option(
        "--keys",
        "elsewhere",
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        multiple=True,
        help="Another folder with key files, say on a stick. May be repeated.",
    )(function)


def passphrase_option(function: Command) -> Command:
    """Add --passphrase-file FILE."""
    return click.option(
        "--passphrase-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="First line unlocks the keys; else EDGEKIT_PASSPHRASE, else a prompt.",
    )(function)


def read_passphrase(passphrase_file: Path | None, *, confirm: bool = False) -> str:
    """Return the passphrase from the file, the environment, or a prompt, in this order."""
    if passphrase_file is not None:
        try:
            first = passphrase_file.read_text("utf-8").splitlines()[:1]
        except OSError as error:
            raise ConfigError(f"{passphrase_file}: {error.strerror}") from error
        if not first or not first[0]:
            raise ConfigError(
                f"{passphrase_file}: a passphrase in the first line is expected"
            )
        return first[0]
    from_environment = os.environ.get(PASSPHRASE_VARIABLE)
    if from_environment:
        return from_environment
    return _asked(confirm=confirm)


def _asked(*, confirm: bool) -> str:
    """Ask on the terminal; without one nobody would answer, or the passphrase be shown."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", GetPassWarning)
        try:
            return str(
                click.prompt(
                    "Passphrase", hide_input=True, confirmation_prompt=confirm, err=True
                )
            )
        except GetPassWarning:
            raise ConfigError(
                "no passphrase, and no terminal to ask on:"
                f" {PASSPHRASE_VARIABLE} or --passphrase-file is expected"
            ) from None


def print_json(value: object) -> None:
    """Print one JSON document on standard output."""
    click.echo(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))
