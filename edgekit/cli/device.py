"""`edgekit device`: enroll devices and list them. Options, calls, output."""

from pathlib import Path

import click

from edgekit import atomic
from edgekit.address import BrokerAddress
from edgekit.cli.options import fleet_option, json_option, print_json
from edgekit.cli.talk import account, now, say, show_table
from edgekit.errors import ConfigError, StoreError
from edgekit.fleet.book import Device
from edgekit.fleet.config import FleetConfig
from edgekit.fleet.enroll import (
    DEFAULT_RUNTIME_DIR,
    DEFAULT_STATE_DIR,
    ENFORCEMENTS,
    STALENESSES,
    Provision,
)
from edgekit.fleet.folder import FleetFolder
from edgekit.trust import receipt
from edgekit.trust.repository import Repository

_SECRET = 0o600
_ON_DEVICE = ("username", "password_file", "ca_file", "cert_file", "key_file")


@click.group(name="device")
def command() -> None:
    """Enroll devices in the fleet, and list them.

    A device is enrolled with one file, which tells it its name, its board, the broker,
    the models to follow and the root of trust.
    """


@command.command(name="enroll")
@click.argument("name")
@click.option(
    "--board",
    required=True,
    help="What it is: a name of `edgekit boards list`, or a .toml of your own.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="MODEL[:STAGE]",
    help="A registered model to follow, in a stage (else the first of fleet.toml)."
    " Repeatable.  [default: every model of fleet.toml and every released one]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write the file.  [default: devices/NAME.toml in the fleet folder]",
)
@click.option(
    "--state-dir",
    default=DEFAULT_STATE_DIR,
    show_default=True,
    metavar="DIR",
    help="On the device: where models are kept.",
)
@click.option(
    "--runtime-dir",
    default=DEFAULT_RUNTIME_DIR,
    show_default=True,
    metavar="DIR",
    help="On the device: where the socket for predictions is.",
)
@click.option(
    "--enforcement",
    type=click.Choice(ENFORCEMENTS),
    default=ENFORCEMENTS[0],
    show_default=True,
    help="How rows are checked: strict (nothing is lost), mlflow (as its server), off.",
)
@click.option(
    "--telemetry-interval",
    "telemetry_interval_s",
    type=click.IntRange(min=1, max=86_400),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How often it sends its metrics.",
)
@click.option(
    "--staleness",
    type=click.Choice(STALENESSES),
    default=STALENESSES[0],
    show_default=True,
    help="What it does when signatures have expired, or its clock says so: refuse news,"
    " accept news by signed times alone, or stop answering. It serves on in the first two.",
)
@click.option(
    "--broker", metavar="URL", help="The broker as this device sees it.  [default: fleet's]"
)
@click.option("--username", help="On the broker.  [default: none]")
@click.option("--password-file", metavar="PATH", help="On the device: the password.")
@click.option("--ca-file", metavar="PATH", help="On the device: who signs the broker.")
@click.option("--cert-file", metavar="PATH", help="On the device: its own certificate.")
@click.option("--key-file", metavar="PATH", help="On the device: the certificate's key.")
@click.option("--again", is_flag=True, help="Enroll a known device anew.")
@fleet_option
@json_option
def enroll(  # noqa: PLR0913 - one argument for each option
    *,
    name: str,
    board: str,
    models: tuple[str, ...],
    out: Path | None,
    state_dir: str,
    runtime_dir: str,
    enforcement: str,
    telemetry_interval_s: int,
    staleness: str,
    broker: str | None,
    again: bool,
    fleet_folder: Path,
    as_json: bool,
    **on_device: str | None,
) -> None:
    """Enroll a device: write its provisioning file and the key that it signs with.

    Copy the file to the device as /etc/edgekit/agent.toml; `edgekit-agent run` reads it.
    It holds no secret: passwords and keys stay in files that it names. The key beside it,
    NAME.receipt.key, goes into the same folder, for the agent alone; then delete it here.
    With it the device signs what it serves; fleet.db keeps its public half, and
    --again makes another, after which the old one counts no more.

    \b
    Example:
      edgekit device enroll pi-7 --board raspberry-pi-4 --model wine:production
    """  # noqa: D301 - click's mark for lines that stay as they are
    folder = FleetFolder(path=fleet_folder)
    config = folder.config()
    repository = folder.repository()
    path = out or folder.provisioning_file(name)
    key_path = path.with_name(folder.receipt_key_file(name).name)
    secret, public = receipt.generate()
    table = {"url": broker or config.broker.url, **_given(on_device)}
    provision = Provision(
        fleet=config.fleet,
        device=name,
        board=folder.adopt_board(board),
        broker=BrokerAddress.from_table(table, subject="broker"),
        root=repository.trusted_root(),
        models=_models(config, repository, models),
        state_dir=state_dir,
        runtime_dir=runtime_dir,
        enforcement=enforcement,
        telemetry_interval_s=telemetry_interval_s,
        staleness=staleness,
        receipt_key_file=key_path.name,
    )
    device = Device(
        name=name,
        board=provision.board.name,
        models=tuple(provision.models),
        enrolled_by=account(),
        enrolled_at=now(),
        receipt_key=public,
    )
    with folder.book() as book:
        (book.enroll_again if again else book.enroll)(device)
    _write(key_path, secret, mode=_SECRET)
    _write(path, provision.to_toml().encode())
    if config.broker.username and not provision.broker.username:
        say("note: the broker asks you for a user name; give the device one: --username")
    if as_json:
        print_json({**_document(device), "file": str(path), "key": str(key_path)})
        return
    click.echo(f"{name} enrolled as {device.board}, follows {_followed(device)}")
    click.echo(f"copy {path} to it as /etc/edgekit/agent.toml")
    click.echo(f"copy {key_path} beside it, for the agent alone, and delete it here")


@command.command(name="list")
@fleet_option
@json_option
def list_devices(*, fleet_folder: Path, as_json: bool) -> None:
    """List the enrolled devices. What they run, `edgekit fleet status` tells."""
    with FleetFolder(path=fleet_folder).book() as book:
        devices = book.devices()
    if as_json:
        print_json([_document(device) for device in devices])
        return
    show_table(
        ("DEVICE", "BOARD", "FOLLOWS", "ENROLLED", "BY"),
        [
            (
                device.name,
                device.board,
                _followed(device),
                f"{device.enrolled_at:%Y-%m-%d %H:%M}",
                device.enrolled_by,
            )
            for device in devices
        ],
    )


def _given(options: dict[str, str | None]) -> dict[str, str]:
    return {key: value for key in _ON_DEVICE if (value := options[key]) is not None}


def _models(
    config: FleetConfig, repository: Repository, asked: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    first = next(iter(config.stages))
    if not asked:
        released = {pointer.model for pointer in repository.pointers()}
        return tuple((name, first) for name in sorted({*config.models, *released}))
    pairs = []
    for text in asked:
        model, _, stage = text.partition(":")  # MLflow allows no colon in a name
        if stage and stage not in config.stages:
            raise ConfigError(
                f"--model {text}: no stage {stage} in this fleet; it has"
                f" {', '.join(config.stages)}"
            )
        pairs.append((model, stage or first))
    return tuple(pairs)


def _write(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{path.parent}: {error.strerror}") from error
    atomic.write_bytes(path, content, mode=mode)


def _followed(device: Device) -> str:
    return ", ".join(f"{model}:{stage}" for model, stage in device.models)


def _document(device: Device) -> dict[str, object]:
    return {
        "device": device.name,
        "board": device.board,
        "models": [{"model": model, "stage": stage} for model, stage in device.models],
        "enrolled_at": device.enrolled_at.isoformat(),
        "enrolled_by": device.enrolled_by,
    }
