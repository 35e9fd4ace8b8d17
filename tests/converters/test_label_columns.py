"""LightGBM's categories of pandas: of the columns they were trained on, or refused.

What is expected is what the booster itself answers to the frame that it was trained on,
with pandas's own types; the converter never sees those.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightgbm
import mlflow
import numpy as np
import pandas as pd
import pytest

from edgekit.binding import feeds
from edgekit.errors import ConversionError
from edgekit.runtime import Session
from edgekit.table import Array
from edgekit_converters.encoding import decode
from edgekit_converters.extraction import Extraction
from edgekit_converters.frameworks import finishing
from tests.converters.natives import extracted

pytestmark = pytest.mark.slow  # lightgbm and onnxruntime take seconds to import

QUIET = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 5, "learning_rate": 0.3}
SETS = {"objective": "binary", "min_data_per_group": 1, "cat_smooth": 1, **QUIET}
ROWS = 500
LISTS: dict[str, str | list[str] | list[int]] = {
    "pandas's": "auto",
    "the other column": ["flag"],
    "the other column by its place": [2],
    "both": ["zone", "flag"],
    "both by their places": [1, 2],
    "by name": ["zone"],
    "none": [],
}


def frame_of(zones: Sequence[Any], flags: Sequence[int]) -> pd.DataFrame:
    """A column of plain numbers, one of categories, and one of whole numbers."""
    chance = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "size": chance.normal(size=ROWS),
            "zone": pd.Categorical(
                [zones[n] for n in chance.integers(len(zones), size=ROWS)]
            ),
            "flag": chance.choice(flags, ROWS),
        }
    )


def truth_of(frame: pd.DataFrame) -> Array:
    """A class that every column has a say in, in no order of its numbers."""
    votes = frame["zone"].cat.codes * 5 + frame["flag"] * 3
    truth: Array = ((votes % 7 > 2) ^ (frame["size"] > 1)).to_numpy().astype(np.int64)
    return truth


def booster_of(frame: pd.DataFrame, categorical: Any) -> lightgbm.Booster:  # noqa: ANN401 - LightGBM's own
    data = lightgbm.Dataset(frame, truth_of(frame), categorical_feature=categorical)
    booster: lightgbm.Booster = lightgbm.train(SETS, data, 12)
    assert all(booster.feature_importance() > 0)  # else a wrong column would not show
    return booster


def logged(folder: Path, booster: lightgbm.Booster, plain: pd.DataFrame) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of whole numbers, which may be missing one day
        signature = mlflow.models.infer_signature(plain, np.zeros(1))
    return saved_by_mlflow(folder, booster, signature)


def saved_by_mlflow(folder: Path, model: Any, signature: Any) -> Path:  # noqa: ANN401 - MLflow's own
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's, of type hints and whole numbers
        mlflow.lightgbm.save_model(
            model, folder / "logged", signature=signature, pip_requirements=["lightgbm"]
        )
    return folder / "logged"


def plain_of(frame: pd.DataFrame) -> pd.DataFrame:
    """The same values in a table that knows no categories."""
    return frame.astype({"zone": np.asarray(frame["zone"].cat.categories).dtype})


def saved(folder: Path, plain: pd.DataFrame) -> Path:
    plain.to_csv(path := folder / "rows.csv", index=False)
    return path


def answers_of(found: Extraction, plain: pd.DataFrame) -> Array:
    session = Session.load(found.model, finishing.needs(decode(found.model)))
    table = {str(name): plain[name].to_numpy() for name in plain}
    (answers,) = session.run(feeds(found.binding, table)).values()
    return answers.ravel()


def assert_answers_as_trained(
    found: Extraction, booster: lightgbm.Booster, frame: pd.DataFrame
) -> None:
    expected = np.asarray(booster.predict(frame))
    got = answers_of(found, plain_of(frame))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.original.prediction, expected)


@pytest.mark.parametrize("way", ["plain file", "logged"])
@pytest.mark.parametrize("categorical", LISTS)
@pytest.mark.parametrize(
    ("zones", "flags"),
    [((30, 10, 20), (0, 1, 2)), ((2, 1, 3), (0, 1)), ((True, False), (0, 3))],
    ids=["tens", "from one", "truths"],
)
def test_a_list_of_categorical_columns_of_ones_own_answers_as_the_booster(
    zones: Sequence[Any], flags: Sequence[int], categorical: str, way: str, tmp_path: Path
) -> None:
    frame = frame_of(zones, flags)
    booster = booster_of(frame, LISTS[categorical])
    plain = plain_of(frame)
    if way == "logged":
        model = logged(tmp_path, booster, plain)
    else:
        booster.save_model(model := tmp_path / "model.txt")
    assert_answers_as_trained(extracted(model, saved(tmp_path, plain)), booster, frame)


@pytest.mark.parametrize("categorical", LISTS)
def test_a_list_of_ones_own_beside_texts_answers_as_the_booster(
    categorical: str, tmp_path: Path
) -> None:
    frame = frame_of("ba-", (0, 1))
    booster = booster_of(frame, LISTS[categorical])
    plain = plain_of(frame)
    found = extracted(logged(tmp_path, booster, plain), saved(tmp_path, plain))
    assert_answers_as_trained(found, booster, frame)


def test_ordered_categories_which_are_trained_on_as_numbers_answer_as_the_booster(
    tmp_path: Path,
) -> None:
    frame = frame_of((30, 10, 20), (0, 1, 2))
    frame["zone"] = frame["zone"].cat.as_ordered()
    booster, plain = booster_of(frame, "auto"), plain_of(frame)
    found = extracted(logged(tmp_path, booster, plain), saved(tmp_path, plain))
    assert_answers_as_trained(found, booster, frame)


def test_a_column_of_categories_that_never_differed_leaves_the_others_in_place(
    tmp_path: Path,
) -> None:
    frame = frame_of((30, 10, 20), (0, 1, 2))
    frame.insert(0, "site", pd.Series(pd.Categorical([7] * ROWS, categories=[5, 6, 7])))
    frame["line"] = 1
    data = lightgbm.Dataset(frame, truth_of(frame))
    booster = lightgbm.train(SETS, data, 12)
    plain = plain_of(frame).astype({"site": int})
    found = extracted(logged(tmp_path, booster, plain), saved(tmp_path, plain))
    np.testing.assert_allclose(
        answers_of(found, plain), booster.predict(frame), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("categorical", ["pandas's", "the other column"])
def test_what_neither_text_nor_samples_tell_is_refused(
    categorical: str, tmp_path: Path
) -> None:
    frame = frame_of((1, 2, 3), (1, 2))
    booster = booster_of(frame, LISTS[categorical])
    few = plain_of(frame)
    few = few[(few["zone"] < 3) & (few["zone"] == few["flag"])]
    model = logged(tmp_path, booster, few)
    with pytest.raises(
        ConversionError, match=r"\[1, 2, 3\] .* column (zone or flag|flag or zone)"
    ):
        extracted(model, saved(tmp_path, few))


@pytest.mark.parametrize("categorical", ["pandas's", "none", "both"])
def test_a_number_for_missing_does_not_move_the_categories_to_another_column(
    categorical: str, tmp_path: Path
) -> None:
    """Read as a plain number it is one that training saw; as a category it is none."""
    frame = frame_of((1, 2, 3), (0, 1, 2))
    booster = booster_of(frame, LISTS[categorical])
    few = plain_of(frame)
    few = few[(few["zone"] < 3) & (few["flag"] > 0)]
    few.iloc[:20, 1] = 0
    model = logged(tmp_path, booster, few)
    with pytest.raises(ConversionError, match=r"\[1, 2, 3\] .* column flag or zone"):
        extracted(model, saved(tmp_path, few))


@pytest.mark.parametrize("categorical", ["pandas's", "none"])
def test_a_column_that_never_differed_does_not_take_the_categories_of_another(
    categorical: str, tmp_path: Path
) -> None:
    frame = frame_of((1, 2, 3), (0, 1, 2)).assign(flag=1)
    data = lightgbm.Dataset(frame, truth_of(frame), categorical_feature=LISTS[categorical])
    booster = lightgbm.train(SETS, data, 12)
    few = plain_of(frame)[frame["zone"] != 3]
    few.iloc[:20, 1] = 0
    model = logged(tmp_path, booster, few)
    with pytest.raises(ConversionError, match=r"\[1, 2, 3\] .* column flag or zone"):
        extracted(model, saved(tmp_path, few))


def test_lists_do_not_move_on_by_one_column(tmp_path: Path) -> None:
    """What the second column holds whole is the first one's list as well."""
    frame = frame_of((1, 2), (0, 1)).assign(flag=1)
    kinds = np.random.default_rng(4).integers(1, 3, size=ROWS)
    frame.insert(2, "kind", pd.Series(pd.Categorical(kinds)))
    truth = truth_of(frame) ^ (kinds == 2)
    booster = lightgbm.train(SETS, lightgbm.Dataset(frame, truth), 12)
    few = plain_of(frame).astype({"kind": int})[frame["zone"] != 2]
    few.iloc[:20, 1] = 0
    model = logged(tmp_path, booster, few)
    with pytest.raises(ConversionError, match=r"\[1, 2\] .* column kind or zone"):
        extracted(model, saved(tmp_path, few))


def test_a_number_for_missing_is_a_missing_category_where_the_columns_are_told(
    tmp_path: Path,
) -> None:
    frame = frame_of((10, 20, 30), (0, 1, 2))
    booster, plain = booster_of(frame, "auto"), plain_of(frame)
    plain.loc[:20, "zone"] = 0
    found = extracted(logged(tmp_path, booster, plain), saved(tmp_path, plain))
    seen = frame.assign(zone=frame["zone"].mask(plain["zone"] == 0))
    np.testing.assert_allclose(
        answers_of(found, plain), booster.predict(seen), rtol=1e-5, atol=1e-6
    )


def test_a_signature_of_another_kind_than_the_categories_is_refused(tmp_path: Path) -> None:
    frame = frame_of("ab", (0, 1))
    booster = booster_of(frame, "auto")
    numbers = frame.assign(zone=1.0)
    model = logged(tmp_path, booster, numbers)
    with pytest.raises(ConversionError, match=r"1 lists of .* \(\[a, b\]\) fit no columns"):
        extracted(model, saved(tmp_path, numbers))


def test_a_tensor_for_a_signature_is_refused(tmp_path: Path) -> None:
    frame = frame_of((30, 10, 20), (0, 1, 2))
    signature = mlflow.models.infer_signature(np.zeros((2, 3)), np.zeros(1))
    model = saved_by_mlflow(tmp_path, booster_of(frame, "auto"), signature)
    with pytest.raises(ConversionError, match="signature: a tensor"):
        extracted(model, saved(tmp_path, plain_of(frame)))


def test_texts_beside_a_list_of_ones_own_want_a_signature(tmp_path: Path) -> None:
    frame = frame_of("ba-", (0, 1))
    booster_of(frame, ["flag"]).save_model(path := tmp_path / "model.txt")
    with pytest.raises(
        ConversionError, match=r"column zone, row 0: ., a number is expected"
    ):
        extracted(path, saved(tmp_path, plain_of(frame)))


@pytest.mark.parametrize("categorical", ["pandas's", "the other column"])
def test_a_wrapper_of_scikit_learns_kind_is_refused_as_it_needs_pandas_itself(
    categorical: str, tmp_path: Path
) -> None:
    frame = frame_of((30, 10, 20), (0, 1, 2))
    model = lightgbm.LGBMClassifier(n_estimators=12, **SETS)
    model.fit(frame, truth_of(frame), categorical_feature=LISTS[categorical])
    plain = plain_of(frame)
    home = logged(tmp_path, model, plain)
    with pytest.raises(ConversionError, match="categor"):
        extracted(home, saved(tmp_path, plain), trust_pickle=True)
