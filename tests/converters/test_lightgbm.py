"""LightGBM against its ONNX form, on rows that lie on thresholds and beside them."""

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.binding import feeds
from edgekit.errors import ConversionError
from edgekit.runtime import Session
from edgekit.table import Array
from edgekit_converters.encoding import decode
from edgekit_converters.extraction import Task
from edgekit_converters.flavors import Built
from edgekit_converters.flavors.flavor import Source
from edgekit_converters.flavors.trees import fp32_trees
from edgekit_converters.frameworks import finishing
from edgekit_converters.frameworks.boosting import boosted_labels, lightgbm_dump
from edgekit_converters.frameworks.boosting.boosted import Members, Trees, Zeros
from edgekit_converters.passes import clean
from tests.converters.booster_rows import (
    CODES,
    INFINITE,
    asked,
    assert_answers,
    compacted,
    edges,
    graph_of,
)
from tests.converters.natives import answers, assert_same, extracted, pickled, saved_rows

pytestmark = pytest.mark.slow  # lightgbm and onnxruntime take seconds to import

RNG = np.random.default_rng(5)
ROWS = RNG.normal(size=(400, 4))
ROWS[:, 2] = RNG.integers(0, 70, 400)  # more categories than fit into one word
ROWS[:, 3] = RNG.integers(0, 9, 400)
GAPS = np.where(RNG.random(ROWS.shape) < 0.15, np.nan, ROWS)
LABELS = (ROWS[:, 0] + ROWS[:, 1] + ROWS[:, 3] % 3 > 1).astype(np.int64)
THREE = (ROWS[:, 3] % 3).astype(np.int64)
NUMBERS = ROWS @ [1.0, -2.0, 0.1, 3.0]
COUNTS = np.floor(np.abs(NUMBERS)) + 1
QUIET = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 5, "learning_rate": 0.3}
SETS = {"objective": "binary", "min_data_per_group": 1, "cat_smooth": 1, **QUIET}
THREE_CLASSES = {"num_class": 3}

OBJECTIVES: dict[str, tuple[Array, dict[str, Any]]] = {
    "regression": (NUMBERS, {}),
    "regression on roots": (NUMBERS, {"objective": "regression", "reg_sqrt": True}),
    "regression_l1": (NUMBERS, {}),
    "huber": (NUMBERS, {}),
    "fair": (NUMBERS, {}),
    "mape": (COUNTS, {}),
    "quantile": (NUMBERS, {"alpha": 0.3}),
    "poisson": (COUNTS, {}),
    "gamma": (COUNTS, {}),
    "tweedie": (COUNTS, {}),
    "binary": (LABELS, {}),
    "binary, steep": (LABELS, {"objective": "binary", "sigmoid": 2.0}),
    "cross_entropy": (LABELS, {}),
    "cross_entropy_lambda": (LABELS, {}),
    "multiclass": (THREE, THREE_CLASSES),
    "multiclassova": (THREE, THREE_CLASSES),
    "lambdarank": (THREE, {}),
    "rank_xendcg": (THREE, {}),
}
BOOSTING: dict[str, dict[str, Any]] = {
    "dropped trees": {"boosting": "dart", "drop_rate": 0.5},
    "forest": {"boosting": "rf", "bagging_fraction": 0.5, "bagging_freq": 1},
    "no missing": {"use_missing": False},
}


def trained(
    objective: str,
    truth: Array,
    rows: Array = GAPS,
    *,
    sets: tuple[int, ...] = (),
    **more: Any,  # noqa: ANN401 - LightGBM's parameters
) -> lightgbm.Booster:
    group = [200, 200] if objective.startswith(("lambda", "rank")) else None
    data = lightgbm.Dataset(rows, truth, group=group, categorical_feature=list(sets))
    parameters = {"objective": objective, "num_leaves": 15, **QUIET, **more}
    return lightgbm.train(parameters, data, 8)


def assert_faithful(booster: lightgbm.Booster, *more: float) -> None:
    boosted = lightgbm_dump.read(booster.model_to_string())
    rows = edges(boosted, *more)
    asked_in_full = rows.astype(np.float64)
    answer = np.asarray(booster.predict(asked_in_full))
    margins = np.asarray(booster.predict(asked_in_full, raw_score=True))
    if "average_output" in booster.model_to_string():
        margins = margins / booster.current_iteration()
    assert_answers(boosted, rows, margins * boosted.scale, answer)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_answers_as_its_booster_on_every_threshold(objective: str) -> None:
    truth, more = OBJECTIVES[objective]
    assert_faithful(trained(**{"objective": objective, "truth": truth, **more}), *INFINITE)


@pytest.mark.parametrize("boosting", BOOSTING)
@pytest.mark.parametrize("objective", ["regression", "binary", "multiclass"])
def test_every_kind_of_boosting_adds_up(objective: str, boosting: str) -> None:
    truth, more = OBJECTIVES[objective]
    assert_faithful(trained(objective, truth, **more, **BOOSTING[boosting]), *INFINITE)


def test_zeros_that_count_as_missing_go_their_way() -> None:
    sparse = np.where(RNG.random(ROWS.shape) < 0.4, 0.0, ROWS)
    booster = trained("binary", LABELS, sparse, zero_as_missing=True)
    margins = lightgbm_dump.read(booster.model_to_string()).margins
    assert isinstance(margins, Trees)
    assert {type(each) for each in margins.derived} == {Zeros}
    assert_faithful(booster, *INFINITE)


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("objective", ["binary", "multiclass"])
def test_splits_on_categories_send_every_number_the_same_way(
    objective: str, *, zeros: bool
) -> None:
    truth, more = OBJECTIVES[objective]
    booster = trained(
        objective,
        truth,
        sets=(2, 3),
        zero_as_missing=zeros,
        min_data_per_group=1,
        cat_smooth=1,
        **more,
    )
    margins = lightgbm_dump.read(booster.model_to_string()).margins
    assert isinstance(margins, Trees)
    assert Members in {type(each) for each in margins.derived}
    assert_faithful(booster, *CODES, *INFINITE)


def test_many_categories_are_kept_as_bits() -> None:
    rows = np.stack([RNG.integers(0, 500, 3000), RNG.integers(0, 40, 3000)], axis=1)
    odd = (RNG.random(500)[rows[:, 0]] + RNG.random(40)[rows[:, 1]] > 1).astype(int)
    booster = trained(
        "binary",
        odd,
        rows.astype(float),
        sets=(0, 1),
        min_data_per_group=1,
        cat_smooth=1,
    )
    boosted = lightgbm_dump.read(booster.model_to_string())
    assert isinstance(boosted.margins, Trees)
    tables = [each.sides for each in boosted.margins.derived if isinstance(each, Members)]
    assert len(graph_of(boosted)) < sum(table.size for table in tables)
    assert_faithful(booster, *CODES, *INFINITE, *range(0, 500, 3))


def test_thresholds_beyond_float32_keep_their_side() -> None:
    huge = ROWS[:, :2] * [1e300, 1e-300]
    booster = trained("binary", LABELS, huge)
    assert_faithful(booster, *INFINITE)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**31),
    leaves=st.integers(2, 15),
    size=st.sampled_from([1.0, 1e-34, 1e-36, 1e30]),
    whole=st.booleans(),
    missing=st.floats(0, 0.9),
)
def test_any_small_booster_answers_alike(
    *, seed: int, leaves: int, size: float, whole: bool, missing: float
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(80, 3))
    rows = np.round(rows * 2) if whole else rows
    rows = np.where(rng.random(rows.shape) < missing, np.nan, rows * size)
    truth = (rng.random(80) > 0.5).astype(int)
    booster = trained("binary", truth, rows, num_leaves=leaves, min_data_in_leaf=1)
    assert_faithful(booster, *INFINITE)


def test_of_an_early_stop_the_best_rounds_are_kept(tmp_path: Path) -> None:
    noisy = np.where(RNG.random(400) < 0.3, 1 - LABELS, LABELS)
    model = lightgbm.LGBMClassifier(n_estimators=60, **{**QUIET, "learning_rate": 0.9})
    model.fit(
        ROWS[:250],
        noisy[:250],
        eval_X=ROWS[250:],
        eval_y=noisy[250:],
        callbacks=[lightgbm.early_stopping(2, verbose=False)],
    )
    assert model.best_iteration_ < model.n_estimators
    extraction = extracted(
        pickled(tmp_path, model), saved_rows(tmp_path, ROWS), trust_pickle=True
    )
    assert_same(answers(extraction), extraction.original)


@pytest.mark.parametrize("objective", ["binary", "multiclass"])
def test_a_plain_file_is_told_by_its_content(objective: str, tmp_path: Path) -> None:
    truth, more = OBJECTIVES[objective]
    path = tmp_path / "model.bin"
    trained(objective, truth, **more).save_model(path)
    extraction = extracted(path, saved_rows(tmp_path, GAPS.astype(np.float32)))
    expected = Task.OTHER if objective == "binary" else Task.CLASSIFICATION
    assert (extraction.framework, extraction.task) == ("lightgbm", expected)
    assert extraction.signature_derived
    assert_same(answers(extraction), extraction.original)


def test_a_file_of_another_system_is_told_too(tmp_path: Path) -> None:
    path = tmp_path / "model.txt"
    trained("binary", LABELS).save_model(path)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    extraction = extracted(path, saved_rows(tmp_path, GAPS.astype(np.float32)))
    assert_same(answers(extraction), extraction.original)


def test_equal_boosters_give_equal_bytes(tmp_path: Path) -> None:
    path = tmp_path / "model.txt"
    trained("binary", LABELS, sets=(2, 3)).save_model(path)
    rows = saved_rows(tmp_path, ROWS.astype(np.float32))
    assert extracted(path, rows).model == extracted(path, rows).model


def test_packed_trees_take_far_fewer_bytes_than_onnxmltools() -> None:
    onnxmltools = pytest.importorskip("onnxmltools", reason="pip install onnxmltools")
    from onnxmltools.convert.common.data_types import FloatTensorType  # noqa: PLC0415 - the peer

    rng = np.random.default_rng(0)
    rows = rng.normal(size=(5000, 20)).astype(np.float32)
    model = lightgbm.LGBMRegressor(n_estimators=100, verbose=-1, n_jobs=1)
    model.fit(rows, rows[:, :5].sum(axis=1) + np.sin(rows[:, 5]))
    peer = onnxmltools.convert_lightgbm(
        model, initial_types=[("input", FloatTensorType([None, 20]))]
    )
    ours = compacted(graph_of(lightgbm_dump.read(model.booster_.model_to_string())))
    assert len(peer.SerializeToString()) >= 4 * len(ours)
    got = asked(ours, rows)["answers"].ravel()
    np.testing.assert_allclose(got, model.booster_.predict(rows), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [ROWS, GAPS], ids=["whole", "with gaps"])
@pytest.mark.parametrize("objective", ["regression", "binary", "multiclass"])
def test_leaves_with_linear_models_answer_as_the_booster_missing_numbers_too(
    objective: str, rows: Array
) -> None:
    truth, more = OBJECTIVES[objective]
    booster = trained(objective, truth, rows, linear_tree=True, **more)
    boosted = lightgbm_dump.read(booster.model_to_string())
    assert isinstance(boosted.margins, Trees)
    assert boosted.margins.slopes
    chance = np.random.default_rng(4)
    near = edges(boosted)
    asked_of = np.where(np.abs(near) < 10, near, rows[:1]).astype(np.float32)
    asked_of[chance.random(asked_of.shape) < 0.1] = np.nan
    in_full = asked_of.astype(np.float64)
    margins = np.asarray(booster.predict(in_full, raw_score=True))
    answer = np.asarray(booster.predict(in_full))
    assert_answers(boosted, asked_of, margins * boosted.scale, answer)


def test_a_slope_of_nothing_is_not_spoilt_by_an_infinite_number() -> None:
    booster = trained("regression", ROWS[:, 0] * 2, ROWS, linear_tree=True)
    boosted = lightgbm_dump.read(booster.model_to_string())
    rows = ROWS[:50].astype(np.float32)
    rows[:, 3] = np.inf
    answers_of = asked(graph_of(boosted), rows)["answers"].ravel()
    known = np.isfinite(expected := np.asarray(booster.predict(rows.astype(np.float64))))
    assert known.any()
    np.testing.assert_allclose(answers_of[known], expected[known], rtol=1e-4, atol=1e-4)


def labelled(rows: int = 400) -> pd.DataFrame:
    """Columns of numbers between columns of categories of every kind."""
    chance = np.random.default_rng(11)
    kinds = {
        "kind": ["b", "a", "-", "ç d"],
        "size": None,
        "zone": [30, 10, 20],
        "lit": [True, False],
        "half": [0.5, 1.5, -2.0],
        "far": None,
    }
    return pd.DataFrame(
        {
            name: chance.normal(size=rows)
            if values is None
            else pd.Categorical(
                [values[n] for n in chance.integers(len(values), size=rows)]
            )
            for name, values in kinds.items()
        }
    )


def on_categories(frame: pd.DataFrame, **more: Any) -> lightgbm.Booster:  # noqa: ANN401 - as above
    numbers = frame["kind"].cat.codes * (1 + frame["zone"].cat.codes) + frame["size"]
    truth = (numbers + frame["half"].cat.codes > 3).to_numpy().astype(int)
    return lightgbm.train({**SETS, **more}, lightgbm.Dataset(frame, truth), 8)


def test_categories_of_pandas_answer_as_the_booster_also_unseen_and_missing(
    tmp_path: Path,
) -> None:
    frame = labelled()
    booster = on_categories(frame)
    booster.save_model(path := tmp_path / "model.txt")
    plain = frame.astype({"kind": str, "zone": float, "lit": float, "half": float})
    plain.loc[:40, "kind"] = "never seen"
    plain.loc[20:60, "zone"] = 99.0
    plain.loc[50:90, "zone"] = np.nan
    plain.loc[80:120, "lit"] = np.nan
    plain.loc[100:140, "half"] = 0.5000001
    plain.to_csv(rows := tmp_path / "rows.csv", index=False)
    found = extracted(path, rows)
    asked_in_full = plain.copy()
    for name in ("kind", "zone", "lit", "half"):
        known = frame[name].cat.categories
        as_known = {value: value for value in known}
        values = [as_known.get(value) for value in plain[name]]
        asked_in_full[name] = pd.Categorical(values, categories=known)
    table = {str(name): plain[name].to_numpy() for name in plain}
    session = Session.load(found.model, finishing.needs(decode(found.model)))
    (margins,) = session.run(feeds(found.binding, table)).values()
    expected = np.asarray(booster.predict(asked_in_full))
    np.testing.assert_allclose(margins.ravel(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.original.prediction, expected)
    assert {tensor.name: tensor.columns for tensor in found.binding.inputs} == {
        "input": ("size", "zone", "lit", "half", "far"),
        "texts": ("kind",),
    }
    built = fp32_trees.build(Source(model=clean(decode(found.model)), calibration={}))
    assert isinstance(built, Built), built


def test_a_booster_of_texts_alone_takes_no_numbers(tmp_path: Path) -> None:
    frame = labelled()[["kind"]]
    truth = frame["kind"].isin(["a", "-"]).to_numpy().astype(int)
    booster = lightgbm.train(SETS, lightgbm.Dataset(frame, truth), 3)
    booster.save_model(path := tmp_path / "model.txt")
    frame.astype(str).to_csv(rows := tmp_path / "rows.csv", index=False)
    (tensor,) = extracted(path, rows).binding.inputs
    assert (tensor.name, tensor.dtype, tensor.shape) == ("texts", "str", (-1, 1))


@pytest.mark.parametrize("values", [["a", 1], [0.1, 0.2], [2**24, 2**24 + 1]])
def test_categories_that_float32_cannot_hold_are_refused(values: list[object]) -> None:
    with pytest.raises(ConversionError, match="column zone: its categories are neither"):
        boosted_labels.labels(0, "zone", values)


def test_an_objective_nobody_knows_is_refused_with_a_next_step() -> None:
    text = trained("binary", LABELS).model_to_string()
    with pytest.raises(ConversionError, match=r"objective bessel.*log an ONNX model"):
        lightgbm_dump.read(text.replace("objective=binary", "objective=bessel"))


def test_an_objective_of_ones_own_is_refused_with_a_next_step(tmp_path: Path) -> None:
    model = lightgbm.LGBMClassifier(n_estimators=3, objective=own, **QUIET)
    model.fit(ROWS, LABELS)
    with pytest.raises(ConversionError, match="an objective of its own"):
        extracted(pickled(tmp_path, model), saved_rows(tmp_path, ROWS), trust_pickle=True)


def own(truth: Array, margins: Array) -> tuple[Array, Array]:
    odds = 1 / (1 + np.exp(-margins))
    return odds - truth, odds * (1 - odds)


DAMAGES = {
    "no leaves": ("leaf_value=", "leaves="),
    "too few ways": ("left_child=", "left_child=0 0 0\nold="),
    "text": ("threshold=", "threshold=much "),
    "no trees": ("\nTree=", "\nBush="),
    "endless": ("max_feature_idx=3", "max_feature_idx=3000000000"),
    "too few trees": ("num_tree_per_iteration=1", "num_tree_per_iteration=3000000000"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_text_that_is_no_model_is_a_clear_error(damage: str) -> None:
    text = trained("binary", LABELS).model_to_string()
    with pytest.raises(ConversionError, match=r"not as its format says|no trees"):
        lightgbm_dump.read(text.replace(*DAMAGES[damage]))


def test_a_truncated_file_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "model.txt"
    trained("binary", LABELS).save_model(path)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ConversionError, match=r"not as its format says.*end of trees"):
        extracted(path, saved_rows(tmp_path, ROWS))
