"""Try a stored bundle on this very device, in a process that may die of it.

It loads the model, runs the golden vectors and compares, measures latency and memory, and
compares its answers to the last real inputs with what the champion gave. The
verdict is one JSON line; no line at all is no verdict. Knows no broker and no state.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit import binding, golden
from edgekit.errors import EdgekitError, ProofError
from edgekit.golden import Golden
from edgekit.manifest import GOLDEN_NAME, MODEL_NAME, Manifest
from edgekit.runtime import Session
from edgekit.schema import Schema
from edgekit.table import Table, rows, take
from edgekit_agent import lines, memory, shadow
from edgekit_agent.shadow import Agreement, Outputs, Terms
from edgekit_agent.storage import bundles
from edgekit_agent.storage.store import Store

MAX_ONE_ROW_RUNS = 200
ONE_ROW_BUDGET_S = 2.0
SLOWDOWN = 30.0
FLOOR_US = 20_000
PACE_FLOOR_US = 2_000  # nobody minds a model of less, however fast the one before was
MOST_SLOWER = 10.0
RECENT_S = 10.0  # for the worker to write them down
_MB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """The last real inputs with the champion's answers, and what is expected."""

    asked: Sequence[Golden]
    terms: Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a model that is right cost here. `difference`: the largest of any number."""

    rows: int
    difference: float
    load_us: int
    one_row_p50_us: int
    one_row_p95_us: int
    peak_rss_bytes: int
    shadow: Agreement | None = None


def prove(
    store: Store,
    sha256: str,
    *,
    max_rss_bytes: int,
    pace_us: int | None = None,
    rehearsal: Callable[[], Rehearsal | None] = lambda: None,
) -> Verdict:
    """Return what the bundle costs here, or raise. The rehearsal comes last.

    `pace_us` is what one row took the model that serves, in its own proof here.

    ProofError: it does not load, its golden outputs differ, it takes more memory than
    allowed, is slower than `SLOWDOWN` times what the workstation measured (and slower than
    `FLOOR_US`, below which no board is judged) or `MOST_SLOWER` times the pace (and than
    `PACE_FLOOR_US`), or agrees too little with the champion.
    SchemaError or TrustError: its signature or golden vectors cannot be used. StoreError:
    the disk damaged it.
    """
    manifest = bundles.read(store, sha256)
    folder = store.bundle(sha256)
    if GOLDEN_NAME not in manifest.files:
        raise ProofError(f"{_name(manifest)}: no golden vectors, {GOLDEN_NAME} is expected")
    known = golden.decode((folder / GOLDEN_NAME).read_bytes())
    if not rows(known.inputs):
        raise ProofError(f"{_name(manifest)}: golden vectors of no row, one is expected")
    Schema.from_signature(manifest.signature)
    began_ns = time.perf_counter_ns()
    session = Session.load(folder / MODEL_NAME, manifest.runtime)
    load_us = (time.perf_counter_ns() - began_ns) // 1000
    difference = _compare(session, manifest, known)
    times_us = _one_row_us(session, manifest, known)
    verdict = Verdict(
        rows=rows(known.inputs),
        difference=difference,
        load_us=load_us,
        one_row_p50_us=round(statistics.median(times_us)),
        one_row_p95_us=sorted(times_us)[int(0.95 * (len(times_us) - 1))],
        peak_rss_bytes=memory.peak_rss_bytes(),
    )
    _judge(verdict, manifest, max_rss_bytes=max_rss_bytes)
    _judge_pace(verdict, manifest, pace_us)
    rehearsed = rehearsal()
    if rehearsed is None:
        return verdict
    return replace(verdict, shadow=_rehearse(session, manifest, rehearsed))


def _rehearse(session: Session, manifest: Manifest, rehearsal: Rehearsal) -> Agreement:
    """Answer the last real inputs; ProofError when the answers are too far off."""

    def answer(inputs: Table) -> Outputs:
        raw = session.run(binding.feeds(manifest.binding, inputs))
        found = binding.results(manifest.binding, raw).prediction
        return found if isinstance(found, dict) else {"": found}

    classes = bool(manifest.binding.classes)
    agreement = shadow.compare(rehearsal.asked, answer, classes=classes)
    agreement.judge(rehearsal.terms)
    return agreement


def _compare(session: Session, manifest: Manifest, known: Golden) -> float:
    raw = session.run(binding.feeds(manifest.binding, known.inputs))
    difference = golden.compare(known, raw, manifest.tolerance)
    binding.results(manifest.binding, raw)  # the caller's interface can be restored
    return difference


def _one_row_us(session: Session, manifest: Manifest, known: Golden) -> list[int]:
    """Time single rows, as requests bring them; a slow model is not timed for long."""
    one = binding.feeds(manifest.binding, take(known.inputs, [0]))
    ends_s = time.monotonic() + ONE_ROW_BUDGET_S
    times_us: list[int] = []
    session.run(one)  # the first run allocates
    while not times_us or (len(times_us) < MAX_ONE_ROW_RUNS and time.monotonic() < ends_s):
        began_ns = time.perf_counter_ns()
        session.run(one)
        times_us.append((time.perf_counter_ns() - began_ns) // 1000)
    return times_us


def _judge(verdict: Verdict, manifest: Manifest, *, max_rss_bytes: int) -> None:
    if verdict.peak_rss_bytes > max_rss_bytes:
        raise ProofError(
            f"{_name(manifest)}: it took {verdict.peak_rss_bytes / _MB:.0f} MB here, this"
            f" device gives models up to {max_rss_bytes / _MB:.0f} MB"
        )
    measured_us = manifest.footprint.one_row_p95_us
    allowed_us = max(FLOOR_US, SLOWDOWN * measured_us)
    if verdict.one_row_p50_us > allowed_us:
        raise ProofError(
            f"{_name(manifest)}: one row took {verdict.one_row_p50_us} us here, up to"
            f" {allowed_us:.0f} us are expected ({measured_us} us on"
            f" {manifest.footprint.measured_on})"
        )


def _judge_pace(verdict: Verdict, manifest: Manifest, pace_us: int | None) -> None:
    if pace_us is None:
        return
    allowed_us = max(PACE_FLOOR_US, MOST_SLOWER * pace_us)
    if verdict.one_row_p50_us > allowed_us:
        raise ProofError(
            f"{_name(manifest)}: one row took {verdict.one_row_p50_us} us here and"
            f" {pace_us} us with what serves, up to {allowed_us:.0f} us are expected"
        )


def _name(manifest: Manifest) -> str:
    return f"{manifest.model.name} {manifest.model.version} ({manifest.flavor})"


def main() -> None:
    """Prove one bundle and tell the verdict."""
    arguments = _arguments()
    voice = lines.Voice.claim()
    lines.end_with(sys.stdin, lambda _line: None)
    store = Store(arguments.state_dir)
    try:
        verdict = prove(
            store,
            arguments.sha256,
            max_rss_bytes=arguments.max_rss_bytes,
            pace_us=arguments.pace_us,
            rehearsal=lambda: _rehearsal(arguments),
        )
    except EdgekitError as error:
        voice.say("refused", error=type(error).__name__, reason=str(error))
        return
    voice.say(
        "proved",
        sha256=arguments.sha256,
        rows=verdict.rows,
        difference=verdict.difference,
        load_us=verdict.load_us,
        one_row_p50_us=verdict.one_row_p50_us,
        one_row_p95_us=verdict.one_row_p95_us,
        peak_rss_bytes=verdict.peak_rss_bytes,
        shadow=verdict.shadow and verdict.shadow.to_table(),
    )


def _rehearsal(arguments: argparse.Namespace) -> Rehearsal | None:
    if arguments.recent is None:
        return None
    terms = Terms(
        least_agreement=arguments.least_agreement,
        most_difference=arguments.most_difference,
    )
    return Rehearsal(asked=shadow.read(arguments.recent, RECENT_S), terms=terms)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="edgekit_agent.proof", description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--sha256", required=True)
    parser.add_argument("--max-rss-bytes", type=int, required=True)
    parser.add_argument("--pace-us", type=int)
    parser.add_argument("--recent", type=Path)
    parser.add_argument("--least-agreement", type=float)
    parser.add_argument("--most-difference", type=float)
    return parser.parse_args()


if __name__ == "__main__":
    main()
