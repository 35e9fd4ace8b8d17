"""Boosters as MLflow saves them, and inside scikit-learn pipelines."""

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
import yaml
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)

from edgekit.errors import ConversionError
from edgekit.manifest import OutputRole
from edgekit_converters.extraction import Extraction, Task
from tests.converters.booster_models import CASES, FRAME, LABELS, MIXED, THREE
from tests.converters.conftest import made
from tests.converters.natives import answers, assert_same, extracted, pickled, signed

pytestmark = pytest.mark.slow  # the libraries and MLflow take seconds to import


@pytest.fixture(scope="session")
def booster_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made("tests.converters.booster_models", tmp_path_factory.mktemp("boosters"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_mlflow_saved_answers_as_its_python_function(
    case: Any,  # noqa: ANN401 - pytest tells no types
    booster_folders: Path,
) -> None:
    home = booster_folders / case.name
    extraction = extracted(home, trust_pickle=case.trust)
    got = answers(extraction)
    assert_same(got, extraction.original)
    wanted = np.load(f"{home}.answers.npy", allow_pickle=True)
    assert isinstance(got.prediction, np.ndarray)
    assert got.prediction.shape == wanted.shape
    if wanted.dtype.kind == "f":
        np.testing.assert_allclose(got.prediction, wanted, rtol=1e-5, atol=1e-5)
    else:
        assert got.prediction.tolist() == wanted.tolist()


@pytest.mark.parametrize(
    ("name", "task", "classes"),
    [
        ("xgb-regression", Task.REGRESSION, ()),
        ("xgb-binary", Task.OTHER, ()),  # odds: numbers
        ("xgb-softprob", Task.CLASSIFICATION, ("0", "1", "2")),
        ("xgb-classifier", Task.CLASSIFICATION, ("0", "1")),
        ("xgb-ranker", Task.OTHER, ()),
        ("lgb-classifier-pickled", Task.CLASSIFICATION, ("low", "mid", "top")),
    ],
)
def test_task_and_classes_are_told(
    name: str, task: Task, classes: tuple[str, ...], booster_folders: Path
) -> None:
    extraction = extracted(booster_folders / name, trust_pickle=True)
    assert (extraction.task, extraction.binding.classes) == (task, classes)
    roles = [output.role for output in extraction.binding.outputs]
    assert roles == [OutputRole.PREDICTION, OutputRole.PROBABILITY][: 1 + bool(classes)]


# Decimals that no float32 holds, so that any rounding on the way to the trees shows.
DECIMALS = (FRAME.round(1).astype(np.float64) * 1.1).round(2)
SCALERS: dict[str, Any] = {
    "standard": StandardScaler(),
    "standard, not centred": StandardScaler(with_mean=False),
    "least and most": MinMaxScaler(),
    "clipped": MinMaxScaler(feature_range=(-2, 3), clip=True),
    "largest": MaxAbsScaler(),
    "robust": RobustScaler(),
    "centred only": RobustScaler(with_scaling=False),
    "imputed and scaled": make_pipeline(SimpleImputer(), StandardScaler()),
    "powers": PolynomialFeatures(2),
    "binned": KBinsDiscretizer(4, encode="ordinal", quantile_method="linear"),
    "twice": make_pipeline(MinMaxScaler(), StandardScaler()),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SCALERS)
def test_no_decision_of_xgboost_flips_behind_a_scaler(
    name: str, dtype: type[np.floating[Any]], tmp_path: Path
) -> None:
    frame = pd.DataFrame(DECIMALS.to_numpy(dtype), columns=DECIMALS.columns)
    booster = xgboost.XGBClassifier(n_estimators=8, max_depth=4)
    extraction = taken(tmp_path, make_pipeline(SCALERS[name], booster), frame)
    probabilities = answers(extraction).probabilities
    assert probabilities is not None
    assert extraction.original.probabilities is not None
    np.testing.assert_allclose(probabilities, extraction.original.probabilities, atol=1e-6)


def taken(folder: Path, model: Any, frame: pd.DataFrame) -> Extraction:  # noqa: ANN401
    """Fit on the frame, and convert with the frame as samples: thresholds lie on them."""
    model.fit(frame, THREE)
    samples = folder / "rows.parquet"
    frame.to_parquet(samples)
    home = signed(folder, model, frame)
    if set(frame.dtypes) == {np.dtype(np.float32)}:  # `signed` knows no float32
        text = home.joinpath("MLmodel").read_text("utf-8").replace('"double"', '"float"')
        home.joinpath("MLmodel").write_text(text, "utf-8")
    return extracted(home, samples, trust_pickle=True)


NUMERIC = ["width", "a depth", "mass", "code"]
PARTS: dict[str, Any] = {
    "scaled beside one-hot": ColumnTransformer(
        [("n", StandardScaler(), NUMERIC), ("c", OneHotEncoder(), ["city"])]
    ),
    "ordinal": ColumnTransformer(
        [("c", OrdinalEncoder(), ["city"])], remainder="passthrough"
    ),
    "imputed": ColumnTransformer(
        [
            ("n", make_pipeline(SimpleImputer(), MinMaxScaler()), NUMERIC[:2]),
            ("m", RobustScaler(), NUMERIC[2:]),
            ("c", OneHotEncoder(handle_unknown="ignore"), ["city"]),
        ]
    ),
}
BOOSTERS: dict[str, Any] = {
    "xgboost": xgboost.XGBClassifier(n_estimators=6, max_depth=4),
    "lightgbm": lightgbm.LGBMClassifier(n_estimators=6, verbose=-1, n_jobs=1),
}


@pytest.mark.parametrize("booster", BOOSTERS)
@pytest.mark.parametrize("name", PARTS)
def test_columns_of_several_types_answer_as_the_original(
    name: str, booster: str, tmp_path: Path
) -> None:
    frame = MIXED.assign(**{column: DECIMALS[column] for column in NUMERIC})
    model = make_pipeline(PARTS[name], BOOSTERS[booster])
    extraction = taken(tmp_path, model, frame)
    assert_same(answers(extraction), extraction.original)


@pytest.mark.parametrize("name", BOOSTERS)
def test_boosters_vote_and_are_stacked(name: str, tmp_path: Path) -> None:
    both = [("b", BOOSTERS[name]), ("l", LogisticRegression(max_iter=500))]
    for model in (VotingClassifier(both, voting="soft"), StackingClassifier(both, cv=2)):
        folder = tmp_path / type(model).__name__
        folder.mkdir()
        extraction = taken(folder, model, DECIMALS)
        assert_same(answers(extraction), extraction.original)


@pytest.mark.parametrize("name", BOOSTERS)
def test_what_a_booster_says_is_calibrated_alike(name: str, tmp_path: Path) -> None:
    model = CalibratedClassifierCV(BOOSTERS[name], cv=2)
    extraction = taken(tmp_path, model, DECIMALS)
    assert_same(answers(extraction), extraction.original)


@pytest.mark.parametrize("objective", ["multi:softmax", "multi:softprob"])
def test_a_classifier_answers_labels_whatever_its_objective(
    objective: str, tmp_path: Path
) -> None:
    model = xgboost.XGBClassifier(n_estimators=5, objective=objective)
    extraction = taken(tmp_path, model, DECIMALS)
    assert extraction.original.probabilities is not None
    assert_same(answers(extraction), extraction.original)


@pytest.mark.parametrize("labels", [[False, True], [-1, 1], ["no", "yes"], [0.0, 1.0]])
def test_labels_come_back_in_their_own_type(labels: list[Any], tmp_path: Path) -> None:
    model = lightgbm.LGBMClassifier(n_estimators=4, verbose=-1, n_jobs=1)
    frame = FRAME[["width", "mass"]]
    model.fit(frame, np.array(labels)[LABELS])
    frame.to_parquet(tmp_path / "rows.parquet")
    extraction = extracted(
        pickled(tmp_path, model), tmp_path / "rows.parquet", trust_pickle=True
    )
    assert_same(answers(extraction), extraction.original)


def test_several_labels_a_row_are_refused_in_a_pipeline(tmp_path: Path) -> None:
    model = make_pipeline(StandardScaler(), xgboost.XGBClassifier(n_estimators=3))
    model.fit(FRAME, np.stack([LABELS, 1 - LABELS, LABELS], axis=1))
    FRAME.to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(ConversionError, match="several labels a row"):
        extracted(pickled(tmp_path, model), tmp_path / "rows.parquet", trust_pickle=True)


def test_a_class_of_somebody_elses_is_not_loaded(
    booster_folders: Path, tmp_path: Path
) -> None:
    home = booster_folders / "xgb-classifier"
    tmp_path.joinpath("model.ubj").write_bytes(home.joinpath("model.ubj").read_bytes())
    document = yaml.safe_load(home.joinpath("MLmodel").read_text("utf-8"))
    document["flavors"]["xgboost"]["model_class"] = "os.path.XGBClassifier"
    del document["saved_input_example_info"]
    tmp_path.joinpath("MLmodel").write_text(yaml.safe_dump(document), "utf-8")
    with pytest.raises(ConversionError, match=r"of class os\.path\.XGBClassifier"):
        extracted(tmp_path)
