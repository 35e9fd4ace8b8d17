"""What each version weighed on its way: pickle, float ONNX, flavor, bytes on the wire."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """One version's bytes, and its report."""

    version: str
    native: int
    fp32: int
    flavor: str
    model: int
    wire: int
    report: Path


def of_release(fleet: Path, released: dict[str, object]) -> Sizes:
    """Return the sizes of the first bundle of a release, from its conversion's report."""
    version = str(released["version"])
    bundles = released["bundles"]
    if not isinstance(bundles, list):
        raise TypeError("edgekit release --json: a list of bundles is expected")
    report = next((fleet / "flavors" / "wine" / version).glob("*/report.json"))
    document = json.loads(report.read_text("utf-8"))
    flavor = str(bundles[0]["flavor"])
    chosen = next(one for one in document["candidates"] if one["flavor"] == flavor)
    return Sizes(
        version=version,
        native=int(document["source_bytes"]),
        fp32=int(document["fp32_bytes"]),
        flavor=flavor,
        model=int(chosen["model_bytes"]),
        wire=int(bundles[0]["length"]),
        report=report.with_suffix(".html"),
    )
