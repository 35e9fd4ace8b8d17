"""`edgekit renew`: sign what would expire. Options, one call, output."""

from pathlib import Path

import click

from edgekit.cli.options import (
    fleet_option,
    json_option,
    passphrase_option,
    print_json,
    read_passphrase,
)
from edgekit.cli.talk import now, show_table
from edgekit.fleet.folder import FleetFolder
from edgekit.trust.repository import ONLINE_ROLES


@click.command(name="renew")
@click.option(
    "--role",
    "roles",
    multiple=True,
    default=ONLINE_ROLES,
    show_default=True,
    help="A role to sign anew: root, targets, models, stage-NAME, … Repeatable.",
)
@fleet_option
@passphrase_option
@json_option
def command(
    *,
    roles: tuple[str, ...],
    fleet_folder: Path,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Sign metadata anew before it expires, with nothing changed in it.

    A timestamp is short-lived on purpose: it is how a device notices that somebody keeps
    news from it. Run this from a timer (cron, systemd), more often than it expires.
    """
    folder = FleetFolder(path=fleet_folder)
    repository = folder.repository()
    signers = folder.keys().signers(read_passphrase(passphrase_file))
    repository.renew(signers=signers, now=now(), roles=roles)
    states = list(repository.roles())
    if as_json:
        print_json({state.role: state.expires.isoformat() for state in states})
        return
    show_table(
        ("ROLE", "VERSION", "EXPIRES"),
        [
            (state.role, str(state.version), f"{state.expires:%Y-%m-%d %H:%M} UTC")
            for state in states
        ],
    )
