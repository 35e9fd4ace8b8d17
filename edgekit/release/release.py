"""Release a registered version to a stage: convert what is needed, pack, sign, write down.

Orchestrates; every decision is elsewhere. A repeat after a crash, or of a release that is
out already, changes nothing that need not change.
"""

import tempfile
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from edgekit.conversion import ConversionRequest, Converter, Progress
from edgekit.errors import BoardError, RegistryError
from edgekit.manifest import ModelIdentity
from edgekit.registry import ModelVersion, Registry, logged_metrics, source_digest
from edgekit.registry.uri import model_name
from edgekit.release import cache, packing
from edgekit.release.cache import Chosen, Options
from edgekit.release.history import Action, Entry
from edgekit.release.packing import Packed
from edgekit.release.workplace import Pointing, Workplace
from edgekit.statement import BundleEntry
from edgekit.trust.proposal import Proposal


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a version comes from and what converts it."""

    registry: Registry
    converter: Converter


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What a release has done; `fresh` is False when the stage ran exactly this already."""

    entry: Entry
    fresh: bool
    bundles: tuple[BundleEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A release that others must sign before anything runs it."""

    pointing: Pointing
    proposal: Proposal
    bundles: tuple[BundleEntry, ...]


def release(  # noqa: PLR0913 - what, to where, how, with what, when, and who listens
    model_uri: str,
    *,
    stage: str,
    options: Options,
    source: Source,
    workplace: Workplace,
    now: datetime,
    progress: Progress,
) -> Released | Pending:
    """Let `stage` run the version that `model_uri` means now, or propose it to others.

    Raises RegistryError, ConversionError or BoardError before anything is published, and
    ConfigError when a key is missing: whatever was released before stays as it is.
    """
    workplace.repository.pointer(stage=stage, model="")  # an unknown stage is said first
    model_name(model_uri)  # only registered versions are released
    version = source.registry.resolve(model_uri)
    folder = cache.folder_of(workplace.flavors, version, options)
    chosen = cache.find(folder)
    if chosen:
        progress(f"{version.uri}: converted before, in {folder}")
    else:
        workplace.needs_others(stage)  # a key that is missing is said before the work
        chosen = _convert(version, options, source, folder, progress)
    packed = _packed(chosen, workplace.repository.folder, progress)
    already = workplace.record(model=version.name, version=version.version)
    progress(f"signing {version.name} {version.version} for {stage}")
    said = packing.record(packed, already=already)
    pointing = Pointing(
        stage=stage,
        model=version.name,
        version=version.version,
        bundles={one.entry.flavor: one.entry.sha256 for one in packed},
        records=(said,) if said != already else (),
    )
    entries = tuple(one.entry for one in packed)
    record = bool(pointing.records)
    if workplace.changes(pointing) and workplace.needs_others(stage, record=record):
        proposal = workplace.propose(pointing, now)
        return Pending(pointing=pointing, proposal=proposal, bundles=entries)
    entry = workplace.point(pointing, Action.RELEASE, now)
    standing = workplace.ledger.entries(stage=stage, model=version.name)[-1]
    return Released(entry=standing, fresh=entry is not None, bundles=entries)


def _convert(
    version: ModelVersion,
    options: Options,
    source: Source,
    folder: Path,
    progress: Progress,
) -> tuple[Chosen, ...]:
    cache.clear(folder)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".source-") as fresh:
        model_folder = source.registry.download(version, Path(fresh) / "model")
        request = replace(
            _request(version, options, model_folder, folder),
            logged_metrics=logged_metrics(source.registry, version, progress=progress),
        )
        conversion = source.converter(request, progress)
        if not conversion.choices:
            raise BoardError(f"{version.uri}: no flavor fits any of its boards")
        progress(f"{version.uri}: the report is {conversion.report_html}")
        try:
            source.registry.log_conversion(version, conversion, request)
        except RegistryError as error:
            progress(f"{version.uri}: the conversion is not logged: {error}")
    return cache.keep(folder, conversion)


def _request(
    version: ModelVersion, options: Options, model_folder: Path, out: Path
) -> ConversionRequest:
    return ConversionRequest(
        model_folder=model_folder,
        identity=ModelIdentity(
            name=version.name,
            version=version.version,
            run_id=version.run_id,
            source_sha256=source_digest(model_folder),
        ),
        boards=options.boards,
        out=out,
        quantize=True,
        samples=options.samples,
        target=options.target,
        max_drop=options.max_drop,
        metric=options.metric,
        score=options.score,
        group=options.group,
        proven_only=options.proven_only,
        trust_pickle=options.trust_pickle,
        profile=options.profile,
    )


def _packed(
    chosen: tuple[Chosen, ...], repository: Path, progress: Progress
) -> tuple[Packed, ...]:
    packed = []
    for one in chosen:
        progress(f"packing {one.flavor}")
        packed.append(packing.pack(one.folder, boards=one.boards))
        packing.store(repository, packed[-1])
    return tuple(packed)
