"""`edgekit fleet`: who runs what, since when. Options, calls, output."""

import functools
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edgekit.cli import drift
from edgekit.cli.options import fleet_option, json_option, print_json
from edgekit.cli.talk import account, now, say, show_table
from edgekit.errors import TransportError
from edgekit.figures import Figures
from edgekit.fleet.book import STRANGERS, Book
from edgekit.fleet.claim import Claim, Said
from edgekit.fleet.folder import FleetFolder
from edgekit.fleet.status import Row, rows
from edgekit.fleet.watch import Listener
from edgekit.mqtt import MqttTransport
from edgekit.mqtt_waiting import connect_when_up
from edgekit.wire import Topics

_WHERE_THERE = ("RECEIPT", "HOOK", "REFUSED", "PROOF")  # a column only with something in it
_HEADINGS = (
    "DEVICE",
    "BOARD",
    "ONLINE",
    "MODEL",
    "STAGE",
    "VERSION",
    "FLAVOR",
    "SINCE",
    "PHASE",
    "REQUESTS",
    "P95 MS",
    *_WHERE_THERE,
    "TROUBLE",
)
_LIVE_HEADINGS = (
    "DEVICE",
    "ON",
    "MODEL",
    "VERSION",
    "FLAVOR",
    "SINCE UTC",
    "PHASE",
    "REQUESTS",
    "P95 MS",
    "TROUBLE",
)
_ONLINE = {True: "yes", False: "no", None: ""}
_REDRAW_S = 0.5


@click.group(name="fleet")
def command() -> None:
    """See who runs what.

    Devices report to the broker, which keeps each one's last word; these commands read
    it there and write it into fleet.db.
    """


@command.command(name="status")
@click.option("--offline", is_flag=True, help="Only what fleet.db knows; ask no broker.")
@click.option(
    "--verbose", is_flag=True, help="Also what the last proof measured on the device."
)
@fleet_option
@json_option
def status(*, offline: bool, verbose: bool, fleet_folder: Path, as_json: bool) -> None:
    """Show every device: what it serves of each model, since when, and its trouble.

    Times are UTC. REQUESTS and P95 are of the last telemetry window that `edgekit fleet
    watch` heard: brokers do not keep those. An empty ONLINE means that the device was
    never heard. RECEIPT tells whether the device has signed what it reports, with the key
    that was pinned when it was enrolled. RECEIPT, HOOK and REFUSED are left out where there
    is nothing to tell; --json has everything. Notes tell what could not be used, and what
    devices refused before any model saw it: in all, by reason.
    """
    folder = FleetFolder(path=fleet_folder)
    with folder.book() as book:
        if not offline:
            with _listener(folder, book) as listener:
                listener.until_quiet()
        found = rows(book.known())
        if as_json:
            print_json([asdict(row) for row in found])
        else:
            _show(found, verbose=verbose)
        for sentence in (*_garbage(book), *_refusals(found), *_losses(book)):
            say(sentence)


@command.command(name="watch")
@click.option(
    "--take-over",
    is_flag=True,
    help="Have this fleet.db take the telemetry from now on, though another one does.",
)
@fleet_option
def watch(*, take_over: bool, fleet_folder: Path) -> None:
    """Show the same table live, until interrupted (Ctrl-C).

    A broker that is not there yet is tried again and again. Telemetry goes into fleet.db,
    and devices forget what is there: one fleet has one such book. Where another one, or an
    older copy of it, has taken this fleet's telemetry before, this command ends with exit
    code 3.
    """
    folder = FleetFolder(path=fleet_folder)
    with folder.book() as book, _listener(folder, book, patient=True) as listener:
        claiming = replace(listener, claim=_claim(book, take_over=take_over))
        console = Console()
        drawn_at = 0.0
        with Live(console=console, auto_refresh=False) as live:
            try:
                for _news in claiming.follow(pause_s=_REDRAW_S):
                    if time.monotonic() - drawn_at >= _REDRAW_S:
                        live.update(_table(rows(book.known())), refresh=True)
                        drawn_at = time.monotonic()
            except KeyboardInterrupt:
                return


def _claim(book: Book, *, take_over: bool) -> Claim:
    who, at = f"{account()}@{socket.gethostname()}", now().isoformat()
    said = Said(token=book.claim(), who=who, at=at, take_over=take_over)
    return Claim(said, ours=book.claimed, now_s=time.monotonic())


@contextmanager
def _listener(
    folder: FleetFolder, book: Book, *, patient: bool = False
) -> Iterator[Listener]:
    config = folder.config()
    client_id = f"edgekit-operator-{uuid4().hex[:8]}"
    connect = functools.partial(MqttTransport.connect, config.broker, client_id=client_id)
    try:
        transport = connect_when_up(connect, tell=say) if patient else connect()
    except TransportError as error:
        known = "`edgekit fleet status --offline` shows what was heard last"
        raise TransportError(f"{error}; {known}") from error
    try:
        yield Listener(
            transport=transport,
            topics=Topics(fleet=config.fleet),
            book=book,
            now=lambda: datetime.now(UTC),
            monotonic=time.monotonic,
        )
    finally:
        transport.close()


def _show(found: tuple[Row, ...], *, verbose: bool) -> None:
    cells = [_cells(row) for row in found]
    left_out = {
        at
        for at, heading in enumerate(_HEADINGS)
        if (heading in _WHERE_THERE and not any(row[at] for row in cells))
        or (heading == "PROOF" and not verbose)
    }

    def kept(row: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(cell for at, cell in enumerate(row) if at not in left_out)

    show_table(kept(_HEADINGS), [kept(row) for row in cells])


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.device,
        row.board,
        _ONLINE[row.online],
        row.model,
        row.stage,
        row.version,
        row.flavor,
        row.since,
        row.phase,
        "" if row.requests is None else str(row.requests),
        f"{row.p95_us / 1000:.2f}" if row.requests and row.p95_us is not None else "",
        row.receipt.sentence,
        f"{row.hook.hook}: {row.hook.answer}" if row.hook else "",
        "; ".join(f"{one.flavor}: {one.reason}" for one in row.refused),
        _proof(row.proof) if row.proof else "",
        row.trouble,
    )


def _proof(proof: Figures) -> str:
    """Return what a proof measured, in a few words."""
    row_ms, peak_mb = proof.one_row_p95_us / 1000, proof.peak_rss_bytes / 1e6
    told = f"{proof.rows} golden rows, row {row_ms:.2f} ms, peak {peak_mb:.0f} MB"
    shadow = proof.shadow
    return told if shadow is None else f"{told}, {shadow.agreed} of {shadow.rows} agree"


def _table(found: tuple[Row, ...]) -> Table:
    """Return the live table: without the board, and with shorter times."""
    table = Table(box=None, pad_edge=False)
    for heading in _LIVE_HEADINGS:
        last = heading == _LIVE_HEADINGS[-1]
        table.add_column(heading, no_wrap=not last, overflow="fold" if last else "ellipsis")
    for row in found:
        style = "red" if row.trouble else "dim" if not row.online else ""
        table.add_row(*(Text(cell or "-") for cell in _live_cells(row)), style=style)
    return table


def _live_cells(row: Row) -> tuple[str, ...]:
    cells = dict(zip(_HEADINGS, _cells(row), strict=True))
    return (
        row.device,
        cells["ONLINE"],
        f"{row.model}@{row.stage}",
        row.version,
        row.flavor,
        row.since[5:16].replace("T", " "),
        row.phase,
        cells["REQUESTS"],
        cells["P95 MS"],
        row.trouble,
    )


def _garbage(book: Book) -> Iterator[str]:
    for one in book.garbage():
        who = "devices never enrolled" if one.device == STRANGERS else one.device
        yield f"note: {one.messages} unusable message(s) from {who}; the last: {one.reason}"


def _refusals(found: tuple[Row, ...]) -> Iterator[str]:
    for device, refusals in {row.device: row.refusals for row in found}.items():
        if refusals:
            told = ", ".join(f"{reason} {count}" for reason, count in refusals.items())
            yield f"note: {device} refused before any model saw it: {told}"


def _losses(book: Book) -> Iterator[str]:
    for one in book.losses():
        lost = (
            f"{number} {why}"
            for number, why in (
                (one.dropped, "for want of room"),
                (one.corrupt, "damaged on its disk"),
                (one.refused, "that this fleet refused"),
            )
            if number
        )
        if told := ", ".join(lost):
            yield f"note: {one.device} lost telemetry windows: {told}"
        if one.unread:
            yield (
                f"note: {one.unread} telemetry window(s) of {one.device} wait in fleet.db"
                " for a newer edgekit; update it here, and they are counted"
            )


command.add_command(drift.command)
