"""Which file converts what, and what is still to come. The one place to add a framework.

A converter is a module with `convert(job: Job) -> Extraction`; it is imported in the child
process only, because it imports its framework.
"""

from collections.abc import Mapping
from enum import StrEnum


class Kind(StrEnum):
    """What the bytes of a model are, whatever their name says."""

    ONNX = "onnx"
    SKLEARN_PICKLE = "sklearn_pickle"
    SKLEARN_SKOPS = "sklearn_skops"
    KERAS_ZIP = "keras_zip"
    KERAS_H5 = "keras_h5"
    SAVED_MODEL = "saved_model"


CONVERTERS: Mapping[Kind, str] = {
    Kind.ONNX: "edgekit_converters.onnx_model",
    Kind.SKLEARN_PICKLE: "edgekit_converters.sklearn",
    Kind.SKLEARN_SKOPS: "edgekit_converters.sklearn",
    Kind.KERAS_ZIP: "edgekit_converters.keras",
    Kind.KERAS_H5: "edgekit_converters.keras",
    Kind.SAVED_MODEL: "edgekit_converters.saved_model",
}

# Packages of each extra of edgekit-converters: what to install when one is missing.
EXTRAS: Mapping[str, str] = {
    "sklearn": "sklearn",
    "skl2onnx": "sklearn",
    "skops": "sklearn",
    "tensorflow": "tensorflow",
    "keras": "tensorflow",
    "tf2onnx": "tensorflow",
    "h5py": "tensorflow",
}

# MLflow flavors that are recognised and follow in a later version: what to do meanwhile.
LATER: Mapping[str, str] = {
    "pytorch": "export it with torch.onnx.export and log it with mlflow.onnx",
    "xgboost": "convert it with onnxmltools.convert_xgboost and log it with mlflow.onnx",
    "lightgbm": "convert it with onnxmltools.convert_lightgbm and log it with mlflow.onnx",
    "catboost": 'save it with save_model(..., format="onnx") and log it with mlflow.onnx',
    "spark": "convert it with onnxmltools.convert_sparkml and log it with mlflow.onnx",
    "tflite": "convert the Keras model or SavedModel it was made from",
}
