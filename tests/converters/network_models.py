"""Networks for the conversion matrix, one for each row: how to make it, what to expect.

A maker writes one model (an MLflow folder or a file) into an empty folder, its sample rows
beside it, and returns the model's path. It imports its framework only when it is called, so
call it in a process where warnings are no errors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROWS = "rows.npz"  # beside the model: the samples to convert with
_COUNT = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkModel:
    """A row of the matrix. `trust`: loading it runs code, so --trust-pickle is needed.

    `refused` is the sentence (a part of it) that must come instead of a conversion.
    """

    name: str
    framework: str
    make: Callable[[Path], Path]
    trust: bool = False
    refused: str = ""


def rows(folder: Path) -> Path:
    """Return the samples that a maker left in a folder."""
    return folder / ROWS


def _torch(name: str, form: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import torch  # noqa: PLC0415 - only where it is needed

        from tests.converters import torch_networks  # noqa: PLC0415 - imports torch

        module, given = torch_networks.made(name, _COUNT)
        names = ["one", "two"] if len(given) > 1 else ["x"]
        arrays = {key: row.numpy() for key, row in zip(names, given, strict=True)}
        np.savez(rows(folder), allow_pickle=False, **arrays)
        if form == "mlflow":
            return _mlflow_torch(folder / "model", module, arrays["x"])
        path = folder / f"model.{form}"
        sizes = tuple({0: torch.export.Dim.AUTO} for _ in given)
        if form == "pt2":
            program = torch.export.export(module, given, dynamic_shapes=sizes)
            torch.export.save(program, path)
        elif form == "pt":
            torch.jit.trace(module, given).save(str(path))
        else:
            torch.save(module, path)
        return path

    return make


def _mlflow_torch(folder: Path, module: Any, example: np.ndarray) -> Path:  # noqa: ANN401
    import mlflow  # noqa: PLC0415 - only where it is needed
    from mlflow.models import infer_signature  # noqa: PLC0415

    mlflow.pytorch.save_model(
        module,
        str(folder),
        signature=infer_signature(example),
        input_example=example,
        serialization_format="pt2",
        pip_requirements=["torch"],
    )
    return folder


def _torch_weights(folder: Path) -> Path:
    import torch  # noqa: PLC0415 - only where it is needed

    from tests.converters import torch_networks  # noqa: PLC0415 - imports torch

    module, (given,) = torch_networks.made("classifier", _COUNT)
    np.savez(rows(folder), allow_pickle=False, x=given.numpy())
    torch.save(module.state_dict(), folder / "weights.pth")
    return folder / "weights.pth"


def _keras(name: str, form: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from tests.converters import keras_models  # noqa: PLC0415 - imports TensorFlow

        model, given = keras_models.networks()[name]
        named = dict(zip((t.name for t in model.inputs), given, strict=True))
        np.savez(rows(folder), allow_pickle=False, **named)
        path = folder / ("model" if form == "export" else f"model.{form}")
        if form == "export":
            model.export(path, verbose=False)
        else:
            model.save(path)
        return path

    return make


def _tflite(name: str, form: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from tests.converters import tflite_models  # noqa: PLC0415 - imports TensorFlow

        content, given = tflite_models.made(name, form)
        np.savez(rows(folder), allow_pickle=False, x=given)
        folder.joinpath("model.tflite").write_bytes(content)
        return folder / "model.tflite"

    return make


NETWORK_MODELS: tuple[NetworkModel, ...] = (
    *(
        NetworkModel(name=f"Keras {called}", framework="keras", make=_keras(name, form))
        for called, name, form in (
            ("Sequential classifier", "classifier", "keras"),
            ("Normalization and gelu", "gelu", "keras"),
            ("CNN with BatchNorm, depthwise", "images", "keras"),
            ("CNN, HDF5", "images", "h5"),
            ("two inputs and outputs", "two_ways", "keras"),
            ("LSTM", "series", "keras"),
            ("GRU, any length, every step", "every_step", "keras"),
            ("GRU, SimpleRNN, LSTM: both ways, backwards, stacked", "recurrent", "keras"),
            ("LSTM that skips padding", "padded", "keras"),
            ("multi-head attention, causal", "attention", "keras"),
            ("Embedding", "words", "keras"),
            ("SavedModel export", "series", "export"),
            ("GRU and others, SavedModel export", "recurrent", "export"),
        )
    ),
    *(
        NetworkModel(
            name=f"PyTorch {called}", framework="pytorch", make=_torch(name, "pt2")
        )
        for called, name in (
            ("MLP", "classifier"),
            ("CNN with BatchNorm", "images"),
            ("LSTM", "lstm"),
            ("GRU, bidirectional, two layers", "gru"),
            ("multi-head attention", "attention"),
            ("transformer encoder", "encoder"),
            ("embedding", "words"),
            ("two inputs, answers by name", "two_ways"),
            ("two inputs, a tuple of answers", "pair"),
            ("MLP in float64", "double"),
        )
    ),
    NetworkModel(
        name="PyTorch MLP, logged by MLflow (pt2)",
        framework="pytorch",
        make=_torch("classifier", "mlflow"),
    ),
    NetworkModel(
        name="PyTorch CNN, pickled",
        framework="pytorch",
        make=_torch("images", "pth"),
        trust=True,
    ),
    NetworkModel(
        name="PyTorch CNN, TorchScript",
        framework="pytorch",
        make=_torch("images", "pt"),
        trust=True,
    ),
    NetworkModel(
        name="PyTorch weights alone (state_dict)",
        framework="pytorch",
        make=_torch_weights,
        trust=True,
        refused="weights without their network",
    ),
    *(
        NetworkModel(name=f"TFLite {called}", framework="tflite", make=_tflite(name, form))
        for called, name, form in (
            ("CNN, float", "images", "float"),
            ("CNN, int8 weights", "images", "weights"),
            ("CNN, int8", "images", "int8"),
            ("CNN, int8 from input to output", "images", "whole"),
            ("MLP with gelu", "gelu", "float"),
        )
    ),
)
