"""CatBoost against its ONNX form, on rows that lie on borders and beside them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import ConversionError
from edgekit.table import Array
from edgekit_converters.extraction import Task
from tests.converters.booster_rows import INFINITE, assert_answers, edges
from tests.converters.natives import answers, assert_same, extracted, saved_rows

catboost = pytest.importorskip(
    "catboost", reason="pip install 'edgekit-converters[catboost]'"
)
from edgekit_converters.frameworks.boosting import catboost_dump  # noqa: E402 - after the skip

pytestmark = pytest.mark.slow  # catboost and onnxruntime take seconds to import

RNG = np.random.default_rng(5)
ROWS = RNG.normal(size=(300, 4)).astype(np.float32)
ROWS[:, 3] = RNG.integers(0, 9, 300)
GAPS = np.where(RNG.random(ROWS.shape) < 0.15, np.float32(np.nan), ROWS)
LABELS = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(np.int64)
THREE = (ROWS[:, 3] % 3).astype(np.int64)
NUMBERS = ROWS @ np.array([1.0, -2.0, 0.5, 3.0], dtype=np.float32)
COUNTS = np.floor(np.abs(NUMBERS)) + 1
QUIET = {"iterations": 8, "verbose": False, "allow_writing_files": False, "thread_count": 1}

CLASSIFIERS: dict[str, Array] = {
    "Logloss": LABELS,
    "CrossEntropy": LABELS,
    "MultiClass": THREE,
    "MultiClassOneVsAll": THREE,
}
REGRESSORS: dict[str, Array] = {
    "RMSE": NUMBERS,
    "MAE": NUMBERS,
    "Quantile:alpha=0.3": NUMBERS,
    "LogLinQuantile": COUNTS,
    "Poisson": COUNTS,
    "Tweedie:variance_power=1.5": COUNTS,
    "MultiRMSE": np.stack([NUMBERS, -NUMBERS], axis=1),
}
SHAPES: dict[str, dict[str, Any]] = {
    "leaf by leaf": {"grow_policy": "Lossguide"},
    "level by level": {"grow_policy": "Depthwise"},
    "missing is most": {"nan_mode": "Max"},
    "deep": {"depth": 9},
    "single leaves": {"depth": 1, "min_data_in_leaf": 400, "grow_policy": "Lossguide"},
}


def dumped(model: Any, folder: Path) -> bytes:  # noqa: ANN401 - CatBoost has no types
    path = folder / "model.json"
    model.save_model(path, format="json")
    return path.read_bytes()


@pytest.mark.parametrize("loss", CLASSIFIERS)
def test_every_classifier_answers_alike_on_every_border(loss: str, tmp_path: Path) -> None:
    model = catboost.CatBoostClassifier(loss_function=loss, **QUIET)
    model.fit(GAPS, CLASSIFIERS[loss])
    boosted = catboost_dump.read(dumped(model, tmp_path), model_type="CatBoostClassifier")
    rows = edges(boosted, *INFINITE)
    odds = model.predict_proba(rows)
    margins = model.predict(rows, prediction_type="RawFormulaVal")
    assert_answers(boosted, rows, margins, odds if boosted.targets > 1 else odds[:, 1])


@pytest.mark.parametrize("loss", REGRESSORS)
def test_every_regressor_answers_alike_on_every_border(loss: str, tmp_path: Path) -> None:
    assert_regresses(tmp_path, REGRESSORS[loss], loss_function=loss)


@pytest.mark.parametrize("shape", SHAPES)
def test_trees_of_every_shape_answer_alike(shape: str, tmp_path: Path) -> None:
    assert_regresses(tmp_path, NUMBERS, **SHAPES[shape])


def assert_regresses(folder: Path, truth: Array, **more: Any) -> None:  # noqa: ANN401
    model = catboost.CatBoostRegressor(**QUIET, **more).fit(GAPS, truth)
    boosted = catboost_dump.read(dumped(model, folder), model_type="CatBoostRegressor")
    rows = edges(boosted, *INFINITE)
    margins = model.predict(rows, prediction_type="RawFormulaVal")
    assert_answers(boosted, rows, margins, model.predict(rows))


LABEL_SETS: dict[str, Any] = {
    "numbers": [0, 1, 2],
    "texts": ["low", "mid", "top"],
    "spread": [-5, 10, 300],
}


def logged(folder: Path, model: Any) -> Path:  # noqa: ANN401
    """An MLflow folder as far as the converters read it."""
    model.save_model(folder / "model.cb")
    about = {
        "data": "model.cb",
        "model_type": type(model).__name__,
        "save_format": "cbm",
        "catboost_version": catboost.__version__,
    }
    document = {"flavors": {"python_function": {}, "catboost": about}}
    folder.joinpath("MLmodel").write_text(json.dumps(document), "utf-8")
    return folder


@pytest.mark.parametrize("name", LABEL_SETS)
@pytest.mark.parametrize("classes", [2, 3])
def test_labels_come_back_with_their_probabilities(
    name: str, classes: int, tmp_path: Path
) -> None:
    truth = np.array(LABEL_SETS[name])[THREE % classes]
    model = catboost.CatBoostClassifier(**QUIET).fit(ROWS, truth)
    extraction = extracted(logged(tmp_path, model), saved_rows(tmp_path, GAPS))
    assert extraction.task is Task.CLASSIFICATION
    assert extraction.binding.classes == tuple(map(str, LABEL_SETS[name][:classes]))
    assert_same(answers(extraction), extraction.original)


@pytest.mark.parametrize("form", ["cbm", "json"])
def test_a_plain_file_answers_raw_values(form: str, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    catboost.CatBoostClassifier(**QUIET).fit(ROWS, LABELS).save_model(path, format=form)
    extraction = extracted(path, saved_rows(tmp_path, GAPS))
    assert (extraction.framework, extraction.signature_derived) == ("catboost", True)
    assert_same(answers(extraction), extraction.original)


def test_splits_on_categories_are_refused_with_a_next_step(tmp_path: Path) -> None:
    rows = ROWS.astype(object)
    rows[:, 3] = [str(int(code)) for code in ROWS[:, 3]]
    model = catboost.CatBoostRegressor(cat_features=[3], **QUIET).fit(rows, NUMBERS)
    with pytest.raises(ConversionError, match="OrdinalEncoder"):
        extracted(logged(tmp_path, model), saved_rows(tmp_path, ROWS))


def test_a_variance_beside_the_answer_is_refused_with_a_next_step(tmp_path: Path) -> None:
    model = catboost.CatBoostRegressor(loss_function="RMSEWithUncertainty", **QUIET)
    with pytest.raises(ConversionError, match="train with RMSE"):
        extracted(logged(tmp_path, model.fit(ROWS, NUMBERS)), saved_rows(tmp_path, ROWS))


@pytest.mark.parametrize("damage", ["no trees", "text", "not JSON", "cut off"])
def test_a_dump_that_is_none_is_a_clear_error(damage: str, tmp_path: Path) -> None:
    model = catboost.CatBoostRegressor(**QUIET).fit(ROWS, NUMBERS)
    dump = json.loads(dumped(model, tmp_path))
    if damage == "no trees":
        del dump["oblivious_trees"]
    elif damage == "text":
        dump["oblivious_trees"][0]["splits"][0]["border"] = "much"
    elif damage == "cut off":
        dump["oblivious_trees"][0]["leaf_values"].pop()
    text = json.dumps(dump)[: 40 if damage == "not JSON" else None]
    with pytest.raises(ConversionError, match=r"not as its format says|no trees"):
        catboost_dump.read(text.encode(), model_type="CatBoostRegressor")


def test_a_truncated_file_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "model.cbm"
    catboost.CatBoostRegressor(**QUIET).fit(ROWS, NUMBERS).save_model(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ConversionError, match=r"model\.cbm: CatBoost .* cannot load it"):
        extracted(path, saved_rows(tmp_path, ROWS))
