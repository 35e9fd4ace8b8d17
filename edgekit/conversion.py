"""The converter port: what a conversion is asked for, and what it gives back.

Knows no framework. The implementation is the distribution edgekit-converters, found
through the entry point group `edgekit.converters`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import entry_points
from pathlib import Path
from typing import cast

from edgekit.board import Board
from edgekit.errors import ConfigError
from edgekit.latency import BoardLatency
from edgekit.manifest import Manifest, ModelIdentity

GROUP = "edgekit.converters"
AUTO = "auto"  # the metric that suits the model's task
METRICS = (
    AUTO,
    "accuracy",
    "macro-f1",
    "recall",
    "auc",
    "average-precision",
    "flips",
    "rmse",
    "relative-error",
)
UNITS: Mapping[str, str] = {  # of a metric's value and drop; of the others it is 1
    "rmse": "of std",  # the standard deviation of the true values
    "relative-error": "of std",  # that of the original's answers
}
DEFAULT_MAX_DROP = 0.005
LARGEST_MAX_DROP = 0.5  # and not even that: who writes 0.5 means half a percent
DEFAULT_SECONDS = 120.0


class Isolation(StrEnum):
    """When a model is loaded among the packages it was made with, not those installed."""

    AUTO = "auto"  # when those installed here cannot load it
    ALWAYS = "always"
    NEVER = "never"


class RuntimeProof(StrEnum):
    """Whether flavors are tried under each board's own version of onnxruntime."""

    AUTO = "auto"  # where that version can be had; operators are looked up otherwise
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionRequest:
    """One model version, to be converted for some boards.

    `model_folder` is a downloaded MLflow model (with its MLmodel file), or a folder or file
    in a format that a converter knows by itself (.onnx, .keras, .h5, a SavedModel).
    `samples` is a CSV, JSON-lines or Parquet file with the signature's columns (others are
    ignored), or an .npy/.npz file for tensors; None takes the model's own input example.
    `target` names the column of true labels in it, if there is one. `calibration` is such
    a file too, for all that a conversion chooses; without it the samples are divided.
    `metric` is one of METRICS, and `max_drop` is in its unit: of accuracy, 0.005 is half a
    percent of the rows. `score` says which number orders the rows for AUC and average
    precision: auto, reconstruction (the mean squared error of an output that repeats the
    input) or the name of an output; with a minus before it, low values mean the positive
    class. `group` names a column of the samples, whose equal rows have one score together,
    the mean. With `proven_only` a flavor falls when the samples are too few to prove it.
    `seconds` bound all searches for better flavors together. `logged_metrics` are what the
    model version's run has logged, of which `logged_metric` names the one to reproduce
    (None: one with a known name). `profile` puts a reference profile into every bundle: the
    quantiles and frequent values of the samples' columns.
    """

    model_folder: Path
    identity: ModelIdentity
    boards: Sequence[Board]
    out: Path
    quantize: bool = False
    samples: Path | None = None
    target: str | None = None
    calibration: Path | None = None
    metric: str = AUTO
    score: str = AUTO
    group: str | None = None
    proven_only: bool = False
    logged_metrics: Mapping[str, float] = field(default_factory=dict)
    logged_metric: str | None = None
    max_drop: float = DEFAULT_MAX_DROP
    seconds: float = DEFAULT_SECONDS
    trust_pickle: bool = False
    isolate: Isolation = Isolation.AUTO
    prove_runtime: RuntimeProof = RuntimeProof.AUTO
    profile: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One flavor that was tried: its numbers, and why it stays or falls.

    `folder` holds model.onnx, golden.json and manifest.json of an accepted one, and is
    None for a refused one. `drop` is against the original, in the metric's unit, and lies
    between `low` and `high` with 95 % confidence; without `enough` the samples could not
    decide. `metric_scale` times a value of the metric is that in the target's own unit,
    where it is a share of something; else it is 1. `lossless` is a form of the same
    function as float32. `note` says how the flavor was made; `boards` names the boards it
    fits, `latencies` say how long a row takes on each that was asked for: calibrated by
    what its devices report, or estimated.
    """

    flavor: str
    accepted: bool
    reason: str
    model_bytes: int
    bundle_bytes: int
    peak_rss_bytes: int
    one_row_p50_us: int
    one_row_p95_us: int
    batch_us_per_row: float
    agreement: float  # share of the sample rows with the original's answer, 0 to 1
    drop: float
    metric: str = ""
    metric_original: float = 0.0
    metric_flavor: float = 0.0
    metric_scale: float = 1.0
    low: float = 0.0
    high: float = 0.0
    enough: bool = True
    lossless: bool = False
    note: str = ""
    boards: tuple[str, ...] = ()
    latencies: tuple[BoardLatency, ...] = ()
    folder: Path | None = None
    manifest: Manifest | None = None

    @property
    def metric_title(self) -> str:
        """The metric with its unit, "rmse (of std)"."""
        unit = UNITS.get(self.metric)
        return f"{self.metric} ({unit})" if unit else self.metric

    @property
    def sure(self) -> bool:
        """Whether it stays for more than want of samples: lossless, or proven."""
        return self.accepted and (self.enough or self.lossless)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What came out: every candidate, the choice per board, and the report.

    `source_bytes` is the size of the native model's files, `fp32_bytes` that of the
    faithful float ONNX before any pass; both for the reader of the report. `reasons` says
    of a board why it gets no smaller flavor, or one that is not proven. `notes` are
    sentences about the whole: how the rows were divided, what was not reproduced.
    """

    candidates: tuple[Candidate, ...]
    choices: Mapping[str, str]  # board -> flavor
    source_bytes: int
    fp32_bytes: int
    samples: int
    report_json: Path
    report_html: Path
    reasons: Mapping[str, str] = field(default_factory=dict)  # board -> clause
    notes: tuple[str, ...] = ()


Progress = Callable[[str], None]
Converter = Callable[[ConversionRequest, Progress], Conversion]


def installed() -> Converter:
    """Return the installed converter, or raise ConfigError naming what to install."""
    for found in entry_points(group=GROUP, name="convert"):
        return cast("Converter", found.load())
    raise ConfigError(
        "no converters are installed here: pip install 'edgekit-core[convert]'"
        " 'edgekit-converters[sklearn]' (or [tensorflow])"
    )
