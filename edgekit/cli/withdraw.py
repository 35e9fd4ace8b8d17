"""`edgekit withdraw`: take back what models said of a version. One call, output."""

from pathlib import Path

import click

from edgekit.cli import pending
from edgekit.cli.options import (
    fleet_option,
    json_option,
    keys_option,
    passphrase_option,
    print_json,
    read_passphrase,
)
from edgekit.cli.talk import now
from edgekit.cli.workplace import open_workplace
from edgekit.fleet.folder import FleetFolder
from edgekit.release.withdrawal import withdraw
from edgekit.trust.proposal import Proposal


@click.command(name="withdraw")
@click.argument("model")
@click.argument("versions", nargs=-1, required=True, metavar="VERSION...")
@keys_option
@fleet_option
@passphrase_option
@json_option
def command(  # noqa: PLR0913 - one argument for each option
    *,
    model: str,
    versions: tuple[str, ...],
    elsewhere: tuple[Path, ...],
    fleet_folder: Path,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Take back versions of MODEL: no stage can run them, nor go back to them.

    For a version that must never run again, and to make room: the models role lists about
    900 versions. One that a stage runs is not withdrawn; release another or roll back
    first. Bundles stay in the repository folder. Where models needs several signatures the
    change is pending, as with `edgekit release`.

    \b
    Example:
      edgekit withdraw wine 3 4
    """  # noqa: D301 - click's mark for lines that stay as they are
    folder = FleetFolder(path=fleet_folder)
    passphrase = read_passphrase(passphrase_file)
    with open_workplace(folder, passphrase=passphrase, elsewhere=elsewhere) as workplace:
        proposal = withdraw(model=model, versions=versions, workplace=workplace, now=now())
    if isinstance(proposal, Proposal):
        pending.pend(proposal, fleet_folder, as_json=as_json)
    elif as_json:
        print_json({"model": model, "withdrawn": list(versions)})
    else:
        for version in versions:
            click.echo(f"{model} {version} withdrawn")
