"""How scikit-learn models come in: signatures, functions, trust, and what is refused."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.cluster import BisectingKMeans, KMeans
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from edgekit.errors import ConversionError
from edgekit.manifest import OutputRole
from edgekit.table import Array
from edgekit_converters.extraction import Extraction
from tests.converters.natives import (
    answers,
    assert_alike,
    assert_same,
    extracted,
    pickled,
    saved_rows,
    signed,
    taken,
)

pytestmark = pytest.mark.slow  # scikit-learn and skl2onnx take seconds to import

RNG = np.random.default_rng(7)
ROWS = RNG.normal(size=(240, 4)).astype(np.float32).astype(np.float64)
LABELS = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(np.int64)
NUMBERS = ROWS @ [1.0, -2.0, 0.5, 3.0]
FRAME = pd.DataFrame(
    {
        "a width": ROWS[:, 0],
        "a_width": ROWS[:, 1],
        "code": RNG.integers(0, 5, len(ROWS)),
        "open": ROWS[:, 2] > 0,
    }
)


def test_numeric_columns_are_packed_into_one_matrix(tmp_path: Path) -> None:
    frame = FRAME[["a width", "code", "open"]]
    model = RandomForestClassifier(5, random_state=0).fit(frame, LABELS)
    samples = tmp_path / "rows.csv"
    frame.to_csv(samples, index=False)
    extraction = extracted(signed(tmp_path, model, frame), samples, trust_pickle=True)
    (tensor,) = extraction.binding.inputs
    assert (tensor.columns, tensor.dtype, tensor.shape) == (
        ("a width", "code", "open"),
        "float32",
        (-1, 3),
    )
    assert_same(answers(extraction), extraction.original)


def test_the_function_that_mlflow_calls_is_the_prediction(tmp_path: Path) -> None:
    frame = FRAME[["a width", "a_width"]]
    model = LogisticRegression().fit(frame, LABELS)
    samples = tmp_path / "rows.csv"
    frame.to_csv(samples, index=False)
    home = signed(tmp_path, model, frame, predict_fn="predict_proba")
    extraction = extracted(home, samples, trust_pickle=True)
    assert extraction.predict == "predict_proba"
    roles = {(o.role, o.tensor) for o in extraction.binding.outputs}
    assert roles == {
        (OutputRole.PREDICTION, "probabilities"),
        (OutputRole.PROBABILITY, "probabilities"),
    }
    assert_alike(extraction.original.prediction, model.predict_proba(frame))
    assert_same(answers(extraction), extraction.original)


def test_a_function_that_has_no_graph_is_refused(tmp_path: Path) -> None:
    frame = FRAME[["a width"]]
    home = signed(tmp_path, KMeans(2, n_init=1).fit(frame), frame, predict_fn="fit_predict")
    samples = tmp_path / "rows.csv"
    frame.to_csv(samples, index=False)
    with pytest.raises(ConversionError, match="python_function calls fit_predict"):
        extracted(home, samples, trust_pickle=True)


def test_without_a_signature_the_model_tells_its_columns(tmp_path: Path) -> None:
    frame = FRAME[["a width", "a_width"]]
    named = taken_from_frame(tmp_path, LinearRegression().fit(frame, NUMBERS), frame)
    assert named.signature_derived
    assert [entry["name"] for entry in named.signature.inputs or ()] == list(frame)
    assert_same(answers(named), named.original)


def taken_from_frame(folder: Path, model: object, frame: pd.DataFrame) -> Extraction:
    samples = folder / "rows.csv"
    frame.to_csv(samples, index=False)
    return extracted(pickled(folder, model), samples, trust_pickle=True)


def test_without_a_signature_or_names_a_matrix_is_taken(tmp_path: Path) -> None:
    extraction = taken(tmp_path, LinearRegression().fit(ROWS, NUMBERS), ROWS)
    (tensor,) = extraction.binding.inputs
    assert (tensor.columns, tensor.shape) == (("",), (-1, 4))
    assert extraction.signature.inputs == [
        {"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 4]}}
    ]


def cubes(rows: Array) -> Array:
    return rows**3


REFUSED: dict[str, tuple[Any, str]] = {
    "own function": (
        make_pipeline(FunctionTransformer(cubes), Ridge()),
        "FunctionTransformer",
    ),
    "no converter": (
        TransformedTargetRegressor(Ridge(), func=np.cbrt, inverse_func=cubes),
        "TransformedTargetRegressor",
    ),
    "clusters without one": (BisectingKMeans(n_clusters=2), "BisectingKMeans"),
    "splits on categories": (
        HistGradientBoostingRegressor(max_iter=3, categorical_features=[0]),
        "splits on categories",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_faithful_form_is_refused_with_a_next_step(
    name: str, tmp_path: Path
) -> None:
    model, reason = REFUSED[name]
    rows = np.abs(np.floor(ROWS))
    with pytest.raises(ConversionError, match=reason):
        taken(tmp_path, model.fit(rows, NUMBERS), rows)


def test_parameters_of_the_signature_are_refused(tmp_path: Path) -> None:
    frame = FRAME[["a width"]]
    home = signed(tmp_path, LinearRegression().fit(frame, NUMBERS), frame)
    document = yaml.safe_load(home.joinpath("MLmodel").read_text("utf-8"))
    document["signature"]["params"] = '[{"name": "k", "type": "long", "default": 1}]'
    home.joinpath("MLmodel").write_text(yaml.safe_dump(document), "utf-8")
    with pytest.raises(ConversionError, match="parameters"):
        extracted(home, trust_pickle=True)


def archived(folder: Path, model: object) -> Path:
    import skops.io  # noqa: PLC0415 - it imports PyTorch: seconds for all who collect this

    skops.io.dump(model, folder / "model.skops")
    return folder / "model.skops"


@pytest.mark.slow  # skops imports PyTorch where it is installed
def test_skops_trusts_by_default_what_runs_no_code(tmp_path: Path) -> None:
    path = archived(tmp_path, LogisticRegression().fit(ROWS, LABELS))
    extraction = extracted(path, saved_rows(tmp_path, ROWS))
    assert_same(answers(extraction), extraction.original)


@pytest.mark.slow  # as above
def test_skops_with_other_types_needs_trust_whatever_the_model_says(
    tmp_path: Path,
) -> None:
    archived(tmp_path, RandomForestClassifier(3).fit(ROWS, LABELS))
    rows = saved_rows(tmp_path, ROWS)
    document = {
        "flavors": {
            "sklearn": {
                "pickled_model": "model.skops",
                "skops_trusted_types": ["sklearn.tree._tree.Tree"],
            }
        }
    }
    tmp_path.joinpath("MLmodel").write_text(yaml.safe_dump(document), "utf-8")
    with pytest.raises(ConversionError, match=r"_tree\.Tree.*--trust-pickle"):
        extracted(tmp_path, rows)
    extraction = extracted(tmp_path, rows, trust_pickle=True)
    assert_same(answers(extraction), extraction.original)


class Trap:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_without_trust_is_refused_and_not_run(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    path = pickled(tmp_path, Trap(sprung))
    with pytest.raises(ConversionError, match=r"a pickle.*--trust-pickle"):
        extracted(path, saved_rows(tmp_path, ROWS))
    assert not sprung.exists()
    pickle.loads(path.read_bytes())  # noqa: S301 - to show that the trap works
    assert sprung.exists()


def test_a_truncated_pickle_is_a_clear_error(tmp_path: Path) -> None:
    path = pickled(tmp_path, LogisticRegression().fit(ROWS, LABELS))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ConversionError, match=r"model\.pkl: scikit-learn cannot load it"):
        extracted(path, saved_rows(tmp_path, ROWS), trust_pickle=True)


def test_a_pickle_of_an_older_version_names_both_versions(tmp_path: Path) -> None:
    home = signed(tmp_path, LinearRegression().fit(ROWS[:, :1], NUMBERS), FRAME[["code"]])
    gone = b"\x80\x04csklearn.ensemble._gb_losses\nDeviance\n."
    home.joinpath("model.pkl").write_bytes(gone)
    with pytest.raises(ConversionError, match=r"_gb_losses.*saved with scikit-learn 1\.9"):
        extracted(home, trust_pickle=True)


def test_what_is_no_model_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="neither the model nor a signature"):
        taken(tmp_path, {"not": "a model"}, ROWS)
