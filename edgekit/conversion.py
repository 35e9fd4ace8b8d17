"""The converter port: what a conversion is asked for, and what it gives back.

Knows no framework. The implementation is the distribution edgekit-converters, found
through the entry point group `edgekit.converters`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import cast

from edgekit.board import Board
from edgekit.errors import ConfigError
from edgekit.manifest import Manifest, ModelIdentity

GROUP = "edgekit.converters"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionRequest:
    """One model version, to be converted for some boards.

    `model_folder` is a downloaded MLflow model (with its MLmodel file), or a folder or file
    in a format that a converter knows by itself (.onnx, .keras, .h5, a SavedModel).
    `samples` is a CSV, JSON-lines or Parquet file with the signature's columns (others are
    ignored), or an .npy/.npz file for tensors; None takes the model's own input example.
    `target` names the column of true labels in it, if there is one. `max_drop` is in
    points (0.5: half a percent of the rows may change).
    """

    model_folder: Path
    identity: ModelIdentity
    boards: Sequence[Board]
    out: Path
    quantize: bool = False
    samples: Path | None = None
    target: str | None = None
    max_drop: float = 0.5
    trust_pickle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One flavor that was tried: its numbers, and why it stays or falls.

    `folder` holds model.onnx, golden.json and manifest.json of an accepted one, and is
    None for a refused one. `drop` is in points against the original; `boards` names the
    boards it fits.
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
    boards: tuple[str, ...] = ()
    folder: Path | None = None
    manifest: Manifest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What came out: every candidate, the choice per board, and the report.

    `source_bytes` is the size of the native model's files, `fp32_bytes` that of the
    faithful float ONNX before any pass; both for the reader of the report.
    """

    candidates: tuple[Candidate, ...]
    choices: Mapping[str, str]  # board -> flavor
    source_bytes: int
    fp32_bytes: int
    samples: int
    report_json: Path
    report_html: Path


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
