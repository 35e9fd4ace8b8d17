# noqa: INP001 - a script, not a package
"""Compare tree ensembles of ours with those of other tools, on the same models in one run.

    python -m benchmarks.trees [--trees 100] [--rounds 3] [--only KIND] [--markdown]

Trains each kind of model on synthetic data (5,000 rows of 20 columns; 4,000 more to search
and judge on), has the production code convert it to every tree flavor, and other tools to
their form. Each file is loaded and asked in processes of its own, in turns, after a session
of one node; figures are medians, "times smaller" is against skl2onnx or onnxmltools.
"Flips" are labels that differ from the original's, on rows not trained on and on rows
exactly on and beside the model's own thresholds; of regressors, answers that differ by more
than a millionth. The drop is the gate's, on the gate's rows.
"""

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tree_models import COLUMNS, TRAINED, Kind, data, extracted, kinds, table_of
from benchmarks.tree_peers import answering, labels_of, peers
from edgekit.bundle import wire_bytes
from edgekit.manifest import RuntimeNeeds
from edgekit.runtime import Session, version
from edgekit.table import Array

ROOT = Path(__file__).resolve().parents[1]
ASKED = 300  # rows, one by one
TIMEOUT_S = 900.0
SEARCH_S = 20.0  # for each lossy flavor
NEAR = 1e-5  # of a regressor's standard deviation: float32 sums of 100 trees come to 2e-6
OURS = ("fp32", "fp32-trees-v1", "fp32-trees", "trees-rounded", "trees-pruned")
_WARM = "warm.onnx"
_NEEDS = RuntimeNeeds(opsets={}, ir_version=10, min_onnxruntime="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What is known of one file; `said` instead of figures where there is none."""

    kind: str
    form: str
    said: str = ""
    bytes: int = 0
    smaller: float = 0.0
    wire_bytes: int = 0
    load_ms: float = 0.0
    row_us: float = 0.0
    batch_us: float = 0.0
    rss_mb: float = 0.0
    flips: int = 0
    asked: int = 0
    metric: str = ""


def ours(extraction: Any) -> tuple[dict[str, bytes | str], Any]:  # noqa: ANN401 - as above
    """Return our files, or why there is none, and the papers they are judged by."""
    from edgekit_converters.encoding import decode, encode  # noqa: PLC0415 - as above
    from edgekit_converters.flavors import FLAVORS, Built, Source  # noqa: PLC0415
    from edgekit_converters.passes import clean  # noqa: PLC0415 - as above
    from edgekit_converters.verdict.budget import Budget  # noqa: PLC0415 - as above
    from edgekit_converters.verdict.papers import Question, lay_out  # noqa: PLC0415
    from edgekit_converters.verdict.search import SampleSearch  # noqa: PLC0415

    papers = lay_out(extraction, Question())
    files: dict[str, bytes | str] = {}
    cleaned = clean(decode(extraction.model))
    for flavor in OURS:
        search = SampleSearch(
            feeds=papers.search_feeds,
            drop_of=lambda raw: papers.search.drop(_results(extraction, raw)),
            max_drop=0.005,
            share=Budget(SEARCH_S).share(1),
            progress=lambda _: None,
        )
        started = time.perf_counter()
        source = Source(model=cleaned, calibration=papers.search_feeds, search=search)
        built = FLAVORS[flavor](source)
        if isinstance(built, Built):
            files[flavor] = encode(clean(built.model))
        else:
            files[flavor] = built.reason
        sys.stderr.write(f"  {flavor}: {time.perf_counter() - started:.1f} s\n")
    return files, papers


def _results(extraction: Any, raw: Mapping[str, Array]) -> Any:  # noqa: ANN401 - as above
    from edgekit.binding import results  # noqa: PLC0415 - as above

    return results(extraction.binding, raw)


def awkward(extraction: Any) -> Array:  # noqa: ANN401 - as above
    """Return rows on and beside the model's own thresholds."""
    from edgekit_converters.encoding import decode  # noqa: PLC0415 - as above
    from edgekit_converters.flavors.trees.one_forest import trees_of  # noqa: PLC0415 - as above

    splits = [s for forest in trees_of(decode(extraction.model)) for s in forest.splits]
    rng = np.random.default_rng(5)
    chosen = rng.integers(len(splits), size=(3, 1_000, 2 * COLUMNS))
    rows = rng.normal(0, 2, (3, 1_000, COLUMNS)).astype(np.float32)
    for which, way in enumerate((0.0, -np.inf, np.inf)):
        for row, numbers in zip(rows[which], chosen[which], strict=True):
            for split in (splits[number] for number in numbers):
                value = np.float32(split.threshold)
                if np.isfinite(value):
                    beside = np.nextafter(value, np.float32(way))
                    row[split.feature] = beside if way else value
    return rows.reshape(-1, COLUMNS)


def child(form: str, file: Path, rows: Path) -> None:
    """Load and ask one file; print what it took. Runs in a process of its own."""
    asked = np.load(rows)
    one = [np.ascontiguousarray(row[None]) for row in asked[:ASKED]]
    Session.load(rows.with_name(_WARM), _NEEDS)  # what the first session costs once
    before, started = _rss_bytes(), time.perf_counter()
    if form in {"TL2cgen", "emlearn"}:
        answer = answering(form, file)
    else:
        session = Session.load(file, _NEEDS)
        feeds = _feeding(session)

        def answer(given: Array) -> Any:  # noqa: ANN401 - arrays by name
            return session.run(feeds(given))

    loaded = time.perf_counter() - started
    times = []
    for row in one:
        started = time.perf_counter()
        answer(row)
        times.append(time.perf_counter() - started)
    rss = _rss_bytes() - before
    started = time.perf_counter()
    whole = answer(asked)
    batch = (time.perf_counter() - started) / len(asked)
    said = whole if isinstance(whole, dict) else {"": whole}
    np.savez(rows.with_suffix(".npz"), **{f"o{n}": v for n, v in enumerate(said.values())})
    figures = {
        "load_ms": loaded * 1e3,
        "row_us": statistics.median(times) * 1e6,
        "batch_us": batch * 1e6,
        "rss_mb": rss / 2**20,
    }
    sys.stdout.write(json.dumps(figures))


def _feeding(session: Session) -> Callable[[Array], dict[str, Array]]:
    name = session.inputs[0][0]
    return lambda rows: {name: rows}


def measured(
    files: Mapping[str, bytes], asked: Array, rounds: int
) -> tuple[dict[str, dict[str, float]], dict[str, list[Array]]]:
    """Return the medians of each file, measured in turns, and its answers to all rows."""
    found: dict[str, list[dict[str, float]]] = {form: [] for form in files}
    answers: dict[str, list[Array]] = {}
    with tempfile.TemporaryDirectory(prefix="edgekit-trees-") as name:
        rows = Path(name) / "rows.npy"
        np.save(rows, asked)
        rows.with_name(_WARM).write_bytes(_warm())
        places = {
            form: Path(name) / f"{number}{_suffix(form)}"
            for number, form in enumerate(files)
        }
        for form, place in places.items():
            place.write_bytes(files[form])
        for _ in range(rounds):
            for form, place in places.items():
                found[form].append(_asked(form, place, rows))
                with np.load(rows.with_suffix(".npz"), allow_pickle=False) as held:
                    answers[form] = list(held.values())
    medians = {
        form: {key: statistics.median(one[key] for one in each) for key in each[0]}
        for form, each in found.items()
    }
    return medians, answers


def _warm() -> bytes:
    """Return a model of one node."""
    from onnx import helper  # noqa: PLC0415 - children need none

    ends = [helper.make_tensor_value_info(name, 1, ["rows"]) for name in "xy"]
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "g", ends[:1], ends[1:])
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return bytes(model.SerializeToString())


def _suffix(form: str) -> str:
    return ".so" if form in {"TL2cgen", "emlearn"} else ".onnx"


def _asked(form: str, file: Path, rows: Path) -> dict[str, float]:
    done = subprocess.run(  # noqa: S603 - this program itself
        [sys.executable, "-m", "benchmarks.trees", "--child", form, str(file), str(rows)],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=TIMEOUT_S,
    )
    said: dict[str, float] = json.loads(done.stdout)
    return said


def _rss_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def compared(name: str, kind: Kind, trees: int, rounds: int) -> list[Line]:
    """Train, convert and measure one kind of model."""
    model = kind.make(trees)
    model.set_params(random_state=0)
    rows, labels = data(kind.classes)
    model.fit(table_of(rows[:TRAINED]), labels[:TRAINED])
    with tempfile.TemporaryDirectory(prefix="edgekit-trees-") as folder:
        held_back = labels[TRAINED:], rows[TRAINED:]
        extraction = extracted(model, *held_back, Path(folder))
    mine, papers = ours(extraction)
    splits = _splits(extraction)
    made = {**peers(model, splits, COLUMNS), **mine}
    if isinstance(made.get("skl2onnx"), str):  # its converter, mended by ours
        made = {"skl2onnx, mended": extraction.model, **made}
    files = {form: file for form, file in made.items() if isinstance(file, bytes)}
    asked = np.concatenate([rows[TRAINED:], awkward(extraction)])
    original = np.asarray(model.predict(table_of(asked)))
    figures, answers = measured(files, asked, rounds)
    first = len(files[_reference(files)])
    classes = getattr(model, "classes_", np.array([1, -1])) if kind.classes else None
    lines = [Line(kind=name, form=f, said=t) for f, t in made.items() if isinstance(t, str)]
    for form, file in files.items():
        given = _prediction(form, answers[form], classes)
        metric = "" if _suffix(form) == ".so" else _judged(file, extraction, papers)
        line = Line(
            kind=name,
            form=form,
            bytes=len(file),
            smaller=first / len(file),
            wire_bytes=wire_bytes(file),
            flips=_flips(given, original),
            asked=len(asked),
            metric=metric,
            load_ms=figures[form]["load_ms"],
            row_us=figures[form]["row_us"],
            batch_us=figures[form]["batch_us"],
            rss_mb=figures[form]["rss_mb"],
        )
        lines.append(line)
    return lines


def _reference(forms: Iterable[str]) -> str:
    """Return the form that "times smaller" is against."""
    return next(form for form in forms if form.startswith(("skl2onnx", "onnxmltools")))


def _splits(extraction: Any) -> int:  # noqa: ANN401 - as above
    from edgekit_converters.encoding import decode  # noqa: PLC0415 - as above
    from edgekit_converters.flavors.trees.one_forest import trees_of  # noqa: PLC0415 - as above

    return sum(len(forest.splits) for forest in trees_of(decode(extraction.model)))


def _prediction(form: str, answers: Sequence[Array], classes: Array | None) -> Array:
    if _suffix(form) == ".so":
        return labels_of(answers[0], classes)
    return answers[0].ravel()


def _judged(file: bytes, extraction: Any, papers: Any) -> str:  # noqa: ANN401 - as above
    """Return the gate's metric and the interval of its drop; "" if it cannot be asked."""
    session = Session.load(file, _NEEDS)
    name = session.inputs[0][0]
    names = [output.tensor for output in extraction.binding.outputs]
    given = next(iter(papers.feeds.values()))
    raw = dict(zip(names, session.run({name: given}).values(), strict=False))
    comparison = papers.judge(_results(extraction, raw))
    return str(comparison.interval)


def _flips(given: Array, original: Array) -> int:
    if original.dtype.kind == "f":
        apart = np.abs(given.astype(np.float64) - original)
        return int((apart > NEAR * max(1.0, float(original.std()))).sum())
    return int((given.astype(original.dtype) != original).sum())


def verdicts(lines: Sequence[Line], targets: Mapping[str, Kind]) -> list[str]:
    """Return a sentence for each target: met or missed, and by what."""
    said = []
    for name, kind in targets.items():
        held = {line.form: line for line in lines if line.kind == name and not line.said}
        if not held:
            continue
        theirs, best = held[_reference(held)], held["fp32-trees"]
        wanted = [("bytes", best.smaller, kind.smaller)]
        if name.startswith("IsolationForest"):
            wanted.append(("one-row latency", theirs.row_us / best.row_us, 100.0))
            wanted.append(("load time", theirs.load_ms / best.load_ms, 1_000.0))
        for what, reached, target in wanted:
            met = "met" if reached >= target else "MISSED"
            said.append(f"{name}: {what} {reached:,.1f} x, target {target:g} x: {met}")
        met = "met" if best.flips == 0 else "MISSED"
        said.append(f"{name}: {best.flips} of {best.asked:,} decisions flipped: {met}")
    return said


def row(line: Line) -> str:
    """Return a line of the Markdown table."""
    if line.said:
        return f"| {line.kind} | {line.form} | {line.said} |" + " |" * 8
    return (
        f"| {line.kind} | {line.form} | {line.bytes:,} | {line.smaller:.1f}"
        f" | {line.wire_bytes:,} | {line.load_ms:,.1f} | {line.row_us:,.0f}"
        f" | {line.batch_us:,.1f} | {line.rss_mb:.1f} | {line.flips} | {line.metric} |"
    )


def main() -> None:
    """Read the command line, measure, and print the table and the verdicts."""
    parser = argparse.ArgumentParser(
        description="Bytes, load time, latency, memory and flipped decisions of tree"
        " ensembles: other tools' files and our flavors.",
        epilog="Example: python -m benchmarks.trees --only RandomForest --rounds 3."
        " skl2onnx's IsolationForest of 100 trees takes about 15 seconds to load.",
    )
    parser.add_argument("--trees", type=int, default=100, help="trees (or rounds) a model")
    parser.add_argument("--rounds", type=int, default=3, help="processes a file, in turns")
    parser.add_argument(
        "--only",
        default="",
        help="kinds that begin with this; in full for one that takes long",
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--markdown", action="store_true", help="the table only")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], Path(options.child[1]), Path(options.child[2]))
        return
    warnings.simplefilter("ignore")  # of versions, mostly
    logging.disable(logging.WARNING)  # MLflow's advice
    chosen = {
        name: kind
        for name, kind in kinds().items()
        if name.startswith(options.only) and (not kind.long or name == options.only)
    }
    if not chosen:
        parser.error(f"--only {options.only}: one of {', '.join(kinds())} is expected")
    sys.stdout.write(f"onnxruntime {version()}, {options.trees} trees\n\n{_HEAD}\n")
    lines: list[Line] = []
    for name, kind in chosen.items():
        sys.stderr.write(f"{name}\n")
        found = compared(name, kind, options.trees, options.rounds)
        sys.stdout.write("\n".join(row(line) for line in found) + "\n")
        sys.stdout.flush()
        lines += found
    if not options.markdown:
        sys.stdout.write("\n" + "\n".join(verdicts(lines, chosen)) + "\n")
    if options.json:
        options.json.write_text(json.dumps([asdict(line) for line in lines], indent=1))


_HEAD = """\
| model | form | bytes | times smaller | wire bytes | load ms | one row us \
| batch us a row | RSS MB | flips | drop, interval |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|"""

if __name__ == "__main__":
    main()
