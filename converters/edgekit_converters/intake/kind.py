"""The kinds of model files that are told apart, and the flavors that have none."""

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
    SPARK = "spark"
    XGBOOST = "xgboost"
    LIGHTGBM = "lightgbm"
    CATBOOST = "catboost"
    TFLITE = "tflite"
    TORCH_PICKLE = "torch_pickle"
    TORCH_PROGRAM = "torch_program"  # torch.export's, often named .pt2
    TORCH_SCRIPT = "torch_script"


# Kinds whose loading runs code of the model's own: why not to, and what to do instead.
RUNS_CODE: Mapping[Kind, str] = {
    Kind.SKLEARN_PICKLE: (
        "a pickle; loading it runs whatever code its author put into it. If you trust where"
        " it comes from, allow it with --trust-pickle; otherwise log the model again as"
        " skops or ONNX"
    ),
    Kind.TORCH_PICKLE: (
        "a pickled PyTorch model; loading it runs whatever code its author put into it. If"
        " you trust where it comes from, allow it with --trust-pickle; otherwise save it as"
        " an exported program (torch.export.save, or mlflow.pytorch with"
        ' serialization_format="pt2")'
    ),
    Kind.TORCH_SCRIPT: (
        "a TorchScript program; running it can write files. If you trust where it comes"
        " from, allow it with --trust-pickle; otherwise save the model as an exported"
        " program (torch.export.save)"
    ),
}

_OPTIMUM = "export it with optimum (optimum-cli export onnx) and log that with mlflow.onnx"
# MLflow flavors that are recognised and have no converter here: what to do instead.
UNCONVERTED: Mapping[str, str] = {
    "fastai": "log its PyTorch module (learner.model) with mlflow.pytorch",
    "paddle": "export it with paddle2onnx and log that with mlflow.onnx",
    "sentence_transformers": _OPTIMUM,
    "transformers": _OPTIMUM,
}
