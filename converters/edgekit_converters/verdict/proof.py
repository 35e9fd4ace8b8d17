"""Prove a flavor on a board's terms: its onnxruntime and its memory. Knows no choice.

The golden rows are answered in a child process under the board's onnxruntime, in a
throw-away environment that is built once and cached, and under a memory cgroup with the
board's budget. Where that runtime cannot be had (offline, or no wheel for this Python)
its operators are looked up in ONNX's schemas, and the sentence says so.
"""

import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgekit import golden, runtime
from edgekit.binding import feeds
from edgekit.board import Board
from edgekit.conversion import Progress, RuntimeProof
from edgekit.errors import BoardError, ProofError
from edgekit.manifest import Binding, Tolerance
from edgekit_converters import environments
from edgekit_converters.encoding import decode
from edgekit_converters.environments import NoEnvironmentError
from edgekit_converters.needs.contract import clashes
from edgekit_converters.needs.operators import opsets, schema_trouble
from edgekit_converters.verdict.fit import Need
from edgekit_converters.verdict.measure import Answer, answer

INSTALL_S = 180.0
_MB = 2**20
_NUMPY_2_SINCE = (1, 19)  # older ones were built for numpy 1 and crash with 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A flavor as a device gets it; `golden` are the bundle's vectors."""

    flavor: str
    model: bytes
    session_options: Mapping[str, str]
    binding: Binding
    golden: bytes
    tolerance: Tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was proven of a flavor for a board. `passed` False: it must not go there."""

    flavor: str
    board: str
    passed: bool
    sentence: str


class Prover:
    """Proves each flavor at most once on the same terms, and remembers what came out."""

    def __init__(
        self, subjects: Iterable[Subject], how: RuntimeProof, progress: Progress
    ) -> None:
        self._subjects = {subject.flavor: subject for subject in subjects}
        self._how = how
        self._progress = progress
        self.proofs: dict[tuple[str, str], Proof] = {}  # by (board, flavor)

    def refusal(self, board: Board, need: Need) -> str:
        """Return why a flavor must not go to a board, "" when it was proven there."""
        key = (board.name, need.flavor)
        if key not in self.proofs:
            self._progress(f"{need.flavor}: proving it for {board.name}")
            subject = self._subjects[need.flavor]
            self.proofs[key] = prove(subject, board, self._how, self._progress)
        proof = self.proofs[key]
        return "" if proof.passed else proof.sentence

    def refused(self, board: Board, flavor: str) -> bool:
        """Whether a flavor was tried on a board's terms and failed."""
        proof = self.proofs.get((board.name, flavor))
        return proof is not None and not proof.passed

    def sentences(self) -> tuple[str, ...]:
        """Return what was proven, one sentence for each board and flavor."""
        return tuple(map(_told, self.proofs.values()))


def _told(proof: Proof) -> str:
    verdict = "" if proof.passed else "is refused: "
    return f"{proof.board}: {proof.flavor} {verdict}{proof.sentence}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where to run: another environment's interpreter, or this process's own (None)."""

    python: Path | None
    board_runs: bool  # whether it has the board's onnxruntime
    why_not: str = ""


def prove(subject: Subject, board: Board, how: RuntimeProof, progress: Progress) -> Proof:
    """Answer the golden rows as the board would; BoardError if `how` asks for too much.

    RuntimeProof.ALWAYS wants the board's own onnxruntime and takes no schemas instead.
    """
    against = clashes(decode(subject.model), board)
    if against:
        return _failed(subject, board, "; ".join(map(str, against)))
    place = _place(board, how, progress)
    if not place.board_runs and how is RuntimeProof.ALWAYS:
        raise BoardError(
            f"board {board.name}: no proof under onnxruntime {board.onnxruntime}:"
            f" {place.why_not}"
        )
    vectors = golden.decode(subject.golden)
    try:
        answered = answer(
            subject.model,
            session_options=subject.session_options,
            feeds=feeds(subject.binding, vectors.inputs),
            python=place.python,
            cap_bytes=board.model_ram_mb * _MB,
        )
        golden.compare(vectors, answered.outputs, subject.tolerance)
    except ProofError as error:
        where = f"under onnxruntime {board.onnxruntime}" if place.board_runs else "here"
        return _failed(subject, board, f"{where}: {error}")
    return Proof(
        flavor=subject.flavor,
        board=board.name,
        passed=True,
        sentence=f"{_runtime(subject, place, answered)}, {_memory(board, answered)}",
    )


def _failed(subject: Subject, board: Board, sentence: str) -> Proof:
    return Proof(flavor=subject.flavor, board=board.name, passed=False, sentence=sentence)


def _runtime(subject: Subject, place: _Place, answered: Answer) -> str:
    if place.board_runs:
        return (
            f"loaded and answered the golden rows under onnxruntime {answered.onnxruntime}"
        )
    model = decode(subject.model)
    trouble = schema_trouble(model)
    doubt = f" (they object: {trouble})" if trouble else ""
    return (
        f"checked against the operator schemas of opset {opsets(model).get('', 0)}"
        f" only{doubt}, and answered here under onnxruntime {answered.onnxruntime}:"
        f" {place.why_not}"
    )


def _memory(board: Board, answered: Answer) -> str:
    peak = f"{answered.peak_rss_bytes / _MB:.1f} MB at its peak"
    if answered.capped:
        return f"within a memory cap of {board.model_ram_mb} MB ({peak})"
    return f"{peak}, not capped as no memory cgroup can be made here"


def _place(board: Board, how: RuntimeProof, progress: Progress) -> _Place:
    if _release(runtime.version()) == _release(board.onnxruntime):
        return _Place(python=None, board_runs=True)
    if how is RuntimeProof.NEVER:
        return _Place(python=None, board_runs=False, why_not="--prove-runtime never")
    wanted = requirements(board.onnxruntime)
    try:
        python = environments.environment(wanted, progress, timeout_s=INSTALL_S)
        _check_imports(python, wanted)
    except NoEnvironmentError as error:
        progress(f"no environment for board {board.name}: {error}")
        return _Place(python=None, board_runs=False, why_not=_short(error))
    return _Place(python=python, board_runs=True)


@cache
def _check_imports(python: Path, wanted: tuple[str, ...]) -> None:
    """Refuse an environment that cannot even import: no flavor is to blame for that."""
    done = subprocess.run(  # noqa: S603 - an interpreter that was just made
        [python, "-c", "import numpy, onnxruntime"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
        raise NoEnvironmentError(f"{', '.join(wanted)}: installed, but broken: {last}")


def requirements(onnxruntime: str) -> tuple[str, ...]:
    """Return what an environment with this onnxruntime ("1.22" or "1.22.1") is made of."""
    release = _release(onnxruntime)
    exact = f"{onnxruntime}.*" if onnxruntime.count(".") == 1 else onnxruntime
    numpy = "numpy>=1.26" if release >= _NUMPY_2_SINCE else "numpy>=1.26,<2"
    return f"onnxruntime=={exact}", numpy


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def _short(error: NoEnvironmentError, most: int = 160) -> str:
    text = str(error)
    return text if len(text) <= most else f"{text[: most - 1]}…"
