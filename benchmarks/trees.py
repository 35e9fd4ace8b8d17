# noqa: INP001 - a script, not a package
"""Compare tree ensembles as skl2onnx writes them with ours, of version 1 and version 5.

    python -m benchmarks.trees [--trees 100] [--rounds 3] [--only KIND]

For each kind of model it trains one on synthetic data (5,000 rows, 20 columns), converts
it three ways, and loads and asks each in processes of their own, in turns. Prints a
Markdown table of medians; the ratio is against skl2onnx. Needs the converters' extras.
"""

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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

ROWS, COLUMNS, CLASSES = 5_000, 20, 5
ASKED = 200
ZSTD_LEVEL = 19
TIMEOUT_S = 900.0
_NEEDS = RuntimeNeeds(opsets={}, ir_version=10, min_onnxruntime="1.21")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A model to train: `make(trees)`, on labels of so many classes or on numbers (0)."""

    make: Callable[[int], Any]
    classes: int


def kinds() -> Mapping[str, Kind]:
    """Return what is compared, by name. Imports scikit-learn, which children need not."""
    from sklearn import ensemble as of  # noqa: PLC0415 - only the parent trains

    return {
        "IsolationForest": Kind(
            make=lambda n: of.IsolationForest(n_estimators=n), classes=2
        ),
        "RandomForest, 2 classes": Kind(make=of.RandomForestClassifier, classes=2),
        "RandomForest, 5 classes": Kind(make=of.RandomForestClassifier, classes=CLASSES),
        "RandomForest, 5 classes, impure leaves": Kind(
            make=lambda n: of.RandomForestClassifier(n, min_samples_leaf=3),
            classes=CLASSES,
        ),
        "ExtraTrees, 2 classes": Kind(make=of.ExtraTreesClassifier, classes=2),
        "GradientBoosting, 2 classes": Kind(
            make=lambda n: of.GradientBoostingClassifier(n_estimators=n), classes=2
        ),
        "GradientBoosting, numbers": Kind(
            make=lambda n: of.GradientBoostingRegressor(n_estimators=n), classes=0
        ),
        "HistGradientBoosting, 2 classes": Kind(
            make=lambda n: of.HistGradientBoostingClassifier(max_iter=n), classes=2
        ),
        "HistGradientBoosting, numbers": Kind(
            make=lambda n: of.HistGradientBoostingRegressor(max_iter=n), classes=0
        ),
    }


def data(classes: int) -> tuple[Array, Array]:
    """Return float32 rows, and labels or numbers."""
    from sklearn.datasets import make_classification  # noqa: PLC0415 - as above

    rows, labels = make_classification(
        ROWS, COLUMNS, n_informative=10, n_classes=max(classes, 2), random_state=0
    )
    rows = rows.astype(np.float32)
    return rows, labels if classes else rows[:, 0] * 3 + rows[:, 1] ** 2


def converted(model: Any) -> Any:  # noqa: ANN401 - scikit-learn and skl2onnx have no types
    """Return skl2onnx's graph of a model."""
    import skl2onnx  # noqa: PLC0415 - as above
    from skl2onnx.common.data_types import FloatTensorType  # noqa: PLC0415 - as above

    return skl2onnx.convert_sklearn(
        copy.deepcopy(model),
        initial_types=[("input", FloatTensorType([None, COLUMNS]))],
        target_opset={"": 17, "ai.onnx.ml": 3},
    )


def theirs(model: Any) -> bytes | None:  # noqa: ANN401 - as above
    """Return skl2onnx's file, None where it fails (HistGradientBoosting, in 1.20)."""
    try:
        return bytes(converted(model).SerializeToString())
    except (TypeError, ValueError):
        return None


def ours(model: Any) -> dict[str, bytes]:  # noqa: ANN401 - as above
    """Return our files of version 1 and 5, and skl2onnx's with its gaps closed."""
    from edgekit_converters.encoding import encode  # noqa: PLC0415 - as above
    from edgekit_converters.flavors import FLAVORS, Built, Source  # noqa: PLC0415
    from edgekit_converters.frameworks import finishing, sklearn_gaps  # noqa: PLC0415
    from edgekit_converters.passes import clean  # noqa: PLC0415

    sklearn_gaps.close_gaps()
    sklearn_gaps.prepare(model)
    graph = converted(model)
    mended = bytes(graph.SerializeToString())
    finishing.strip_zipmaps(graph)
    graph = finishing.raise_opset(graph, 17)
    finishing.tidy(graph)
    first = clean(graph)
    built = FLAVORS["fp32-trees"](Source(model=first, calibration={}))
    if not isinstance(built, Built):
        raise SystemExit(f"{type(model).__name__}: {built.reason}")
    return {
        "skl2onnx": mended,
        "ours v1": encode(first),
        "ours v5": encode(clean(built.model)),
    }


def child(model: Path, rows: Path) -> None:
    """Load and ask one file; print what it took. Runs in a process of its own."""
    asked = np.load(rows)
    before, started = _rss_bytes(), time.perf_counter()
    session = Session.load(model, _NEEDS)
    loaded = time.perf_counter() - started
    name = session.inputs[0][0]
    times = []
    for row in asked:
        started = time.perf_counter()
        session.run({name: row[None]})
        times.append(time.perf_counter() - started)
    said = {
        "load_ms": loaded * 1e3,
        "row_us": statistics.median(times) * 1e6,
        "rss_mb": (_rss_bytes() - before) / 2**20,
    }
    sys.stdout.write(json.dumps(said))


def measured(files: Mapping[str, bytes], asked: Array, rounds: int) -> dict[str, Any]:
    """Return the medians of each file, measured in turns."""
    found: dict[str, list[dict[str, float]]] = {form: [] for form in files}
    with tempfile.TemporaryDirectory(prefix="edgekit-trees-") as name:
        rows = Path(name) / "rows.npy"
        np.save(rows, asked)
        for number, file in enumerate(files.values()):
            (Path(name) / f"{number}.onnx").write_bytes(file)
        for _ in range(rounds):
            for number, form in enumerate(files):
                found[form].append(_asked(Path(name) / f"{number}.onnx", rows))
    return {
        form: {key: statistics.median(one[key] for one in each) for key in each[0]}
        for form, each in found.items()
    }


def table(kind: str, files: Mapping[str, bytes], figures: Mapping[str, Any]) -> str:
    """Return a model's lines of the Markdown table."""
    first = len(files["skl2onnx"])
    lines = []
    for form, file in files.items():
        one, small = figures[form], len(zstd.compress(file, ZSTD_LEVEL))
        lines.append(
            f"| {kind} | {form} | {len(file):,} | {first / len(file):.1f} | {small:,}"
            f" | {one['load_ms']:,.1f} | {one['row_us']:,.0f} | {one['rss_mb']:.1f} |"
        )
    return "\n".join(lines)


def _asked(model: Path, rows: Path) -> dict[str, float]:
    done = subprocess.run(  # noqa: S603 - this file itself
        [sys.executable, __file__, "--child", str(model), str(rows)],
        capture_output=True,
        check=True,
        timeout=TIMEOUT_S,
    )
    said: dict[str, float] = json.loads(done.stdout)
    return said


def _rss_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Read the command line, measure, and print the table."""
    parser = argparse.ArgumentParser(
        description="Bytes, load time, one-row latency and memory of tree ensembles:"
        " skl2onnx's file, our clean version 1 file, and our TreeEnsemble 5 flavor.",
        epilog="Example: python -m benchmarks.trees --only RandomForest --rounds 3."
        " skl2onnx's IsolationForest of 100 trees takes about 15 seconds to load.",
    )
    parser.add_argument("--trees", type=int, default=100, help="trees (or rounds) a model")
    parser.add_argument("--rounds", type=int, default=3, help="processes a file, in turns")
    parser.add_argument("--only", default="", help="kinds that begin with this")
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    warnings.simplefilter("ignore")  # skl2onnx and scikit-learn talk about versions
    chosen = {n: kind for n, kind in kinds().items() if n.startswith(options.only)}
    if not chosen:
        parser.error(f"--only {options.only}: one of {', '.join(kinds())} is expected")
    models = {name: _trained(kind, options.trees) for name, kind in chosen.items()}
    first = {name: theirs(model) for name, model in models.items()}  # then gaps are closed
    sys.stdout.write(f"onnxruntime {version()}, {options.trees} trees\n\n{_HEAD}\n")
    for name, model in models.items():
        files = ours(model)
        files["skl2onnx"] = first[name] or files["skl2onnx"]
        asked = data(chosen[name].classes)[0][:ASKED]
        figures = measured(files, asked, options.rounds)
        sys.stdout.write(table(name, files, figures) + "\n")
        sys.stdout.flush()


def _trained(kind: Kind, trees: int) -> Any:  # noqa: ANN401 - scikit-learn has no types
    model = kind.make(trees)
    model.set_params(random_state=0)
    return model.fit(*data(kind.classes))


_HEAD = """\
| model | form | bytes | times smaller | zstd bytes | load ms | one row us | RSS MB |
|---|---|--:|--:|--:|--:|--:|--:|"""

if __name__ == "__main__":
    main()
