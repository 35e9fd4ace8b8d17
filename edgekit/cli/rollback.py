"""`edgekit rollback`: let a stage run what it ran before. Options, one call, output."""

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
from edgekit.release.rollback import rollback
from edgekit.trust.proposal import Proposal


@click.command(name="rollback")
@click.argument("model")
@click.option("--stage", required=True, help="The stage that goes back.")
@click.option(
    "--to",
    "version",
    metavar="VERSION",
    help="A version this stage ran once.  [default: what ran before]",
)
@keys_option
@fleet_option
@passphrase_option
@json_option
def command(  # noqa: PLR0913 - one argument for each option
    *,
    model: str,
    stage: str,
    version: str | None,
    elsewhere: tuple[Path, ...],
    fleet_folder: Path,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Let a stage run what it ran before, as the ledger has it.

    MODEL is the registered model's name. Nothing is converted and MLflow is not asked:
    the old bundles are signed already. Only the stage's key is needed. Repeated, it goes
    further back. Where a stage needs several signatures the change is pending, as with
    `edgekit release`. The MLflow stage or alias stays where it is; move it too, or the next
    `edgekit release` of it comes to the version you went back from.

    \b
    Example:
      edgekit rollback wine --stage production
    """  # noqa: D301 - click's mark for lines that stay as they are
    folder = FleetFolder(path=fleet_folder)
    passphrase = read_passphrase(passphrase_file)
    with open_workplace(folder, passphrase=passphrase, elsewhere=elsewhere) as workplace:
        entry = rollback(
            model=model, stage=stage, version=version, workplace=workplace, now=now()
        )
    if isinstance(entry, Proposal):
        pending.pend(entry, fleet_folder, as_json=as_json)
        return
    if as_json:
        print_json(
            {
                "model": entry.model,
                "stage": entry.stage,
                "version": entry.version,
                "rollout": entry.rollout,
                "bundles": dict(entry.bundles),
            }
        )
        return
    click.echo(
        f"{entry.model} in {entry.stage} goes back to version {entry.version},"
        f" rollout {entry.rollout}"
    )
