"""Convert a group of named models and tell what became of each, in a process of its own.

`python -m tests.converters.matrix GROUP FOLDER` makes them in an empty folder and leaves
FOLDER/outcomes.json. The page docs/conversion-matrix.md is written from it.
"""

import json
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edgekit.binding import Predictions
from edgekit.errors import ConversionError
from edgekit.table import Array
from edgekit_converters.extraction import Extraction
from tests.converters import natives

CONVERTED, REFUSED = "converted", "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one model: `error` bounds the difference, `because` says why not."""

    name: str
    logged: str
    outcome: str
    error: float = 0.0
    because: str = ""


def outcome(name: str, logged: str, convert: Callable[[], Extraction]) -> Outcome:
    """Convert a model and compare its two forms on its samples."""
    try:
        extraction = convert()
    except ConversionError as refusal:
        return Outcome(name=name, logged=logged, outcome=REFUSED, because=str(refusal))
    error = difference(natives.answers(extraction), extraction.original)
    return Outcome(name=name, logged=logged, outcome=CONVERTED, error=rounded_up(error))


def difference(got: Predictions, wanted: Predictions) -> float:
    """Return the largest error: a share of other labels, or of the largest number."""
    pairs = [(got.prediction, wanted.prediction)]
    if got.probabilities is not None:
        pairs.append((got.probabilities, wanted.probabilities))  # type: ignore[arg-type]  # both or none
    if got.score is not None:
        pairs.append((got.score, wanted.score))  # type: ignore[arg-type]  # as above
    return max(_apart(ours, theirs) for ours, theirs in pairs)


def _apart(got: Array | dict[str, Array], wanted: Array | dict[str, Array]) -> float:
    if isinstance(wanted, dict):
        assert isinstance(got, dict)
        return max(_apart(got[name], array) for name, array in wanted.items())
    assert isinstance(got, np.ndarray)
    if wanted.dtype.kind != "f":
        return float((got != wanted).mean())
    known = np.isfinite(wanted)
    if not known.any():
        return 0.0
    largest = float(np.abs(wanted[known]).max()) or 1.0
    return float(np.abs(got - wanted)[known].max()) / largest


def rounded_up(error: float) -> float:
    """Return the power of ten not below an error, which machines agree on."""
    return 0.0 if error == 0 else 10.0 ** math.ceil(math.log10(error))


def sklearn(folder: Path) -> Iterator[Outcome]:
    from tests.converters import sklearn_models  # noqa: PLC0415 - only for this group

    for number, case in enumerate(sklearn_models.cases()):
        home = folder / str(number)
        home.mkdir()
        if case.frame is None:
            path, samples = (
                natives.pickled(home, case.model),
                natives.saved_rows(home, case.rows),
            )
        else:
            path, samples = (
                natives.signed(home, case.model, case.frame),
                home / "rows.parquet",
            )
            case.frame.to_parquet(samples)
        yield outcome(case.name, "pickle", _converting(path, samples, trust=True))


def boosters(folder: Path) -> Iterator[Outcome]:
    from tests.converters import booster_models  # noqa: PLC0415 - only for this group

    for case in (*booster_models.CASES, *booster_models.UNANSWERED):
        path = case.make(folder)
        logged = "MLflow 3, pickled" if case.trust else "MLflow 3"
        yield outcome(case.name, logged, _converting(path, None, trust=case.trust))


def networks(folder: Path) -> Iterator[Outcome]:
    from tests.converters import network_models  # noqa: PLC0415 - only for this group

    for number, model in enumerate(network_models.NETWORK_MODELS):
        home = folder / str(number)
        home.mkdir()
        path = model.make(home)
        samples = network_models.rows(home)
        logged = (
            "MLflow 3" if path.joinpath("MLmodel").is_file() else f"{path.suffix[1:]} file"
        )
        logged = "folder" if logged == " file" else logged
        yield outcome(model.name, logged, _converting(path, samples, trust=model.trust))


def spark(folder: Path) -> Iterator[Outcome]:
    from tests.converters import spark_models  # noqa: PLC0415 - only for this group

    spark_models.main(folder)
    for name in spark_models.NAMES:
        convert = _converting(folder / name, folder / "rows.csv", trust=False)
        yield outcome(name, "MLflow 3", convert)


def old(folder: Path) -> Iterator[Outcome]:
    from tests.converters import old_eras  # noqa: PLC0415 - only for this group

    for era in filter(old_eras.is_possible, old_eras.ERAS):
        home = old_eras.made(era, folder)
        for name in old_eras.NAMES:
            yield outcome(name, era, old_eras.converting(home / name))


def _converting(
    path: Path, samples: Path | None, *, trust: bool
) -> Callable[[], Extraction]:
    return lambda: natives.extracted(path, samples, trust_pickle=trust)


GROUPS: dict[str, Callable[[Path], Iterator[Outcome]]] = {
    "sklearn": sklearn,
    "boosters": boosters,
    "networks": networks,
    "spark": spark,
    "old": old,
}


def main(group: str, folder: Path) -> None:
    warnings.simplefilter("ignore")  # the frameworks' own
    found = []
    for one in GROUPS[group](folder):
        print(one.name, one.outcome, one.error, one.because[:120], file=sys.stderr)  # noqa: T201 - progress
        found.append(asdict(one))
    folder.joinpath("outcomes.json").write_text(json.dumps(found), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
