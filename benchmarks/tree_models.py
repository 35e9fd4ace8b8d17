# noqa: INP001 - a script's part, not a package
"""The models of the trees benchmark: trained, and taken out as `edgekit convert` does."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.table import Array

TRAINED, HELD_BACK, COLUMNS, CLASSES = 5_000, 4_000, 20, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A model to train: `make(trees)`, on labels of so many classes or on numbers (0).

    `smaller` is how many times fewer bytes fp32-trees is to take; see docs/benchmarks.md.
    One that takes `long`, minutes for each file, is measured only where it is asked for.
    """

    make: Callable[[int], Any]
    classes: int
    smaller: float
    long: bool = False


def kinds() -> Mapping[str, Kind]:
    """Return what is compared, by name. Imports scikit-learn, which children need not."""
    from sklearn import ensemble as of  # noqa: PLC0415 - only the parent trains

    forest, boosting = of.RandomForestClassifier, of.GradientBoostingClassifier
    numbers, histograms = of.GradientBoostingRegressor, of.HistGradientBoostingClassifier
    histogram_numbers = of.HistGradientBoostingRegressor
    found = {
        "IsolationForest": Kind(
            make=lambda n: of.IsolationForest(n_estimators=n), classes=2, smaller=12
        ),
        "IsolationForest, three times the trees, of 512 rows": Kind(
            make=lambda n: of.IsolationForest(n_estimators=3 * n, max_samples=512),
            classes=2,
            smaller=12,
            long=True,
        ),
        "RandomForest, 2 classes": Kind(make=forest, classes=2, smaller=6),
        "RandomForest, 5 classes": Kind(make=forest, classes=CLASSES, smaller=6),
        "RandomForest, 5 classes, impure leaves": Kind(
            make=lambda n: forest(n, min_samples_leaf=3), classes=CLASSES, smaller=6
        ),
        "RandomForest, 2 classes, a tenth of the trees, 8 deep": Kind(
            make=lambda n: forest(max(1, n // 10), max_depth=8), classes=2, smaller=6
        ),
        "ExtraTrees, 2 classes": Kind(make=of.ExtraTreesClassifier, classes=2, smaller=6),
        "GradientBoosting, 2 classes": Kind(
            make=lambda n: boosting(n_estimators=n), classes=2, smaller=4
        ),
        "GradientBoosting, numbers": Kind(
            make=lambda n: numbers(n_estimators=n), classes=0, smaller=4
        ),
        "HistGradientBoosting, 2 classes": Kind(
            make=lambda n: histograms(max_iter=n), classes=2, smaller=4
        ),
        "HistGradientBoosting, numbers": Kind(
            make=lambda n: histogram_numbers(max_iter=n), classes=0, smaller=4
        ),
    }
    return {**found, **_boosters()}


def _boosters() -> dict[str, Kind]:
    found = {}
    try:
        import xgboost  # noqa: PLC0415 - optional

        found["XGBoost, 2 classes"] = Kind(
            make=lambda n: xgboost.XGBClassifier(n_estimators=n), classes=2, smaller=3.5
        )
        found["XGBoost, numbers"] = Kind(
            make=lambda n: xgboost.XGBRegressor(n_estimators=n), classes=0, smaller=3.5
        )
    except ImportError:
        sys.stderr.write("xgboost: not installed: pip install xgboost\n")
    try:
        import lightgbm  # noqa: PLC0415 - optional

        found["LightGBM, 2 classes"] = Kind(
            make=lambda n: lightgbm.LGBMClassifier(n_estimators=n, verbose=-1),
            classes=2,
            smaller=4,
        )
        found["LightGBM, numbers"] = Kind(
            make=lambda n: lightgbm.LGBMRegressor(n_estimators=n, verbose=-1),
            classes=0,
            smaller=4,
        )
    except ImportError:
        sys.stderr.write("lightgbm: not installed: pip install lightgbm\n")
    return found


def data(classes: int) -> tuple[Array, Array]:
    """Return float32 rows, and labels or numbers."""
    from sklearn.datasets import make_classification  # noqa: PLC0415 - as above

    rows, labels = make_classification(
        TRAINED + HELD_BACK,
        COLUMNS,
        n_informative=10,
        n_classes=max(classes, 2),
        random_state=0,
    )
    rows = rows.astype(np.float32)
    return rows, labels if classes else rows[:, 0] * 3 + rows[:, 1] ** 2


def table_of(rows: Array) -> Any:  # noqa: ANN401 - pandas' own type
    """Return rows as a data frame, as MLflow hands them to a model."""
    import pandas as pd  # noqa: PLC0415 - children need none

    return pd.DataFrame(rows, columns=[f"f{number}" for number in range(COLUMNS)])


def extracted(model: Any, labels: Array, rows: Array, folder: Path) -> Any:  # noqa: ANN401
    """Log a model as MLflow does, and take it out as `edgekit convert` does."""
    import mlflow  # noqa: PLC0415 - as above

    from edgekit.conversion import ConversionRequest  # noqa: PLC0415 - as above
    from edgekit.manifest import ModelIdentity  # noqa: PLC0415 - as above
    from edgekit_converters.native.extract import extract  # noqa: PLC0415 - as above

    frame = table_of(rows)
    flavor = {"xgboost": mlflow.xgboost, "lightgbm": mlflow.lightgbm}.get(
        type(model).__module__.partition(".")[0], mlflow.sklearn
    )
    signature = mlflow.models.infer_signature(frame[:5], model.predict(frame[:5]))
    more = {"serialization_format": "pickle"} if flavor is mlflow.sklearn else {}
    flavor.save_model(model, folder / "model", signature=signature, **more)
    samples, target = folder / "samples.parquet", "y"
    frame.assign(**{target: labels}).to_parquet(samples)
    (folder / "work").mkdir()
    request = ConversionRequest(
        model_folder=folder / "model",
        identity=ModelIdentity(name="trees", version="1", run_id="", source_sha256=""),
        boards=(),
        out=folder / "out",
        samples=samples,
        target=None if type(model).__name__ == "IsolationForest" else target,
        trust_pickle=True,
    )
    return extract(request, folder / "work", lambda _: None)
