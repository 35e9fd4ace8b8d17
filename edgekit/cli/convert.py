"""`edgekit convert`: a registered model, or a file, to flavors for some boards.

Options, one call of the installed converter, and its output; decides nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from edgekit import board, registry, scratch
from edgekit.cli.converted import document, show
from edgekit.cli.options import json_option, print_json
from edgekit.conversion import (
    AUTO,
    DEFAULT_MAX_DROP,
    DEFAULT_SECONDS,
    LARGEST_MAX_DROP,
    METRICS,
    Conversion,
    ConversionRequest,
    Isolation,
    RuntimeProof,
    installed,
)
from edgekit.errors import ConfigError
from edgekit.manifest import ModelIdentity
from edgekit.registry import ModelVersion, Registry

_REGISTERED = ("models:/", "runs:/")
_SHORT_DIGEST = 12  # characters: the version of a model that has none


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
    "--score",
    default=AUTO,
    show_default=True,
    metavar="[-]NAME",
    help="What orders the rows for auc and average-precision: an output's name, or"
    " reconstruction (the mean squared error of an output that repeats the input); with a"
    " minus, low values mean the positive class.",
)
@click.option(
    "--group",
    metavar="COLUMN",
    help="The column of --samples whose equal rows have one score together, the mean.",
)
@click.option(
    "--proven-only",
    is_flag=True,
    help="Refuse what the samples are too few to prove, not only what they disprove.",
)
@click.option(
    "--logged-metric",
    metavar="NAME",
    help="The metric of the model's run to reproduce first.  [default: one of a known"
    " name]",
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
    help="The most time that all searches for smaller flavors take together. Ctrl-C ends"
    " them before and keeps what was found.",
)
@click.option(
    "--trust-pickle",
    is_flag=True,
    help="Load formats that run their author's code, in a process of their own.",
)
@click.option(
    "--isolate",
    type=click.Choice([mode.value for mode in Isolation]),
    default=Isolation.AUTO.value,
    show_default=True,
    help="Load the model among the packages that its requirements.txt names: when those"
    " installed here cannot (auto), always or never. Needs --trust-pickle.",
)
@click.option(
    "--prove-runtime",
    type=click.Choice([how.value for how in RuntimeProof]),
    default=RuntimeProof.AUTO.value,
    show_default=True,
    help="Try flavors under each board's version of onnxruntime, in an environment of its"
    " own that is built once: where that can be had (auto; else its operators are looked"
    " up), always or never.",
)
@click.option(
    "--profile/--no-profile",
    default=True,
    show_default=True,
    help="Put a reference profile into every bundle, which drift is told by: quantiles and"
    " frequent values of the columns of --samples (else of the input example), to be read"
    " by whoever may read the bundle.",
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
    score: str,
    group: str | None,
    proven_only: bool,
    logged_metric: str | None,
    calibration: Path | None,
    search_seconds: float,
    trust_pickle: bool,
    isolate: str,
    prove_runtime: str,
    profile: bool,
    out: Path,
    registry_uri: str | None,
    log_back: bool,
    as_json: bool,
) -> None:
    """Convert a model to compact ONNX flavors, measured, gated and fitted to boards.

    MODEL_URI is models:/NAME/VERSION, models:/NAME/STAGE, models:/NAME@ALIAS,
    runs:/ID/PATH, or a path, told apart by what is in it, not by its name:

    \b
      an MLflow model folder with one of the flavors below
      ONNX             .onnx
      Keras            .keras, .h5 (Keras 2 and 3)
      TensorFlow       a SavedModel folder, .tflite
      PyTorch          .pt2 (torch.export); with --trust-pickle .pt, .pth, TorchScript
      scikit-learn     .skops; with --trust-pickle .pkl, .joblib
      XGBoost          .json, .ubj
      LightGBM         .txt
      CatBoost         .cbm, .json
      Spark ML         a saved PipelineModel folder

    Each flavor is run in a process of its own and compared with the original model on the
    samples. One that is less accurate than --max-drop allows, no smaller than float32,
    slower or hungrier is refused with the numbers; a verdict says whether the samples are
    enough for it. Of those that are proven or lossless, each board gets the smallest that
    fits. The folder --out then holds FLAVOR/model.onnx, manifest.json, golden.json and
    profile.json for each flavor that was kept, and report.json and report.html. WIRE B in
    the table is the bundle that travels: the model compressed, its manifest, golden rows
    and reference profile.

    \b
    Example:
      edgekit convert models:/wine/Production --quantize --samples holdout.csv \\
        --target class --board raspberry-pi-4

    Exit code 5: it cannot be converted faithfully. 6: nothing fits one of the boards.
    """  # noqa: D301 - click's mark for lines that stay as they are
    profiles = tuple(board.load(name) for name in boards)
    convert = installed()
    scratch.sweep()
    with scratch.folder("model") as download:
        found = _find(model_uri, registry_uri, download / "model")
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
            score=score,
            group=group,
            proven_only=proven_only,
            logged_metrics=found.logged(),
            logged_metric=logged_metric,
            calibration=calibration,
            seconds=search_seconds,
            trust_pickle=trust_pickle,
            isolate=Isolation(isolate),
            prove_runtime=RuntimeProof(prove_runtime),
            profile=profile,
        )
        conversion = convert(request, _say)
        run_id = found.log(conversion, request) if log_back else ""
    if as_json:
        print_json({**document(conversion), "run_id": run_id})
    else:
        show(conversion)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The model on disk; `registry` and `version` only where it is a registry's."""

    folder: Path
    identity: ModelIdentity
    registry: Registry | None = None
    version: ModelVersion | None = None

    def logged(self) -> Mapping[str, float]:
        """Return the metrics of the run that the model is from; none of a plain path."""
        if self.registry is None or self.version is None:
            return {}
        return registry.logged_metrics(self.registry, self.version, progress=_say)

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
