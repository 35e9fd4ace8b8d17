"""`edgekit depot`: serve a fleet's repository over MQTT. Options, one call, log."""

import functools
import logging
import secrets
import signal
import threading
from dataclasses import replace
from pathlib import Path
from types import FrameType

import click

from edgekit.cli.options import fleet_option
from edgekit.cli.talk import say, size
from edgekit.depot.server import Depot, DepotOptions
from edgekit.errors import ConfigError
from edgekit.fleet import config as fleet_config
from edgekit.mqtt import LastWill, MqttTransport
from edgekit.mqtt_waiting import connect_when_up
from edgekit.statement import slug
from edgekit.wire import Topics

logger = logging.getLogger(__name__)

_KIB = 1024


@click.command(name="depot")
@fleet_option
@click.option("--broker", metavar="URL", help="Instead of the broker in fleet.toml.")
@click.option(
    "--max-rate",
    type=click.IntRange(min=1),
    metavar="KIB_PER_S",
    help="Most bundle data to send, in KiB a second.  [default: no limit]",
)
@click.option(
    "--max-rate-each",
    type=click.IntRange(min=1),
    metavar="KIB_PER_S",
    help="Most data to send of each bundle, in KiB a second.  [default: no limit]",
)
@click.option("--verbose", is_flag=True, help="Log requests that change nothing, too.")
def command(
    fleet_folder: Path,
    broker: str | None,
    max_rate: int | None,
    max_rate_each: int | None,
    *,
    verbose: bool,
) -> None:
    """Serve the fleet's repository to its devices, until stopped.

    Metadata are kept on the broker as retained messages; bundles are sent in chunks to
    all devices that want them at once. What `edgekit release` writes is picked up within
    a second. The depot needs repository/ and fleet.toml, and no keys. Several may serve
    one broker, each with the same repository/ or a copy: they share the bundles.

    A broker that is not there yet is tried again and again; one that refuses the
    credentials or the certificate ends the depot, with exit code 8.

    \b
    Example:
      edgekit depot --fleet ./fleet --broker mqtt://broker.local:1883
    """  # noqa: D301 - click's mark for lines that stay as they are
    _log_to_stderr(verbose=verbose)
    config = fleet_config.load(fleet_folder)
    repository = fleet_folder / "repository"
    if not repository.is_dir():
        raise ConfigError(f"{repository}: no such folder; `edgekit init` makes one")
    address = replace(config.broker, url=broker) if broker else config.broker
    stop = _stop_on_signals()
    name, topics = secrets.token_hex(4), Topics(fleet=config.fleet)
    connect = functools.partial(
        MqttTransport.connect,
        address,
        client_id=f"edgekit-depot-{slug(config.fleet)}-{name}",
        will=LastWill(topic=topics.depot(name), payload=b""),
    )
    wait = functools.partial(_wait_unless_stopped, stop)
    transport = connect_when_up(connect, tell=logger.warning, wait=wait)
    try:
        options = DepotOptions(
            bytes_per_s=_bytes(max_rate),
            topic_bytes_per_s=_bytes(max_rate_each),
            name=name,
        )
        depot = Depot(transport, topics, repository, options)
        say(f"depot of fleet {config.fleet}: {repository} over {address.url}")
        depot.serve(stop)
        depot.leave()
    finally:
        transport.close()
    say(f"stopped; {depot.served.chunks} chunks sent, {size(depot.served.chunk_bytes)}")


def _bytes(rate_kib: int | None) -> float | None:
    return None if rate_kib is None else float(rate_kib * _KIB)


def _wait_unless_stopped(stop: threading.Event, wait_s: float) -> None:
    if stop.wait(wait_s):
        raise click.exceptions.Exit(0)


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return stop


def _log_to_stderr(*, verbose: bool) -> None:
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
    )
