"""Run one candidate in a child process and read what it cost. Knows no gate, no board.

The child holds nothing but onnxruntime and the candidate, has one thread and the session
options that devices will use. A candidate that crashes takes only its child with it.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from edgekit.document import Reader, canonical_json
from edgekit.errors import ProofError
from edgekit.table import Array, Table, rows, take
from edgekit_converters import tables
from edgekit_converters.verdict import trial

TIMEOUT_S = 300.0
# What the child sees of the environment: enough to find its libraries, no secrets.
_PASSED_ON = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TMPDIR")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a candidate takes, on this machine; memory includes onnxruntime itself."""

    model_bytes: int
    peak_rss_bytes: int
    load_us: int
    one_row_p50_us: int
    one_row_p95_us: int
    batch_us_per_row: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A candidate that ran: its cost, and its raw outputs for every row that was fed."""

    cost: Cost
    outputs: Mapping[str, Array]
    measured_on: str


def measure(
    model: bytes,
    *,
    session_options: Mapping[str, str],
    feeds: Table,
    timeout_s: float = TIMEOUT_S,
) -> Trial:
    """Load and run a candidate on `feeds` ([rows, ...] each), at least one row.

    ProofError when it cannot be loaded or run, gives another number of rows, or takes
    more than `timeout_s`.
    """
    with TemporaryDirectory(prefix="edgekit-trial-") as name:
        folder = Path(name)
        folder.joinpath(trial.MODEL).write_bytes(model)
        folder.joinpath(trial.OPTIONS).write_bytes(canonical_json(dict(session_options)))
        tables.save(folder / trial.FEEDS, feeds)
        few = take(feeds, list(range(min(rows(feeds), trial.FEW_ROWS))))
        tables.save(folder / trial.FEW, few)
        said = _run(folder, timeout_s)
        outputs = tables.load(folder / trial.OUTPUTS)
    for output, values in outputs.items():
        if len(values) != rows(feeds):
            raise ProofError(
                f"output {output}: {len(values)} rows for {rows(feeds)} rows of input"
            )
    return Trial(
        cost=_cost(said, len(model)),
        outputs=outputs,
        measured_on=f"{platform.machine()}, onnxruntime {said.text('onnxruntime')},"
        " one thread",
    )


def _run(folder: Path, timeout_s: float) -> Reader:
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter, this package
            [sys.executable, "-P", "-m", trial.__name__, str(folder)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            cwd=folder,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        )
    except subprocess.TimeoutExpired as error:
        raise ProofError(f"it was not done after {timeout_s:g} s") from error
    if done.returncode != 0:
        lines = done.stderr.replace(f"{folder}/", "").strip().splitlines()
        last = lines[-1] if lines else "no message"
        if done.returncode == trial.FAILED:
            raise ProofError(last)
        raise ProofError(f"its process ended with {done.returncode}: {last}")
    return Reader(table=json.loads(done.stdout), subject="trial", error=ProofError)


def _cost(said: Reader, model_bytes: int) -> Cost:
    return Cost(
        model_bytes=model_bytes,
        peak_rss_bytes=said.integer("peak_rss_bytes"),
        load_us=said.integer("load_us"),
        one_row_p50_us=said.integer("one_row_p50_us"),
        one_row_p95_us=said.integer("one_row_p95_us"),
        batch_us_per_row=said.number("batch_us_per_row"),
    )
