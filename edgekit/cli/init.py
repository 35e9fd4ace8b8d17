"""`edgekit init`: found a fleet. Options, one call, and what to do with the keys."""

from pathlib import Path

import click

from edgekit.address import BrokerAddress
from edgekit.cli.options import (
    json_option,
    passphrase_option,
    print_json,
    read_passphrase,
)
from edgekit.cli.talk import now, say
from edgekit.errors import ConfigError
from edgekit.fleet.config import FleetConfig, RegistrySettings, ReleaseSettings
from edgekit.fleet.folder import FleetFolder
from edgekit.fleet.founding import RootPolicy, default_selector, found, refuse_occupied
from edgekit.trust.layout import ROOT, TARGETS


@click.command(name="init")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--name", help="The fleet's name in topics and metadata.  [default: FOLDER's]"
)
@click.option(
    "--stages",
    default="production,staging",
    show_default=True,
    metavar="A,B",
    help="The stages devices can follow; each gets a key of its own.",
)
@click.option(
    "--root-keys",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many root keys to make, for as many people.",
)
@click.option(
    "--root-threshold",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many of them must sign to change any key of the fleet.",
)
@click.option(
    "--broker",
    default="mqtt://localhost:1883",
    show_default=True,
    metavar="URL",
    help="The MQTT broker; mqtts:// for TLS. Passwords and certificates: see fleet.toml.",
)
@click.option(
    "--registry",
    metavar="URI",
    help="The MLflow tracking URI.  [default: what MLFLOW_TRACKING_URI says at each use]",
)
@click.option(
    "--board",
    "boards",
    multiple=True,
    metavar="BOARD",
    help="A board to make releases for, besides those of enrolled devices. Repeatable.",
)
@passphrase_option
@json_option
def command(  # noqa: PLR0913 - one argument for each option
    *,
    folder: Path,
    name: str | None,
    stages: str,
    root_keys: int,
    root_threshold: int,
    broker: str,
    registry: str | None,
    boards: tuple[str, ...],
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Found a fleet in FOLDER: root of trust, encrypted keys, repository, fleet.toml.

    FOLDER must be new or empty. The passphrase encrypts every key file; afterwards the
    command says which of them to take offline and how. Stages named like MLflow's
    (production, staging) follow those; any other follows the alias of its name. Change
    that in fleet.toml.

    \b
    Example:
      edgekit init ./fleet --stages production,canary --root-keys 3 --root-threshold 2
    """  # noqa: D301 - click's mark for lines that stay as they are
    policy = RootPolicy(keys=root_keys, threshold=root_threshold)
    named = [stage.strip() for stage in stages.split(",") if stage.strip()]
    if not named or len(set(named)) < len(named):
        raise ConfigError(f"stages {stages!r}: different names are expected")
    fleet = FleetConfig(
        fleet=name or folder.resolve().name,
        broker=BrokerAddress(url=broker),
        stages={stage: default_selector(stage) for stage in named},
        registry=RegistrySettings(uri=registry),
        release=ReleaseSettings(boards=boards),
    )
    made = FleetFolder(path=folder)
    for board in boards:
        made.board(board)
    refuse_occupied(folder)
    passphrase = read_passphrase(passphrase_file, confirm=True)
    say("making keys")
    found(folder, fleet, root=policy, passphrase=passphrase, now=now())
    if as_json:
        print_json(_document(made, fleet))
    else:
        _tell(made, fleet, root_threshold)


def _document(made: FleetFolder, fleet: FleetConfig) -> dict[str, object]:
    return {
        "folder": str(made.path),
        "fleet": fleet.fleet,
        "stages": list(fleet.stages),
        "keys": [
            {"role": file.role, "keyid": file.key.keyid, "file": str(file.path)}
            for file in made.keys().files()
        ],
    }


def _tell(made: FleetFolder, fleet: FleetConfig, root_threshold: int) -> None:
    files = made.keys().files()
    offline = [file.path for file in files if file.role in (ROOT, TARGETS)]
    click.echo(f"founded the fleet {fleet.fleet} in {made.path}\n")
    click.echo("Take these keys offline now; no command of every day needs them:")
    for path in offline:
        click.echo(f"  {path}")
    click.echo(
        "Copy each to two media, then delete it here. Changing any key takes"
        f" {root_threshold} root key(s):\nwithout them a lost or stolen key cannot be"
        " replaced.\n"
    )
    click.echo(
        "The models and stage keys sign releases: keep them where releases are made, a\n"
        "stage's with whoever may approve it. snapshot and timestamp stay here.\n"
    )
    click.echo(
        f"Next: edgekit device enroll NAME --board BOARD --model MODEL --fleet {made.path}"
    )
