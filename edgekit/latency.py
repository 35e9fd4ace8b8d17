"""How long a row takes on a board, told from how long it took here. Pure; knows no fleet.

Uncalibrated, the time is scaled by two estimates: how fast this machine is, and how fast
the profile says the board is, both as fractions of the reference (a Raspberry Pi 5). It
can be wrong by a factor of two or three, and ranks models better than it times them.
Calibrated, by what devices of the board reported of models whose time here is known:
there = overhead + factor * here, the overhead being what a request costs around the model.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from edgekit.board import Board, Calibration
from edgekit.errors import BoardError

HOST_SPEED = 2.0  # assumed of any machine that converts: a PC's or server's core of today
LEAST_SPREAD = 2.0  # times between the slowest and fastest model, for a line through them
_LINE_POINTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One model's median time for one row: here, and as a device reported it."""

    device: str
    here_us: int
    there_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardLatency:
    """A time on a board that is not at hand. `how` says what it rests on."""

    board: str
    one_row_p50_us: int
    calibrated: bool
    how: str


def calibrate(pairs: Sequence[Pair]) -> Calibration:
    """Return what the pairs of one board say; BoardError when there is none.

    The line is the median of the slopes between models (Theil and Sen), so that one device
    that is busy otherwise does not bend it. Models of nearly one speed cannot tell what is
    overhead: then all of it is in the factor.
    """
    usable = [pair for pair in pairs if pair.here_us > 0 and pair.there_us > 0]
    if not usable:
        raise BoardError(
            "no device of this board has reported the latency of any model yet"
        )
    factor, overhead = _line(usable)
    around = [(pair.there_us - overhead) / pair.here_us for pair in usable]
    low, high = _quartiles(around)
    return Calibration(
        factor=factor,
        overhead_us=overhead,
        low=low,
        high=high,
        pairs=len(usable),
        devices=len({pair.device for pair in usable}),
    )


def on_board(board: Board, here_us: int, *, host_speed: float = HOST_SPEED) -> BoardLatency:
    """Return the time of one row on a board; `host_speed` is this machine's, as `speed`."""
    known = board.latency
    if known is None:
        return BoardLatency(
            board=board.name,
            one_row_p50_us=max(1, round(here_us * host_speed / board.speed)),
            calibrated=False,
            how=f"estimated: this machine is taken as {host_speed:.1f} and the board as"
            f" {board.speed:g} times a Raspberry Pi 5",
        )
    return BoardLatency(
        board=board.name,
        one_row_p50_us=max(1, round(known.overhead_us + known.factor * here_us)),
        calibrated=True,
        how=f"calibrated by {known.pairs} reports of {known.devices} devices: a request"
        f" takes {known.overhead_us} us and {known.factor:.2f} times the time here"
        f" ({known.low:.2f} to {known.high:.2f})",
    )


def _line(pairs: Sequence[Pair]) -> tuple[float, int]:
    here = [pair.here_us for pair in pairs]
    ratio = statistics.median(pair.there_us / pair.here_us for pair in pairs)
    if len(set(here)) < _LINE_POINTS or max(here) < LEAST_SPREAD * min(here):
        return ratio, 0
    factor = statistics.median(
        (one.there_us - other.there_us) / (one.here_us - other.here_us)
        for one, other in combinations(pairs, 2)
        if one.here_us != other.here_us
    )
    if factor <= 0:
        return ratio, 0
    overhead = statistics.median(pair.there_us - factor * pair.here_us for pair in pairs)
    return factor, max(0, round(overhead))


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) == 1:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third
