"""Run one candidate in a child process and read what it cost. Knows no gate, no board.

The child holds nothing but onnxruntime and the candidate, has one thread and the session
options that devices will use. A candidate that crashes takes only its child with it.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import edgekit
import edgekit_converters
from edgekit import scratch
from edgekit.document import Reader, canonical_json
from edgekit.errors import ProofError
from edgekit.table import Array, Table, rows, take
from edgekit_converters import tables
from edgekit_converters.encoding import decode
from edgekit_converters.needs.memory import estimate
from edgekit_converters.verdict import trial
from edgekit_converters.verdict.cap import capped

TIMEOUT_S = 300.0
_MB = 2**20
_FEW_BYTES = 2**18  # reading rows takes several times as much, which is not the model's
_LIBRARY = "library"
# What the child sees of the environment: enough to find its libraries, no secrets.
_PASSED_ON = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TMPDIR")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a candidate takes, on this machine; memory includes onnxruntime itself.

    `first_load_rss_bytes` is the peak until the session was made, `peak_rss_bytes` until
    rows were answered one by one as well; `runtime_floor_bytes` is what the process took
    with onnxruntime and numpy imported and no session. `memory_estimate_bytes` is not
    measured: it is what the graph alone tells. `times_baseline` is the time of one row over
    that of the rival it took turns with, 0 without one.
    """

    model_bytes: int
    peak_rss_bytes: int
    load_us: int
    one_row_p50_us: int
    one_row_p95_us: int
    batch_us_per_row: float
    first_load_rss_bytes: int = 0
    runtime_floor_bytes: int = 0
    memory_estimate_bytes: int = 0
    times_baseline: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """The model that a candidate takes turns with, to tell how much slower it is."""

    model: bytes
    session_options: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A candidate that ran: its cost, and its raw outputs for every row that was fed."""

    cost: Cost
    outputs: Mapping[str, Array]
    measured_on: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A candidate that loaded and answered: its raw outputs, and under what.

    `capped` tells whether a memory cgroup held it to the cap; False where none can be
    made here.
    """

    outputs: Mapping[str, Array]
    onnxruntime: str
    peak_rss_bytes: int
    capped: bool


def measure(
    model: bytes,
    *,
    session_options: Mapping[str, str],
    feeds: Table,
    rival: Rival | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Trial:
    """Load and run a candidate on `feeds` ([rows, ...] each), at least one row.

    ProofError when it cannot be loaded or run, gives another number of rows, or takes
    more than `timeout_s`.
    """
    with scratch.folder("trial") as folder:
        _prepare(folder, model, session_options)
        if rival is not None:
            folder.joinpath(trial.RIVAL).write_bytes(rival.model)
            options = canonical_json(dict(rival.session_options))
            folder.joinpath(trial.RIVAL_OPTIONS).write_bytes(options)
        tables.save(folder / trial.FEEDS, feeds)
        tables.save(folder / trial.FEW, take(feeds, list(range(_few_rows(feeds)))))
        said = _run(folder, _command(Path(sys.executable), folder), timeout_s)
        outputs = _outputs(folder, rows(feeds))
    return Trial(
        cost=_cost(said, model, session_options, feeds),
        outputs=outputs,
        measured_on=f"{platform.machine()}, onnxruntime {said.text('onnxruntime')},"
        " one thread",
    )


def answer(  # noqa: PLR0913 - what is asked, and under which conditions
    model: bytes,
    *,
    session_options: Mapping[str, str],
    feeds: Table,
    python: Path | None = None,
    cap_bytes: int = 0,
    timeout_s: float = TIMEOUT_S,
) -> Answer:
    """Load a candidate once and answer every row of `feeds` one by one, untimed.

    `python` is an interpreter of another environment with numpy and onnxruntime; this
    one's by default. Under a cap above 0 a candidate that takes more is killed. ProofError
    as for `measure`.
    """
    with scratch.folder("trial") as folder:
        _prepare(folder, model, session_options)
        tables.save(folder / trial.FEW, feeds)
        command = [*_command(python or Path(sys.executable), folder), trial.BRIEF]
        library = _library(folder) if python else None
        if cap_bytes:
            said, held = _run_capped(folder, command, timeout_s, cap_bytes, library)
        else:
            said, held = _run(folder, command, timeout_s, library), False
        outputs = _outputs(folder, rows(feeds))
    return Answer(
        outputs=outputs,
        onnxruntime=said.text("onnxruntime"),
        peak_rss_bytes=said.integer("peak_rss_bytes"),
        capped=held,
    )


def _prepare(folder: Path, model: bytes, session_options: Mapping[str, str]) -> None:
    folder.joinpath(trial.MODEL).write_bytes(model)
    folder.joinpath(trial.OPTIONS).write_bytes(canonical_json(dict(session_options)))


def _few_rows(feeds: Table) -> int:
    """Return how many rows are fed one by one: few, and not much memory themselves."""
    total = rows(feeds)
    row_bytes = sum(values.nbytes for values in feeds.values()) // total
    return max(1, min(total, trial.FEW_ROWS, _FEW_BYTES // max(row_bytes, 1)))


def _command(python: Path, folder: Path) -> list[str]:
    return [str(python), "-P", "-m", trial.__name__, str(folder)]


def _library(folder: Path) -> Path:
    """Return a folder with edgekit's own packages and nothing else of this environment."""
    library = folder / _LIBRARY
    library.mkdir()
    for package in (edgekit, edgekit_converters):
        home = Path(package.__path__[0]).resolve()
        library.joinpath(home.name).symlink_to(home, target_is_directory=True)
    return library


def _outputs(folder: Path, wanted: int) -> dict[str, Array]:
    outputs = tables.load(folder / trial.OUTPUTS)
    for output, values in outputs.items():
        if len(values) != wanted:
            raise ProofError(
                f"output {output}: {len(values)} rows for {wanted} rows of input"
            )
    return outputs


def _run_capped(
    folder: Path,
    command: Sequence[str],
    timeout_s: float,
    cap_bytes: int,
    library: Path | None,
) -> tuple[Reader, bool]:
    with capped(cap_bytes) as group:
        if group is None:
            return _run(folder, command, timeout_s, library), False
        try:
            return _run(folder, group.command(command), timeout_s, library), True
        except ProofError as error:
            if group.killed():
                raise ProofError(
                    f"killed: it takes more memory than the {cap_bytes / _MB:g} MB it may"
                ) from error
            raise


def _run(
    folder: Path, command: Sequence[str], timeout_s: float, library: Path | None = None
) -> Reader:
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    if library is not None:
        passed["PYTHONPATH"] = str(library)
    try:
        done = subprocess.run(  # noqa: S603 - a Python interpreter, this package
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            cwd=folder,
            env=passed,
            process_group=0,  # Ctrl-C in a terminal stops the search, not the measuring
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


def _cost(
    said: Reader, model: bytes, session_options: Mapping[str, str], feeds: Table
) -> Cost:
    told = estimate(
        decode(model),
        session_options=session_options,
        shapes={name: (1, *values.shape[1:]) for name, values in feeds.items()},
    )
    return Cost(
        model_bytes=len(model),
        peak_rss_bytes=said.integer("peak_rss_bytes"),
        load_us=said.integer("load_us"),
        one_row_p50_us=said.integer("one_row_p50_us"),
        one_row_p95_us=said.integer("one_row_p95_us"),
        batch_us_per_row=said.number("batch_us_per_row"),
        first_load_rss_bytes=said.integer("first_load_rss_bytes"),
        runtime_floor_bytes=said.integer("runtime_floor_bytes"),
        memory_estimate_bytes=told.peak,
        times_baseline=said.number("times_baseline"),
    )
