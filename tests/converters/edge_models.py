"""Log models whose edge flavors are then asked beside them, in a process of its own.

`python -m tests.converters.edge_models log FOLDER` leaves one MLflow model folder a name;
`... compare FOLDER EDGES` asks both python_functions about the same rows and fails where
type, shape, dtype, index or column names differ, or numbers by more than float32 explains.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import mlflow
import numpy as np
import onnx
import pandas as pd
import torch
import xgboost
from mlflow.models import infer_signature
from onnx import TensorProto, helper
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputRegressor

RNG = np.random.default_rng(5)
INDEX = [f"row {number}" for number in range(60)]  # none that a new frame would have
FRAME = pd.DataFrame(
    RNG.normal(size=(60, 3)).astype(np.float32).astype(np.float64),
    columns=["a", "b", "c"],
    index=INDEX,
)
LABELS = np.where(FRAME["a"] > 0, "up", "down")
NUMBERS = FRAME.to_numpy() @ [1.0, -2.0, 0.5]
RTOL, ATOL = 1e-4, 1e-5  # float64 originals, float32 graphs


def log(folder: Path) -> None:
    pickled = {"serialization_format": "cloudpickle"}
    forest = RandomForestClassifier(5, random_state=0).fit(FRAME, LABELS)
    save(mlflow.sklearn, forest, folder / "labels", FRAME, **pickled)
    logistic = LogisticRegression().fit(FRAME, LABELS)
    save(
        mlflow.sklearn,
        logistic,
        folder / "probabilities",
        FRAME,
        pyfunc_predict_fn="predict_proba",
        **pickled,
    )
    both = np.stack([NUMBERS, -NUMBERS], axis=1)
    several = MultiOutputRegressor(LinearRegression()).fit(FRAME, both)
    save(mlflow.sklearn, several, folder / "several", FRAME, **pickled)
    detector = IsolationForest(n_estimators=5, random_state=0).fit(FRAME.to_numpy())
    save(mlflow.sklearn, detector, folder / "matrix", FRAME.to_numpy(), **pickled)
    boosted = xgboost.XGBRegressor(n_estimators=5).fit(FRAME, NUMBERS)
    save(mlflow.xgboost, boosted, folder / "xgboost", FRAME)
    gradient = lightgbm.train(
        {"objective": "binary", "verbose": -1, "min_data_in_leaf": 2},
        lightgbm.Dataset(FRAME, LABELS == "up"),
        num_boost_round=5,
    )
    save(mlflow.lightgbm, gradient, folder / "lightgbm", FRAME)
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)
    )
    rows = FRAME.to_numpy(dtype=np.float32)
    save(
        mlflow.pytorch,
        network.eval(),
        folder / "pytorch",
        rows,
        serialization_format="pickle",
    )
    save(mlflow.onnx, doubled(), folder / "onnx", rows)


def doubled() -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["twice"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("twice", TensorProto.FLOAT, ["n", 3])],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )


def save(flavor: Any, model: object, folder: Path, rows: Any, **options: Any) -> None:  # noqa: ANN401 - MLflow has no types
    flavor.save_model(
        model,
        str(folder),
        signature=infer_signature(rows),
        input_example=rows[:40],
        pip_requirements=["mlflow"],  # to infer them loads each model once more
        **options,
    )


def compare(models: Path, edges: Path) -> None:
    """Ask every model of one folder beside the edge flavor of the same name."""
    for model in sorted(path for path in models.iterdir() if path.is_dir()):
        compare_one(str(model), str(edges / model.name))


def compare_one(model: str, edge: str) -> None:
    original, flavor = (mlflow.pyfunc.load_model(uri) for uri in (model, edge))
    assert flavor.metadata.signature == original.metadata.signature, model
    rows = given(original)
    for part in (rows, rows[:1]):
        assert_equal(flavor.predict(part), original.predict(part))


def given(original: Any) -> Any:  # noqa: ANN401 - MLflow has no types
    """Rows as the signature wants them."""
    if original.metadata.get_input_schema().is_tensor_spec():
        (wanted,) = original.metadata.get_input_schema().inputs
        shape = tuple(wanted.shape[1:])
        if shape == (FRAME.shape[1],):
            return FRAME.to_numpy().astype(wanted.type)
        values = np.random.default_rng(0).normal(size=(len(FRAME), *shape))
        return values.astype(wanted.type)
    return FRAME


def assert_equal(got: Any, wanted: Any) -> None:  # noqa: ANN401 - whatever models answer
    assert type(got) is type(wanted), (type(got), type(wanted))
    match wanted:
        case dict():
            assert list(got) == list(wanted)
            for name, value in wanted.items():
                assert_equal(got[name], value)
        case pd.DataFrame():
            pd.testing.assert_frame_equal(got, wanted, rtol=RTOL, atol=ATOL)
        case list():
            assert [type(value) for value in got] == [type(value) for value in wanted]
            np.testing.assert_allclose(got, wanted, rtol=RTOL, atol=ATOL)
        case np.ndarray():
            assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
            if wanted.dtype.kind == "f":
                np.testing.assert_allclose(got, wanted, rtol=RTOL, atol=ATOL)
            else:
                assert got.tolist() == wanted.tolist()
        case _:
            raise AssertionError(f"a model answered {type(wanted)}")


def empty(uri: str) -> None:
    """Make an empty registry."""
    mlflow.MlflowClient(uri).search_registered_models()


COMMANDS: dict[str, Callable[..., None]] = {
    "compare": compare,
    "compare-one": compare_one,
    "empty": empty,
    "log": log,
}

if __name__ == "__main__":
    name, *paths = sys.argv[1:]
    COMMANDS[name](*(map(Path, paths) if name in {"compare", "log"} else paths))
