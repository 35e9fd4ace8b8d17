# noqa: INP001 - a script, not a package
"""Compare neural networks in our flavors with those of onnxruntime's quantisers and LiteRT.

    python -m benchmarks.networks [--data FOLDER] [--rounds 5] [--only NAME]
        [--json FILE] [--markdown]

Without --data small networks are trained on scikit-learn's digits; with it, MLPerf Tiny's
ad01 and kws01 are read from there. Every file is loaded and asked in processes of its
own, in turns. Needs the converters' extras keras, torch and network; peers are optional.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.manifest import RuntimeNeeds
from edgekit.runtime import Session, version
from edgekit.table import Array

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ASKED, BATCH = 200, 64
ZSTD_LEVEL = 19
TIMEOUT_S = 600.0
_BATCHES = 10
_TARGETS = {
    ("ad01", "bytes"): 275_000,
    ("ad01", "metric"): 0.880,
    ("kws01", "bytes"): 29_000,
    ("kws01", "lost"): 0.005,
}
_SLOWER = 1.05


@dataclass(frozen=True, kw_only=True)
class File:
    """One form of one network, what it took and how well it answers."""

    case: str
    form: str
    size: int = 0
    zstd_bytes: int = 0
    load_ms: float = 0.0
    row_us: float = 0.0
    row_ratio: float = 0.0  # to the float file, the median of rounds
    batch_us: float = 0.0
    peak_mb: float = 0.0
    estimated_mb: float = 0.0  # 0: not an ONNX file
    metric: float = 0.0
    low: float = 0.0
    high: float = 0.0
    unseen: float = 0.0  # the metric of rows that no choice was made on
    why_not: str = ""


def child(model: Path, rows: Path, options: str, outputs: Path | None) -> None:
    """Load and ask one file; print what it took. Runs in a process of its own."""
    few = np.load(rows.with_name("few.npy"))
    started = time.perf_counter()
    run = _lite(model) if model.suffix == ".tflite" else _onnx(model, json.loads(options))
    run(few[:1])
    loaded = time.perf_counter() - started
    one = [_seconds(run, few[n : n + 1]) for n in range(len(few))]
    peak = _peak_bytes()
    many = [_seconds(run, few[:BATCH]) / len(few[:BATCH]) for _ in range(_BATCHES)]
    if outputs is not None:
        asked = np.load(rows, mmap_mode="r")
        parts = [
            run(np.array(asked[at : at + BATCH])) for at in range(0, len(asked), BATCH)
        ]
        np.save(outputs, np.concatenate(parts))
    said = {
        "load_ms": loaded * 1e3,
        "row_us": statistics.median(one) * 1e6,
        "batch_us": statistics.median(many) * 1e6,
        "peak_mb": peak / 2**20,
    }
    sys.stdout.write(json.dumps(said))


def _onnx(model: Path, options: Mapping[str, str]) -> Any:  # noqa: ANN401 - a function
    needs = RuntimeNeeds(
        opsets={}, ir_version=0, min_onnxruntime="", session_options=options
    )
    session = Session.load(model, needs)
    name = session.inputs[0][0]
    return lambda rows: next(iter(session.run({name: rows}).values()))


def _lite(model: Path) -> Any:  # noqa: ANN401 - a function; LiteRT has no types
    """Return a function of float rows; LiteRT takes one at a time, in its own int8."""
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - a peer

    interpreter = Interpreter(str(model), num_threads=1)
    interpreter.allocate_tensors()
    takes, gives = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero = takes["quantization"]
    back, middle = gives["quantization"]

    def run(rows: Array) -> Array:
        whole = np.clip(np.rint(rows / scale + zero), -128, 127).astype(np.int8)
        answers = []
        for row in whole:
            interpreter.set_tensor(takes["index"], row.reshape(takes["shape"]))
            interpreter.invoke()
            answers.append(interpreter.get_tensor(gives["index"])[0])
        floats: Array = (np.stack(answers).astype(np.float32) - middle) * np.float32(back)
        return floats

    return run


def _seconds(run: Any, rows: Array) -> float:  # noqa: ANN401 - a function
    started = time.perf_counter()
    run(rows)
    return time.perf_counter() - started


def _peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("/proc/self/status: no VmHWM, Linux is expected")


def compared(case: Any, rounds: int, seconds: float) -> Iterator[File]:  # noqa: ANN401 - a Case; children need not import it
    """Yield every form of one network, measured in turns."""
    from benchmarks.network_forms import ours, theirs  # noqa: PLC0415 - as above

    original: bytes = case.model.SerializeToString()
    forms = [("float, as converted", original, {}), *ours(case, seconds), *theirs(case)]
    with tempfile.TemporaryDirectory(prefix="edgekit-networks-") as name:
        folder = Path(name)
        np.save(folder / "rows.npy", case.rows)
        few = case.rows[:: max(1, len(case.rows) // ASKED)][:ASKED]
        np.save(folder / "few.npy", few)
        files: dict[str, tuple[Path, str]] = {}
        for number, (form, made, options) in enumerate(forms):
            if isinstance(made, bytes):
                files[form] = folder / f"{number}.onnx", json.dumps(dict(options))
                files[form][0].write_bytes(made)
            else:
                yield File(case=case.name, form=form, why_not=made)
        if case.reference is not None:
            files["LiteRT int8"] = case.reference, "{}"
        took = _in_turns(folder, files, rounds)
        for form, (path, _) in files.items():
            if isinstance(took[form], str):
                yield File(case=case.name, form=form, why_not=took[form])
            else:
                yield _file(case, form, path, took, folder / f"{form}.npy")


def _in_turns(
    folder: Path, files: Mapping[str, tuple[Path, str]], rounds: int
) -> dict[str, Any]:
    took: dict[str, Any] = {form: [] for form in files}
    for number in range(rounds):
        for form, (path, options) in files.items():
            if isinstance(took[form], list):
                outputs = folder / f"{form}.npy" if number == 0 else None
                said = _asked(path, folder / "rows.npy", options, outputs)
                took[form] = said if isinstance(said, str) else [*took[form], said]
    return took


def _asked(
    model: Path, rows: Path, options: str, outputs: Path | None
) -> dict[str, float] | str:
    given = [str(model), str(rows), options, str(outputs or "")]
    done = subprocess.run(  # noqa: S603 - this module itself
        [sys.executable, "-m", "benchmarks.networks", "--child", *given],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
        return f"does not run: {''.join(last)[:100]}"
    said: dict[str, float] = json.loads(done.stdout)
    return said


def _file(
    case: Any,  # noqa: ANN401 - a Case
    form: str,
    path: Path,
    took: Mapping[str, Any],
    outputs: Path,
) -> File:
    from benchmarks.network_forms import told  # noqa: PLC0415 - as above

    data, rounds = path.read_bytes(), took[form]
    answers = np.load(outputs)
    units = told(case, answers, {case.input: case.rows})
    unseen = np.flatnonzero(~case.chosen)
    low, high = case.interval(units)
    grouped = units.reshape(len(case.truth), case.per_unit, *units.shape[1:])
    kept = grouped[unseen].reshape(-1, *units.shape[1:])
    base = took["float, as converted"]
    ratios = [a["row_us"] / b["row_us"] for a, b in zip(rounds, base, strict=True)]
    middle = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
    return File(
        case=case.name,
        form=form,
        size=len(data),
        zstd_bytes=len(zstd.compress(data, ZSTD_LEVEL)),
        row_ratio=statistics.median(ratios),
        estimated_mb=_estimated_mb(data, case) if path.suffix == ".onnx" else 0.0,
        metric=case.score(units, np.arange(len(case.truth))),
        low=low,
        high=high,
        unseen=case.score(kept, unseen),
        **middle,
    )


def _estimated_mb(data: bytes, case: Any) -> float:  # noqa: ANN401 - a Case
    from edgekit_converters.encoding import decode  # noqa: PLC0415 - as above
    from edgekit_converters.needs.memory import estimate  # noqa: PLC0415 - as above

    shapes = {case.input: (1, *case.rows.shape[1:])}
    return estimate(decode(data), shapes=shapes).peak / 2**20


def targets(files: list[File]) -> Iterator[str]:
    """Yield which of the targets for MLPerf Tiny our files meet."""
    for name in dict.fromkeys(one.case for one in files):
        mine = [f for f in files if f.case == name and not f.why_not]
        base = next(f for f in mine if f.form == "float, as converted")
        lite = next((f for f in mine if f.form == "LiteRT int8"), None)
        wanted = _TARGETS.get((name, "metric"))
        if wanted is None:
            wanted = base.metric - _TARGETS.get((name, "lost"), 0.005)
        most = _TARGETS.get((name, "bytes"), base.size)
        good = [f for f in mine if f.form.startswith("edgekit") and f.metric >= wanted]
        good = [f for f in good if f.size <= most]
        best = min(good, key=lambda f: f.size, default=None)
        if best is None:
            yield f"{name}: missed: no flavor of at most {most:,} B with {wanted:.3f}"
            continue
        slow = "met" if best.row_ratio <= _SLOWER else "missed"
        yield (
            f"{name}: met by {', '.join(f.form for f in good)}; the smallest takes"
            f" {best.size:,} B (at most {most:,}), {best.metric:.3f} (at least"
            f" {wanted:.3f}); one row {best.row_ratio:.2f} x float ({slow})"
        )
        if lite is not None:
            larger = [f.form for f in good if f.size >= lite.size]
            yield (
                f"{name}: LiteRT's int8 takes {lite.size:,} B with {lite.metric:.3f};"
                f" of those, {', '.join(larger) or 'none'} is no smaller"
            )


def line(one: File) -> str:
    """Return a file's line of the Markdown table."""
    if one.why_not:
        return f"| {one.case} | {one.form} | {one.why_not} | | | | | | | | |"
    error = (one.estimated_mb / one.peak_mb - 1) * 100
    memory = f"{one.peak_mb:.1f}" + (f" ({error:+.0f} %)" if one.estimated_mb else "")
    return (
        f"| {one.case} | {one.form} | {one.size:,} | {one.zstd_bytes:,}"
        f" | {one.metric:.3f} ({one.low:.3f} - {one.high:.3f}) | {one.unseen:.3f}"
        f" | {one.load_ms:.1f} | {one.row_us:.0f} | {one.row_ratio:.2f}"
        f" | {one.batch_us:.1f} | {memory} |"
    )


def main() -> None:
    """Read the command line, build, measure, print."""
    parser = argparse.ArgumentParser(
        description="Bytes, metric, load time, latency and memory of small networks: our"
        " flavors, onnxruntime's quantisers, onnxconverter-common and LiteRT.",
        epilog="Example: python -m benchmarks.networks --data mlperf-tiny --rounds 5",
    )
    parser.add_argument("--data", type=Path, help="folder with ad01/ and kws01/")
    parser.add_argument("--rounds", type=int, default=5, help="processes a file, in turns")
    parser.add_argument("--seconds", type=float, default=60, help="for each search")
    parser.add_argument("--only", default="", help="networks that begin with this")
    parser.add_argument("--json", type=Path, help="write all figures to this file too")
    parser.add_argument("--markdown", action="store_true", help="the table alone")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        model, rows, given, outputs = options.child
        child(Path(model), Path(rows), given, Path(outputs) if outputs else None)
        return
    from benchmarks.network_cases import digits, tiny  # noqa: PLC0415 - children need none

    cases = tiny(options.data) if options.data else digits()
    cases = [case for case in cases if case.name.startswith(options.only)]
    files: list[File] = []
    if not options.markdown:
        sys.stdout.write(f"onnxruntime {version()}, one thread\n\n")
    sys.stdout.write(_HEAD + "\n")
    for case in cases:
        for one in compared(case, options.rounds, options.seconds):
            files.append(one)
            sys.stdout.write(line(one) + "\n")
            sys.stdout.flush()
    if not options.markdown:
        sys.stdout.write("\n" + "\n".join(targets(files)) + "\n")
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in files], indent=1))


_HEAD = """\
| network | form | bytes | zstd bytes | metric (95 %) | on unseen rows | load ms\
 | one row us | x float | batch us a row | peak MB (estimate off by) |
|---|---|--:|--:|---|--:|--:|--:|--:|--:|--:|"""

if __name__ == "__main__":
    main()
