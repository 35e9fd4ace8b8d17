"""`edgekit release`: let a stage run a registered version. Options, one call, output."""

from dataclasses import asdict
from pathlib import Path

import click

from edgekit import conversion, registry
from edgekit.board import Board
from edgekit.cli import pending
from edgekit.cli.options import (
    fleet_option,
    json_option,
    keys_option,
    passphrase_option,
    print_json,
    read_passphrase,
)
from edgekit.cli.talk import now, say, show_table, size
from edgekit.cli.workplace import open_workplace
from edgekit.conversion import LARGEST_MAX_DROP, METRICS
from edgekit.errors import ConfigError
from edgekit.fleet.book import Book
from edgekit.fleet.config import FleetConfig, ModelSettings
from edgekit.fleet.folder import FleetFolder
from edgekit.registry import uri as model_uris
from edgekit.release.cache import Options
from edgekit.release.openssf import Notary
from edgekit.release.release import Pending, Released, Source, release

_HEADINGS = ("FLAVOR", "BYTES", "RSS", "P95 US", "FOR BOARDS", "SHA256")
_SHORT = 12


@click.command(name="release")
@click.argument("model_uri")
@click.option(
    "--stage",
    help="The fleet's stage to release to.  [default: the one that follows MODEL_URI]",
)
@click.option(
    "--samples",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Rows to compare flavors on.  [default: fleet.toml's for this model, else the"
    " model's own input example]",
)
@click.option(
    "--target", metavar="COLUMN", help="The column of true labels in the samples."
)
@click.option(
    "--max-drop",
    type=click.FloatRange(min=0, max=LARGEST_MAX_DROP, max_open=True),
    metavar="SHARE",
    help="How much worse than the original a flavor may be: 0.005 is half a percent of the"
    " rows.  [default: fleet.toml's]",
)
@click.option(
    "--metric",
    type=click.Choice(METRICS),
    metavar="METRIC",
    help="What flavors are compared by; see `edgekit convert --help`.  [default:"
    " fleet.toml's for this model, else what suits its task]",
)
@click.option(
    "--trust-pickle",
    is_flag=True,
    help="Load formats that run their author's code, in a process of their own.",
)
@click.option(
    "--board",
    "boards",
    multiple=True,
    metavar="BOARD",
    help="A board to convert for, besides those of fleet.toml and of enrolled devices."
    " Repeatable.",
)
@click.option(
    "--model-signing",
    "signing_key",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="KEY",
    help="Also sign each bundle as OpenSSF's model-signing does, with this elliptic curve"
    " key (PEM). Devices do not look at it.",
)
@keys_option
@fleet_option
@passphrase_option
@json_option
def command(  # noqa: PLR0913 - one argument for each option
    *,
    model_uri: str,
    stage: str | None,
    samples: Path | None,
    target: str | None,
    max_drop: float | None,
    metric: str | None,
    trust_pickle: bool,
    boards: tuple[str, ...],
    signing_key: Path | None,
    elsewhere: tuple[Path, ...],
    fleet_folder: Path,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Release a registered model version to a stage of the fleet.

    MODEL_URI is models:/NAME/VERSION, models:/NAME/STAGE or models:/NAME@ALIAS; it is
    pinned to a version first. The version is converted and quantised for the boards of
    the fleet (once: the result is kept), packed into bundles, signed by the models and
    the stage's keys, and written into the ledger. Devices get it from `edgekit depot`.

    Where a role needs several signatures and not all keys are here, the release is
    pending: it is written to a file that others sign with `edgekit sign`, on their own
    machines, and `edgekit publish` then offers it.

    \b
    Examples:
      edgekit release models:/wine/Production
      edgekit release models:/wine/7 --stage staging --samples holdout.csv --target class
    """  # noqa: D301 - click's mark for lines that stay as they are
    folder = FleetFolder(path=fleet_folder)
    config = folder.config()
    name = model_uris.model_name(model_uri)
    stage = stage or _following(config, name, model_uri)
    settings = config.models.get(name, ModelSettings())
    passphrase = read_passphrase(passphrase_file)
    with (
        folder.book() as book,
        open_workplace(folder, passphrase=passphrase, elsewhere=elsewhere) as workplace,
    ):
        options = Options(
            boards=_boards(folder, config, book, boards),
            samples=samples or settings.samples,
            target=target or settings.target,
            max_drop=config.release.max_drop if max_drop is None else max_drop,
            metric=metric or settings.metric,
            score=settings.score,
            group=settings.group,
            proven_only=config.release.proven_only,
            trust_pickle=trust_pickle or config.registry.trust_pickle,
            profile=settings.profile,
        )
        notary = Notary(key=signing_key, password=passphrase) if signing_key else None
        if notary is not None:
            notary.check()
        source = Source(
            registry=registry.open(config.registry.uri, progress=say),
            converter=conversion.installed(),
        )
        released = release(
            model_uri,
            stage=stage,
            options=options,
            source=source,
            workplace=workplace,
            now=now(),
            progress=say,
        )
    if notary is not None:
        for bundle in released.bundles:
            say(f"signed: {notary.sign(workplace.repository.folder, bundle)}")
    if isinstance(released, Pending):
        pending.pend(released.proposal, fleet_folder, as_json=as_json)
    elif as_json:
        print_json(_document(released))
    else:
        _show(released)


def _following(config: FleetConfig, model: str, uri: str) -> str:
    """Return the stage whose selector asks for this, best of all in the same form.

    MLflow's stage Production and its alias @production mean the same here.
    """
    wanted = model_uris.parse(uri)
    for stage, selector in config.stages.items():
        if model_uris.parse(selector.uri(model)) == wanted:
            return stage
    for stage, selector in config.stages.items():
        if _asked_for(wanted) == selector.name.lower():
            return stage
    raise ConfigError(
        f"{uri}: no stage of fleet {config.fleet} follows it; choose one with --stage:"
        f" {', '.join(config.stages)}"
    )


def _asked_for(wanted: model_uris.ModelUri) -> str | None:
    """Return the stage or alias that is named, in lower case."""
    match wanted:
        case model_uris.StageUri(stage=name) | model_uris.AliasUri(alias=name):
            return name.lower()
        case _:
            return None


def _boards(
    folder: FleetFolder, config: FleetConfig, book: Book, asked: tuple[str, ...]
) -> tuple[Board, ...]:
    enrolled = (device.board for device in book.devices())
    names = sorted({*config.release.boards, *enrolled, *asked})
    if not names:
        raise ConfigError(
            "no boards to convert for: enroll a device, name one with --board, or list"
            " boards under [release] in fleet.toml"
        )
    return tuple(folder.board(name) for name in names)


def _document(released: Released) -> dict[str, object]:
    entry = released.entry
    return {
        "model": entry.model,
        "version": entry.version,
        "stage": entry.stage,
        "rollout": entry.rollout,
        "fresh": released.fresh,
        "signers": {role: list(ids) for role, ids in entry.signers.items()},
        "bundles": [asdict(bundle) for bundle in released.bundles],
    }


def _show(released: Released) -> None:
    entry = released.entry
    done = "released to" if released.fresh else "runs already in"
    click.echo(
        f"{entry.model} {entry.version} {done} {entry.stage}, rollout {entry.rollout}\n"
    )
    show_table(
        _HEADINGS,
        [
            (
                bundle.flavor,
                size(bundle.length),
                size(bundle.peak_rss_bytes),
                str(bundle.one_row_p95_us),
                ", ".join(bundle.boards),
                bundle.sha256[:_SHORT],
            )
            for bundle in released.bundles
        ],
    )
