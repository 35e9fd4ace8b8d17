"""Boosters of every kind, saved by MLflow itself: a table of cases for the converters.

`python -m tests.converters.booster_models FOLDER` leaves one model folder a case, and the
answers of MLflow's own python_function on its sample rows (NAME.answers.npy).
"""

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightgbm
import mlflow
import numpy as np
import pandas as pd
import xgboost
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

RNG = np.random.default_rng(5)
ROWS = RNG.normal(size=(300, 4)).astype(np.float32)
ROWS[:, 3] = RNG.integers(0, 9, 300)
FRAME = pd.DataFrame(ROWS, columns=["width", "a depth", "mass", "code"])
LABELS = (ROWS[:, 0] + ROWS[:, 1] + ROWS[:, 3] % 3 > 1).astype(np.int64)
THREE = (ROWS[:, 3] % 3).astype(np.int64)
NUMBERS = ROWS @ np.array([1.0, -2.0, 0.5, 3.0], dtype=np.float32)
COUNTS = np.floor(np.abs(NUMBERS))
MIXED = FRAME.assign(city=RNG.choice(["Bilbao", "Eibar", "Ñ"], len(FRAME)))
SEEN = 40  # rows that go with a model as samples
_QUIET = {"verbose": -1, "min_child_samples": 5, "n_jobs": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One model: `make` writes its MLflow folder and returns it.

    `rows` are samples for it; `trust` is whether loading it takes --trust-pickle.
    """

    name: str
    make: Callable[[Path], Path]
    rows: pd.DataFrame
    trust: bool = False


def _case(
    name: str,
    flavor: Any,  # noqa: ANN401 - MLflow has no types
    train: Callable[[], object],
    rows: pd.DataFrame = FRAME,
    *,
    trust: bool = False,
    **options: object,
) -> Case:
    def make(folder: Path) -> Path:
        home = folder / name
        flavor.save_model(
            train(),
            str(home),
            signature=infer_signature(rows[:SEEN]),
            input_example=rows[:SEEN],
            pip_requirements=[],
            **options,
        )
        return home

    return Case(name=name, make=make, rows=rows[:SEEN], trust=trust)


def _pickled(
    name: str,
    flavor: Any,  # noqa: ANN401
    train: Callable[[], object],
    rows: pd.DataFrame = FRAME,
) -> Case:
    return _case(name, flavor, train, rows, trust=True, serialization_format="cloudpickle")


def _xgboost(objective: str, answers: Any, **parameters: object) -> Callable[[], object]:  # noqa: ANN401
    def train() -> object:
        rows = xgboost.DMatrix(FRAME, answers)
        settings = {"objective": objective, "max_depth": 3, **parameters}
        return xgboost.train(settings, rows, 8)

    return train


def _with_categories() -> object:
    kinds = ["q", "q", "q", "c"]
    rows = xgboost.DMatrix(FRAME, LABELS, feature_types=kinds, enable_categorical=True)
    return xgboost.train({"objective": "binary:logistic", "max_depth": 4}, rows, 8)


def _lightgbm(objective: str, answers: Any, **parameters: object) -> Callable[[], object]:  # noqa: ANN401
    def train() -> object:
        rows = lightgbm.Dataset(
            FRAME, answers, categorical_feature=[3] if parameters.pop("sets", 0) else "auto"
        )
        settings = {"objective": objective, "num_leaves": 7, **_QUIET, **parameters}
        return lightgbm.train(settings, rows, 8)

    return train


def _on_categories_of_pandas() -> object:
    frame = MIXED.assign(city=MIXED["city"].astype("category"))
    settings = {"objective": "binary", "num_leaves": 7, **_QUIET}
    return lightgbm.train(settings, lightgbm.Dataset(frame, LABELS), 8)


def _ranker() -> object:
    return xgboost.XGBRanker(n_estimators=5, max_depth=3).fit(
        FRAME, THREE, group=[150, 150]
    )


def _stopped() -> object:
    model = xgboost.XGBClassifier(
        n_estimators=40, max_depth=4, early_stopping_rounds=2, learning_rate=0.9
    )
    noisy = np.where(RNG.random(300) < 0.3, 1 - LABELS, LABELS)
    return model.fit(FRAME[:200], noisy[:200], eval_set=[(FRAME[200:], noisy[200:])])


def _encoded(model: object) -> Pipeline:
    columns = ["width", "a depth", "mass", "code"]
    encoder = ColumnTransformer(
        [("n", StandardScaler(), columns), ("c", OneHotEncoder(), ["city"])]
    )
    return make_pipeline(encoder, model)


_XGB, _LGB, _SK = mlflow.xgboost, mlflow.lightgbm, mlflow.sklearn
UNANSWERED: tuple[Case, ...] = (  # which MLflow's python_function takes no rows for
    _case("lgb-pandas-categories", _LGB, _on_categories_of_pandas, MIXED),
)
CASES: tuple[Case, ...] = (
    _case("xgb-regression", _XGB, _xgboost("reg:squarederror", NUMBERS)),
    _case("xgb-binary", _XGB, _xgboost("binary:logistic", LABELS)),
    _case("xgb-softprob", _XGB, _xgboost("multi:softprob", THREE, num_class=3)),
    _case("xgb-softmax", _XGB, _xgboost("multi:softmax", THREE, num_class=3)),
    _case("xgb-hinge", _XGB, _xgboost("binary:hinge", LABELS)),
    _case("xgb-poisson", _XGB, _xgboost("count:poisson", COUNTS)),
    _case("xgb-dart", _XGB, _xgboost("binary:logistic", LABELS, booster="dart")),
    _case("xgb-linear", _XGB, _xgboost("reg:squarederror", NUMBERS, booster="gblinear")),
    _case("xgb-json", _XGB, _xgboost("reg:absoluteerror", NUMBERS), model_format="json"),
    _case("xgb-categories", _XGB, _with_categories),
    _case(
        "xgb-classifier",
        _XGB,
        lambda: xgboost.XGBClassifier(n_estimators=8, max_depth=3).fit(FRAME, LABELS),
    ),
    _case(
        "xgb-classifier-3",
        _XGB,
        lambda: xgboost.XGBClassifier(n_estimators=8, max_depth=3).fit(FRAME, THREE),
    ),
    _case(
        "xgb-classifier-softmax",
        _XGB,
        lambda: xgboost.XGBClassifier(n_estimators=8, objective="multi:softmax").fit(
            FRAME, THREE
        ),
    ),
    _case(
        "xgb-classifier-labels",
        _XGB,
        lambda: xgboost.XGBClassifier(n_estimators=8, max_depth=3).fit(
            FRAME, np.stack([LABELS, 1 - LABELS, THREE > 0], axis=1)
        ),
    ),
    _case("xgb-classifier-stopped", _XGB, _stopped),
    _case(
        "xgb-regressor",
        _XGB,
        lambda: xgboost.XGBRegressor(n_estimators=8, max_depth=3).fit(FRAME, NUMBERS),
    ),
    _case(
        "xgb-forest",
        _XGB,
        lambda: xgboost.XGBRFClassifier(n_estimators=8, max_depth=3).fit(FRAME, LABELS),
    ),
    _case("xgb-ranker", _XGB, _ranker),
    _case("lgb-regression", _LGB, _lightgbm("regression", NUMBERS)),
    _case("lgb-binary", _LGB, _lightgbm("binary", LABELS)),
    _case("lgb-multiclass", _LGB, _lightgbm("multiclass", THREE, num_class=3)),
    _case("lgb-one-against-all", _LGB, _lightgbm("multiclassova", THREE, num_class=3)),
    _case("lgb-poisson", _LGB, _lightgbm("poisson", COUNTS)),
    _case("lgb-dart", _LGB, _lightgbm("binary", LABELS, boosting="dart")),
    _case("lgb-linear-leaves", _LGB, _lightgbm("regression", NUMBERS, linear_tree=True)),
    _case("lgb-categories", _LGB, _lightgbm("binary", LABELS, sets=1, cat_smooth=1)),
    _case(
        "lgb-forest",
        _LGB,
        _lightgbm(
            "regression", NUMBERS, boosting="rf", bagging_fraction=0.5, bagging_freq=1
        ),
    ),
    _case(
        "lgb-classifier",
        _LGB,
        lambda: lightgbm.LGBMClassifier(n_estimators=8, **_QUIET).fit(FRAME, LABELS),
    ),
    _pickled(
        "lgb-classifier-pickled",
        _LGB,
        lambda: lightgbm.LGBMClassifier(n_estimators=8, **_QUIET).fit(
            FRAME, np.array(["low", "mid", "top"])[THREE]
        ),
    ),
    _case(
        "lgb-regressor",
        _LGB,
        lambda: lightgbm.LGBMRegressor(n_estimators=8, **_QUIET).fit(FRAME, NUMBERS),
    ),
    _case(
        "lgb-ranker",
        _LGB,
        lambda: lightgbm.LGBMRanker(n_estimators=8, **_QUIET).fit(
            FRAME, THREE, group=[150, 150]
        ),
        skops_trusted_types=["lightgbm.sklearn.LGBMRanker"],
    ),
    _pickled(
        "pipeline-xgb-classifier",
        _SK,
        lambda: make_pipeline(
            StandardScaler(), xgboost.XGBClassifier(n_estimators=8, max_depth=3)
        ).fit(FRAME, THREE),
    ),
    _pickled(
        "pipeline-xgb-regressor-columns",
        _SK,
        lambda: _encoded(xgboost.XGBRegressor(n_estimators=8, max_depth=3)).fit(
            MIXED, NUMBERS
        ),
        MIXED,
    ),
    _pickled(
        "pipeline-lgb-classifier-columns",
        _SK,
        lambda: _encoded(lightgbm.LGBMClassifier(n_estimators=8, **_QUIET)).fit(
            MIXED, LABELS
        ),
        MIXED,
    ),
    _pickled(
        "pipeline-lgb-regressor",
        _SK,
        lambda: make_pipeline(
            StandardScaler(), lightgbm.LGBMRegressor(n_estimators=8, **_QUIET)
        ).fit(FRAME, NUMBERS),
    ),
)


def _catboost(kind: str, answers: Any) -> Callable[[], object]:  # noqa: ANN401
    def train() -> object:
        import catboost  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra without types

        model = getattr(catboost, kind)(
            iterations=8, depth=3, verbose=False, allow_writing_files=False
        )
        trained: object = model.fit(FRAME, answers)
        return trained

    return train


if find_spec("catboost") is not None:
    CASES += (
        _case("cat-regressor", mlflow.catboost, _catboost("CatBoostRegressor", NUMBERS)),
        _case("cat-classifier", mlflow.catboost, _catboost("CatBoostClassifier", LABELS)),
        _case("cat-classifier-3", mlflow.catboost, _catboost("CatBoostClassifier", THREE)),
        _case(
            "cat-classifier-texts",
            mlflow.catboost,
            _catboost("CatBoostClassifier", np.array(["low", "mid", "top"])[THREE]),
        ),
    )


def main(folder: Path) -> None:
    """Make every case, and ask MLflow about its rows."""
    warnings.simplefilter("ignore")
    for case in CASES:
        home = case.make(folder)
        answer = mlflow.pyfunc.load_model(str(home)).predict(case.rows)
        np.save(f"{home}.answers.npy", np.asarray(answer), allow_pickle=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
