"""Log small models with MLflow itself, in a process of its own.

`python -m tests.converters.mlflow_models FOLDER` leaves one model folder a name, and the
answers of MLflow's own python_function on its example (NAME.answers.npy).
"""

import sys
from pathlib import Path
from typing import Any

import keras
import mlflow
import numpy as np
import onnx
import pandas as pd
from mlflow.models import infer_signature
from onnx import TensorProto, helper, numpy_helper
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

RNG = np.random.default_rng(11)
FRAME = pd.DataFrame(
    {
        "width": RNG.normal(size=80),
        "count": RNG.integers(0, 9, 80),
        "city": RNG.choice(["Bilbao", "Eibar"], 80),
    }
)
LABELS = np.where(FRAME["width"] > 0, "wide", "narrow")
MATRIX = RNG.normal(size=(80, 40)).astype(np.float32)


def main(folder: Path) -> None:
    plain = LogisticRegression().fit(FRAME[["width", "count"]], LABELS)
    save(mlflow.sklearn, plain, folder / "skops", FRAME[["width", "count"]])
    encoded = ColumnTransformer(
        [("n", StandardScaler(), ["width", "count"]), ("c", OneHotEncoder(), ["city"])]
    )
    forest = make_pipeline(encoded, RandomForestClassifier(5)).fit(FRAME, LABELS)
    save(
        mlflow.sklearn, forest, folder / "forest", FRAME, serialization_format="cloudpickle"
    )
    network = keras.Sequential([keras.Input((40,)), keras.layers.Dense(2, "softmax")])
    save(mlflow.tensorflow, network, folder / "tensorflow", MATRIX)
    folder.joinpath("keras").mkdir()  # MLflow 3.17 writes the example before it makes it
    save(mlflow.keras, network, folder / "keras", MATRIX)
    with_own = keras.Sequential(
        [keras.Input((40,)), Halved(), keras.layers.Dense(2, "softmax")]
    )
    save(
        mlflow.tensorflow,
        with_own,
        folder / "own_layer",
        MATRIX,
        custom_objects={"Halved": Halved},
    )
    save(mlflow.onnx, linear(), folder / "onnx", MATRIX)


class Halved(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """A layer whose code MLflow pickles beside the model."""

    def call(self, inputs: Any) -> Any:  # noqa: ANN401 - Keras has no types
        return inputs / 2


def linear() -> onnx.ModelProto:
    """Weights of more than a kilobyte, which MLflow writes beside the model."""
    weights = numpy_helper.from_array(RNG.normal(size=(40, 9)).astype(np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 40])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 9])],
        [weights],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def save(flavor: Any, model: object, folder: Path, rows: Any, **options: object) -> None:  # noqa: ANN401 - MLflow has no types
    example = rows[:20]
    flavor.save_model(
        model,
        str(folder),
        signature=infer_signature(example),
        input_example=example,
        pip_requirements=[],  # asking which would load each model in one more process
        **options,
    )
    answer = mlflow.pyfunc.load_model(str(folder)).predict(example)
    lone = next(iter(answer.values())) if isinstance(answer, dict) else answer
    np.save(f"{folder}.answers.npy", np.asarray(lone), allow_pickle=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
