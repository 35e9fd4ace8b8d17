"""Turn edgekit's errors into one line on standard error and an exit code."""

import sys

import click

from edgekit.cli.talk import plain
from edgekit.errors import EdgekitError


class FailingGroup(click.Group):
    """A group whose commands may raise EdgekitError."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; on EdgekitError say it and exit with its code."""
        try:
            return super().invoke(ctx)
        except EdgekitError as error:
            for line in f"error: {error}".split("\n"):
                click.echo(plain(line), err=True)
            sys.exit(error.exit_code)
