"""One candidate alone in this process: load it, run it, print what it cost.

Started by edgekit_converters.verdict.measure, which describes the folder. Imports only
what the device's worker imports too, so that the peak memory means something there, and
so that an environment with nothing but numpy and another onnxruntime can run it. With
--brief nothing is timed: the few rows are answered, and that is all. Where a rival lies
in the folder, the two take turns, so that what else the machine does hits both alike.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from edgekit import runtime
from edgekit.errors import EdgekitError
from edgekit.manifest import RuntimeNeeds
from edgekit.table import Array, rows, take
from edgekit_converters import tables

MODEL = "model.onnx"
OPTIONS = "session_options.json"
RIVAL = "rival.onnx"
RIVAL_OPTIONS = "rival_options.json"
FEW = "few.npz"
FEEDS = "feeds.npz"
OUTPUTS = "outputs.npz"
FEW_ROWS = 16
BRIEF = "--brief"
FAILED = 3  # the exit code for "it does not run here", the reason on standard error
_ONE_ROW_S = 0.6
_DUEL_S = 0.6
_BATCH_S = 0.4
_BATCH_ROWS = 64
_MAX_RUNS = 1_000
_MIN_RUNS = 5
_WARM_RUNS = 3
_MILLION = 1_000_000


def main(folder: Path, *, brief: bool) -> None:
    """Measure the candidate in `folder`, write its outputs, print its cost as JSON."""
    runtime_floor_bytes = _peak_rss_bytes()
    needs = _needs(folder / OPTIONS)
    started = time.perf_counter()
    session = runtime.Session.load(folder / MODEL, needs)
    load_us = round((time.perf_counter() - started) * _MILLION)
    said: dict[str, object] = {
        "onnxruntime": runtime.version(),
        "runtime_floor_bytes": runtime_floor_bytes,
        "first_load_rss_bytes": _peak_rss_bytes(),
        "load_us": load_us,
    }
    step = _fixed_rows(session) or 1
    few = list(_pieces(tables.load(folder / FEW), step))
    said |= _answered(folder, session, few) if brief else _timed(folder, session, few, step)
    print(json.dumps(said))  # noqa: T201 - the answer to the parent


def _answered(
    folder: Path, session: runtime.Session, few: list[dict[str, Array]]
) -> dict[str, object]:
    _save_outputs(folder, [session.run(piece) for piece in few])
    return {"peak_rss_bytes": _peak_rss_bytes()}


def _timed(
    folder: Path, session: runtime.Session, few: list[dict[str, Array]], step: int
) -> dict[str, object]:
    one_row = _times_us(session.run, few, _ONE_ROW_S)
    peak_rss_bytes = _peak_rss_bytes()
    feeds = tables.load(folder / FEEDS)
    chunk = _fixed_rows(session) or _BATCH_ROWS
    pieces = list(_pieces(feeds, chunk))
    batch = _times_us(session.run, pieces[:1], _BATCH_S)
    _save_outputs(folder, [session.run(piece) for piece in pieces])
    return {
        "peak_rss_bytes": peak_rss_bytes,
        "one_row_p50_us": math.ceil(float(np.percentile(one_row, 50)) / step),
        "one_row_p95_us": math.ceil(float(np.percentile(one_row, 95)) / step),
        "batch_us_per_row": float(np.median(batch)) / rows(pieces[0]),
        "times_baseline": _times_rival(folder, session, few),
    }


def _needs(options: Path) -> RuntimeNeeds:
    return RuntimeNeeds(
        opsets={},
        ir_version=0,
        min_onnxruntime="",
        session_options=json.loads(options.read_text("utf-8")),
    )


def _times_rival(
    folder: Path, session: runtime.Session, few: list[dict[str, Array]]
) -> float:
    """Return the median of this session's time over the rival's, 0 without a rival."""
    if not folder.joinpath(RIVAL).exists():
        return 0.0
    rival = runtime.Session.load(folder / RIVAL, _needs(folder / RIVAL_OPTIONS))
    for one in (session, rival):
        _times_us(one.run, few, 0.0)
    ratios: list[float] = []
    end = time.perf_counter() + _DUEL_S
    while len(ratios) < _MIN_RUNS or (
        len(ratios) < _MAX_RUNS and time.perf_counter() < end
    ):
        inputs = few[len(ratios) % len(few)]
        order = (session, rival) if len(ratios) % 2 else (rival, session)
        took = {one: _once_us(one, inputs) for one in order}
        ratios.append(took[session] / took[rival])
    return float(np.median(ratios))


def _once_us(session: runtime.Session, inputs: dict[str, Array]) -> float:
    started = time.perf_counter()
    session.run(inputs)
    return (time.perf_counter() - started) * _MILLION


def _fixed_rows(session: runtime.Session) -> int:
    """Return the only number of rows that the graph takes, or 0 where any goes."""
    first = [shape[0] for _, _, shape in session.inputs if shape]
    return next((size for size in first if isinstance(size, int)), 0)


def _pieces(feeds: dict[str, Array], size: int) -> Iterator[dict[str, Array]]:
    total = rows(feeds)
    for start in range(0, total, size):
        yield take(feeds, list(range(start, min(start + size, total))))


def _times_us(
    run: Callable[[dict[str, Array]], object],
    inputs: list[dict[str, Array]],
    limit_s: float,
) -> list[float]:
    for number in range(_WARM_RUNS):
        run(inputs[number % len(inputs)])
    times: list[float] = []
    end = time.perf_counter() + limit_s
    while len(times) < _MIN_RUNS or (len(times) < _MAX_RUNS and time.perf_counter() < end):
        started = time.perf_counter()
        run(inputs[len(times) % len(inputs)])
        times.append((time.perf_counter() - started) * _MILLION)
    return times


def _save_outputs(folder: Path, outputs: list[dict[str, Array]]) -> None:
    joined = {
        name: np.concatenate([np.atleast_1d(part[name]) for part in outputs])
        for name in outputs[0]
    }
    tables.save(folder / OUTPUTS, joined)


def _peak_rss_bytes() -> int:
    """Return the most memory this process ever held, as the kernel counts it."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise EdgekitError("/proc/self/status: no VmHWM, Linux is expected")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), brief=BRIEF in sys.argv[2:])
    except EdgekitError as error:
        print(*str(error).split(), file=sys.stderr)  # noqa: T201 - the answer to the parent
        sys.exit(FAILED)
