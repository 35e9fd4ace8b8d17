"""`edgekit convert`: a registered model, or a file, to flavors for some boards.

Options, one call of the installed converter, and its output; decides nothing.
"""

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich import box
from rich.console import Console
from rich.table import Table

from edgekit import board, registry
from edgekit.cli.options import json_option, print_json
from edgekit.conversion import (
    AUTO,
    DEFAULT_MAX_DROP,
    DEFAULT_SECONDS,
    LARGEST_MAX_DROP,
    METRICS,
    Candidate,
    Conversion,
    ConversionRequest,
    Isolation,
    installed,
)
from edgekit.errors import ConfigError
from edgekit.manifest import ModelIdentity
from edgekit.registry import ModelVersion, Registry

_REGISTERED = ("models:/", "runs:/")
_PIPED_COLUMNS = 160
_MB = 2**20
_SHORT_DIGEST = 12  # characters: the version of a model that has none
_HEADINGS = (
    "FLAVOR",
    "VERDICT",
    "MODEL B",
    "BUNDLE B",
    "RSS MB",
    "P50 us",
    "P95 us",
    "BATCH us/ROW",
    "AGREEMENT",
    "DROP",
)


@click.command(name="convert")
@click.argument("model_uri")
@click.option(
    "--quantize", is_flag=True, help="Try fp16 and int8 flavors too, not only float32."
)
@click.option(
    "--board",
    "boards",
    multiple=True,
    metavar="BOARD",
    help="A board it must fit: a name of `edgekit boards list` or a .toml. Repeatable.",
)
@click.option(
    "--samples",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Rows to compare on: .csv, .jsonl, .parquet, .npy or .npz. Else the model's own"
    " input example.",
)
@click.option("--target", metavar="COLUMN", help="The column of true labels in --samples.")
@click.option(
    "--max-drop",
    type=click.FloatRange(min=0, max=LARGEST_MAX_DROP, max_open=True),
    default=DEFAULT_MAX_DROP,
    show_default=True,
    metavar="SHARE",
    help="How much worse than the original a flavor may be, in the metric's own unit;"
    " 0.005 is half a percent of the rows, or .005 of AUC.",
)
@click.option(
    "--metric",
    type=click.Choice(METRICS),
    default=AUTO,
    show_default=True,
    metavar="METRIC",
    help=f"What is compared: {', '.join(METRICS)}; auto suits it to the model's task.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Rows to choose with (ranges, layers to keep), in a file of their own; all of"
    " --samples then serve to judge. Else --samples are divided.",
)
@click.option(
    "--search-seconds",
    type=click.FloatRange(min=0),
    default=DEFAULT_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="The most time that all searches for smaller flavors take together.",
)
@click.option(
    "--trust-pickle",
    is_flag=True,
    help="Load formats that run their author's code, in a process of their own.",
)
@click.option(
    "--isolate",
    type=click.Choice([*Isolation]),
    default=Isolation.AUTO,
    show_default=True,
    help="Load the model among the packages that its requirements.txt names: when those"
    " installed here cannot (auto), always or never. Needs --trust-pickle.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="flavors",
    show_default=True,
    help="The folder to write; an older conversion in it is replaced.",
)
@click.option(
    "--registry",
    "registry_uri",
    metavar="URI",
    help="The MLflow tracking URI.  [default: MLFLOW_TRACKING_URI, else"
    " sqlite:///mlflow.db]",
)
@click.option(
    "--log/--no-log",
    "log_back",
    default=True,
    show_default=True,
    help="Record the conversion of a registered model as an MLflow run.",
)
@json_option
def command(  # noqa: PLR0913 - one argument for each option
    *,
    model_uri: str,
    quantize: bool,
    boards: tuple[str, ...],
    samples: Path | None,
    target: str | None,
    max_drop: float,
    metric: str,
    calibration: Path | None,
    search_seconds: float,
    trust_pickle: bool,
    isolate: str,
    out: Path,
    registry_uri: str | None,
    log_back: bool,
    as_json: bool,
) -> None:
    """Convert a model to compact ONNX flavors, measured, gated and fitted to boards.

    MODEL_URI is models:/NAME/VERSION, models:/NAME/STAGE, models:/NAME@ALIAS,
    runs:/ID/PATH, or a path: an MLflow model folder, .onnx, .keras, .h5 or a SavedModel.

    Each flavor is run in a process of its own and compared with the original model on the
    samples. One that is less accurate than --max-drop allows, no smaller than float32, or
    much slower or hungrier is refused with the numbers. Of the others, each board gets
    the smallest that fits. The folder --out then holds FLAVOR/model.onnx, manifest.json
    and golden.json for each flavor that was kept, and report.json and report.html.

    \b
    Example:
      edgekit convert models:/wine/Production --quantize --samples holdout.csv

    Exit code 5: it cannot be converted faithfully. 6: nothing fits one of the boards.
    """  # noqa: D301 - click's mark for lines that stay as they are
    profiles = tuple(board.load(name) for name in boards)
    convert = installed()
    with TemporaryDirectory(prefix="edgekit-model-") as download:
        found = _find(model_uri, registry_uri, Path(download) / "model")
        request = ConversionRequest(
            model_folder=found.folder,
            identity=found.identity,
            boards=profiles,
            out=out,
            quantize=quantize,
            samples=samples,
            target=target,
            max_drop=max_drop,
            metric=metric,
            calibration=calibration,
            seconds=search_seconds,
            trust_pickle=trust_pickle,
            isolate=Isolation(isolate),
        )
        conversion = convert(request, _say)
        run_id = found.log(conversion, request) if log_back else ""
    if as_json:
        print_json({**_document(conversion), "run_id": run_id})
    else:
        _show(conversion)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The model on disk; `registry` and `version` only where it is a registry's."""

    folder: Path
    identity: ModelIdentity
    registry: Registry | None = None
    version: ModelVersion | None = None

    def log(self, conversion: Conversion, request: ConversionRequest) -> str:
        """Record the conversion where the model is from; "" for a plain path."""
        if self.registry is None or self.version is None:
            return ""
        run_id = self.registry.log_conversion(self.version, conversion, request)
        _say(f"recorded as MLflow run {run_id}")
        return run_id


def _find(model_uri: str, registry_uri: str | None, download: Path) -> _Found:
    if not model_uri.startswith(_REGISTERED):
        return _on_disk(Path(model_uri))
    opened = registry.open(registry_uri, progress=_say)
    version = opened.resolve(model_uri)
    folder = opened.download(version, download)
    return _Found(
        folder=folder,
        identity=ModelIdentity(
            name=version.name,
            version=version.version,
            run_id=version.run_id,
            source_sha256=registry.source_digest(folder),
        ),
        registry=opened,
        version=version,
    )


def _on_disk(path: Path) -> _Found:
    if not path.exists():
        raise ConfigError(
            f"{path}: no such file or folder; models:/NAME/VERSION, runs:/ID/PATH or a path"
            " is expected"
        )
    digest = registry.source_digest(path)
    return _Found(
        folder=path,
        identity=ModelIdentity(
            name=path.resolve().stem,
            version=digest[:_SHORT_DIGEST],
            run_id="",
            source_sha256=digest,
        ),
    )


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)


def _show(conversion: Conversion) -> None:
    console = Console(width=None if sys.stdout.isatty() else _PIPED_COLUMNS)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, heading in enumerate(_HEADINGS):
        table.add_column(heading, justify="left" if number < 2 else "right", no_wrap=True)  # noqa: PLR2004 - names left, figures right
    for one in conversion.candidates:
        table.add_row(*_cells(one))
    console.print(table)
    for one in conversion.candidates:
        _line(console, one.flavor, one.reason)
    if conversion.choices:
        console.print()
    for name, flavor in conversion.choices.items():
        _line(console, name, f"gets {flavor}")
    console.print()
    _line(console, "report", str(conversion.report_html))


def _line(console: Console, name: str, text: str) -> None:
    console.print(f"{name}  {text}", markup=False, highlight=False, soft_wrap=True)


def _verdict(one: Candidate) -> str:
    if not one.accepted and not one.model_bytes:
        return "-"  # it does not apply, or does not run: the reason stands below
    return "kept" if one.accepted else "refused"


def _cells(one: Candidate) -> tuple[str, ...]:
    if not one.model_bytes:  # it does not apply, or does not run
        return (one.flavor, _verdict(one), *("-" for _ in _HEADINGS[2:]))
    return (
        one.flavor,
        _verdict(one),
        f"{one.model_bytes:,}",
        f"{one.bundle_bytes:,}",
        f"{one.peak_rss_bytes / _MB:.1f}",
        f"{one.one_row_p50_us:,}",
        f"{one.one_row_p95_us:,}",
        f"{one.batch_us_per_row:,.1f}",
        f"{one.agreement:.2%}",
        f"{one.drop:.4f}",
    )


def _document(conversion: Conversion) -> dict[str, object]:
    return {
        "candidates": [_figures(one) for one in conversion.candidates],
        "choices": dict(conversion.choices),
        "source_bytes": conversion.source_bytes,
        "fp32_bytes": conversion.fp32_bytes,
        "samples": conversion.samples,
        "report_json": str(conversion.report_json),
        "report_html": str(conversion.report_html),
    }


def _figures(one: Candidate) -> dict[str, object]:
    figures = {field.name: getattr(one, field.name) for field in fields(one)}
    del figures["manifest"]  # it lies in the folder
    figures["folder"] = None if one.folder is None else str(one.folder)
    return figures
