"""Folders of edge flavors, as a conversion writes them."""

from pathlib import Path

from edgekit import bundle
from edgekit.manifest import (
    MODEL_NAME,
    Footprint,
    Manifest,
    ModelIdentity,
    RuntimeNeeds,
    Tolerance,
)
from edgekit_converters.extraction import Extraction
from edgekit_converters.outcome import python_function

IDENTITY = ModelIdentity(name="m", version="1", run_id="", source_sha256="0" * 64)


def written(folder: Path, extraction: Extraction) -> Path:
    """A flavor's folder as a conversion writes it, without the minutes of measuring."""
    folder.mkdir()
    manifest = Manifest(
        model=IDENTITY,
        flavor="fp32",
        files={MODEL_NAME: bundle.describe(extraction.model)},
        runtime=RuntimeNeeds(opsets={"": 17}, ir_version=8, min_onnxruntime="1.22"),
        footprint=Footprint(
            model_bytes=0,
            peak_rss_bytes=0,
            load_us=0,
            one_row_p50_us=0,
            one_row_p95_us=0,
            measured_on="nothing",
        ),
        signature=extraction.signature,
        binding=extraction.binding,
        tolerance=Tolerance(rtol=0.0, atol=0.0),
    )
    folder.joinpath(MODEL_NAME).write_bytes(extraction.model)
    folder.joinpath("manifest.json").write_bytes(manifest.to_json())
    for name, content in python_function.files(extraction, manifest).items():
        folder.joinpath(name).write_bytes(content)
    return folder
