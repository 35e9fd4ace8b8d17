"""Make telemetry windows."""

from edgekit.telemetry.counts import BundleCounts
from edgekit.telemetry.window import Window


def window(
    number: int, *, requests: int = 1, boot_id: str = "b-1", histograms: int = 0
) -> Window:
    """Return a window of a minute, in which a model was asked so often."""
    bundle = BundleCounts(
        model="wine",
        version="1",
        flavor="fp32",
        sha256="a" * 64,
        requests=requests,
        inputs=((requests, 7, 0),) * histograms,
    )
    return Window(
        device="pi-7",
        boot_id=boot_id,
        first=number,
        last=number,
        start=f"{number}",
        end=f"{number + 1}",
        bundles=(bundle,) if requests else (),
    )


def requests(one: Window) -> int:
    """Return how many requests a window counts."""
    return sum(bundle.requests for bundle in one.bundles)
