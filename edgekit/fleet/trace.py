"""How a version came to a device: run, version, flavors, digests, signers, devices.

Pure: joins what the registry, the repository, the ledger and the book know.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from edgekit.errors import ConfigError
from edgekit.fleet.book import Known
from edgekit.fleet.status import Row, rows
from edgekit.registry import RunFacts
from edgekit.release.history import Entry
from edgekit.statement import BundleEntry, ReleaseRecord, StagePointer


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known: verified statements, the ledger, and what devices report."""

    records: tuple[ReleaseRecord, ...]
    pointers: tuple[StagePointer, ...]
    entries: tuple[Entry, ...]
    fleet: tuple[Known, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One version's way. `run` None: the registry was not asked, or `run_trouble` says why.

    `stages` are those that point at it now; `stranger` marks devices that serve bytes
    under this version's name which no release record vouches for.
    """

    model: str
    version: str
    run_id: str
    source_sha256: str
    bundles: tuple[BundleEntry, ...]
    stages: tuple[str, ...]
    releases: tuple[Entry, ...]
    devices: tuple[Row, ...]
    strangers: tuple[str, ...]
    run: RunFacts | None = None
    run_trouble: str = ""


def version_in(evidence: Evidence, *, model: str, stage: str) -> str:
    """Return the version a stage points at, or raise ConfigError."""
    for pointer in evidence.pointers:
        if (pointer.model, pointer.stage) == (model, stage):
            return pointer.version
    known = sorted(f"{p.model}@{p.stage}" for p in evidence.pointers)
    hint = f"released are {', '.join(known)}" if known else "nothing is released yet"
    raise ConfigError(f"{model}@{stage}: never released; {hint}")


def versions_on(evidence: Evidence, device: str) -> tuple[tuple[str, str], ...]:
    """Return the (model, version) pairs a device serves, or raise ConfigError."""
    enrolled = [known.device.name for known in evidence.fleet]
    if device not in enrolled:
        raise ConfigError(
            f"device {device}: not enrolled; enrolled are {', '.join(enrolled) or 'none'}"
        )
    found = [row for row in rows(evidence.fleet) if row.device == device and row.version]
    return tuple((row.model, row.version) for row in found)


def trace(
    evidence: Evidence, *, model: str, version: str, device: str | None = None
) -> Trace:
    """Return the way of a released version (to one device), or raise ConfigError."""
    record = _record(evidence, model, version)
    serving = [
        row
        for row in rows(evidence.fleet)
        if (row.model, row.version) == (model, version) and device in (None, row.device)
    ]
    vouched = {bundle.sha256 for bundle in record.bundles}
    found = Trace(
        model=model,
        version=version,
        run_id=record.run_id,
        source_sha256=record.source_sha256,
        bundles=record.bundles,
        stages=tuple(
            pointer.stage
            for pointer in evidence.pointers
            if (pointer.model, pointer.version) == (model, version)
        ),
        releases=tuple(_of(evidence.entries, model, version)),
        devices=tuple(serving),
        strangers=tuple(row.device for row in serving if row.sha256 not in vouched),
    )
    return found if device is None else _narrowed(found)


def _narrowed(found: Trace) -> Trace:
    """Keep only the bundles that the devices of a trace serve."""
    served = {row.sha256 for row in found.devices}
    stages = {row.stage for row in found.devices}
    return replace(
        found,
        bundles=tuple(b for b in found.bundles if b.sha256 in served),
        releases=tuple(e for e in found.releases if e.stage in stages),
    )


def _record(evidence: Evidence, model: str, version: str) -> ReleaseRecord:
    for record in evidence.records:
        if (record.model, record.version) == (model, version):
            return record
    known = ", ".join(r.version for r in evidence.records if r.model == model)
    hint = f"released of it are {known}" if known else "nothing of it is released"
    raise ConfigError(f"{model} {version}: never released; {hint}")


def _of(entries: Iterable[Entry], model: str, version: str) -> Iterable[Entry]:
    return (e for e in entries if (e.model, e.version) == (model, version))
