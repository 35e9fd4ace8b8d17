"""`edgekit broker-config`: the broker's files for a fleet. Options, one call, output."""

from pathlib import Path

import click

from edgekit.cli.options import fleet_option, json_option, print_json
from edgekit.cli.talk import say
from edgekit.fleet.access import folder
from edgekit.fleet.access.folder import Access, Clients
from edgekit.fleet.folder import FleetFolder

_DEFAULTS = Access(fleet="", devices=(), hosts=())


@click.group(name="broker-config")
def command() -> None:
    """Write a broker's settings, access rules, certificates or passwords for a fleet.

    The broker is trusted with delivery only. These files see to it that one device
    cannot speak for another, nor read what another reports.
    """


@command.command(name="mosquitto")
@click.option(
    "--host",
    "hosts",
    multiple=True,
    required=True,
    metavar="NAME",
    help="A name or address that devices reach the broker by. Repeatable.",
)
@click.option(
    "--clients",
    type=click.Choice([one.value for one in Clients]),
    default=Clients.CERTIFICATES.value,
    show_default=True,
    help="How devices prove who they are.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder to write, or to renew.  [default: access in the fleet folder]",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    default=8883,
    show_default=True,
    help="The port it listens on.",
)
@click.option(
    "--installed-in",
    default=_DEFAULTS.installed_in,
    show_default=True,
    metavar="DIR",
    help="On the broker's machine: where the folder broker/ will lie.",
)
@click.option(
    "--data",
    default=_DEFAULTS.data,
    show_default=True,
    metavar="DIR",
    help="On the broker's machine: where mosquitto keeps retained messages.",
)
@fleet_option
@json_option
def mosquitto(  # noqa: PLR0913 - one argument for each option
    *,
    hosts: tuple[str, ...],
    clients: str,
    out: Path | None,
    port: int,
    installed_in: str,
    data: str,
    fleet_folder: Path,
    as_json: bool,
) -> None:
    """Write what mosquitto 2.0 or newer needs to serve this fleet over TLS.

    Run it again after a device was enrolled: keys and passwords stay, the new device
    gets its own, and one that is no longer enrolled loses its rights.

    \b
    Example:
      edgekit broker-config mosquitto --host broker.example.org
    """  # noqa: D301 - click's mark for lines that stay as they are
    fleet = FleetFolder(path=fleet_folder)
    with fleet.book() as book:
        devices = [device.name for device in book.devices()]
    access = Access(
        fleet=fleet.config().fleet,
        devices=devices,
        hosts=hosts,
        clients=Clients(clients),
        port=port,
        installed_in=installed_in.rstrip("/"),
        data=data.rstrip("/"),
    )
    place = out or fleet_folder / "access"
    folder.write(place, access)
    if not devices:
        say("note: no device is enrolled yet; run this again after `edgekit device enroll`")
    if as_json:
        print_json({"folder": str(place), "users": list(folder.users(access))})
        return
    click.echo(f"{place}/broker: copy it to {access.installed_in} on {hosts[0]}")
    click.echo(
        f"{place}/clients: a folder for the operator and each of {len(devices)} devices"
    )
    click.echo(f"{place}/authority: signs their certificates; keep it here, and secret")
