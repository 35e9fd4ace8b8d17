"""`edgekit publish`: offer a release that several people have signed. One call, output."""

from pathlib import Path

import click

from edgekit.cli import proposals
from edgekit.cli.key_changes import Place, publish_keys
from edgekit.cli.options import (
    fleet_option,
    json_option,
    keys_option,
    passphrase_option,
    print_json,
    read_passphrase,
)
from edgekit.cli.talk import now, plain
from edgekit.cli.workplace import open_workplace
from edgekit.fleet.folder import FleetFolder
from edgekit.trust.key_proposal import KeyProposal


@click.command(name="publish")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@keys_option
@fleet_option
@passphrase_option
@json_option
def command(
    *,
    file: Path,
    elsewhere: tuple[Path, ...],
    fleet_folder: Path,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Offer a pending release or change of keys, once everybody has signed it.

    FILE is what `edgekit release` wrote, or `edgekit keys` with --propose, and others
    signed with `edgekit sign`. Only the online keys of the fleet are needed. It is refused
    when signatures are missing, or when the fleet has changed since it was proposed. What
    was cut short is finished by the same command.

    \b
    Example:
      edgekit publish fleet/pending/wine-7-production.json
    """  # noqa: D301 - click's mark for lines that stay as they are
    proposal = proposals.read(file)
    if isinstance(proposal, KeyProposal):
        place = Place(
            fleet=fleet_folder, elsewhere=elsewhere, passphrase_file=passphrase_file
        )
        publish_keys(proposal, place, as_json=as_json)
        return
    folder = FleetFolder(path=fleet_folder)
    passphrase = read_passphrase(passphrase_file)
    with open_workplace(folder, passphrase=passphrase, elsewhere=elsewhere) as workplace:
        entries = workplace.publish(proposal, now())
    if as_json:
        print_json(
            [
                {
                    "model": entry.model,
                    "stage": entry.stage,
                    "version": entry.version,
                    "rollout": entry.rollout,
                    "signers": {role: list(ids) for role, ids in entry.signers.items()},
                }
                for entry in entries
            ]
        )
        return
    for entry in entries:
        told = f"{entry.model} {entry.version} released to {entry.stage}"
        click.echo(plain(f"{told}, rollout {entry.rollout}"))
    if not entries:
        click.echo("published; no stage runs anything else than before")
