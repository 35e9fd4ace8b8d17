"""The edgekit command: one file per subcommand, all listed here. Knows no details."""

import click

from edgekit import __version__
from edgekit.cli import (
    boards,
    broker_config,
    convert,
    depot,
    device,
    fleet,
    init,
    inspect,
    keys,
    publish,
    release,
    rollback,
    sign,
    trace,
    withdraw,
)
from edgekit.cli.failure import FailingGroup


@click.group(cls=FailingGroup)
@click.version_option(__version__, prog_name="edgekit")
def main() -> None:
    """Get trained models onto small devices, signed, and keep a fleet up to date.

    Data goes to standard output, talk to standard error. Exit codes: 0 done,
    1 interrupted, 2 usage, 3 configuration, 4 registry, 5 conversion, 6 board, 7 trust,
    8 transport, 9 schema, 10 disk, 11 admission, 12 proof, 13 drift (fleet drift alone).
    """


main.add_command(boards.command)
main.add_command(broker_config.command)
main.add_command(convert.command)
main.add_command(depot.command)
main.add_command(device.command)
main.add_command(fleet.command)
main.add_command(init.command)
main.add_command(inspect.command)
main.add_command(keys.command)
main.add_command(publish.command)
main.add_command(release.command)
main.add_command(rollback.command)
main.add_command(sign.command)
main.add_command(trace.command)
main.add_command(withdraw.command)
