"""XGBoost against its ONNX form, on rows that lie on thresholds and beside them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.errors import ConversionError
from edgekit.table import Array
from edgekit_converters.extraction import Task
from edgekit_converters.frameworks.boosting import xgboost_dump
from tests.converters.booster_rows import (
    CODES,
    asked,
    assert_answers,
    compacted,
    edges,
    graph_of,
)
from tests.converters.natives import answers, assert_same, extracted, pickled, saved_rows

pytestmark = pytest.mark.slow  # xgboost and onnxruntime take seconds to import

RNG = np.random.default_rng(5)
ROWS = RNG.normal(size=(300, 4)).astype(np.float32)
ROWS[:, 3] = RNG.integers(0, 9, 300)
GAPS = np.where(RNG.random(ROWS.shape) < 0.15, np.float32(np.nan), ROWS)
LABELS = (ROWS[:, 0] + ROWS[:, 1] + ROWS[:, 3] % 3 > 1).astype(np.int64)
THREE = (ROWS[:, 3] % 3).astype(np.int64)
NUMBERS = ROWS @ np.array([1.0, -2.0, 0.5, 3.0], dtype=np.float32)
COUNTS = np.floor(np.abs(NUMBERS)) + 1
SETS = ["q", "q", "q", "c"]

OBJECTIVES: dict[str, tuple[Array, dict[str, Any]]] = {
    "reg:squarederror": (NUMBERS, {}),
    "reg:absoluteerror": (NUMBERS, {}),
    "reg:pseudohubererror": (NUMBERS, {}),
    "reg:squaredlogerror": (COUNTS, {}),
    "reg:logistic": (LABELS, {}),
    "reg:gamma": (COUNTS, {}),
    "reg:tweedie": (COUNTS, {}),
    "reg:quantileerror": (NUMBERS, {"quantile_alpha": [0.2, 0.7]}),
    "count:poisson": (COUNTS, {}),
    "binary:logistic": (LABELS, {}),
    "binary:logitraw": (LABELS, {}),
    "binary:hinge": (LABELS, {}),
    "multi:softprob": (THREE, {"num_class": 3}),
    "multi:softmax": (THREE, {"num_class": 3}),
    "rank:pairwise": (THREE, {}),
    "rank:ndcg": (THREE, {}),
    "survival:cox": (COUNTS, {}),
}


def trained(
    objective: str,
    truth: Array,
    rows: Array = GAPS,
    types: list[str] | None = None,
    **more: Any,  # noqa: ANN401
) -> xgboost.Booster:
    data = xgboost.DMatrix(
        rows, truth, feature_types=types, enable_categorical=types is not None
    )
    if objective.startswith("rank"):
        data.set_group([150, 150])
    return xgboost.train(
        {"objective": objective, "max_depth": 4, "eta": 0.7, **more}, data, 8
    )


def dumped(booster: xgboost.Booster) -> bytes:
    return bytes(booster.save_raw("json"))


def assert_faithful(
    booster: xgboost.Booster, *more: float, types: list[str] | None = None
) -> None:
    boosted = xgboost_dump.read(dumped(booster))
    rows = edges(boosted, *more)
    if types is not None:
        rows[:, 3] = np.where(np.abs(rows[:, 3]) > 2**25, 0, rows[:, 3])  # it refuses more
    data = xgboost.DMatrix(rows, feature_types=types, enable_categorical=types is not None)
    margins = booster.predict(data, output_margin=True)
    assert_answers(boosted, rows, margins, booster.predict(data))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_answers_as_its_booster_on_every_threshold(objective: str) -> None:
    truth, more = OBJECTIVES[objective]
    assert_faithful(trained(objective, truth, **more))


@pytest.mark.parametrize(
    "objective", ["binary:logistic", "multi:softprob", "count:poisson"]
)
@pytest.mark.parametrize("score", [0.25, 0.5])
def test_a_base_score_that_was_chosen_is_kept(objective: str, score: float) -> None:
    truth, more = OBJECTIVES[objective]
    assert_faithful(trained(objective, truth, base_score=score, **more))


@pytest.mark.parametrize("objective", ["binary:logistic", "multi:softprob"])
def test_dropped_trees_count_by_their_weight(objective: str) -> None:
    truth, more = OBJECTIVES[objective]
    assert_faithful(trained(objective, truth, booster="dart", rate_drop=0.5, **more))


def test_forests_in_each_round_add_up() -> None:
    assert_faithful(trained("multi:softprob", THREE, num_class=3, num_parallel_tree=3))


@pytest.mark.parametrize("onehot", [1, 100])
@pytest.mark.parametrize("objective", ["binary:logistic", "multi:softprob"])
def test_splits_on_categories_send_every_number_the_same_way(
    objective: str, onehot: int
) -> None:
    truth, more = OBJECTIVES[objective]
    booster = trained(objective, truth, types=SETS, max_cat_to_onehot=onehot, **more)
    assert json.loads(dumped(booster))["learner"]["feature_types"] == SETS
    assert_faithful(booster, *CODES, types=SETS)


def test_trees_with_a_vector_in_each_leaf() -> None:
    several = np.stack([ROWS[:, 0], ROWS[:, 1] * 2, NUMBERS], axis=1)
    booster = trained(
        "reg:squarederror", several, multi_strategy="multi_output_tree", tree_method="hist"
    )
    assert_faithful(booster)


def test_a_tree_for_each_of_several_outputs() -> None:
    assert_faithful(trained("reg:squarederror", np.stack([NUMBERS, -NUMBERS], axis=1)))


@pytest.mark.parametrize("objective", ["reg:squarederror", "multi:softprob"])
def test_a_linear_booster_reads_what_is_missing_as_zero(objective: str) -> None:
    truth, more = OBJECTIVES[objective]
    parameters = {"objective": objective, "booster": "gblinear", **more}
    booster = xgboost.train(parameters, xgboost.DMatrix(GAPS, truth), 8)
    boosted = xgboost_dump.read(dumped(booster))
    data = xgboost.DMatrix(GAPS)
    margins = booster.predict(data, output_margin=True)
    assert_answers(boosted, GAPS, margins, booster.predict(data))


def test_a_booster_that_was_not_trained_is_refused() -> None:
    empty = xgboost.train(
        {"objective": "binary:logistic"}, xgboost.DMatrix(ROWS, LABELS), 0
    )
    with pytest.raises(ConversionError, match="it has no trees"):
        xgboost_dump.read(dumped(empty))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**31),
    depth=st.integers(1, 6),
    tiny=st.sampled_from([1.0, 1e-38, 1e-42, 1e30]),
    whole=st.booleans(),
    missing=st.floats(0, 0.9),
)
def test_any_small_booster_answers_alike(
    seed: int, depth: int, tiny: float, missing: float, *, whole: bool
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(60, 3))
    rows = np.round(rows * 2) if whole else rows
    rows = np.where(rng.random(rows.shape) < missing, np.nan, rows * tiny).astype("f4")
    truth = (rng.random(60) > 0.5).astype(int)
    booster = trained("binary:logistic", truth, rows, max_depth=depth, min_child_weight=0)
    assert_faithful(booster)


def test_of_an_early_stop_the_best_rounds_are_kept(tmp_path: Path) -> None:
    noisy = np.where(RNG.random(300) < 0.3, 1 - LABELS, LABELS)
    model = xgboost.XGBClassifier(
        n_estimators=40, early_stopping_rounds=2, learning_rate=0.9
    )
    model.fit(ROWS[:200], noisy[:200], eval_set=[(ROWS[200:], noisy[200:])], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    extraction = extracted(
        pickled(tmp_path, model), saved_rows(tmp_path, ROWS), trust_pickle=True
    )
    assert_same(answers(extraction), extraction.original)


def test_a_number_that_stands_for_missing_is_kept(tmp_path: Path) -> None:
    rows = np.where(np.isnan(GAPS), np.float32(-1), GAPS)
    model = xgboost.XGBClassifier(n_estimators=5, missing=-1).fit(rows, LABELS)
    extraction = extracted(
        pickled(tmp_path, model), saved_rows(tmp_path, rows), trust_pickle=True
    )
    assert_same(answers(extraction), extraction.original)


@pytest.mark.parametrize("form", ["json", "ubj"])
def test_a_plain_file_is_told_by_its_content(form: str, tmp_path: Path) -> None:
    booster = trained("multi:softprob", THREE, num_class=3)
    path = tmp_path / f"model.{form}"
    booster.save_model(path)
    renamed = path.rename(tmp_path / "model.bin")
    extraction = extracted(renamed, saved_rows(tmp_path, GAPS))
    assert (extraction.framework, extraction.task) == ("xgboost", Task.CLASSIFICATION)
    assert extraction.signature_derived
    assert_same(answers(extraction), extraction.original)


def test_equal_boosters_give_equal_bytes(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    trained("binary:logistic", LABELS, types=SETS).save_model(path)
    rows = saved_rows(tmp_path, ROWS)
    assert extracted(path, rows).model == extracted(path, rows).model


def test_packed_trees_take_far_fewer_bytes_than_onnxmltools() -> None:
    onnxmltools = pytest.importorskip("onnxmltools", reason="pip install onnxmltools")
    from onnxmltools.convert.common.data_types import FloatTensorType  # noqa: PLC0415 - the peer

    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2000, 20)).astype(np.float32)
    model = xgboost.XGBRegressor(n_estimators=100, max_depth=6)
    model.fit(rows, rows[:, :5].sum(axis=1) + np.sin(rows[:, 5]))
    peer = onnxmltools.convert_xgboost(
        model, initial_types=[("input", FloatTensorType([None, 20]))]
    )
    boosted = xgboost_dump.read(dumped(model.get_booster()))
    ours = compacted(graph_of(boosted))
    assert len(peer.SerializeToString()) >= 3.5 * len(ours)
    got = asked(ours, rows)["answers"].ravel()
    np.testing.assert_allclose(got, model.predict(rows), rtol=1e-5, atol=1e-5)


def test_an_objective_nobody_knows_is_refused_with_a_next_step() -> None:
    dump = json.loads(dumped(trained("binary:logistic", LABELS)))
    dump["learner"]["objective"]["name"] = "reg:bessel"
    with pytest.raises(ConversionError, match=r"reg:bessel.*log an ONNX model"):
        xgboost_dump.read(json.dumps(dump).encode())


@pytest.mark.parametrize("damage", ["no trees", "no nodes", "text", "not JSON"])
def test_a_dump_that_is_none_is_a_clear_error(damage: str) -> None:
    dump = json.loads(dumped(trained("binary:logistic", LABELS)))
    model = dump["learner"]["gradient_booster"]["model"]
    if damage == "no trees":
        del model["trees"]
    elif damage == "no nodes":
        model["trees"][0]["left_children"] = []
    elif damage == "text":
        model["trees"][0]["split_conditions"][0] = "much"
    text = json.dumps(dump)[: 40 if damage == "not JSON" else None]
    with pytest.raises(ConversionError, match="not as its schema says"):
        xgboost_dump.read(text.encode())


@pytest.mark.parametrize("damage", ["truncated", "old"])
def test_a_file_that_cannot_be_loaded_is_a_clear_error(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "model.ubj"
    trained("binary:logistic", LABELS).save_model(path)
    data = path.read_bytes()
    path.write_bytes(b"binf" + data if damage == "old" else data[: len(data) // 2])
    sentence = {
        "truncated": r"model\.ubj: damaged or cut off: XGBoost .* cannot read it",
        "old": r"model\.ubj: XGBoost .* cannot load it, it was saved with another version",
    }
    with pytest.raises(ConversionError, match=sentence[damage]):
        extracted(path, saved_rows(tmp_path, ROWS))
