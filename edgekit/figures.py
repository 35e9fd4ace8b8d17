"""What the proof of a candidate measured on a device: kept there, and told to the fleet.

Pure: values to a table, a reader to values. docs/formats/device-state.md is the page.
"""

from dataclasses import asdict, dataclass

from edgekit.document import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowFigures:
    """How far the candidate was from the champion on the last real inputs.

    `labels`: `agreed` counts equal labels, else rows with numbers in the same places;
    `difference` is the largest of any number, None without one.
    """

    rows: int
    agreed: int
    failed: int
    difference: float | None
    labels: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The golden rows' largest difference, times, memory; `shadow` None: not compared."""

    sha256: str
    rows: int
    difference: float
    load_us: int
    one_row_p50_us: int
    one_row_p95_us: int
    peak_rss_bytes: int
    shadow: ShadowFigures | None = None

    def to_table(self) -> dict[str, object]:
        """Return the JSON object."""
        return asdict(self)


def figures_from(reader: Reader) -> Figures:
    """Read what to_table wrote, from a record, a proof's line or a report."""
    return Figures(
        sha256=reader.sha256("sha256"),
        rows=reader.integer("rows"),
        difference=reader.number("difference"),
        load_us=reader.integer("load_us"),
        one_row_p50_us=reader.integer("one_row_p50_us"),
        one_row_p95_us=reader.integer("one_row_p95_us"),
        peak_rss_bytes=reader.integer("peak_rss_bytes"),
        shadow=_shadow_from(reader.child("shadow")) if reader.has("shadow") else None,
    )


def _shadow_from(reader: Reader) -> ShadowFigures:
    return ShadowFigures(
        rows=reader.integer("rows"),
        agreed=reader.integer("agreed"),
        failed=reader.integer("failed"),
        difference=reader.number("difference") if reader.has("difference") else None,
        labels=reader.flag("labels"),
    )
