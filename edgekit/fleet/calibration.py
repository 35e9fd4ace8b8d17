"""What a fleet's devices tell of their boards' speed, from their telemetry.

Joins the latencies that devices report with the manifests of the released bundles, which
say how long a row took on the machine that converted them. Knows no ONNX.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import tomli_w

from edgekit import bundle
from edgekit.board import Board
from edgekit.errors import TrustError
from edgekit.fleet.book import Book
from edgekit.latency import Pair
from edgekit.manifest import Manifest
from edgekit.telemetry.window import Window

LEAST_REQUESTS = 20  # in a window, for its median to mean something


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """One window of one bundle on one device; requests of one row each."""

    device: str
    sha256: str
    p50_us: int


def reported(book: Book, board: str) -> tuple[Reported, ...]:
    """Return what the devices of a board told of requests of single rows."""
    devices = [one.name for one in book.devices() if one.board == board]
    return tuple(
        found
        for name in devices
        for found in _told(one.window for one in book.windows(name))
    )


def pairs(told: Iterable[Reported], here_us: Mapping[str, int]) -> tuple[Pair, ...]:
    """Pair each device's median over its windows with the time here, by bundle.

    `here_us` is by the bundle's digest; reports of other bundles are left out.
    """
    medians: dict[tuple[str, str], list[int]] = defaultdict(list)
    for one in told:
        if one.sha256 in here_us:
            medians[one.device, one.sha256].append(one.p50_us)
    return tuple(
        Pair(
            device=device,
            here_us=here_us[digest],
            there_us=round(statistics.median(each)),
        )
        for (device, digest), each in sorted(medians.items())
    )


def times_here(blobs: Path, digests: Iterable[str]) -> dict[str, int]:
    """Return digest -> median time of a row when it was converted, in microseconds.

    A bundle that is gone or damaged is left out: it is the depot's trouble, not ours.
    """
    found: dict[str, int] = {}
    for digest in sorted(set(digests)):
        manifest = _manifest(blobs / digest)
        if manifest is not None and manifest.footprint.one_row_p50_us:
            found[digest] = manifest.footprint.one_row_p50_us
    return found


def profile_text(board: Board) -> str:
    """Return a board's profile as the TOML file that it is read from."""
    table = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(board).items()
        if value not in (None, ())
    }
    return tomli_w.dumps(table)


def _told(windows: Iterable[Window]) -> Iterator[Reported]:
    for window in windows:
        for model in window.bundles:
            single = model.rows == model.requests and not model.errors
            p50_us = model.percentile_us(0.5)
            if single and model.requests >= LEAST_REQUESTS and p50_us:
                yield Reported(device=window.device, sha256=model.sha256, p50_us=p50_us)


def _manifest(path: Path) -> Manifest | None:
    try:
        with path.open("rb") as stream:
            return bundle.read_members(stream)[0]
    except (OSError, TrustError):
        return None
