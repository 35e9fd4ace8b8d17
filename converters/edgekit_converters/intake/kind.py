"""The kinds of model files that are told apart, and those that are still to come."""

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


# MLflow flavors that are recognised and follow in a later version: what to do meanwhile.
LATER: Mapping[str, str] = {
    "pytorch": "export it with torch.onnx.export and log it with mlflow.onnx",
    "xgboost": "convert it with onnxmltools.convert_xgboost and log it with mlflow.onnx",
    "lightgbm": "convert it with onnxmltools.convert_lightgbm and log it with mlflow.onnx",
    "catboost": 'save it with save_model(..., format="onnx") and log it with mlflow.onnx',
    "spark": "convert it with onnxmltools.convert_sparkml and log it with mlflow.onnx",
    "tflite": "convert the Keras model or SavedModel it was made from",
}
