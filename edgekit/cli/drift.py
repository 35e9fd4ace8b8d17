"""`edgekit fleet drift`: is the world still as in the reference data? Options, output."""

import re
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from edgekit import atomic
from edgekit.cli.options import fleet_option, json_option, print_json
from edgekit.cli.talk import now, say, show_table
from edgekit.errors import ConfigError
from edgekit.fleet.drifting import evidence, page, words
from edgekit.fleet.drifting.evidence import Subject
from edgekit.fleet.drifting.findings import ColumnFinding, Findings, find
from edgekit.fleet.folder import FleetFolder
from edgekit.telemetry.drift import Level

DRIFTED = 13  # the exit code
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_HEADINGS = (
    "COLUMN",
    "OF",
    "VERDICT",
    "PSI",
    "BY CHANCE",
    "ROWS",
    "MEDIAN",
    "MISSING",
    "REFUSED",
    "REMARK",
)


@click.command(name="drift")
@click.argument("model")
@click.option("--stage", help="Of which stage.  [default: the first of fleet.toml]")
@click.option("--device", help="Of this device alone.")
@click.option(
    "--since",
    default="7d",
    show_default=True,
    metavar="AGE",
    help="How far back: 90m, 12h, 7d, 4w, or a day such as 2026-03-01.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the findings as a page: bars of each column, and a line by days.",
)
@fleet_option
@json_option
def command(  # noqa: PLR0913 - one argument for each option
    *,
    model: str,
    stage: str | None,
    device: str | None,
    since: str,
    html: Path | None,
    fleet_folder: Path,
    as_json: bool,
) -> None:
    """Tell whether what devices see and answer differs from the reference data.

    MODEL is a released model. The histograms that devices counted of the version in its
    stage, and that `edgekit fleet watch` heard, are added up and compared with the signed
    reference profile in its bundle. PSI is the population stability index; BY CHANCE is
    what it exceeds once in 1,000 where nothing has changed. Shifted: PSI of 0.1 or more,
    drifted: 0.25 or more, and both more than by chance.

    \b
    Examples:
      edgekit fleet drift wine
      edgekit fleet drift wine --since 24h --html drift.html || ./retrain.sh

    Exit code 13: a column has drifted. 0: none has, or too few rows can tell.
    """  # noqa: D301 - click's mark for lines that stay as they are
    folder = FleetFolder(path=fleet_folder)
    stage = stage or next(iter(folder.config().stages))
    subject = evidence.subject(folder.repository(), model=model, stage=stage)
    begins = beginning(since, now())
    with folder.book() as book:
        enrolled = [one.name for one in book.devices()]
        if device is not None and device not in enrolled:
            raise ConfigError(f"device {device}: not enrolled")
        asked = enrolled if device is None else [device]
        seen = evidence.seen(book, subject.bundles, devices=asked, since=begins)
        found = find(subject.profile, seen)
    if html is not None:
        text = page.page(subject, found, since=begins, until=now())
        atomic.write_bytes(html, text.encode())
        say(f"written: {html}")
    if as_json:
        print_json(_document(subject, found, begins))
    else:
        _show(subject, found, begins)
    if found.level is Level.DRIFT:
        raise SystemExit(DRIFTED)


def beginning(since: str, until: datetime) -> datetime:
    """Return the moment that an age or a day means, or raise ConfigError."""
    age = re.fullmatch(r"([0-9]{1,6})([mhdw])", since)
    try:
        if age:
            return until - timedelta(**{_UNITS[age[2]]: int(age[1])})
        day = datetime.fromisoformat(since)
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            f"--since {since}: an age such as 90m, 12h, 7d or 4w, or a day such as"
            " 2026-03-01, is expected"
        ) from error
    return day if day.tzinfo else day.replace(tzinfo=UTC)


def _show(subject: Subject, found: Findings, since: datetime) -> None:
    click.echo(
        f"{subject.model} {subject.version} in {subject.stage} since"
        f" {since:%Y-%m-%d %H:%M} UTC: {words.counted(found)}\n"
    )
    if found.rows:
        show_table(_HEADINGS, [tuple(_cells(one)) for one in found.columns])
        click.echo("")
    for one in found.columns:
        if one.side == "output" and words.mix(one):
            click.echo(f"{one.name}: {words.mix(one)}")
    for outlier in found.outliers:
        click.echo(words.outlier(outlier))
    click.echo(words.lead(found))


def _cells(one: ColumnFinding) -> Iterator[str]:
    drift = one.drift
    yield one.name
    yield one.side
    yield words.VERDICTS[drift.level]
    yield f"{drift.psi:.3f}" if drift.rows else ""
    yield f"{drift.noise:.3f}" if drift.rows else ""
    yield f"{drift.rows:,}"
    yield words.moved(one.shift)
    yield words.missing(one)
    yield str(one.violations or "")
    yield words.needed(one)


def _document(subject: Subject, found: Findings, since: datetime) -> dict[str, object]:
    return {
        "model": subject.model,
        "stage": subject.stage,
        "version": subject.version,
        "bundles": sorted(subject.bundles),
        "since": since.isoformat(),
        "verdict": words.VERDICTS[found.level],
        "reference_rows": found.reference.rows,
        "reference_source": found.reference.source,
        "devices": list(found.devices),
        "rows": found.rows,
        "rows_without_histograms": found.uncounted,
        "requests": found.requests,
        "errors": found.errors,
        "refused": found.refused,
        "columns": [_column(one) for one in found.columns],
        "outliers": [asdict(one) for one in found.outliers],
    }


def _column(one: ColumnFinding) -> dict[str, object]:
    drift, (before, missing) = one.drift, one.missing
    known = drift.rows > 0
    return {
        "name": one.name,
        "side": one.side,
        "verdict": words.VERDICTS[drift.level],
        "psi": drift.psi,
        "psi_expected": drift.expected if known else None,
        "psi_by_chance": drift.noise if known else None,
        "rows": drift.rows,
        "rows_needed": one.needed_rows,
        "shift": asdict(one.shift) if one.shift else None,
        "missing": missing,
        "missing_reference": before,
        "violations": one.violations,
        "bins": list(words.bin_names(one.column)),
        "reference": list(one.column.counts),
        "seen": list(one.seen[:-1]),
        "days": [asdict(day) for day in one.days],
    }
