"""CatBoost: models of numbers, from its own binary format, which holds data only.

Answers as mlflow.catboost's python_function does: predict of the class that was saved.
"""

import tempfile
from pathlib import Path
from typing import Any

import catboost  # type: ignore[import-untyped]  # it ships no types
from catboost import CatBoostError

from edgekit.errors import ConversionError
from edgekit_converters.extraction import Extraction
from edgekit_converters.frameworks.boosting import catboost_dump
from edgekit_converters.frameworks.boosting.boosted import class_labels
from edgekit_converters.frameworks.boosting.boosted_model import (
    Native,
    extract,
    refuse_params,
)
from edgekit_converters.intake.unloadable import UnloadableError
from edgekit_converters.job import Job

_CLASSES = ("CatBoost", "CatBoostClassifier", "CatBoostRanker", "CatBoostRegressor")
_PLAIN = "CatBoost"  # what a file alone is loaded as: it answers raw values


def convert(job: Job) -> Extraction:
    """Load the model, ask it about the samples, and convert it.

    ConversionError when the file cannot be loaded or has no faithful ONNX form.
    """
    refuse_params(job)
    name = str(job.source.configuration.get("model_type", _PLAIN))
    if name not in _CLASSES:
        raise ConversionError(
            f"{job.source.path.name}: of class {name}, one of {', '.join(_CLASSES)} is"
            " expected"
        )
    model = _load(job, name)
    classes = None
    if name == "CatBoostClassifier":
        classes = class_labels(model.classes_, subject=name)
    return extract(
        job,
        Native(
            boosted=catboost_dump.read(_dumped(model), model_type=name),
            framework="catboost",
            distributions=("catboost",),
            predict=model.predict,
            failures=(CatBoostError,),
            classes=classes,
            probabilities=None if classes is None else model.predict_proba,
        ),
    )


def _load(job: Job, name: str) -> Any:  # noqa: ANN401 - CatBoost has no types
    path = job.source.path
    kind = "json" if path.read_bytes().startswith(b"{") else "cbm"
    model = getattr(catboost, name)()
    try:
        model.load_model(path, format=kind)
    except (CatBoostError, ValueError) as error:
        raise UnloadableError(
            f"{path.name}: CatBoost {catboost.__version__} cannot load it ({error}); save"
            " it again with save_model"
        ) from error
    return model


def _dumped(model: Any) -> bytes:  # noqa: ANN401 - CatBoost has no types
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        try:
            model.save_model(path, format="json")
        except CatBoostError as error:
            raise ConversionError(f"CatBoost cannot dump its model: {error}") from error
        return path.read_bytes()
