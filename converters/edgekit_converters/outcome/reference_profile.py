"""The reference profile of a conversion: how its rows, and the original's answers, fall.

Made once for all flavors, before any is quantised: what a device sees is compared with the
model that was trained, not with what was made of it. Knows no framework and no file.
"""

from edgekit.bundle import wire_bytes
from edgekit.conversion import ConversionRequest
from edgekit.telemetry import reference
from edgekit.telemetry.profile import Profile
from edgekit_converters.extraction import Extraction

SAMPLES, EXAMPLE = "samples", "input example"
FEW_ROWS = 320  # twenty in each of sixteen bins: below, a drift must be large to be seen


def profile(request: ConversionRequest, extraction: Extraction) -> Profile | None:
    """Return the profile of all sample rows, None where none is wanted."""
    if not request.profile:
        return None
    return reference.build(
        extraction.samples,
        extraction.original,
        classes=extraction.binding.classes,
        source=EXAMPLE if request.samples is None else SAMPLES,
    )


def sentence(made: Profile | None) -> str:
    """Say what is in every bundle of the rows, for who converts."""
    if made is None:
        return "no reference profile (--no-profile): drift of this version cannot be told"
    columns = len(made.inputs) + len(made.outputs)
    told = (
        f"reference profile: {columns} columns over the {made.rows:,} rows of the"
        f" {made.source}, {wire_bytes(made.to_json()):,} bytes of every bundle; it holds"
        " their quantiles and frequent values"
    )
    if made.rows >= FEW_ROWS:
        return told
    return f"{told}. From so few rows only a large drift can be told"
