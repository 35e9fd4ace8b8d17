"""`edgekit trace`: how a version came to its devices. Options, calls, output."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import click

from edgekit import registry
from edgekit.cli.options import fleet_option, json_option, print_json
from edgekit.cli.talk import say, size
from edgekit.errors import ConfigError, RegistryError
from edgekit.fleet.folder import FleetFolder
from edgekit.fleet.trace import Evidence, Trace, trace, version_in, versions_on
from edgekit.registry import Registry, RunFacts
from edgekit.registry.uri import VersionUri, parse
from edgekit.release.history import Entry
from edgekit.trust.layout import short

_SHORT = 12
_MAX_FACTS = 8  # parameters and metrics of a run on one line


@click.command(name="trace")
@click.argument("what", required=False, metavar="[MODEL@STAGE | MODEL_URI]")
@click.option("--device", help="Trace what this device serves.")
@click.option("--offline", is_flag=True, help="Do not ask MLflow about the training run.")
@fleet_option
@json_option
def command(
    *,
    what: str | None,
    device: str | None,
    offline: bool,
    fleet_folder: Path,
    as_json: bool,
) -> None:
    """Tell how a version came to where it runs.

    Training run, version, flavors with their digests, when it was released by whom,
    whose keys signed, and the devices that serve it. Devices are as fleet.db knows them;
    `edgekit fleet status` brings that up to date.

    \b
    Examples:
      edgekit trace wine@production     what the stage production runs now
      edgekit trace models:/wine/3      one version; a stage or alias is looked up
      edgekit trace --device pi-7       everything on one device
    """  # noqa: D301 - click's mark for lines that stay as they are
    if (what is None) == (device is None):
        raise ConfigError("trace: either MODEL@STAGE, a model URI, or --device is expected")
    folder = FleetFolder(path=fleet_folder)
    evidence = _evidence(folder)
    asked = _Asked(folder, offline=offline)
    if device is not None:
        pairs = versions_on(evidence, device)
    else:
        pairs = (_meant(what or "", evidence, asked),)
    traces = [
        asked.completed(trace(evidence, model=model, version=version, device=device))
        for model, version in pairs
    ]
    if as_json:
        print_json([_document(one) for one in traces])
        return
    if not traces:
        say(f"{device}: serves nothing, as far as fleet.db knows")
        return
    click.echo("\n\n".join("\n".join(_lines(one)) for one in traces))


class _Asked:
    """The registry, opened when it is first needed; what it cannot tell is said."""

    def __init__(self, folder: FleetFolder, *, offline: bool) -> None:
        self._uri = folder.config().registry.uri
        self._offline = offline
        self._registry: Registry | None = None

    def registry(self) -> Registry:
        if self._registry is None:
            self._registry = registry.open(self._uri, progress=say)
        return self._registry

    def completed(self, found: Trace) -> Trace:
        """Add the facts of the training run, or why they are not known."""
        if self._offline or not found.run_id:
            reason = "not asked" if self._offline else "the version has no run"
            return replace(found, run_trouble=reason)
        try:
            return replace(found, run=self.registry().run(found.run_id))
        except RegistryError as error:
            return replace(found, run_trouble=str(error))


def _evidence(folder: FleetFolder) -> Evidence:
    repository = folder.repository()
    with folder.ledger() as ledger, folder.book() as book:
        return Evidence(
            records=repository.records(),
            pointers=repository.pointers(),
            entries=ledger.everything(),
            fleet=book.known(),
        )


def _meant(what: str, evidence: Evidence, asked: _Asked) -> tuple[str, str]:
    if ":/" not in what:
        model, _, stage = what.rpartition("@")
        if not model:
            raise ConfigError(f"trace {what}: MODEL@STAGE or models:/… is expected")
        return model, version_in(evidence, model=model, stage=stage)
    wanted = parse(what)
    if isinstance(wanted, VersionUri):
        return wanted.name, wanted.version
    pinned = asked.registry().resolve(what)
    return pinned.name, pinned.version


def _document(found: Trace) -> dict[str, object]:
    document = asdict(found)
    for entry in document["releases"]:
        entry["at"] = entry["at"].isoformat()
    if found.run is not None and found.run.started is not None:
        document["run"]["started"] = found.run.started.isoformat()
    return document


def _lines(found: Trace) -> Iterator[str]:
    yield f"{found.model} {found.version}"
    yield f"  stages    {', '.join(found.stages) or 'none points at it now'}"
    yield f"  run       {_run(found)}"
    yield f"  source    sha256 {found.source_sha256[:_SHORT]}"
    for bundle in found.bundles:
        boards = ", ".join(bundle.boards) or "any board"
        yield (
            f"  flavor    {bundle.flavor}  sha256 {bundle.sha256[:_SHORT]}"
            f"  {size(bundle.length)}  for {boards}"
        )
    for entry in found.releases:
        yield f"  {entry.action:<9} {_entry(entry)}"
    for row in found.devices:
        stranger = row.device in found.strangers
        warning = "  NOT VOUCHED FOR by any release record" if stranger else ""
        receipt = row.receipt.sentence
        signed = f"  receipt: {receipt}" if receipt else ""
        yield (
            f"  device    {row.device} ({row.board})  {row.flavor}  sha256"
            f" {row.sha256[:_SHORT]}  since {row.since or 'unknown'}{signed}{warning}"
        )
    if not found.devices:
        yield "  device    none serves it, as far as fleet.db knows"


def _run(found: Trace) -> str:
    if found.run is None:
        return f"{found.run_id or 'unknown'} ({found.run_trouble})"
    run = found.run
    started = f" at {run.started:%Y-%m-%d %H:%M}" if run.started else ""
    facts = "; ".join(_facts(run))
    return (
        f"{run.run_id} {run.name!r} in experiment {run.experiment!r} by"
        f" {run.user or 'unknown'}{started}" + (f"; {facts}" if facts else "")
    )


def _facts(run: RunFacts) -> Iterator[str]:
    facts = [f"{k}={v}" for k, v in sorted(run.params.items())]
    facts += [f"{k}={v:g}" for k, v in sorted(run.metrics.items())]
    yield from facts[:_MAX_FACTS]
    if len(facts) > _MAX_FACTS:
        yield f"and {len(facts) - _MAX_FACTS} more"


def _entry(entry: Entry) -> str:
    signed = ", ".join(
        f"{role} {'+'.join(map(short, keyids))}" for role, keyids in entry.signers.items()
    )
    return (
        f"rollout {entry.rollout} of {entry.stage} by {entry.who} at"
        f" {entry.at:%Y-%m-%d %H:%M} UTC; signed: {signed}"
    )
